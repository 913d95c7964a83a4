/* Catches stable pointers that lose an argument or a result, calls that run in what was taken away, and calls that are
 * counted for ever because an exception or the end of a thread left them. */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "entry.h"

extern bool mf_entry_fences; /* whether each call has one: where the kernel's can't be had */

static int one, two; /* holders */

static mf_entry *
entry_for(void *function, size_t result_size)
{
    mf_entry *entry = mf_entry_new(NULL, result_size);
    mf_entry_set(entry, mf_seat_new((uintptr_t)function, &one));
    return entry;
}

/* ---- arguments and results ------------------------------------------------------------------------------------------ */

typedef struct pair {
    double x;
    long n;
} pair;

typedef struct large {
    long items[5];
} large;

static double
many(int a, double b, long c, float d, const char *e, short f, unsigned char g, long h, long i, double j, pair k, large l)
{
    CHECK(a == -1 && b == 2.5 && c == -3 && d == 4.5f && strcmp(e, "five") == 0 && f == -6 && g == 7 && h == 8 && i == 9);
    CHECK(j == 10.5 && k.x == 11.5 && k.n == -12 && l.items[0] == 13 && l.items[4] == 14);
    CHECK(mf_entry_inside(&one) == 1 && mf_entry_innermost() != NULL);
    return 15.25;
}

static pair
in_registers(double x)
{
    return (pair){x * 2, 21};
}

static large
in_memory(long x)
{
    return (large){{x, 1, 2, 3, x + 1}};
}

static long double
in_x87(long double x)
{
    return x * 2;
}

static int
sum(int count, ...)
{
    __builtin_va_list rest;
    double total = 0;
    __builtin_va_start(rest, count);
    for (int i = 0; i < count; i++) {
        total += __builtin_va_arg(rest, double);
    }
    __builtin_va_end(rest);
    return (int)total;
}

static void
test_arguments_and_results(void)
{
    double (*call_many)(int, double, long, float, const char *, short, unsigned char, long, long, double, pair, large);
    call_many = (void *)mf_entry_address(entry_for(many, 0));
    CHECK(call_many(-1, 2.5, -3, 4.5f, "five", -6, 7, 8, 9, 10.5, (pair){11.5, -12}, (large){{13, 0, 0, 0, 14}}) == 15.25);
    pair (*call_pair)(double) = (void *)mf_entry_address(entry_for(in_registers, 0));
    CHECK(call_pair(4).x == 8 && call_pair(4).n == 21);
    large (*call_large)(long) = (void *)mf_entry_address(entry_for(in_memory, sizeof(large)));
    CHECK(call_large(5).items[0] == 5 && call_large(5).items[4] == 6);
    long double (*call_x87)(long double) = (void *)mf_entry_address(entry_for(in_x87, 0));
    CHECK(call_x87(1.25L) == 2.5L);
    int (*call_sum)(int, ...) = (void *)mf_entry_address(entry_for(sum, 0));
    CHECK(call_sum(3, 1.0, 2.0, 3.0) == 6);
    CHECK(mf_entry_inside(&one) == 0 && mf_entry_innermost() == NULL);
}

/* ---- recursion: more visits than one chunk has ----------------------------------------------------------------------- */

static long (*down)(long);

static long
count_down(long n)
{
    return n == 0 ? (long)mf_entry_inside(&one) : down(n - 1);
}

static void
test_deep_recursion(void)
{
    down = (void *)mf_entry_address(entry_for(count_down, 0));
    CHECK(down(999) == 1000);
    CHECK(mf_entry_inside(&one) == 0);
}

/* ---- leading nowhere -------------------------------------------------------------------------------------------------- */

static void
test_an_ended_entry_returns_zero(void)
{
    mf_entry *entry = mf_entry_new(NULL, sizeof(large)), *number = mf_entry_new(NULL, 0), *real = mf_entry_new(NULL, 0);
    large (*call_large)(long) = (void *)mf_entry_address(entry);
    long (*call)(long) = (void *)mf_entry_address(number);
    double (*call_real)(void) = (void *)mf_entry_address(real);
    int kept = dup(2), pipes[2];
    CHECK(pipe(pipes) == 0);
    mf_entry_end(entry, "calc.large: the module has been unloaded");
    mf_entry_end(number, "calc.number: the module has been unloaded");
    mf_entry_end(real, "calc.number: the module has been unloaded");
    dup2(pipes[1], 2);
    CHECK(call_large(5).items[0] == 0 && call_large(5).items[4] == 0 && call(3) == 0 && call_real() == 0);
    dup2(kept, 2);
    char text[1000] = {0};
    CHECK(read(pipes[0], text, sizeof text - 1) > 0);
    const char *first = strstr(text, "midflight: calc.large: the module has been unloaded; the call returns 0\n");
    CHECK(first != NULL && strstr(first + 20, "calc.large") == NULL);
    close(pipes[0]);
    close(pipes[1]);
    close(kept);
}

