/* See leftovers.h. */
#include "leftovers.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects the list of threads */

/* ---- the list of threads ---------------------------------------------------------------------------------------- */

typedef struct thread {
    uintptr_t code; /* an address in the library that started it */
    int number;     /* the kernel's, 0 until it runs */
    struct thread *next, **link;
} thread;

static thread *threads;
static _Thread_local thread *own; /* the record of the thread that runs */

static void
add(thread *one, uintptr_t code)
{
    one->code = code;
    one->number = 0;
    pthread_mutex_lock(&lock);
    one->next = threads;
    one->link = &threads;
    if (threads != NULL) {
        threads->link = &one->next;
    }
    threads = one;
    pthread_mutex_unlock(&lock);
}

/* Called by the thread itself, before it enters the library's code. */
static void
begin(thread *one)
{
    own = one;
    pthread_mutex_lock(&lock);
    one->number = gettid();
    pthread_mutex_unlock(&lock);
}

static void
drop(thread *one)
{
    if (own == one) {
        own = NULL;
    }
    pthread_mutex_lock(&lock);
    *one->link = one->next;
    if (one->next != NULL) {
        one->next->link = one->link;
    }
    pthread_mutex_unlock(&lock);
}

size_t
mf_leftovers_inside(uintptr_t low, uintptr_t high, int *numbers, size_t room)
{
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (const thread *one = threads; one != NULL; one = one->next) {
        if (one->code >= low && one->code < high) {
            if (count < room) {
                numbers[count] = one->number;
            }
            count++;
        }
    }
    pthread_mutex_unlock(&lock);
    return count;
}

/* ---- their names --------------------------------------------------------------------------------------------------- */

enum { SHOWN = 3, NAME_SIZE = 32 };

static void
name_of(int number, char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", number);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = file >= 0 ? read(file, name, NAME_SIZE - 1) : -1;
    if (file >= 0) {
        close(file);
    }
    name[size > 0 ? size - 1 : 0] = '\0'; /* there is a newline behind it */
}

static size_t
put(char *text, size_t size, size_t at, const char *between, int number)
{
    char name[NAME_SIZE] = "";
    if (number == 0) {
        return at + (size_t)snprintf(text + at, size - at, "%sone that is starting", between);
    }
    name_of(number, name);
    return at + (size_t)snprintf(text + at, size - at, "%s'%s' (%d)", between, name, number);
}

size_t
mf_leftovers_describe(uintptr_t low, uintptr_t high, char *text, size_t size)
{
    int numbers[SHOWN];
    size_t count = mf_leftovers_inside(low, high, numbers, SHOWN), at;
    text[0] = '\0';
    if (count == 0 || size < SHOWN * (NAME_SIZE + 32) + 64) {
        return count;
    }
    at = (size_t)snprintf(text, size, "thread%s ", count == 1 ? "" : "s");
    for (size_t i = 0; i < count && i < SHOWN; i++) {
        at = put(text, size, at, i == 0 ? "" : i + 1 == count ? " and " : ", ", numbers[i]);
    }
    if (count > SHOWN) {
        at += (size_t)snprintf(text + at, size - at, " and %zu more", count - SHOWN);
    }
    snprintf(text + at, size - at, " that it started");
    return count;
}

/* ---- pthread_create and thrd_create ----------------------------------------------------------------------------- */

typedef struct start {
    thread one;
    void *(*posix)(void *); /* one of the two is set */
    int (*c11)(void *);
    void *argument;
} start;

static void
finish(void *data)
{
    start *started = data;
    drop(&started->one);
    free(started);
}

static void *
run(void *data)
{
    start *started = data;
    void *result;
    begin(&started->one);
    pthread_cleanup_push(finish, started);
    if (started->posix != NULL) {
        result = started->posix(started->argument);
    } else {
        result = (void *)(intptr_t)started->c11(started->argument);
    }
    pthread_cleanup_pop(1);
    return result;
}

