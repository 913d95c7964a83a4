/* See crash_signals.h. */
#include "crash_signals.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "crash_frames.h"
#include "guard.h"
#include "leaving.h"

enum { HANDLER_STACK = 256 * 1024, MOST_ACTIONS = 8 }; /* actions that know nothing of it run there too */
enum { RED_ZONE = 128, SIGNAL_FRAME = 3584 }; /* what the kernel would have needed on the interrupted stack, about */

static const int ENDS[MF_ALL_ENDS] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGABRT, SIGTRAP, SIGSYS,    SIGQUIT,
                                      SIGXCPU, SIGALRM, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF};

/* What was there before, the oldest first.  Never changed nor freed: a handler may be reading it. */
typedef struct chain {
    int count;
    struct sigaction actions[MOST_ACTIONS];
    struct chain *made_before;
} chain;

/* A signal that has been passed on to an action, for as long as that runs. */
typedef struct passing {
    int number, level;
    const void *context;
    struct passing *outer;
    struct passing *self; /* tells it from what a jump out of the action has left on the stack */
} passing;

static _Atomic mf_crash_watcher watchers[MF_WATCHERS];
static chain *_Atomic chains[MF_ALL_ENDS];
static _Thread_local passing *innermost_passing __attribute__((tls_model("initial-exec")));
static _Thread_local void *own_stack __attribute__((tls_model("initial-exec"))); /* that we have given this thread; or NULL */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* who arms; never taken in a handler */
static chain *all_chains;
static pthread_key_t at_thread_end;

void
mf_crash_watch(int place, mf_crash_watcher watcher)
{
    atomic_store(&watchers[place], watcher);
}

/* raise() and abort() can't be told from a pthread_kill by another thread. */
bool
mf_crash_is_own(const siginfo_t *info)
{
    return info->si_code > 0 || (info->si_code == SI_TKILL && info->si_pid == getpid());
}

uintptr_t
mf_crash_stack_pointer(const void *context)
{
    const mcontext_t *machine = &((const ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    return (uintptr_t)machine->gregs[REG_RSP];
#else
    return (uintptr_t)machine->sp;
#endif
}

/* ---- the handler ---------------------------------------------------------------------------------------------------- */

/* How many of the actions before have been asked already: one of them has raised it again, or calls us as what was there
 * before it.  What an action has left by a jump may still look like that: then `here` is above it. */
static int
asked(int number, const siginfo_t *info, const void *context, uintptr_t here)
{
    const passing *outer = innermost_passing;
    if (outer == NULL || here >= (uintptr_t)outer || outer->self != outer || outer->number != number) {
        return 0;
    }
    bool raised = info->si_code <= 0 && mf_crash_stack_pointer(context) < (uintptr_t)outer;
    return raised || context == outer->context ? outer->level + 1 : 0;
}

static int
index_of(int number)
{
    int index = 0;
    while (index < MF_ALL_ENDS - 1 && ENDS[index] != number) {
        index++;
    }
    return index;
}

static void
end_by(int number, siginfo_t *info)
{
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigaction(number, &fallback, NULL);
    if (info->si_code <= 0 || index_of(number) >= MF_CRASHES) { /* a fault comes again by itself on return */
        sigset_t only;
        sigemptyset(&only);
        sigaddset(&only, number);
        pthread_sigmask(SIG_BLOCK, &only, NULL); /* it is to come when we have returned: the core shows where it came from */
        syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), number, info);
    }
}

static void
run_action(const struct sigaction *action, int number, siginfo_t *info, ucontext_t *context)
{
    sigset_t mask, kept;
    sigorset(&mask, &context->uc_sigmask, &action->sa_mask);
    if ((action->sa_flags & SA_NODEFER) == 0) {
        sigaddset(&mask, number);
    }
    if ((action->sa_flags & (int)SA_RESETHAND) != 0) {
        struct sigaction fallback = {.sa_handler = SIG_DFL};
        sigaction(number, &fallback, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &mask, &kept);
    if ((action->sa_flags & SA_SIGINFO) != 0) {
        action->sa_sigaction(number, info, context);
    } else {
        action->sa_handler(number);
    }
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
}

typedef struct frame_room {
    volatile char *end;
    bool found;
} frame_room;

static void
look_for_room(void *data)
{
    frame_room *self = data;
    self->end[0] = self->end[0];
    self->end[-SIGNAL_FRAME] = self->end[-SIGNAL_FRAME];
    self->found = true;
}

/* Whether the kernel could have run an action there: not on a stack that is used up, unless the program has given the thread
 * another one.  The one that we are on may be ours. */
static bool
could_run(const struct sigaction *action, const void *context)
{
    stack_t stack;
    sigaltstack(NULL, &stack);
    uintptr_t top = mf_crash_stack_pointer(context), base = (uintptr_t)stack.ss_sp;
    bool inside = top - base < stack.ss_size;
    if (inside || ((action->sa_flags & SA_ONSTACK) != 0 && stack.ss_sp != own_stack)) {
        return true;
    }
    frame_room room = {.end = (volatile char *)(top - RED_ZONE)};
    mf_guard_plain(look_for_room, &room);
    return room.found;
}

/* With a frame of its own, below that of `handle`: see `asked`. */
__attribute__((noinline)) static void
pass_on(const chain *before, int level, int number, siginfo_t *info, void *context)
{
    int index = before != NULL ? before->count - 1 - level : -1;
    if (index < 0 || before->actions[index].sa_handler == SIG_DFL) {
        end_by(number, info);
        return;
    }
    const struct sigaction *action = &before->actions[index];
    bool fault = info->si_code > 0;
    if (fault && (action->sa_handler == SIG_IGN || !could_run(action, context))) {
        end_by(number, info); /* a fault can't be ignored */
        return;
    }
    if (action->sa_handler == SIG_IGN) {
        return;
    }
    passing self = {number, level, context, innermost_passing, &self};
    innermost_passing = &self;
    run_action(action, number, info, context);
    innermost_passing = self.outer;
    self.self = NULL;
}

static void
handle(int number, siginfo_t *info, void *context)
{
    int kept = errno, level = asked(number, info, context, (uintptr_t)__builtin_frame_address(0));
    bool done = false;
    for (int i = 0; i < MF_WATCHERS && !done && level == 0; i++) {
        mf_crash_watcher watcher = atomic_load(&watchers[i]);
        done = watcher != NULL && watcher(number, info, context);
    }
    if (!done) {
        pass_on(atomic_load(&chains[index_of(number)]), level, number, info, context);
    }
    errno = kept;
}

/* ---- arming --------------------------------------------------------------------------------------------------------- */

static bool
is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == handle;
}

