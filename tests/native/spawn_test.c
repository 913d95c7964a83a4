/* Would catch: a status that is lost, descriptors that a child has by mistake, a shared block at an address that was used. */
#include "spawn.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "link.h"
#include "shared.h"

static char *environment[] = {"PATH=/bin:/usr/bin", NULL};

static int
run(const char *path, char *const *arguments, const int *given, size_t count, int *pidfd)
{
    mf_failure failure;
    pid_t pid = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(file >= 0);
    mf_program program = {file, arguments, environment, given, count, NULL};
    mf_spawn(&program, &pid, pidfd, &failure);
    close(file);
    return failure.kind == MF_OK ? pid : -1;
}

static int
status_of(const char *path, char *const *arguments)
{
    int pidfd, status = -2;
    CHECK(run(path, arguments, NULL, 0, &pidfd) > 0);
    CHECK(mf_ended(pidfd, -1, &status));
    close(pidfd);
    return status;
}

static void
test_status(void)
{
    char *nothing[] = {"true", NULL}, *three[] = {"sh", "-c", "exit 3", NULL}, *die[] = {"sh", "-c", "kill -9 $$", NULL};
    CHECK(status_of("/bin/true", nothing) == 0);
    CHECK(WEXITSTATUS(status_of("/bin/sh", three)) == 3);
    CHECK(WTERMSIG(status_of("/bin/sh", die)) == SIGKILL);
}

static void
test_timeout_and_kill(void)
{
    int ends[2], pidfd, status;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    char *read_it[] = {"sh", "-c", "read word <&3", NULL};
    CHECK(run("/bin/sh", read_it, &ends[0], 1, &pidfd) > 0);
    CHECK(!mf_ended(pidfd, 20, &status));
    CHECK(!mf_await_end(pidfd, 0));
    mf_signal(pidfd, SIGKILL);
    CHECK(mf_await_end(pidfd, -1));
    CHECK(mf_ended(pidfd, -1, &status) && WTERMSIG(status) == SIGKILL);
    CHECK(mf_ended(pidfd, -1, &status) && status == -1);
    CHECK(waitpid(-1, &status, WNOHANG) == -1);
    close(pidfd);
    close(ends[0]);
    close(ends[1]);
}

/* It has 0, 1, 2 and what it is given, at 3 and 4, and nothing else but what the shell itself opens. */
static void
test_descriptors(void)
{
    int ends[2], many[32], pidfd, status;
    char text[100] = {0};
    CHECK(pipe(ends) == 0);
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        many[i] = dup(0);
    }
    const int given[] = {-1, ends[1]};
    char *words[] = {"sh", "-c", "for f in 3 4 5 6 7 20 30; do [ -e /proc/self/fd/$f ] && printf '%s ' $f >&4; done", NULL};
    CHECK(run("/bin/sh", words, given, 2, &pidfd) > 0);
    CHECK(mf_ended(pidfd, -1, &status));
    close(ends[1]);
    CHECK(read(ends[0], text, sizeof text - 1) > 0);
    CHECK(strstr(text, "4 ") != NULL && strstr(text, "3 ") == NULL && strstr(text, "20") == NULL && strstr(text, "6") == NULL);
    close(ends[0]);
    close(pidfd);
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        close(many[i]);
    }
}

static void
test_what_is_no_program(void)
{
    char *words[] = {"nothing", NULL};
    int pidfd;
    CHECK(run("/dev/null", words, NULL, 0, &pidfd) == -1);
}

static void
test_shared_blocks(void)
{
    mf_failure failure;
    mf_shared *one = mf_shared_new(10000, &failure), *other = mf_shared_new(1, &failure);
    CHECK(one != NULL && other != NULL && one->number != other->number);
    char *memory = one->memory, *old = other->memory;
    CHECK(one->size == 12288 && mf_shared_zone((uintptr_t)memory));
    CHECK(mf_shared_find(memory, 12288) == one && mf_shared_find(memory + 5000, 100) == one);
    CHECK(mf_shared_find(memory, 12289) == NULL && mf_shared_find(memory + 12288, 1) == NULL);
    CHECK(mf_shared_find(memory - 1, 1) == NULL && mf_shared_find(&failure, 1) == NULL);
    memory[12287] = 1;
    mf_shared_free(other);
    CHECK(mf_shared_find(old, 1) == NULL);
    for (int i = 0; i < 1000; i++) {
        CHECK(mf_shared_place(1 << 20) != old);
    }
    mf_shared_free(one);
    CHECK(mf_shared_new((size_t)1 << 60, &failure) == NULL && failure.kind == MF_SYSTEM);
}

/* A program that isn't a worker: it ends, and whoever waits for it is told. */
static void
test_a_link_to_what_never_gets_ready(void)
{
    mf_failure failure;
    char *words[] = {"true", NULL};
    int file = open("/bin/true", O_RDONLY | O_CLOEXEC);
    mf_link_options options = {file, -1, words, environment, 2, 1, 1 << 20};
    mf_link *link = mf_link_start(&options, &failure);
    CHECK(link != NULL);
    CHECK(mf_link_ready(link, 0, &failure) == MF_SYSTEM);
    CHECK(mf_link_gone(link, -1) && mf_link_status(link) == 0);
    mf_ride ride;
    CHECK(!mf_ride_begin(&ride, link, 0));
    mf_link_drop(mf_link_hold(link));
    mf_link_drop(link);
    close(file);
}

int
main(void)
{
    test_status();
    test_timeout_and_kill();
    test_descriptors();
    test_what_is_no_program();
    test_shared_blocks();
    test_a_link_to_what_never_gets_ready();
    return 0;
}
