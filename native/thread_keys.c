/* See thread_keys.h. */
#include "thread_keys.h"

#include <errno.h>
#include <pthread.h>
#include <threads.h>

/* The system calls a key's destructor with its value only, so each key has a function of its own here, which finds the
 * library's by its number. */
typedef struct key {
    bool taken, armed;
    pthread_key_t key;
    void (*destructor)(void *);
    size_t running; /* threads in the destructor */
} key;

enum { KEYS = 1024 }; /* as many as a process can have: PTHREAD_KEYS_MAX */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects the table */
static key keys[KEYS];
static size_t reached; /* all from here on were never taken, and needn't be looked at */
static _Thread_local key *ending; /* whose destructor this thread is in */

static void
destroy(size_t number, void *value)
{
    key *one = &keys[number];
    pthread_mutex_lock(&lock);
    void (*destructor)(void *) = one->taken && one->armed ? one->destructor : NULL;
    one->running += destructor != NULL;
    pthread_mutex_unlock(&lock);
    if (destructor != NULL) {
        ending = one;
        destructor(value);
        ending = NULL;
        pthread_mutex_lock(&lock);
        one->running--;
        pthread_mutex_unlock(&lock);
    }
}

#define FOUR(M, x, a, b, c, d) M(x##a) M(x##b) M(x##c) M(x##d)
#define SIXTEEN(M, x) FOUR(M, x, 0, 1, 2, 3) FOUR(M, x, 4, 5, 6, 7) FOUR(M, x, 8, 9, a, b) FOUR(M, x, c, d, e, f)
#define FOUR_ROWS(M, x, a, b, c, d) SIXTEEN(M, x##a) SIXTEEN(M, x##b) SIXTEEN(M, x##c) SIXTEEN(M, x##d)
#define ROWS(M, x) \
    FOUR_ROWS(M, x, 0, 1, 2, 3) FOUR_ROWS(M, x, 4, 5, 6, 7) FOUR_ROWS(M, x, 8, 9, a, b) FOUR_ROWS(M, x, c, d, e, f)
#define ALL_KEYS(M) ROWS(M, 0x0) ROWS(M, 0x1) ROWS(M, 0x2) ROWS(M, 0x3)
#define NAME(x) destroy_##x,
#define DEFINE(x)                        \
    static void destroy_##x(void *value) \
    {                                    \
        destroy(x, value);               \
    }

ALL_KEYS(DEFINE)

static void (*const destroyers[KEYS])(void *) = {ALL_KEYS(NAME)};

static bool
lies_in(const key *one, uintptr_t low, uintptr_t high)
{
    return (uintptr_t)one->destructor >= low && (uintptr_t)one->destructor < high;
}

/* A thread that is ending may be about to call a destroyer whose key was just deleted: numbers are taken in turn, so
 * that it finds nothing, not another key. */
static key *
take_key(void (*destructor)(void *))
{
    static size_t next;
    key *found = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < KEYS && found == NULL; i++) {
        key *one = &keys[next++ % KEYS];
        if (!one->taken && one->running == 0) {
            *one = (key){.taken = true, .armed = true, .destructor = destructor};
            found = one;
            reached = (size_t)(one - keys) >= reached ? (size_t)(one - keys) + 1 : reached;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static int
wrap_key_create(pthread_key_t *made, void (*destructor)(void *))
{
    if (destructor == NULL) {
        return pthread_key_create(made, NULL);
    }
    key *one = take_key(destructor);
    if (one == NULL) {
        return EAGAIN;
    }
    int problem = pthread_key_create(made, destroyers[one - keys]);
    pthread_mutex_lock(&lock);
    one->taken = problem == 0;
    one->key = problem == 0 ? *made : 0;
    pthread_mutex_unlock(&lock);
    return problem;
}

static int
wrap_tss_create(tss_t *made, tss_dtor_t destructor)
{
    pthread_key_t made_key;
    int problem = wrap_key_create(&made_key, destructor);
    if (problem == 0) {
        *made = made_key;
    }
    return problem == 0 ? thrd_success : thrd_error;
}

static int
wrap_key_delete(pthread_key_t number)
{
    pthread_mutex_lock(&lock);
    int problem = pthread_key_delete(number);
    for (size_t i = 0; problem == 0 && i < reached; i++) {
        if (keys[i].taken && keys[i].key == number) {
            keys[i].taken = false;
        }
    }
    pthread_mutex_unlock(&lock);
    return problem;
}

static void
wrap_tss_delete(tss_t number)
{
    wrap_key_delete(number);
}

/* Also of keys that are deleted: a thread may still be in the destructor.  The caller holds the lock. */
static size_t
count_running(uintptr_t low, uintptr_t high)
{
    size_t count = 0;
    for (size_t i = 0; i < reached; i++) {
        if (lies_in(&keys[i], low, high)) {
            count += keys[i].running;
        }
    }
    return count;
}

size_t
mf_thread_keys_running(uintptr_t low, uintptr_t high)
{
    pthread_mutex_lock(&lock);
    size_t count = count_running(low, high);
    pthread_mutex_unlock(&lock);
    return count;
}

bool
mf_thread_keys_disarm(uintptr_t low, uintptr_t high)
{
    pthread_mutex_lock(&lock);
    bool quiet = count_running(low, high) == 0;
    for (size_t i = 0; quiet && i < reached; i++) {
        if (lies_in(&keys[i], low, high)) {
            keys[i].armed = false;
        }
    }
    pthread_mutex_unlock(&lock);
    return quiet;
}

size_t
mf_thread_keys_delete(uintptr_t low, uintptr_t high)
{
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < reached; i++) {
        if (keys[i].taken && lies_in(&keys[i], low, high)) {
            pthread_key_delete(keys[i].key);
            keys[i].taken = false;
            count++;
        }
    }
    pthread_mutex_unlock(&lock);
    return count;
}

/* ---- fork ------------------------------------------------------------------------------------------------------- */

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
    for (size_t i = 0; i < reached; i++) {
        keys[i].running = &keys[i] == ending;
    }
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void
register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- what libraries are bound to ---------------------------------------------------------------------------------- */

const mf_wrapper mf_thread_keys_wrappers[] = {
    MF_WRAPPER("pthread_key_create", wrap_key_create),
    MF_WRAPPER("pthread_key_delete", wrap_key_delete),
    MF_WRAPPER("tss_create", wrap_tss_create),
    MF_WRAPPER("tss_delete", wrap_tss_delete),
    {NULL, 0},
};
