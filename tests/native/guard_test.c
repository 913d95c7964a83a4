/* Would catch: a crash that ends the process, that is taken from another thread, or that leaves a handler behind. */
#include "guard.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static const int CRASHES[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { COUNT = sizeof CRASHES / sizeof *CRASHES };

/* ---- what crashes --------------------------------------------------------------------------------------------------- */

static void
count_up(void *data)
{
    ++*(int *)data;
}

static void
write_to(void *data)
{
    *(volatile char *)data = 1;
}

static void
trap(void *unused)
{
    (void)unused;
    __builtin_trap();
}

static void
stop(void *unused)
{
    (void)unused;
    abort();
}

static void
raise_it(void *data)
{
    raise(*(int *)data);
}

static volatile int bottomless = 1;

__attribute__((noinline)) static int
fall(volatile char *above)
{
    volatile char room[4096];
    room[0] = above[0];
    return bottomless ? fall(room) + room[0] : room[0];
}

static void
use_up_the_stack(void *unused)
{
    volatile char top[1] = {0};
    (void)unused;
    fall(top);
}

/* ---- one crash ------------------------------------------------------------------------------------------------------ */

static mf_fault
crash(void (*function)(void *), void *data)
{
    mf_fault fault;
    CHECK(mf_guard_run(function, data, &fault) == MF_CRASHED);
    return fault;
}

static void
test_what_returns(void)
{
    int calls = 0;
    mf_fault fault;
    CHECK(mf_guard_run(count_up, &calls, &fault) == MF_RETURNED);
    CHECK(calls == 1 && fault.signal == 0);
}

static void
test_each_crash(void)
{
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int again = 0; again < 3; again++) { /* the signal isn't left blocked, nor the stack used up */
        mf_fault fault = crash(write_to, page + 8);
        CHECK(fault.signal == SIGSEGV && fault.address == (uintptr_t)page + 8);
        int trapped = crash(trap, NULL).signal;
        CHECK(trapped == SIGILL || trapped == SIGTRAP);
        CHECK(crash(stop, NULL).signal == SIGABRT);
        CHECK(crash(use_up_the_stack, NULL).signal == SIGSEGV);
        for (size_t i = 0; i < COUNT; i++) {
            int number = CRASHES[i];
            CHECK(crash(raise_it, &number).signal == number);
        }
    }
    munmap(page, 4096);
}

/* ---- nesting -------------------------------------------------------------------------------------------------------- */

static void
crash_inside(void *data)
{
    int number = SIGFPE;
    CHECK(crash(raise_it, &number).signal == SIGFPE);
    count_up(data);
    stop(NULL);
}

static void
test_nested_runs(void)
{
    int calls = 0;
    CHECK(crash(crash_inside, &calls).signal == SIGABRT);
    CHECK(calls == 1);
}

/* ---- what was there before ------------------------------------------------------------------------------------------ */

static volatile sig_atomic_t seen;
static _Thread_local sigjmp_buf back;

static void
see(int number, siginfo_t *info, void *context)
{
    (void)info;
    (void)context;
    seen = number;
    siglongjmp(back, 1);
}

static void
suspended(void *data)
{
    void *guard = mf_guard_suspend();
    if (sigsetjmp(back, 1) == 0) {
        raise(SIGSEGV);
    }
    mf_guard_resume(guard);
    count_up(data);
}

static void
test_suspended(void)
{
    int calls = 0;
    mf_fault fault;
    seen = 0;
    CHECK(mf_guard_run(suspended, &calls, &fault) == MF_RETURNED);
    CHECK(seen == SIGSEGV && calls == 1);
}

static sem_t is_guarded, has_crashed;

static void
wait_for_the_other(void *data)
{
    sem_post(&is_guarded);
    while (sem_wait(&has_crashed) != 0) {
    }
    count_up(data);
}

static void *
crash_unguarded(void *unused)
{
    (void)unused;
    while (sem_wait(&is_guarded) != 0) {
    }
    if (sigsetjmp(back, 1) == 0) {
        write_to((void *)16);
    }
    sem_post(&has_crashed);
    return NULL;
}

static void
test_another_thread(void)
{
    pthread_t thread;
    mf_fault fault;
    int calls = 0;
    seen = 0;
    sem_init(&is_guarded, 0, 0);
    sem_init(&has_crashed, 0, 0);
    CHECK(pthread_create(&thread, NULL, crash_unguarded, NULL) == 0);
    CHECK(mf_guard_run(wait_for_the_other, &calls, &fault) == MF_RETURNED);
    pthread_join(thread, NULL);
    CHECK(seen == SIGSEGV && calls == 1);
}

static void
replace_handler(void *unused)
{
    (void)unused;
    signal(SIGSEGV, SIG_IGN);
}

static void
test_actions_are_back(void)
{
    struct sigaction wanted = {.sa_flags = SA_SIGINFO | SA_NODEFER}, found;
    wanted.sa_sigaction = see;
    sigaddset(&wanted.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &wanted, NULL);
    crash(stop, NULL);
    sigaction(SIGSEGV, NULL, &found);
    CHECK(found.sa_sigaction == see && (found.sa_flags & SA_NODEFER) != 0 && sigismember(&found.sa_mask, SIGUSR1));
    mf_fault fault;
    CHECK(mf_guard_run(replace_handler, NULL, &fault) == MF_RETURNED);
    sigaction(SIGSEGV, NULL, &found);
    CHECK(found.sa_handler == SIG_IGN);
    sigaction(SIGSEGV, &wanted, NULL);
}

static void
test_stack_is_back(void)
{
    static char memory[64 * 1024];
    stack_t ours = {.ss_sp = memory, .ss_size = sizeof memory}, found;
    sigaltstack(&ours, NULL);
    crash(use_up_the_stack, NULL);
    sigaltstack(NULL, &found);
    CHECK(found.ss_sp == memory && found.ss_size == sizeof memory);
}

/* ---- fork ------------------------------------------------------------------------------------------------------------ */

static void
fork_and_crash(void *data)
{
    pid_t child = fork();
    int status;
    if (child == 0) {
        stop(NULL); /* comes back from this run, in the child */
    }
    CHECK(waitpid(child, &status, 0) == child);
    *(int *)data = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
test_fork(void)
{
    pid_t parent = getpid();
    mf_fault fault;
    int status = -1;
    mf_guarded result = mf_guard_run(fork_and_crash, &status, &fault);
    if (getpid() != parent) {
        _exit(result == MF_CRASHED && fault.signal == SIGABRT ? 7 : 1);
    }
    CHECK(result == MF_RETURNED && status == 7);
}

int
main(void)
{
    test_what_returns();
    test_each_crash();
    test_nested_runs();
    test_actions_are_back();
    test_suspended();
    test_another_thread();
    test_stack_is_back();
    test_fork();
    return 0;
}
