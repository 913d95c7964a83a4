/* What a program of its own has, without midflight: handlers, threads and crashes. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sigjmp_buf back;
static char stack[64 * 1024];
static volatile int bottomless = 1;

/* Says all that a handler can find out, but for addresses that differ from run to run. */
static void tell(int number, const siginfo_t *info)
{
    sigset_t mask;
    char text[200];
    sigprocmask(SIG_BLOCK, NULL, &mask);
    int has_address = info != NULL && info->si_code > 0 && info->si_addr < (void *)4096;
    int on_stack = text >= stack && text < stack + sizeof stack;
    int is_own = info != NULL && info->si_code <= 0 && info->si_pid == getpid();
    int size = snprintf(text, sizeof text, "handler of %d: code %d address %p own %d usr1 %d itself %d on its stack %d\n",
                        number, info != NULL ? info->si_code : 0, has_address ? info->si_addr : NULL, is_own,
                        sigismember(&mask, SIGUSR1), sigismember(&mask, number), on_stack);
    if (write(1, text, size) != size)
        abort();
}
static void handle_and_exit(int number, siginfo_t *info, void *context) { (void)context; tell(number, info); _exit(7); }
static void handle_on_stack(int number, siginfo_t *info, void *context) { (void)context; tell(number, info); _exit(8); }
static void handle_and_jump(int number, siginfo_t *info, void *context)
{
    (void)context;
    tell(number, info);
    siglongjmp(back, 1);
}
static void handle_once(int number) { tell(number, NULL); }
static void handle_and_abort(int number) { tell(number, NULL); abort(); }

static void install(struct sigaction *action)
{
    static const int all[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigaddset(&action->sa_mask, SIGUSR1);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sigaction(all[i], action, NULL);
}
void set_exit(void) { install(&(struct sigaction){.sa_flags = SA_SIGINFO, .sa_sigaction = handle_and_exit}); }
void set_nodefer(void) { install(&(struct sigaction){.sa_flags = SA_SIGINFO | SA_NODEFER, .sa_sigaction = handle_and_exit}); }
void set_jump(void) { install(&(struct sigaction){.sa_flags = SA_SIGINFO, .sa_sigaction = handle_and_jump}); }
void set_once(void) { install(&(struct sigaction){.sa_flags = SA_RESETHAND, .sa_handler = handle_once}); }
void set_abort(void) { sigaction(SIGSEGV, &(struct sigaction){.sa_handler = handle_and_abort}, NULL); }
void set_on_stack(void)
{
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    install(&(struct sigaction){.sa_flags = SA_SIGINFO | SA_ONSTACK, .sa_sigaction = handle_on_stack});
}
void set_on_no_stack(void)
{
    install(&(struct sigaction){.sa_flags = SA_SIGINFO | SA_ONSTACK, .sa_sigaction = handle_and_exit});
}
void set_ignored(void) { install(&(struct sigaction){.sa_handler = SIG_IGN}); }
void set_blocked(void)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
}

/* ---- crashes ---- */

int read_wild(void) { return *(volatile int *)8; }
int divide(void) { static volatile int none; return 1 / none; }
void trap(void) { __builtin_trap(); }
void stop(void) { abort(); }
void raise_bus(void) { raise(SIGBUS); }
__attribute__((noinline)) int fall(int above)
{
    volatile char room[4096];
    room[0] = (char)above;
    return bottomless ? fall(room[0]) + room[0] : 0;
}
static void *in_thread(void *function) { ((void (*)(void))function)(); return NULL; }
void run_in_thread(void (*function)(void))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, in_thread, function) == 0)
        pthread_join(thread, NULL);
}
/* For handlers that jump: 1 if it came back that way, again and again. */
int survive(void)
{
    for (volatile int i = 0; i < 3; i++)
        if (sigsetjmp(back, 1) == 0) {
            read_wild();
            return 0;
        }
    return 1;
}
