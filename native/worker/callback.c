/* Takes a callback to the host, and its answer back to the library.
 *
 * A call from a thread that serves a slot goes through that slot, so that the host's thread that waits for the call runs
 * it.  Threads of the library's own share the slot for callbacks, one at a time. */
#include <pthread.h>
#include <string.h>

#include "../shared.h"
#include "worker.h"

typedef struct description {
    uint32_t count;
    mf_callback_param params[MF_CALLBACK_PARAMS];
} description;

/* Written by the thread that serves MF_DESCRIBE, before the host gives the function pointer to anybody. */
static description descriptions[MF_CALLBACKS];

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER; /* protects shared, and the slot for callbacks */
static mf_serving shared;

bool
callback_describe(uint64_t number, const mf_callback_param *params, size_t count)
{
    if (number >= MF_CALLBACKS || count > MF_CALLBACK_PARAMS) {
        return false;
    }
    memcpy(descriptions[number].params, params, count * sizeof *params);
    descriptions[number].count = (uint32_t)count;
    return true;
}

/* One argument: where it came in, and where it goes out. */
typedef struct argument {
    uint64_t *word;     /* in the slot's call */
    void *here, *there; /* what it points to: the library's, and the copy */
    size_t size;
    bool back;
} argument;

/* Memory that the host has at the same address: what it passed to the call that this callback is made from, and shared
 * arrays.  (The host looks at the address before it uses it.) */
static bool
is_shared(const mf_serving *self, const char *address)
{
    const char *arena = (const char *)channel + channel->arenas_at + (uint64_t)self->index * channel->arena_size;
    uint64_t all = channel->arenas_at + (uint64_t)channel->slot_count * channel->arena_size;
    if (address >= (const char *)channel && address < (const char *)channel + all) {
        return address >= arena && address < arena + channel->arena_size;
    }
    return mf_shared_zone((uintptr_t)address);
}

static void
bring(mf_serving *self, argument *one, mf_callback_param param)
{
    one->here = (void *)(uintptr_t)*one->word;
    one->there = NULL;
    one->back = false;
    if (param.kind != MF_PARAM_TEXT && is_shared(self, one->here)) {
        return;
    }
    one->size = param.kind == MF_PARAM_TEXT ? (one->here != NULL ? strlen(one->here) + 1 : 0) : param.size;
    one->there = one->here != NULL ? serving_room(self, one->size) : NULL;
    one->back = param.kind == MF_PARAM_ITEM;
    if (one->there != NULL) {
        memcpy(one->there, one->here, one->size);
    }
    *one->word = (uint64_t)(uintptr_t)one->there;
}

/* Fills in the slot's call; returns how many arguments point to memory that was brought over. */
static size_t
gather(mf_serving *self, const description *known, const mf_incoming *in, argument *brought)
{
    mf_slot_call *call = &self->slot->call;
    size_t integers = 0, doubles = 0, stack = 0, count = 0;
    memcpy(call->integers, in->integers, sizeof in->integers);
    memcpy(call->doubles, in->doubles, sizeof in->doubles);
    for (uint32_t i = 0; i < known->count; i++) {
        mf_callback_param param = known->params[i];
        bool floating = param.kind == MF_PARAM_DOUBLE;
        size_t *taken = floating ? &doubles : &integers;
        uint64_t *word = floating ? NULL : &call->integers[integers];
        if (*taken == (floating ? MF_DOUBLE_REGISTERS : MF_INTEGER_REGISTERS)) {
            call->stack[stack] = in->stack[stack];
            word = &call->stack[stack++];
        } else {
            ++*taken;
        }
        if (param.kind >= MF_PARAM_TEXT) {
            brought[count].word = word;
            bring(self, &brought[count++], param);
        }
    }
    call->stack_count = stack;
    return count;
}

static void
ask(mf_serving *self, uint32_t number, mf_incoming *in)
{
    argument brought[MF_CALLBACK_PARAMS];
    mf_slot *slot = self->slot;
    uint64_t end = self->end, serial = slot->serial;
    size_t count = gather(self, &descriptions[number], in, brought);
    slot->kind = MF_CALLBACK;
    slot->number = number;
    slot->length = 0;
    slot->at = (self->end + 63) & ~UINT64_C(63);
    for (;;) {
        show_prints();
        mf_slot_pass(slot, MF_HOST);
        mf_slot_wait(slot, MF_WORKER, 0, &self->patience, NULL);
        if (slot->kind == MF_ANSWER) {
            break;
        }
        serve_request(self); /* a call that the callback makes */
    }
    for (size_t i = 0; i < count; i++) {
        if (brought[i].back && brought[i].there != NULL) {
            memcpy(brought[i].here, brought[i].there, brought[i].size);
        }
    }
    in->integer_result = slot->call.result_integers[0];
    in->double_result = slot->call.result_doubles[0];
    slot->serial = serial;
    self->end = end;
}

/* Called by the thunks. */
__attribute__((visibility("hidden"), used)) void mf_callback_run(uint32_t number, mf_incoming *in);

void
mf_callback_run(uint32_t number, mf_incoming *in)
{
    if (serving != NULL) {
        ask(serving, number, in);
        return;
    }
    pthread_mutex_lock(&shared_lock);
    uint32_t index = channel->call_slots;
    shared.slot = mf_channel_slot(channel, index);
    shared.index = index;
    shared.end = channel->arenas_at + channel->arena_size * index;
    shared.limit = shared.end + channel->arena_size;
    serving = &shared; /* a callback from inside a call that the callback makes */
    ask(&shared, number, in);
    serving = NULL;
    pthread_mutex_unlock(&shared_lock);
}
