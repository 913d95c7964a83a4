/* A link: the host's end of one worker process, from its start to its end.
 *
 * Owns the process (a pidfd), the channel and the control socket.  Guarantees:
 * - What a call finds when the worker dies: MF_LINK_DEAD, at once for calls that wait, and whether the worker had begun it.
 * - Nobody is killed by a number that may be another process's by now.
 * - The end: when the link is freed, the process is gone and nothing of it is left.
 *
 * Counted: everyone who uses it holds a reference (mf_link_hold, mf_link_drop).  All functions may be called from any
 * thread; none may be called in a fork's child, but for mf_link_drop, which then leaves the worker alone.
 */
#ifndef MF_LINK_H
#define MF_LINK_H

#include <sys/types.h>

#include "channel.h"
#include "failure.h"
#include "shared.h"

typedef struct mf_link mf_link;

typedef struct mf_link_options {
    int program;   /* descriptor of the executable */
    int library;   /* descriptor of the library's bytes, or -1 */
    char *const *arguments, *const *environment;
    uint32_t call_slots, callback_slots;
    uint64_t arena_size;
} mf_link_options;

/* Starts a worker; it isn't ready yet.  NULL on failure. */
mf_link *mf_link_start(const mf_link_options *options, mf_failure *failure);

mf_link *mf_link_hold(mf_link *link);
void mf_link_drop(mf_link *link);

/* Waits until the worker is ready, has failed (its words are in `failure`), has died or `deadline` has passed. */
mf_failure_kind mf_link_ready(mf_link *link, uint64_t deadline, mf_failure *failure);

mf_channel *mf_link_channel(mf_link *link);
int mf_link_pidfd(const mf_link *link);
pid_t mf_link_pid(const mf_link *link);
int mf_link_crash_text(const mf_link *link); /* a memfd */

/* Whether this is a fork's child, and the worker its parent's. */
bool mf_link_is_foreign(const mf_link *link);

/* ---- calls -------------------------------------------------------------------------------------------------------- */

/* A call on its way.  Those of one thread form a list: a call that is made from inside a callback uses the slot of the
 * outer one, behind its data. */
typedef struct mf_ride {
    mf_link *link;
    mf_slot *slot;
    uint32_t index;
    uint64_t arena, used, size; /* offset of the slot's arena in the channel; how much of it is taken; all of it */
    bool nested;
    struct mf_ride *outer;
} mf_ride;

typedef enum mf_link_result { MF_LINK_DONE, MF_LINK_DEAD, MF_LINK_LATE } mf_link_result;

/* Takes a slot, waiting for one that is free.  False: the worker is dead, or `deadline` has passed. */
bool mf_ride_begin(mf_ride *ride, mf_link *link, uint64_t deadline);
void mf_ride_end(mf_ride *ride);

/* Takes `size` bytes of the arena, aligned like `like`; NULL: there is no room. */
void *mf_ride_room(mf_ride *ride, size_t size, uintptr_t like);

/* Whether [at, at + size), given by the worker as an offset, lies in the ride's arena. */
bool mf_ride_covers(const mf_ride *ride, uint64_t at, uint64_t size);

/* Sends what the slot has (kind and all that belongs to it) and waits for the answer.  Callbacks are run meanwhile, by
 * `callback` (NULL: there are none).  Hold no lock; may block. */
mf_link_result mf_ride_go(mf_ride *ride, uint64_t deadline, void (*callback)(void *, mf_ride *), void *data);

/* Whether the worker had begun the last call that was sent, and so may have done some of it. */
bool mf_ride_was_begun(const mf_ride *ride);

/* Serves callbacks of threads of the library's own: waits for one and runs it.  False: the worker is dead. */
bool mf_link_serve(mf_link *link, uint32_t which, void (*callback)(void *, mf_ride *), void *data);

/* ---- besides ------------------------------------------------------------------------------------------------------ */

/* Lets the worker see a shared block.  False: it couldn't be told, or can't. */
bool mf_link_map(mf_link *link, mf_shared *block);

/* Takes a block that is about to be freed away from all workers that see it. */
void mf_link_forget(const mf_shared *block);

/* Tells the one who works on a slot's call that it isn't wanted any more. */
void mf_link_cancel(mf_link *link, uint32_t slot, uint64_t serial);

/* Asks the worker to end, and ends it by force after `grace` milliseconds. */
void mf_link_end(mf_link *link, int grace);

/* Ends it by force. */
void mf_link_kill(mf_link *link);

/* Whether the process has ended; notes it, wakes all who wait.  `wait`: milliseconds, -1: for ever. */
bool mf_link_gone(mf_link *link, int wait);

/* As from waitpid, once gone; -1: unknown. */
int mf_link_status(const mf_link *link);

#endif
