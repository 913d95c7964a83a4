/* The channel: memory that a host and a worker process share, through which calls travel.
 *
 * A channel is a header, then a page for each slot, then an arena for each slot (sparse: pages exist once they are used).
 * A slot is used by one calling thread of the host and served by one thread of the worker.  It goes to and fro like a
 * ball: `turn` says who may read and write it, and passing it is a store with release order.  Who waits spins for a
 * while, because an answer that comes at once must cost no system call, and then sleeps on `turn`.
 *
 * A native worker maps the channel at the address that it has in the host: pointers into an arena mean the same on both
 * sides.  The layout is also known to the Go runtime (golang/runtime/channel.go): a change needs another version.
 *
 * Neither side trusts what it reads: offsets and lengths are copied out once, then checked.
 */
#ifndef MF_CHANNEL_H
#define MF_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "call.h"
#include "crash_note.h"

#define MF_CHANNEL_MAGIC UINT64_C(0x314e414843464d00)

enum {
    MF_CHANNEL_VERSION = 1,
    MF_CHANNEL_PAGE = 4096,
    MF_CALLBACKS = 1024,     /* function pointers of the host's that a worker can have */
    MF_CALLBACK_PARAMS = 32, /* of each, at most */
};

/* The file descriptors that a worker starts with. */
enum { MF_FD_CONTROL = 3, MF_FD_CHANNEL, MF_FD_LIBRARY, MF_FD_CRASH, MF_FD_HOST, MF_FD_PROGRAM };

enum { MF_STARTING, MF_READY, MF_FAILED };

typedef struct mf_channel {
    uint64_t magic;
    uint32_t version, slot_count;
    uint64_t slots_at, slot_stride, arenas_at, arena_size;
    uint64_t base; /* where the host has it */
    _Atomic uint32_t ready;
    _Atomic uint32_t should_yield; /* to a native worker: calls under way are waited for */
    uint64_t image_base, image_low, image_high; /* of the library in a native worker */
    uint64_t thunks, thunk_size;                /* its functions for callbacks: one after the other, by number */
    uint32_t failure_kind, call_slots;          /* mf_failure_kind; how many slots are for calls: the rest is for callbacks */
    _Alignas(64) mf_crash crash;
    _Alignas(2048) char failure_text[1024];
    char thrown_type[256], thrown_what[512]; /* MF_CONSTRUCTOR: by a constructor */
} mf_channel;

enum { MF_HOST, MF_WORKER }; /* whose turn */

/* From the host. */
enum {
    MF_CALL = 1, /* `call` */
    MF_MESSAGE,  /* payload, for a worker that isn't native */
    MF_ANSWER,   /* of a callback: its results are in `call` */
    MF_SYMBOLS,  /* payload: names, each with its NUL; done: payload: a link-time address for each, 0: there is none */
    MF_PEEK,     /* `number`: a link-time address, `length`: bytes; done: payload */
    MF_POKE,     /* `number`: a link-time address; payload */
    MF_TEXT,     /* `number`: link-time address of a pointer to text; done: payload: the text and its NUL, or nothing */
    MF_DESCRIBE, /* `number`: of a callback; payload: mf_callback_param for each parameter */
    MF_CHANGED,  /* payload: pairs of a link-time address and a size; done: payload: a byte for each: is it another now? */
    MF_ATTACHED, /* payload: addresses; done: payload: an mf_attachment for each, as a byte */
    MF_THREADS = 15 /* done: payload: which threads the library has started that are alive, for people */
};
/* From the worker. */
enum {
    MF_DONE = 16,
    MF_THROWN,  /* a C++ exception: `call.thrown` */
    MF_CALLBACK /* `number` says which; arguments are in `call` */
};

/* What a callback's argument is, as far as memory has to be brought over. */
typedef struct mf_callback_param {
    uint32_t kind; /* MF_PARAM_… */
    uint32_t size; /* MF_PARAM_ITEM: bytes that it points to */
} mf_callback_param;

enum { MF_PARAM_INTEGER, MF_PARAM_DOUBLE, MF_PARAM_TEXT, MF_PARAM_ITEM, MF_PARAM_CONST_ITEM };

typedef struct mf_slot_call {
    uint64_t function;
    uint64_t integers[8];
    double doubles[8];
    uint64_t stack_count;
    uint64_t stack[MF_STACK_WORDS];
    uint64_t result_integers[2];
    double result_doubles[2];
    mf_exception_text thrown;
} mf_slot_call;

enum { MF_TEXT_RESULT = 1 }; /* flags of a call: the result is a C string; bring its text: payload */

typedef struct mf_slot {
    _Atomic uint32_t turn; /* a futex */
    _Alignas(64) _Atomic uint32_t host_sleeps;
    _Atomic uint32_t worker_sleeps;
    _Alignas(64) uint32_t kind;
    uint32_t flags;
    uint64_t number, length;
    /* Offset in the channel: of the payload; where there is none, of the room in the arena that the receiver may use. */
    uint64_t at;
    uint64_t serial;
    _Atomic uint64_t taken; /* the serial of the last call that the worker has begun */
    _Alignas(256) mf_slot_call call;
} mf_slot;

_Static_assert(offsetof(mf_channel, base) == 48 && offsetof(mf_channel, ready) == 56, "version 1");
_Static_assert(offsetof(mf_channel, failure_text) == 2048 && sizeof(mf_channel) <= MF_CHANNEL_PAGE, "version 1");
_Static_assert(offsetof(mf_slot, host_sleeps) == 64 && offsetof(mf_slot, kind) == 128 && offsetof(mf_slot, number) == 136,
               "version 1");
_Static_assert(offsetof(mf_slot, at) == 152 && offsetof(mf_slot, taken) == 168 && offsetof(mf_slot, call) == 256,
               "version 1");
_Static_assert(sizeof(mf_slot) <= MF_CHANNEL_PAGE, "version 1");

/* What is said over the control socket; a descriptor may come with it. */
typedef struct mf_control {
    uint32_t kind, slot;
    uint64_t a, b, c;
} mf_control;

enum { MF_END = 1, MF_MAP, MF_UNMAP, MF_CANCEL };

static inline mf_slot *
mf_channel_slot(mf_channel *channel, uint32_t index)
{
    return (mf_slot *)((char *)channel + MF_CHANNEL_PAGE + (size_t)index * MF_CHANNEL_PAGE);
}

/* How long one side spins before it sleeps: grows while spinning pays, shrinks while it doesn't.  One thread's own. */
typedef struct mf_patience {
    uint32_t spins;
} mf_patience;

typedef enum mf_wait { MF_ARRIVED, MF_TIMED_OUT } mf_wait;

/* Passes the slot to the other side. */
void mf_slot_pass(mf_slot *slot, uint32_t to);

/* Waits until it is the turn of `self`.  `deadline`: CLOCK_MONOTONIC nanoseconds, 0: none.  `before_sleep`: called before
 * the first sleep, may be NULL. */
mf_wait mf_slot_wait(mf_slot *slot, uint32_t self, uint64_t deadline, mf_patience *patience,
                     void (*before_sleep)(void));

/* Wakes whoever sleeps on `word`, without changing it. */
void mf_wake(_Atomic uint32_t *word);

/* Sleeps while *word == value, until `deadline` (0: none); may return early. */
void mf_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t deadline);

uint64_t mf_now(void); /* CLOCK_MONOTONIC, nanoseconds */

#endif
