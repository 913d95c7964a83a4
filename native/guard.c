/* See guard.h. */
#include "guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HANDLER_STACK = 64 * 1024 };

static const int CRASHES[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { CRASH_COUNT = sizeof CRASHES / sizeof *CRASHES };

/* A guarded function under way. */
typedef struct run {
    sigjmp_buf back;
    mf_fault *fault;
    struct run *outer;
} run;

static _Thread_local run *innermost_run; /* NULL: a crash of this thread is nobody's business here */
static _Thread_local unsigned depth;     /* of this thread's runs, also suspended ones */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects the two below, but for reading `before` in a handler */
static unsigned runs;
static struct sigaction before[CRASH_COUNT];

/* ---- the handler ---------------------------------------------------------------------------------------------------- */

/* What was there before does with it what it would have done. */
static void
pass_on(const struct sigaction *action, int number, siginfo_t *info, void *context)
{
    if (action->sa_handler == SIG_IGN && info->si_code <= 0) {
        return;
    }
    if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN) {
        struct sigaction fallback = {.sa_handler = SIG_DFL};
        sigaction(number, &fallback, NULL);
        if (info->si_code <= 0) {
            raise(number); /* a fault comes again by itself on return */
        }
        return;
    }
    sigset_t kept;
    pthread_sigmask(SIG_BLOCK, &action->sa_mask, &kept);
    if ((action->sa_flags & SA_SIGINFO) != 0) {
        action->sa_sigaction(number, info, context);
    } else {
        action->sa_handler(number);
    }
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
}

/* Whether this thread has brought it upon itself: by a fault, or by raise() or abort(). */
static bool
is_own(const siginfo_t *info)
{
    return info->si_code > 0 || (info->si_code == SI_TKILL && info->si_pid == getpid());
}

static void
handle(int number, siginfo_t *info, void *context)
{
    run *self = innermost_run;
    if (self != NULL && is_own(info)) {
        self->fault->signal = number;
        self->fault->code = info->si_code;
        self->fault->address = info->si_code > 0 ? (uintptr_t)info->si_addr : 0;
        siglongjmp(self->back, 1);
    }
    for (size_t i = 0; i < CRASH_COUNT; i++) {
        if (CRASHES[i] == number) {
            pass_on(&before[i], number, info, context);
        }
    }
}

/* ---- the actions ---------------------------------------------------------------------------------------------------- */

static bool
is_ours(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == handle;
}

static void
begin_run(void)
{
    pthread_mutex_lock(&lock);
    if (runs++ == 0) {
        struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
        ours.sa_sigaction = handle;
        for (size_t i = 0; i < CRASH_COUNT; i++) {
            if (!is_ours(CRASHES[i])) { /* it is where somebody else had kept it, and has put it back */
                sigaction(CRASHES[i], NULL, &before[i]);
                sigaction(CRASHES[i], &ours, NULL);
            }
        }
    }
    pthread_mutex_unlock(&lock);
}

static void
restore_actions(void)
{
    for (size_t i = 0; i < CRASH_COUNT; i++) {
        if (is_ours(CRASHES[i])) {
            sigaction(CRASHES[i], &before[i], NULL);
        }
    }
}

static void
end_run(void)
{
    pthread_mutex_lock(&lock);
    if (--runs == 0) {
        restore_actions();
    }
    pthread_mutex_unlock(&lock);
}

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

/* The runs of other threads didn't come along. */
static void
after_fork_in_child(void)
{
    if (runs != 0 && depth == 0) {
        restore_actions();
    }
    runs = depth;
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void
register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- a run ---------------------------------------------------------------------------------------------------------- */

static mf_guarded
run_between(run *self, void (*function)(void *), void *data)
{
    if (sigsetjmp(self->back, 1) != 0) {
        return MF_CRASHED;
    }
    innermost_run = self;
    function(data);
    return MF_RETURNED;
}

mf_guarded
mf_guard_run(void (*function)(void *), void *data, mf_fault *fault)
{
    run self = {.fault = fault, .outer = innermost_run};
    stack_t kept, stack = {.ss_size = HANDLER_STACK};
    fault->signal = 0;
    stack.ss_sp = mmap(NULL, HANDLER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED) {
        return MF_NOT_RUN;
    }
    sigaltstack(&stack, &kept);
    depth++;
    begin_run();
    mf_guarded result = run_between(&self, function, data);
    innermost_run = self.outer;
    end_run();
    depth--;
    sigaltstack(&kept, NULL);
    munmap(stack.ss_sp, HANDLER_STACK);
    return result;
}

void *
mf_guard_suspend(void)
{
    run *suspended = innermost_run;
    innermost_run = NULL;
    return suspended;
}

void
mf_guard_resume(void *suspended)
{
    innermost_run = suspended;
}
