/* See entry.h: entries, seats and visits.  What calls come by is in entry_thunks.c. */
#include "entry.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

#include "unwinder.h"

enum { CHUNK = 63, PORTION = 8 }; /* visits in a chunk, which is a page; and what a thread takes of them at once */

/* A thread's visits.  The layout is known to the assembly. */
typedef struct visits {
    mf_visit *free, *innermost;
} visits;

typedef struct chunk {
    mf_visit visits[CHUNK];
    struct chunk *next;
} chunk;

#define HIDDEN __attribute__((visibility("hidden")))

HIDDEN mf_entry mf_entries[MF_ENTRIES];
HIDDEN _Thread_local visits mf_visits __attribute__((tls_model("initial-exec")));
HIDDEN bool mf_entry_fences = true;
HIDDEN _Atomic(uintptr_t) mf_forwards[MF_FORWARDS];

bool (*mf_entry_wait)(mf_entry *entry, mf_visit *visit);
bool (*mf_entry_report)(mf_entry *entry, const char *text);

static size_t entry_count;
static mf_seat *free_seats;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects the two below; never held while other code runs */
static chunk *_Atomic chunks;
static mf_visit *orphans; /* free visits of threads that have ended */
static pthread_key_t at_thread_end;

extern const char mf_entry_thunks[], mf_forward_thunks[], mf_entry_landing[];
void mf_entry_nowhere(void) HIDDEN;

static mf_seat nowhere = {.target = (uintptr_t)mf_entry_nowhere};

/* ---- visits ---------------------------------------------------------------------------------------------------------- */

/* A signal handler that called through an entry meanwhile would wait for its own thread for ever. */
static void
lock_against_handlers(sigset_t *kept)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, kept);
    pthread_mutex_lock(&lock);
}

static void
unlock(const sigset_t *kept)
{
    pthread_mutex_unlock(&lock);
    pthread_sigmask(SIG_SETMASK, kept, NULL);
}

static void
give_up_visits(void *unused)
{
    sigset_t kept;
    (void)unused;
    lock_against_handlers(&kept);
    while (mf_visits.free != NULL) {
        mf_visit *visit = mf_visits.free;
        mf_visits.free = visit->next;
        visit->next = orphans;
        orphans = visit;
    }
    unlock(&kept);
}

static void
add_chunk(void)
{
    /* Not malloc, which a signal handler must not call. */
    chunk *made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) {
        static const char text[] = "midflight: no memory for a call through a stable pointer\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        abort();
    }
    for (size_t i = 0; i < CHUNK; i++) {
        made->visits[i].next = orphans;
        orphans = &made->visits[i];
    }
    made->next = chunks;
    chunks = made;
}

/* Called when this thread has no free visit left. */
HIDDEN void mf_entry_more_visits(void);

void
mf_entry_more_visits(void)
{
    sigset_t kept;
    lock_against_handlers(&kept);
    if (orphans == NULL) {
        add_chunk();
    }
    for (size_t i = 0; i < PORTION && orphans != NULL; i++) {
        mf_visit *visit = orphans;
        orphans = visit->next;
        visit->next = mf_visits.free;
        mf_visits.free = visit;
    }
    pthread_setspecific(at_thread_end, &mf_visits); /* fails for want of memory only: some visits are lost then */
    unlock(&kept);
}

size_t
mf_entry_inside(const void *holder)
{
    size_t count = 0;
    for (chunk *one = chunks; one != NULL; one = one->next) {
        for (size_t i = 0; i < CHUNK; i++) {
            const mf_seat *seat = atomic_load_explicit(&one->visits[i].seat, memory_order_acquire);
            count += seat != NULL && seat->holder == holder;
        }
    }
    return count;
}

const mf_visit *
mf_entry_innermost(void)
{
    return mf_visits.innermost;
}

void
mf_entry_leave_to(const mf_visit *innermost)
{
    sigset_t kept;
    lock_against_handlers(&kept);
    while (mf_visits.innermost != NULL && mf_visits.innermost != innermost) {
        mf_visit *left = mf_visits.innermost;
        atomic_store(&left->seat, NULL);
        mf_visits.innermost = left->outer;
        left->next = mf_visits.free;
        mf_visits.free = left;
    }
    unlock(&kept);
}

/* ---- entering -------------------------------------------------------------------------------------------------------- */

/* Called where the quick way found no seat, or another one at its second look. */
HIDDEN mf_seat *mf_entry_take(mf_entry *entry, mf_visit *visit);

mf_seat *
mf_entry_take(mf_entry *entry, mf_visit *visit)
{
    for (;;) {
        mf_seat *seat = atomic_load(&entry->seat);
        atomic_store(&visit->seat, seat);
        if (seat != NULL && atomic_load(&entry->seat) == seat) {
            return seat;
        }
        if (seat == NULL && mf_entry_wait(entry, visit)) {
            return atomic_load(&visit->seat);
        }
    }
}

/* What an entry that leads nowhere does: `memory` is where a struct is to be returned, if one is in memory. */
HIDDEN void *mf_entry_tell(mf_entry *entry, void *memory);

void *
mf_entry_tell(mf_entry *entry, void *memory)
{
    const char *text = entry->text != NULL ? entry->text : "a stable pointer leads nowhere";
    bool reported = mf_entry_report != NULL && mf_entry_report(entry, text);
    if (!reported && !atomic_exchange(&entry->told, true)) {
        char line[512];
        int size = snprintf(line, sizeof line, "midflight: %s; the call returns 0\n", text);
        (void)!write(STDERR_FILENO, line, size < (int)sizeof line ? (size_t)size : sizeof line - 1);
    }
    return entry->result_size != 0 ? memset(memory, 0, entry->result_size) : NULL;
}

