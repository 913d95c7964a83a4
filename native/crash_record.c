/* See crash_record.h. */
#include "crash_record.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "crash_frames.h"
#include "crash_signals.h"
#include "guard.h"
#include "leaving.h"

uintptr_t (*mf_record_called)(void);

static mf_record *_Atomic current;
static mf_record *inherited; /* the parent's; only its places are looked at */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* who adds and removes; never taken in a handler */

static int64_t
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* ---- the handler ----------------------------------------------------------------------------------------------------- */

static const mf_record_place *
place_of(const mf_record *record, uint64_t address)
{
    for (size_t i = 0; i < MF_RECORD_PLACES; i++) {
        const mf_record_place *place = &record->places[i];
        uint64_t low = atomic_load(&place->low);
        if (low != 0 && address >= low && address < place->high) {
            return place;
        }
    }
    return NULL;
}

typedef struct search {
    const mf_record *record;
    const mf_record_place *found;
    bool python;
} search;

static bool
look(const mf_frame *frame, void *data)
{
    search *self = data;
    self->found = place_of(self->record, frame->place);
    self->python = mf_is_python(frame->place);
    return self->found == NULL && !self->python;
}

/* What it looks at may be destroyed too. */
static void
ask_what_was_called(void *data)
{
    search *self = data;
    self->found = place_of(self->record, mf_record_called());
}

static bool
record(int number, siginfo_t *info, void *context)
{
    mf_record *to = atomic_load(&current);
    search self = {.record = to};
    if (to == NULL || !mf_crash_is_own(info)) {
        return false;
    }
    mf_crash_walk(info, context, look, &self);
    if (self.found == NULL && !self.python && mf_record_called != NULL) {
        mf_guard_plain(ask_what_was_called, &self);
    }
    uint32_t free = 0;
    if (self.found != NULL && atomic_compare_exchange_strong(&to->claimed, &free, 1)) {
        to->line = self.found->line;
        to->base = self.found->base;
        to->low = atomic_load(&self.found->low);
        to->high = self.found->high;
        to->crashed_at = now();
        mf_crash_describe(&to->crash, number, info, context);
        to->written = 1;
    }
    return false;
}

/* ---- what is there --------------------------------------------------------------------------------------------------- */

bool
mf_record_begin(mf_record *made)
{
    pthread_mutex_lock(&lock);
    if (made != NULL) {
        if (inherited != NULL) {
            memcpy(made->places, inherited->places, sizeof made->places);
        }
        made->magic = MF_RECORD_MAGIC;
    }
    inherited = NULL;
    atomic_store(&current, made);
    pthread_mutex_unlock(&lock);
    mf_crash_watch(MF_WATCH_RECORD, record);
    return mf_crash_signals_arm(MF_CRASHES);
}

void
mf_record_end(void)
{
    mf_record *to = atomic_load(&current);
    if (to != NULL) {
        to->ended_at = now();
    }
}

void
mf_record_add(uint64_t base, uint64_t low, uint64_t high, uint64_t line)
{
    pthread_mutex_lock(&lock);
    mf_record *to = atomic_load(&current);
    for (size_t i = 0; to != NULL && line != 0 && i < MF_RECORD_PLACES; i++) {
        mf_record_place *place = &to->places[i];
        if (atomic_load(&place->low) == 0) {
            place->high = high;
            place->base = base;
            place->line = line;
            atomic_store(&place->low, low);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

void
mf_record_remove(uint64_t low)
{
    pthread_mutex_lock(&lock);
    mf_record *to = atomic_load(&current);
    for (size_t i = 0; to != NULL && i < MF_RECORD_PLACES; i++) {
        if (atomic_load(&to->places[i].low) == low) {
            atomic_store(&to->places[i].low, 0);
        }
    }
    pthread_mutex_unlock(&lock);
}

/* ---- fork ------------------------------------------------------------------------------------------------------------ */

static void
before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void
after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void
after_fork_in_child(void)
{
    inherited = atomic_load(&current);
    atomic_store(&current, NULL);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void
register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}