/* ---- ways out --------------------------------------------------------------------------------------------------------- */

static void
test_exceptions_pass(const char *directory)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/passes.so", directory);
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library != NULL);
    void *throws = dlsym(library, "throw_negative");
    int (*call_and_catch)(int (*)(int), int);
    *(void **)&call_and_catch = dlsym(library, "call_and_catch");
    int (*function)(int) = (void *)mf_entry_address(entry_for(throws, 0));
    int (*outer)(int (*)(int), int) = (void *)mf_entry_address(entry_for((void *)call_and_catch, 0));
    for (int i = 0; i < 100; i++) {
        CHECK(call_and_catch(function, 5) == 12);
        CHECK(call_and_catch(function, -5) == 1007 + 'n');
        CHECK(outer(function, -5) == 1007 + 'n'); /* out of one and not of the other */
        CHECK(mf_entry_inside(&one) == 0 && mf_entry_innermost() == NULL);
    }
    dlclose(library);
}

static int
end_thread(int x)
{
    pthread_exit((void *)(intptr_t)x);
}

static void *
run_to_its_end(void *entry)
{
    int (*function)(int) = (void *)mf_entry_address(entry);
    function(9);
    return NULL;
}

static void
test_pthread_exit_passes(void)
{
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, run_to_its_end, entry_for(end_thread, 0));
    pthread_join(thread, &result);
    CHECK((intptr_t)result == 9 && mf_entry_inside(&one) == 0);
}

static jmp_buf back;

static int
jump(int x)
{
    longjmp(back, x);
}

static void
test_longjmp_leaves_it_counted_and_no_more(void)
{
    mf_entry *entry = entry_for(jump, 0);
    int (*function)(int) = (void *)mf_entry_address(entry);
    if (setjmp(back) == 0) {
        function(1);
        CHECK(false);
    }
    CHECK(mf_entry_inside(&one) == 1);
    CHECK(down(50) == 52); /* it still counts, and calls go on working */
    CHECK(mf_entry_inside(&one) == 1);
}

/* ---- signals ----------------------------------------------------------------------------------------------------------- */

static int (*in_handler)(int);
static volatile long handled;

static int
identity(int x)
{
    return x;
}

static void
handle(int number)
{
    handled += in_handler(number);
}

static void *
interrupt(void *thread)
{
    for (int i = 0; i < 2000; i++) {
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
        sched_yield();
    }
    return NULL;
}

static void
test_a_signal_handler_may_call_at_any_time(void)
{
    pthread_t self = pthread_self(), other;
    struct sigaction action = {.sa_handler = handle};
    in_handler = (void *)mf_entry_address(entry_for(identity, 0));
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&other, NULL, interrupt, &self);
    long calls = 0;
    while (handled == 0 || calls < 3000000) {
        CHECK(in_handler((int)calls) == (int)calls);
        calls++;
    }
    pthread_join(other, NULL);
    signal(SIGUSR1, SIG_IGN);
    CHECK(down(99) == 101 && handled % SIGUSR1 == 0);
}

/* ---- replacing while threads call ------------------------------------------------------------------------------------- */

enum { THREADS = 4, SWITCHES = 3000 };

static atomic_bool mapped[2] = {true, true}, stop;
static atomic_long returned[2];

static int
run_in(int which, int x)
{
    CHECK(atomic_load(&mapped[which]));
    for (volatile int i = 0; i < 20; i++) {
    }
    CHECK(atomic_load(&mapped[which]));
    atomic_fetch_add(&returned[which], 1);
    return x + which;
}

static int
in_first(int x)
{
    return run_in(0, x);
}

static int
in_second(int x)
{
    return run_in(1, x);
}

static void *
call_until_stopped(void *data)
{
    int (*function)(int) = data;
    while (!atomic_load(&stop)) {
        int result = function(10);
        CHECK(result == 10 || result == 11);
    }
    return NULL;
}