/* An exception or pthread_exit passes: it is counted out, and goes on as if the caller had been called by nobody else. */
HIDDEN _Unwind_Reason_Code
mf_personality_entry(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                     struct _Unwind_Exception *exception, struct _Unwind_Context *context);

_Unwind_Reason_Code
mf_personality_entry(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                     struct _Unwind_Exception *exception, struct _Unwind_Context *context)
{
    (void)exception_class;
    mf_unwinder use = mf_find_unwinder();
    if (version != 1 || (actions & _UA_SEARCH_PHASE) != 0 || use.set_register == NULL || use.set_ip == NULL ||
        use.resume == NULL) {
        return version != 1 ? _URC_FATAL_PHASE1_ERROR : _URC_CONTINUE_UNWIND;
    }
    use.set_register(context, 0, (_Unwind_Word)(uintptr_t)exception);  /* rax or x0 */
    use.set_register(context, 1, (_Unwind_Word)(uintptr_t)use.resume); /* rdx or x1 */
    use.set_ip(context, (_Unwind_Ptr)(uintptr_t)mf_entry_landing);
    return _URC_INSTALL_CONTEXT;
}

_Static_assert(sizeof(chunk) == 4096, "as many as fit");
_Static_assert(offsetof(visits, free) == 0 && offsetof(visits, innermost) == 8, "the assembly knows this layout");

enum { THUNK = 16 };

/* ---- entries and seats ----------------------------------------------------------------------------------------------- */

mf_entry *
mf_entry_new(void *data, size_t result_size)
{
    if (entry_count == MF_ENTRIES) {
        return NULL;
    }
    mf_entry *entry = &mf_entries[entry_count++];
    entry->data = data;
    entry->result_size = result_size;
    return entry;
}

uintptr_t
mf_entry_address(const mf_entry *entry)
{
    return (uintptr_t)mf_entry_thunks + (uintptr_t)(entry - mf_entries) * THUNK;
}

void
mf_entry_set(mf_entry *entry, mf_seat *seat)
{
    atomic_store(&entry->seat, seat);
}

/* The text that was there before stays: a call may be reading it. */
void
mf_entry_end(mf_entry *entry, const char *text)
{
    if (entry->text == NULL || strcmp(entry->text, text) != 0) {
        entry->text = strdup(text);
        atomic_store(&entry->told, false);
    }
    atomic_store(&entry->seat, &nowhere);
}

void
mf_entry_refuse(mf_entry *entry, mf_visit *visit, const char *text)
{
    if (entry->text == NULL) {
        entry->text = strdup(text);
    }
    atomic_store(&visit->seat, &nowhere);
}

mf_seat *
mf_seat_new(uintptr_t target, const void *holder)
{
    mf_seat *seat = free_seats;
    if (seat != NULL) {
        free_seats = seat->next;
    } else {
        seat = malloc(sizeof *seat);
    }
    if (seat != NULL) {
        seat->target = target;
        atomic_store(&seat->holder, holder);
    }
    return seat;
}

void
mf_seat_free(mf_seat *seat)
{
    seat->next = free_seats;
    free_seats = seat;
}

/* ---- forwards -------------------------------------------------------------------------------------------------------- */

static uintptr_t free_forwards[MF_FORWARDS];
static size_t free_forward_count, forward_count;

uintptr_t
mf_forward_new(uintptr_t target)
{
    uintptr_t forward = 0;
    if (free_forward_count != 0) {
        forward = free_forwards[--free_forward_count];
    } else if (forward_count != MF_FORWARDS) {
        forward = (uintptr_t)mf_forward_thunks + forward_count++ * THUNK;
    }
    if (forward != 0) {
        mf_forward_set(forward, target);
    }
    return forward;
}

void
mf_forward_set(uintptr_t forward, uintptr_t target)
{
    atomic_store(&mf_forwards[(forward - (uintptr_t)mf_forward_thunks) / THUNK], target);
}

void
mf_forward_free(uintptr_t forward)
{
    free_forwards[free_forward_count++] = forward;
}

/* ---- order ----------------------------------------------------------------------------------------------------------- */

void
mf_entry_settle(void)
{
    if (mf_entry_fences) {
        atomic_thread_fence(memory_order_seq_cst);
    } else {
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    }
}

static void
register_barrier(void)
{
    mf_entry_fences = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
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

static bool
is_mine(const mf_visit *visit)
{
    for (const mf_visit *mine = mf_visits.innermost; mine != NULL; mine = mine->outer) {
        if (mine == visit) {
            return true;
        }
    }
    return false;
}

/* The visits of other threads are lost, and so are those that they had free. */
static void
after_fork_in_child(void)
{
    for (chunk *one = chunks; one != NULL; one = one->next) {
        for (size_t i = 0; i < CHUNK; i++) {
            if (atomic_load(&one->visits[i].seat) != NULL && !is_mine(&one->visits[i])) {
                atomic_store(&one->visits[i].seat, NULL);
            }
        }
    }
    register_barrier();
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void
begin(void)
{
    register_barrier();
    pthread_key_create(&at_thread_end, give_up_visits);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}