static int
create(pthread_t *made, const pthread_attr_t *attributes, start template, uintptr_t code)
{
    start *started = malloc(sizeof *started);
    if (started == NULL) {
        return EAGAIN;
    }
    *started = template;
    add(&started->one, code);
    int problem = pthread_create(made, attributes, run, started);
    if (problem != 0) {
        finish(started);
    }
    return problem;
}

static int
wrap_pthread_create(pthread_t *made, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument)
{
    return create(made, attributes, (start){.posix = routine, .argument = argument}, (uintptr_t)routine);
}

static int
wrap_thrd_create(thrd_t *made, thrd_start_t routine, void *argument)
{
    int problem = create(made, NULL, (start){.c11 = routine, .argument = argument}, (uintptr_t)routine);
    return problem == 0 ? thrd_success : problem == EAGAIN ? thrd_nomem : thrd_error;
}

/* ---- std::thread ------------------------------------------------------------------------------------------------- */

/* libstdc++ starts a thread from inside itself, with an object of the library's whose virtual functions are: the two
 * destructors, then run (std::thread::_State, <bits/std_thread.h>).  We hand it an object of our own around that. */
typedef struct state {
    const void *const *methods;
    struct state *inner;
    thread one;
} state;

enum { DELETE_OBJECT = 1, RUN = 2 };

static void
call_method(state *object, size_t slot)
{
    void (*method)(state *);
    *(const void **)&method = object->methods[slot];
    method(object);
}

static void
run_state(state *self)
{
    begin(&self->one);
    call_method(self->inner, RUN);
}

static void
end_state(state *self)
{
    (void)self;
}

static void
delete_state(state *self)
{
    call_method(self->inner, DELETE_OBJECT);
    drop(&self->one);
    free(self);
}

/* Two words before the functions: the offset to the top, and no type information. */
static void (*const state_table[])(state *) = {NULL, NULL, end_state, delete_state, run_state};

static const char START_THREAD[] =
    "_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE";

/* void std::thread::_M_start_thread(std::unique_ptr<_State>, void (*)()): the pointer comes by address. */
static void
wrap_std_thread(void *self, state **owner, void (*depend)(void))
{
    void (*real)(void *, state **, void (*)(void)) = NULL;
    void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_NOLOAD);
    if (library != NULL) {
        *(void **)&real = dlsym(library, START_THREAD);
        dlclose(library); /* the calling library needs it, so it stays */
    }
    if (real == NULL) {
        abort(); /* can't happen: the calling library was linked against this very symbol */
    }
    state *ours = malloc(sizeof *ours);
    if (ours == NULL) {
        real(self, owner, depend); /* uncounted rather than not started */
        return;
    }
    ours->methods = (const void *const *)&state_table[2];
    ours->inner = *owner;
    *owner = NULL;
    add(&ours->one, (uintptr_t)ours->inner->methods);
    real(self, &ours, depend);
}

/* ---- signal handlers ---------------------------------------------------------------------------------------------- */

int
mf_leftovers_signal_inside(uintptr_t low, uintptr_t high)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0) {
            uintptr_t handler = (uintptr_t)action.sa_handler; /* in a union with sa_sigaction */
            if (handler >= low && handler < high) {
                return number;
            }
        }
    }
    return 0;
}

/* ---- fork ---------------------------------------------------------------------------------------------------------- */

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

/* The other threads don't exist in the child; their records are few, and stay. */
static void
after_fork_in_child(void)
{
    threads = own;
    if (own != NULL) {
        own->number = gettid();
        own->next = NULL;
        own->link = &threads;
    }
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void
register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- what libraries are bound to -------------------------------------------------------------------------------- */

const mf_wrapper mf_leftovers_wrappers[] = {
    MF_WRAPPER("pthread_create", wrap_pthread_create),
    MF_WRAPPER("thrd_create", wrap_thrd_create),
    MF_WRAPPER("_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE", wrap_std_thread),
    {NULL, 0},
};
