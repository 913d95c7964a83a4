/* See channel.h. */
#include "channel.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NANOSECONDS = 1000000000 };

/* A spin is about 10 to 40 ns: at most some 50 µs, at least enough for an answer that is on its way. */
enum { FEWEST_SPINS = 64, FIRST_SPINS = 1000, MOST_SPINS = 2000 };
enum { SHORT_SLEEP = 30 * 1000 }; /* ns: who slept no longer had better gone on spinning */

uint64_t
mf_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NANOSECONDS + (uint64_t)now.tv_nsec;
}

void
mf_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* FUTEX_WAIT_BITSET takes an absolute time, so that being woken for nothing doesn't prolong the wait. */
void
mf_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    struct timespec until = {(time_t)(deadline / NANOSECONDS), (long)(deadline % NANOSECONDS)};
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline != 0 ? &until : NULL, NULL, FUTEX_BITSET_MATCH_ANY);
}

static inline void
relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

/* Of two sides, `sleeps` of the one that is `self`. */
static inline _Atomic uint32_t *
sleeps(mf_slot *slot, uint32_t self)
{
    return self == MF_HOST ? &slot->host_sleeps : &slot->worker_sleeps;
}

void
mf_slot_pass(mf_slot *slot, uint32_t to)
{
    /* Sequentially consistent, as the sleeper's store of `sleeps` and its load of `turn` are: one of the two sees the
     * other's store. */
    atomic_store(&slot->turn, to);
    if (atomic_load(sleeps(slot, to)) != 0) {
        mf_wake(&slot->turn);
    }
}

static bool
spin(mf_slot *slot, uint32_t self, mf_patience *patience)
{
    uint32_t limit = patience->spins != 0 ? patience->spins : FIRST_SPINS;
    for (uint32_t i = 0; i < limit; i++) {
        if (atomic_load_explicit(&slot->turn, memory_order_acquire) == self) {
            return true;
        }
        relax();
    }
    return false;
}

/* Spinning longer would have been right, or in vain. */
static void
learn(mf_patience *patience, uint64_t slept)
{
    uint32_t limit = patience->spins != 0 ? patience->spins : FIRST_SPINS;
    if (slept <= SHORT_SLEEP) {
        patience->spins = limit * 2 < MOST_SPINS ? limit * 2 : MOST_SPINS;
    } else {
        patience->spins = limit / 2 > FEWEST_SPINS ? limit / 2 : FEWEST_SPINS;
    }
}

mf_wait
mf_slot_wait(mf_slot *slot, uint32_t self, uint64_t deadline, mf_patience *patience, void (*before_sleep)(void))
{
    if (spin(slot, self, patience)) {
        return MF_ARRIVED;
    }
    if (before_sleep != NULL) {
        before_sleep();
    }
    mf_wait result = MF_ARRIVED;
    uint64_t start = mf_now();
    atomic_store(sleeps(slot, self), 1);
    while (atomic_load(&slot->turn) != self) {
        if (deadline != 0 && mf_now() >= deadline) {
            result = MF_TIMED_OUT;
            break;
        }
        mf_sleep(&slot->turn, self ^ 1, deadline);
    }
    atomic_store(sleeps(slot, self), 0);
    learn(patience, mf_now() - start);
    return result;
}
