/* Would catch: a crash that ends the process, that is taken from another thread, that leaves the thread in another state than
 * before, or that keeps what was there before from being asked. */
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
#if defined(__aarch64__)
    __asm__ volatile(".inst 0"); /* __builtin_trap is a breakpoint there */
#else
    __builtin_trap();
#endif
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

static mf_crash
crash(void (*function)(void *), void *data)
{
    const mf_crash *crash;
    CHECK(mf_guard_run(function, data, &crash) == MF_CRASHED);
    CHECK(crash->count > 1 || crash->signal == SIGSEGV); /* it was walked */
    return *crash;
}

static void
test_what_returns(void)
{
    int calls = 0;
    const mf_crash *told;
    CHECK(mf_guard_run(count_up, &calls, &told) == MF_RETURNED);
    CHECK(calls == 1 && told == NULL);
}

static void
test_each_crash(void)
{
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int again = 0; again < 3; again++) { /* the signal isn't left blocked, nor the stack used up */
        mf_crash fault = crash(write_to, page + 8);
        CHECK(fault.signal == SIGSEGV && fault.address == (uintptr_t)page + 8);
        CHECK(fault.frames[0] - (uintptr_t)write_to < 64);
        CHECK(crash(trap, NULL).signal == SIGILL);
        CHECK(crash(stop, NULL).signal == SIGABRT);
        CHECK(crash(use_up_the_stack, NULL).signal == SIGSEGV);
        for (size_t i = 0; i < COUNT; i++) {
            int number = CRASHES[i];
            CHECK(crash(raise_it, &number).signal == (uint32_t)number);
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
    mf_guard_point *guard = mf_guard_suspend();
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
    const mf_crash *told;
    seen = 0;
    CHECK(mf_guard_run(suspended, &calls, &told) == MF_RETURNED);
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
    const mf_crash *told;
    int calls = 0;
    seen = 0;
    sem_init(&is_guarded, 0, 0);
    sem_init(&has_crashed, 0, 0);
    CHECK(pthread_create(&thread, NULL, crash_unguarded, NULL) == 0);
    CHECK(mf_guard_run(wait_for_the_other, &calls, &told) == MF_RETURNED);
    pthread_join(thread, NULL);
    CHECK(seen == SIGSEGV && calls == 1);
}

/* Who keeps ours as what was before, raises the signal again: as faulthandler does. */
static struct sigaction before;
static volatile sig_atomic_t asked;

static void
raise_again(int number)
{
    asked++;
    sigaction(number, &before, NULL);
    raise(number);
}

static void
test_a_later_action(void)
{
    struct sigaction wanted = {.sa_flags = SA_NODEFER}, first = {.sa_flags = SA_SIGINFO | SA_NODEFER}, found;
    const mf_crash *told;
    int calls = 0;
    wanted.sa_handler = raise_again;
    sigaddset(&wanted.sa_mask, SIGUSR1);
    first.sa_sigaction = see;
    sigaction(SIGSEGV, &first, NULL);
    CHECK(mf_guard_run(count_up, &calls, &told) == MF_RETURNED); /* arms */
    sigaction(SIGSEGV, &wanted, &before);
    CHECK(mf_guard_run(count_up, &calls, &told) == MF_RETURNED);
    sigaction(SIGSEGV, NULL, &found);
    CHECK(found.sa_handler != raise_again && found.sa_sigaction != see);
    for (int again = 1; again <= 2; again++) {
        seen = 0;
        if (sigsetjmp(back, 1) == 0) {
            write_to((void *)16);
        }
 /* both, the latest first */
        CHECK(mf_guard_run(count_up, &calls, &told) == MF_RETURNED);
    }
    CHECK(crash(write_to, (void *)16).signal == SIGSEGV && asked == 2);
}

static void
test_own_stack_stays(void)
{
    static char memory[64 * 1024];
    stack_t ours = {.ss_sp = memory, .ss_size = sizeof memory}, found;
    sigaltstack(&ours, NULL);
    crash(use_up_the_stack, NULL);
    sigaltstack(NULL, &found);
    CHECK(found.ss_sp == memory && found.ss_size == sizeof memory);
}

/* ---- the state of the thread ------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
static void
spoil_flags(void *data)
{
    uint32_t mode = 0x1f80 & ~0x200; /* division by zero isn't masked any more */
    __asm__ volatile("std; ldmxcsr %0; fldz; fldz" ::"m"(mode));
    *(volatile char *)data = 1;
}

