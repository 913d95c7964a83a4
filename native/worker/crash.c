/* When the worker crashes: where, for the host to read; then the crash goes on as if nobody had looked. */
#include <execinfo.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker.h"

enum { HANDLER_STACK = 64 * 1024 };

static const int FATAL[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};

static void
note(int number, siginfo_t *info, void *context)
{
    (void)context;
    mf_crash *crash = &channel->crash;
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&crash->signal, &none, (uint32_t)number)) {
        void *frames[MF_FRAMES];
        crash->code = info->si_code;
        crash->address = (uint64_t)(uintptr_t)info->si_addr;
        int count = backtrace(frames, MF_FRAMES);
        for (int i = 0; i < count; i++) {
            crash->frames[i] = (uint64_t)(uintptr_t)frames[i];
        }
        crash->count = (uint32_t)count;
    }
    /* The default action is back (SA_RESETHAND); a fault comes again by itself on return, the others are raised. */
    raise(number);
}

void
crash_watch(void)
{
    void *first[1];
    backtrace(first, 1); /* loads what it needs now: a handler can't */
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND};
    action.sa_sigaction = note;
    for (size_t i = 0; i < sizeof FATAL / sizeof *FATAL; i++) {
        sigaction(FATAL[i], &action, NULL);
    }
}

bool
crash_watch_thread(void)
{
    void *memory = mmap(NULL, HANDLER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return false;
    }
    stack_t stack = {.ss_sp = memory, .ss_size = HANDLER_STACK};
    return sigaltstack(&stack, NULL) == 0;
}
