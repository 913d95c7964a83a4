/* Starting a process: quick whatever the size of the host, and known by a pidfd from its first moment on, never by a number.
 *
 * It has no exit signal only until it runs its program: then the kernel gives it SIGCHLD, as any child has.  A host that
 * waits for any child may take its status; then nobody can tell how it ended, only that it did.
 *
 * Owns nothing: the pidfd is the caller's.  Safe from any thread. */
#ifndef MF_SPAWN_H
#define MF_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "failure.h"

typedef struct mf_program {
    int descriptor; /* of the executable */
    char *const *arguments, *const *environment;
    const int *given; /* descriptors that it gets as 3, 4, …; -1: none */
    size_t given_count;
    const int *standard; /* three that it gets as 0, 1 and 2; NULL: the host's own */
} mf_program;

/* Starts it with no other descriptors than 0, 1, 2 and those given, all signals as by default, in a session of its own. */
mf_failure_kind mf_spawn(const mf_program *program, pid_t *pid, int *pidfd, mf_failure *failure);

/* Waits for the end of a process.  `timeout` in milliseconds, -1: none.  False: still running. */
bool mf_await_end(int pidfd, int timeout);

/* Does so, and takes its status, as from waitpid; -1: somebody else has taken it. */
bool mf_ended(int pidfd, int timeout, int *status);

/* Sends a signal by pidfd. */
void mf_signal(int pidfd, int number);

#endif
