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

enum { STACK = 64 * 1024, FIRST_GIVEN = 3, MOST_GIVEN = 8 };

typedef struct child {
    const mf_program *program;
    int given[MOST_GIVEN]; /* above all places that are filled */
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

/* Descriptors that lie above every place that the child fills. */
static bool
lift(child *self)
{
    int above = FIRST_GIVEN + MOST_GIVEN + 1;
    for (size_t i = 0; i < self->program->given_count; i++) {
        int from = self->program->given[i];
        self->given[i] = from >= 0 ? fcntl(from, F_DUPFD_CLOEXEC, above) : -1;
        if (from >= 0 && self->given[i] < 0) {
            return false;
        }
    }
    self->executable = fcntl(self->program->descriptor, F_DUPFD_CLOEXEC, above);
    return self->executable >= 0;
}

static void
drop(const child *self)
{
    for (size_t i = 0; i < MOST_GIVEN; i++) {
        if (self->given[i] >= 0) {
            close(self->given[i]);
        }
    }
    if (self->executable >= 0) {
        close(self->executable);
    }
}

/* CLONE_VM and CLONE_VFORK: nothing is copied.  No exit signal: the host's wait(-1) and its SIGCHLD handler don't see
 * the worker, which is waited for with __WALL. */
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
    child self = {.program = program, .given = {-1, -1, -1, -1, -1, -1, -1, -1}, .executable = -1};
    failure->kind = MF_OK;
    *pidfd = -1;
    if (!lift(&self)) {
        mf_fail(failure, MF_SYSTEM, "no descriptor for a worker: %s", strerror(errno));
    } else {
        *pid = start(&self, pidfd);
        if (*pid < 0) {
            mf_fail(failure, MF_SYSTEM, "a worker can't be started: %s", strerror(errno));
        } else if (self.problem != 0) {
            int status;
            mf_ended(*pidfd, -1, &status);
            close(*pidfd);
            mf_fail(failure, MF_SYSTEM, "a worker can't be started: %s", strerror(self.problem));
        }
    }
    drop(&self);
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
