/* Function pointers that stay valid while what they lead to is replaced: *entries*.
 *
 * An entry is an address for the process's life.  Whoever calls it runs the function of its *seat*, with the arguments
 * where they are, in registers and on the stack, and gets its result where it is; meanwhile the call is counted as inside
 * the seat's holder.  A call that finds no seat waits.
 *
 * Guarantees:
 * - A call runs wholly in the function of one seat.
 * - Once mf_entry_settle has returned, every call under way through a seat that was taken away before is counted by
 *   mf_entry_inside, until it has returned or was left by an exception, and no further one can come.
 * - A call may come from any thread, from a signal handler too, takes no lock and makes no system call (but for a thread's
 *   first call and its deepest so far).  It costs no atomic read-modify-write: who takes a seat away has the kernel see to the
 *   order (membarrier); where that can't be had, each call has a fence of its own.
 * - C++ exceptions and the unwinding of pthread_exit pass, and are counted out.  longjmp past such a call leaves it counted
 *   for ever, and nothing worse.
 * - Memory of seats and of calls is never given back, so what a call looks at while it finds out that it came too late is
 *   still there.
 * - In a fork's child only the calls of the thread that forked are under way.
 *
 * Everything else here is serialised by the caller (in CPython: by the GIL).
 */
#ifndef MF_ENTRY_H
#define MF_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MF_ENTRIES = 4096 };

/* Where a call goes: one version's function, behind one entry.  The layout is known to the assembly. */
typedef struct mf_seat {
    uintptr_t target;
    const void *_Atomic holder; /* what its calls are counted for */
    struct mf_seat *next;
} mf_seat;

/* A call under way.  The layout is known to the assembly. */
typedef struct mf_visit {
    _Alignas(64) _Atomic(mf_seat *) seat; /* NULL: none */
    uintptr_t kept[2];                    /* the caller's return address, and a register of his */
    struct mf_visit *outer;               /* this thread's visit around it */
    struct mf_visit *next;                /* while it is free */
} mf_visit;

typedef struct mf_entry {
    _Alignas(64) _Atomic(mf_seat *) seat; /* NULL: calls wait */
    void *data;                           /* the owner's */
    char *text;                           /* why it leads nowhere; owned */
    size_t result_size;                   /* of a struct that is returned in memory; 0: none is */
    atomic_bool told;
} mf_entry;

/* What a call does that finds no seat: return true, with visit->seat set, to go there all the same, or false to look
 * again.  It may block.  Set once, before the first entry is made. */
extern bool (*mf_entry_wait)(mf_entry *entry, mf_visit *visit);

/* Tells the caller of a call that leads nowhere; false: he can't be told.  Set once, or NULL. */
extern bool (*mf_entry_report)(mf_entry *entry, const char *text);

/* Takes an entry, which waits.  It is never given back: who has its address may use it for ever.  NULL: all are taken. */
mf_entry *mf_entry_new(void *data, size_t result_size);

uintptr_t mf_entry_address(const mf_entry *entry);

/* From now on calls run what the seat says; NULL: they wait. */
void mf_entry_set(mf_entry *entry, mf_seat *seat);

/* From now on calls return 0, and say why: to mf_entry_report, else the first of them to stderr. */
void mf_entry_end(mf_entry *entry, const char *text);

/* For mf_entry_wait: lets this one call return 0, and says `text` if the entry has said nothing yet. */
void mf_entry_refuse(mf_entry *entry, mf_visit *visit, const char *text);

/* NULL: no memory. */
mf_seat *mf_seat_new(uintptr_t target, const void *holder);

/* Precondition: no entry has it, and mf_entry_inside(holder) is 0. */
void mf_seat_free(mf_seat *seat);

void mf_entry_settle(void);

/* How many calls are under way in a holder's seats. */
size_t mf_entry_inside(const void *holder);

/* What every call through an entry comes by; not to be called from C. */
void mf_entry_common(void) __attribute__((visibility("hidden")));

/* This thread's calls under way, innermost first, by `outer`. */
const mf_visit *mf_entry_innermost(void);

/* Counts out those that a jump has left: all that were begun after `innermost` was. */
void mf_entry_leave_to(const mf_visit *innermost);

/* ---- forwards -------------------------------------------------------------------------------------------------------- */

enum { MF_FORWARDS = 4096 };

/* A function pointer that goes on to wherever it is told to; nothing is counted.  0: all are taken. */
uintptr_t mf_forward_new(uintptr_t target);
void mf_forward_set(uintptr_t forward, uintptr_t target);
void mf_forward_free(uintptr_t forward);

#endif