static void
test_state_is_back(void)
{
    uint64_t flags;
    uint32_t mode;
    uint16_t status;
    CHECK(crash(spoil_flags, (void *)16).signal == SIGSEGV);
    __asm__ volatile("pushfq; pop %0; stmxcsr %1; fnstsw %2" : "=r"(flags), "=m"(mode), "=m"(status)::"memory");
    CHECK((flags & 0x400) == 0 && (mode & 0x1f80) == 0x1f80 && (status & 0x3800) == 0);
}
#else
static void
test_state_is_back(void)
{
}
#endif

/* All registers that a function keeps, while others crash in between. */
__attribute__((noinline)) static int
sum_around(int a, int b, int c, int d, int e, int f)
{
    int number = SIGFPE;
    crash(raise_it, &number);
    a += b;
    crash(write_to, (void *)8);
    return a + c + d + e + f;
}

static void
test_registers_are_back(void)
{
    for (int i = 0; i < 100; i++) {
        CHECK(sum_around(i, 2, 3, 4, 5, 6) == i + 20);
    }
}

/* ---- calls that somebody else makes ---------------------------------------------------------------------------------- */

static long
crash_or_add(long a, long b, long c, long d, long e, long f, long g, volatile char *place)
{
    if (place != NULL) {
        *place = 1;
    }
    return a + b + c + d + e + f + g;
}

/* All of its own variables are used after the call, so that some live in registers that a function keeps. */
__attribute__((noinline)) static long
add_through(volatile char *place, long a, long b, long c, long d, long e, long f)
{
    __typeof__(&crash_or_add) call = (__typeof__(&crash_or_add))(uintptr_t)mf_guard_call_through;
    mf_guard_through guarded = {.through.function = (uintptr_t)crash_or_add, .through.outer = mf_through_innermost};
    CHECK(mf_guard_ready());
    mf_through_innermost = &guarded.through;
    long sum = call(a, b, c, d, e, f, 7, place);
    mf_through_innermost = guarded.through.outer;
    CHECK(mf_guard_innermost == NULL);
    const mf_crash *told = mf_guard_take(guarded.through.exception);
    CHECK((told != NULL) == (place != NULL));
    CHECK(told == NULL || (told->signal == SIGSEGV && told->address == (uintptr_t)place));
    CHECK(sum == (place == NULL ? a + b + c + d + e + f + 7 : 0));
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f;
}

static void
test_calls_through(void)
{
    for (int i = 0; i < 100; i++) {
        CHECK(add_through(i % 2 == 0 ? NULL : (volatile char *)16, 1, 2, 3, 4, 5, 6) == 91);
    }
}

static void
jump_to(void *data)
{
    ((void (*)(void))data)();
}

static void
test_a_bad_address(void)
{
    mf_crash nowhere = crash(jump_to, NULL), data = crash(jump_to, (void *)&seen);
    CHECK(nowhere.frames[0] == 0 && nowhere.frames[1] - (uintptr_t)jump_to < 64);
    CHECK(data.frames[0] == (uintptr_t)&seen && data.frames[1] - (uintptr_t)jump_to < 64);
}

static void *
crash_and_end(void *unused)
{
    (void)unused;
    crash(use_up_the_stack, NULL);
    return NULL;
}

static void
end_thread(void *unused)
{
    (void)unused;
    pthread_exit(NULL);
}

static void *
end_inside(void *unused)
{
    const mf_crash *told;
    mf_guard_run(end_thread, NULL, &told);
    return unused;
}

static void
test_threads_that_end(void)
{
    for (int i = 0; i < 20; i++) {
        pthread_t one, other;
        CHECK(pthread_create(&one, NULL, crash_and_end, NULL) == 0);
        CHECK(pthread_create(&other, NULL, end_inside, NULL) == 0);
        pthread_join(one, NULL);
        pthread_join(other, NULL);
    }
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
    const mf_crash *told;
    int status = -1;
    mf_guarded result = mf_guard_run(fork_and_crash, &status, &told);
    if (getpid() != parent) {
        _exit(result == MF_CRASHED && told->signal == SIGABRT ? 7 : 1);
    }
    CHECK(result == MF_RETURNED && status == 7);
}

int
main(void)
{
    test_what_returns();
    test_each_crash();
    test_nested_runs();
    struct sigaction wanted = {.sa_flags = SA_SIGINFO | SA_NODEFER};
    wanted.sa_sigaction = see;
    sigaction(SIGSEGV, &wanted, NULL);
    test_suspended();
    test_another_thread();
    test_a_later_action();
    test_state_is_back();
    test_registers_are_back();
    test_calls_through();
    test_a_bad_address();
    test_threads_that_end();
    test_own_stack_stays();
    test_fork();
    return 0;
}
