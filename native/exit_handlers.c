/* See exit_handlers.h. */
#include "exit_handlers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/* The system's own list has one of these as the argument of `run`, which frees it: at the latest when the process ends. */
typedef struct handler {
    void (*function)(void *);
    void *argument;
    const void *library; /* an address in it, by which the system knows whose it is */
    bool forgotten;      /* and no longer in the list */
    struct handler *next, **link;
} handler;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects the list, and whether each is in it */
static handler *handlers;

int __cxa_atexit(void (*function)(void *), void *argument, void *library);

/* The caller holds the lock. */
static void
take_out(handler *one)
{
    *one->link = one->next;
    if (one->next != NULL) {
        one->next->link = one->link;
    }
}

static void
run(void *argument)
{
    handler *one = argument;
    pthread_mutex_lock(&lock);
    if (!one->forgotten) {
        take_out(one);
    }
    pthread_mutex_unlock(&lock);
    handler copy = *one;
    free(one);
    if (!copy.forgotten) {
        copy.function(copy.argument);
    }
}

static int
wrap_cxa_atexit(void (*function)(void *), void *argument, void *library)
{
    handler *one = malloc(sizeof *one);
    if (one == NULL) {
        return -1;
    }
    *one = (handler){.function = function, .argument = argument, .library = library};
    pthread_mutex_lock(&lock);
    one->next = handlers;
    one->link = &handlers;
    if (handlers != NULL) {
        handlers->link = &one->next;
    }
    handlers = one;
    pthread_mutex_unlock(&lock);
    int problem = __cxa_atexit(run, one, library);
    if (problem != 0) {
        pthread_mutex_lock(&lock);
        take_out(one);
        pthread_mutex_unlock(&lock);
        free(one);
    }
    return problem;
}

static bool
lies_in(const handler *one, uintptr_t low, uintptr_t high)
{
    return ((uintptr_t)one->library >= low && (uintptr_t)one->library < high) ||
           ((uintptr_t)one->function >= low && (uintptr_t)one->function < high);
}

size_t
mf_exit_handlers_forget(uintptr_t low, uintptr_t high)
{
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (handler *one = handlers, *next; one != NULL; one = next) {
        next = one->next;
        if (lies_in(one, low, high)) {
            take_out(one);
            one->forgotten = true;
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
after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void
register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

/* ---- what libraries are bound to ---------------------------------------------------------------------------------- */

const mf_wrapper mf_exit_handlers_wrappers[] = {
    MF_WRAPPER("__cxa_atexit", wrap_cxa_atexit),
    {NULL, 0},
};
