/* Would catch: a lock that is held and taken for a free one, or a free one that was used taken for held. */
#include "plan.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "check.h"

static bool
movable(mf_lock kind, const void *lock, size_t size)
{
    char copy[128];
    mf_plan plan;
    mf_loss loss;
    mf_op op = {.kind = MF_OP_UNLOCKED, .a = (uint8_t)kind, .size = size};
    CHECK(size <= sizeof copy && mf_plan_make(&plan, &op, sizeof op, size, size, NULL, 0) == NULL);
    bool done = mf_plan_run(&plan, lock, copy, 1, NULL, &loss);
    CHECK(done || (loss.kind == MF_LOSS_LOCKED && loss.value.integer != 0));
    CHECK(!done || memcmp(copy, lock, size) == 0);
    mf_plan_free(&plan);
    return done;
}

static void
test_mutexes(void)
{
    static const int kinds[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds * 6; i++) {
        pthread_mutex_t mutex;
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_settype(&attributes, kinds[i / 6]);
        pthread_mutexattr_setrobust(&attributes, i % 2 != 0 ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED);
        int protocol = i % 6 / 2 == 0 ? PTHREAD_PRIO_NONE : i % 6 / 2 == 1 ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE;
        pthread_mutexattr_setprotocol(&attributes, protocol);
        CHECK(pthread_mutex_init(&mutex, &attributes) == 0);
        for (int turn = 0; turn < 2; turn++) {
            CHECK(movable(MF_LOCK_MUTEX, &mutex, sizeof mutex));
            CHECK(pthread_mutex_lock(&mutex) == 0);
            CHECK(!movable(MF_LOCK_MUTEX, &mutex, sizeof mutex));
            CHECK(pthread_mutex_unlock(&mutex) == 0);
        }
        CHECK(movable(MF_LOCK_MUTEX, &mutex, sizeof mutex));
    }
}

static void
test_rwlocks(void)
{
    pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    for (int turn = 0; turn < 2; turn++) {
        CHECK(movable(MF_LOCK_RWLOCK, &lock, sizeof lock));
        CHECK(pthread_rwlock_rdlock(&lock) == 0 && pthread_rwlock_rdlock(&lock) == 0);
        CHECK(!movable(MF_LOCK_RWLOCK, &lock, sizeof lock));
        CHECK(pthread_rwlock_unlock(&lock) == 0 && !movable(MF_LOCK_RWLOCK, &lock, sizeof lock));
        CHECK(pthread_rwlock_unlock(&lock) == 0 && movable(MF_LOCK_RWLOCK, &lock, sizeof lock));
        CHECK(pthread_rwlock_wrlock(&lock) == 0 && !movable(MF_LOCK_RWLOCK, &lock, sizeof lock));
        CHECK(pthread_rwlock_unlock(&lock) == 0);
    }
    CHECK(movable(MF_LOCK_RWLOCK, &lock, sizeof lock));
}

static void
test_what_is_never_refused(void)
{
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    sem_t semaphore;
    sem_init(&semaphore, 0, 3);
    CHECK(pthread_cond_signal(&condition) == 0 && movable(MF_LOCK_CONDITION, &condition, sizeof condition));
    CHECK(movable(MF_LOCK_OTHER, &semaphore, sizeof semaphore));
}

int
main(void)
{
    test_mutexes();
    test_rwlocks();
    test_what_is_never_refused();
    return 0;
}