static atomic_int waiting;

/* Lets nobody in, but says that somebody waits. */
static bool
wait_outside(mf_entry *entry, mf_visit *visit)
{
    (void)entry;
    (void)visit;
    atomic_fetch_add(&waiting, 1);
    sched_yield();
    return false;
}

static void
test_no_call_runs_in_what_was_taken_away(bool fences)
{
    pthread_t threads[THREADS];
    mf_seat *seats[2] = {mf_seat_new((uintptr_t)in_first, &one), mf_seat_new((uintptr_t)in_second, &two)};
    mf_entry *entry = mf_entry_new(NULL, 0);
    size_t left_over = mf_entry_inside(&one);
    bool kept = mf_entry_fences;
    mf_entry_fences |= fences;
    atomic_store(&stop, false);
    atomic_store(&mapped[0], true);
    mf_entry_set(entry, seats[0]);
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, call_until_stopped, (void *)mf_entry_address(entry));
    }
    for (int i = 0; i < SWITCHES; i++) {
        int old = i % 2;
        long before = atomic_load(&returned[!old]);
        atomic_store(&mapped[!old], true);
        if (i % 3 == 0) { /* through a time in which calls wait */
            mf_entry_set(entry, NULL);
            mf_entry_settle();
            while (mf_entry_inside(old == 0 ? &one : &two) > (old == 0 ? left_over : 0)) {
                sched_yield();
            }
        }
        mf_entry_set(entry, seats[!old]);
        mf_entry_settle();
        while (mf_entry_inside(old == 0 ? &one : &two) > (old == 0 ? left_over : 0)) {
            sched_yield();
        }
        atomic_store(&mapped[old], false); /* unloaded: nobody may run there */
        while (i % 100 == 0 && atomic_load(&returned[!old]) == before) {
            sched_yield();
        }
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(mf_entry_inside(&one) == left_over && mf_entry_inside(&two) == 0 && atomic_load(&waiting) > 0);
    mf_seat_free(seats[0]);
    mf_seat_free(seats[1]);
    mf_entry_fences = kept;
}

/* ---- fork -------------------------------------------------------------------------------------------------------------- */

static sem_t inside, leave;

static int
wait_inside(int x)
{
    sem_post(&inside);
    sem_wait(&leave);
    return x;
}

static void *
enter_and_wait(void *data)
{
    int (*function)(int) = data;
    function(1);
    return NULL;
}

static void
test_a_forks_child_knows_its_own_calls_only(void)
{
    pthread_t thread;
    mf_entry *entry = mf_entry_new(NULL, 0);
    mf_entry_set(entry, mf_seat_new((uintptr_t)wait_inside, &two));
    sem_init(&inside, 0, 0);
    sem_init(&leave, 0, 0);
    pthread_create(&thread, NULL, enter_and_wait, (void *)mf_entry_address(entry));
    sem_wait(&inside);
    CHECK(mf_entry_inside(&two) == 1);
    pid_t child = fork();
    if (child == 0) {
        _exit(mf_entry_inside(&two) == 0 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    sem_post(&leave);
    pthread_join(thread, NULL);
    CHECK(mf_entry_inside(&two) == 0);
}

/* ---- forwards ---------------------------------------------------------------------------------------------------------- */

static void
test_forwards(void)
{
    uintptr_t forward = mf_forward_new((uintptr_t)in_registers);
    pair (*call)(double) = (void *)forward;
    CHECK(call(4).x == 8);
    mf_forward_free(forward);
    CHECK(mf_forward_new((uintptr_t)identity) == forward);
    CHECK(((int (*)(int))forward)(4) == 4);
    uintptr_t other = mf_forward_new((uintptr_t)identity);
    CHECK(other != forward);
}

int
main(int count, char **words)
{
    CHECK(count == 2);
    mf_entry_wait = wait_outside;
    test_arguments_and_results();
    test_deep_recursion();
    test_an_ended_entry_returns_zero();
    test_exceptions_pass(words[1]);
    test_pthread_exit_passes();
    test_longjmp_leaves_it_counted_and_no_more();
    test_a_signal_handler_may_call_at_any_time();
    test_no_call_runs_in_what_was_taken_away(false);
    test_no_call_runs_in_what_was_taken_away(true);
    test_a_forks_child_knows_its_own_calls_only();
    test_forwards();
    return 0;
}