static bool
same_action(const struct sigaction *one, const struct sigaction *other)
{
    return one->sa_handler == other->sa_handler && one->sa_flags == other->sa_flags;
}

static bool
same_chain(const chain *one, const chain *other)
{
    bool same = one->count == other->count;
    for (int i = 0; same && i < one->count; i++) {
        same = same_action(&one->actions[i], &other->actions[i]);
    }
    return same;
}

/* One that was made before, if there is one like it: programs that switch faulthandler on and off don't add to them. */
static chain *
keep_chain(const chain *wanted)
{
    for (chain *one = all_chains; one != NULL; one = one->made_before) {
        if (same_chain(one, wanted)) {
            return one;
        }
    }
    chain *made = malloc(sizeof *made);
    if (made != NULL) {
        *made = *wanted;
        made->made_before = all_chains;
        all_chains = made;
    }
    return made;
}

/* What was there already has put itself back: what came after it is gone. */
static void
add_action(chain *to, const struct sigaction *action)
{
    int place = 0;
    while (place < to->count && !same_action(&to->actions[place], action)) {
        place++;
    }
    if (place == MOST_ACTIONS) {
        memmove(&to->actions[1], &to->actions[2], (MOST_ACTIONS - 2) * sizeof *to->actions);
        place--;
    }
    to->actions[place] = *action;
    to->count = place + 1;
}

static bool
arm(int index)
{
    struct sigaction found, ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    ours.sa_sigaction = handle;
    if (sigaction(ENDS[index], NULL, &found) != 0 || is_ours(&found)) {
        return true;
    }
    const chain *before = atomic_load(&chains[index]);
    chain wanted = {.count = 0};
    if (before != NULL) {
        wanted = *before;
    }
    add_action(&wanted, &found);
    chain *kept = keep_chain(&wanted);
    if (kept == NULL) {
        return false;
    }
    atomic_store(&chains[index], kept);
    return sigaction(ENDS[index], &ours, NULL) == 0;
}

bool
mf_crash_signals_arm(int count)
{
    mf_crash_walk_prepare();
    mf_leaving_prepare();
    bool done = mf_crash_stack();
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++) {
        done = arm(i) && done;
    }
    pthread_mutex_unlock(&lock);
    return done;
}

/* ---- stacks --------------------------------------------------------------------------------------------------------- */

static void
free_stack(void *memory)
{
    stack_t found, none = {.ss_flags = SS_DISABLE};
    if (sigaltstack(NULL, &found) == 0 && found.ss_sp == memory) {
        sigaltstack(&none, NULL);
    }
    own_stack = NULL;
    munmap(memory, HANDLER_STACK);
}

bool
mf_crash_stack(void)
{
    stack_t stack = {.ss_size = HANDLER_STACK}, found;
    if (sigaltstack(NULL, &found) == 0 && (found.ss_flags & SS_DISABLE) == 0) {
        return true;
    }
    void *mine = pthread_getspecific(at_thread_end); /* somebody has taken it out of use */
    stack.ss_sp = mine != NULL ? mine
                               : mmap(NULL, HANDLER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED) {
        return false;
    }
    if (pthread_setspecific(at_thread_end, stack.ss_sp) != 0 || sigaltstack(&stack, NULL) != 0) {
        pthread_setspecific(at_thread_end, NULL);
        munmap(stack.ss_sp, HANDLER_STACK);
        return false;
    }
    own_stack = stack.ss_sp;
    return true;
}

/* ---- fork ----------------------------------------------------------------------------------------------------------- */

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
begin(void)
{
    pthread_key_create(&at_thread_end, free_stack);
    pthread_atfork(before_fork, after_fork, after_fork);
}
