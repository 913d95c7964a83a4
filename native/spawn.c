/* See spawn.h. */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK = 64 * 1024, STANDARD = 3, FIRST_GIVEN = STANDARD, MOST_GIVEN = 8 };

typedef struct child {
    const mf_program *program;
    int standard[STANDARD], given[MOST_GIVEN]; /* above all places that are filled */
    int executable;
    int problem; /* errno of what failed */
} child;

/* AddressSanitizer would judge the child's stack by what lay there before. */
#define ON_CHILDS_STACK __attribute__((no_sanitize_address))

ON_CHILDS_STACK static void
default_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) {
        sigaction(number, &action, NULL);
    }
}

/* Runs in the parent's memory, while the parent waits: only system calls, and no lock. */
ON_CHILDS_STACK static int
run(void *data)
{
    child *self = data;
    const mf_program *program = self->program;
    int next = FIRST_GIVEN;
    default_signals();
    for (int i = 0; i < STANDARD; i++) {
        if (self->standard[i] >= 0 && dup2(self->standard[i], i) < 0) {
            goto failed;
        }
    }
    for (size_t i = 0; i < program->given_count; i++, next++) {
        if (self->given[i] < 0) {
            close(next); /* what the host has there isn't the child's */
        } else if (dup2(self->given[i], next) < 0) {
            goto failed;
        }
    }
    if (dup3(self->executable, next, O_CLOEXEC) < 0) {
        goto failed;
    }
    syscall(SYS_close_range, next + 1, UINT_MAX, 0);
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    syscall(SYS_execveat, next, "", program->arguments, program->environment, AT_EMPTY_PATH);
failed:
    self->problem = errno;
    _exit(127);
}

/* Copies a descriptor to above every place that the child fills; -1 stays.  False: there is no room. */
static bool
lift(int *lifted, int descriptor)
{
    *lifted = descriptor >= 0 ? fcntl(descriptor, F_DUPFD_CLOEXEC, FIRST_GIVEN + MOST_GIVEN + 1) : -1;
    return descriptor < 0 || *lifted >= 0;
}

static bool
lift_all(child *self)
{
    const mf_program *program = self->program;
    bool fine = lift(&self->executable, program->descriptor);
    for (size_t i = 0; fine && program->standard != NULL && i < STANDARD; i++) {
        fine = lift(&self->standard[i], program->standard[i]);
    }
    for (size_t i = 0; fine && i < program->given_count; i++) {
        fine = lift(&self->given[i], program->given[i]);
    }
    return fine;
}

static void
drop(int descriptor)
{
    if (descriptor >= 0) {
        close(descriptor);
    }
}

static void
drop_all(const child *self)
{
    for (size_t i = 0; i < STANDARD; i++) {
        drop(self->standard[i]);
    }
    for (size_t i = 0; i < MOST_GIVEN; i++) {
        drop(self->given[i]);
    }
    drop(self->executable);
}

/* CLONE_VM and CLONE_VFORK: nothing is copied.  Until it runs its program it is waited for with __WALL only. */
static pid_t
start(child *self, int *pidfd)
{
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        return -1;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a handler of the host's must not run in the child */
    pid_t pid = clone(run, stack + STACK, CLONE_VM | CLONE_VFORK | CLONE_PIDFD, self, pidfd);
    int problem = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stack, STACK);
    errno = problem;
    return pid;
}

mf_failure_kind
mf_spawn(const mf_program *program, pid_t *pid, int *pidfd, mf_failure *failure)
{
    child self = {
        .program = program, .standard = {-1, -1, -1}, .given = {-1, -1, -1, -1, -1, -1, -1, -1}, .executable = -1};
    failure->kind = MF_OK;
    *pidfd = -1;
    if (!lift_all(&self)) {
        mf_fail(failure, MF_SYSTEM, "no descriptor for a process: %s", strerror(errno));
    } else {
        *pid = start(&self, pidfd);
        if (*pid < 0) {
            mf_fail(failure, MF_SYSTEM, "a process can't be started: %s", strerror(errno));
        } else if (self.problem != 0) {
            int status;
            mf_ended(*pidfd, -1, &status);
            close(*pidfd);
            mf_fail(failure, MF_SYSTEM, "a process can't be started: %s", strerror(self.problem));
        }
    }
    drop_all(&self);
    return failure->kind;
}

bool
mf_await_end(int pidfd, int timeout)
{
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    int found;
    do {
        found = poll(&ended, 1, timeout);
    } while (found < 0 && errno == EINTR);
    return found > 0;
}

bool
mf_ended(int pidfd, int timeout, int *status)
{
    siginfo_t info = {0};
    if (!mf_await_end(pidfd, timeout)) {
        return false;
    }
    *status = -1; /* somebody else has asked before us */
    if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) == 0) {
        *status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    }
    return true;
}

void
mf_signal(int pidfd, int number)
{
    syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}
