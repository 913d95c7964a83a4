/* Would catch: an image that stays mapped, a stale library under a new name, a thread or handler that isn't noticed, a
 * file or descriptor left behind. */
#include "image.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static const char *directory;

static mf_image *
open_image(const char *library, bool in_memory)
{
    static int number;
    char path[4096], name[64];
    size_t size;
    unsigned char *bytes = read_file(directory, library, &size);
    mf_failure failure;
    mf_exception_text thrown;
    snprintf(path, sizeof path, "%s/private-%d.so", directory, number);
    snprintf(name, sizeof name, "test:%d", number++);
    mf_image_options options = {.path = in_memory ? NULL : path, .name = name};
    mf_image *image = mf_image_open(&options, bytes, size, &failure, &thrown);
    free(bytes);
    if (image == NULL) {
        fprintf(stderr, "%s\n", failure.text);
    }
    return image;
}

static int
call(const mf_image *image, const char *name)
{
    int (*function)(void) = (int (*)(void))mf_image_symbol(image, name);
    CHECK(function != NULL);
    return function();
}

static int
open_descriptors(void)
{
    int count = 0;
    DIR *listing = opendir("/proc/self/fd");
    while (readdir(listing) != NULL) {
        count++;
    }
    closedir(listing);
    return count;
}

static void
test_load_and_unload(bool in_memory)
{
    int before = open_descriptors();
    for (int i = 0; i < 50; i++) {
        mf_image *image = open_image("plain.so", in_memory), *other = open_image("unique.so", in_memory);
        CHECK(image != NULL && other != NULL);
        CHECK(call(image, "answer") == 42);
        CHECK(mf_image_symbol(image, "malloc") == 0); /* another library's */
        CHECK(mf_image_close(image) && mf_image_close(other));
        CHECK(access(mf_image_path(image), F_OK) != 0 || in_memory);
        mf_image_free(image);
        mf_image_free(other);
    }
    CHECK(open_descriptors() == before);
}

static void
test_failed_open(void)
{
    int before = open_descriptors();
    CHECK(open_image("unresolved.so", false) == NULL);
    CHECK(open_image("constructor_throws.so", false) == NULL);
    CHECK(open_image("unresolved.so", true) == NULL);
    CHECK(open_descriptors() == before);
    char path[4096];
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "%s/private-%d.so", directory, i);
        CHECK(access(path, F_OK) != 0);
    }
}

static void
test_threads(void)
{
    mf_image *image = open_image("unique.so", false);
    char why[MF_IMAGE_TEXT];
    CHECK(!mf_image_is_held(image, why, sizeof why) && mf_image_threads(image, why, sizeof why) == 0);
    CHECK(call(image, "start_threads") == 0);
    CHECK(mf_image_is_held(image, why, sizeof why) && mf_image_threads(image, why, sizeof why) == 2);
    while (strstr(why, ") and '") == NULL) { /* one that has hardly started has no number yet */
        sched_yield();
        CHECK(mf_image_is_held(image, why, sizeof why));
    }
    CHECK(strncmp(why, "threads '", 9) == 0 && strstr(why, " that it started") != NULL);
    CHECK(call(image, "end_threads") == 0); /* joins them */
    CHECK(!mf_image_is_held(image, why, sizeof why));
    CHECK(mf_image_close(image));
    mf_image_free(image);
}

static void
test_handler(void)
{
    mf_image *image = open_image("unique.so", false);
    char why[200];
    CHECK(call(image, "install_handler") == 0);
    CHECK(mf_image_is_held(image, why, sizeof why) && strstr(why, "signal") != NULL);
    CHECK(call(image, "remove_handler") == 0);
    CHECK(!mf_image_is_held(image, why, sizeof why));
    CHECK(mf_image_close(image));
    mf_image_free(image);
}

static void *
use_key(void *image)
{
    call(image, "set_key");
    CHECK(mf_image_close(image)); /* the key's destructor is gone with it, and isn't called when this thread ends */
    return NULL;
}

static void
test_key_destructor(void)
{
    mf_image *image = open_image("unique.so", false);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, use_key, image) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    mf_image_free(image);
}

static int begun[2], end[2]; /* pipes */

static void *
use_slow_key(void *image)
{
    int (*function)(int, int) = (int (*)(int, int))mf_image_symbol(image, "set_slow_key");
    CHECK(function != NULL && function(begun[1], end[0]) == 0);
    return NULL;
}

static void
wait_for(int file)
{
    char byte;
    CHECK(read(file, &byte, 1) == 1);
}

static void
test_thread_in_key_destructor(void)
{
    mf_image *image = open_image("unique.so", false);
    char why[200];
    pthread_t thread;
    CHECK(pipe(begun) == 0 && pipe(end) == 0);
    CHECK(pthread_create(&thread, NULL, use_slow_key, image) == 0);
    wait_for(begun[0]);
    CHECK(mf_image_is_held(image, why, sizeof why) && strstr(why, "destructor") != NULL);
    CHECK(!mf_image_close(image)); /* nor is it closed if nobody asked first */
    CHECK(call(image, "answer") == 42);
    CHECK(write(end[1], ".", 1) == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(!mf_image_is_held(image, why, sizeof why));
    CHECK(mf_image_close(image));
    mf_image_free(image);
}

static size_t
mappings_of(const char *name)
{
    char line[4096];
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        count += strstr(line, name) != NULL;
    }
    fclose(maps);
    return count;
}

static size_t
count_threads(void)
{
    size_t count = 0;
    DIR *listing = opendir("/proc/self/task");
    while (readdir(listing) != NULL) {
        count++;
    }
    closedir(listing);
    return count - 2;
}

static void
test_constructor_that_throws_too_late(void)
{
    char text[16];
    size_t threads = count_threads(), mapped = mappings_of("/private-");
    CHECK(pipe(end) == 0);
    snprintf(text, sizeof text, "%d", end[0]);
    CHECK(setenv("LATE_END", text, 1) == 0);
    CHECK(open_image("constructor_late.so", false) == NULL);
    CHECK(mappings_of("/private-") > mapped); /* the thread that it started is in there */
    CHECK(write(end[1], ".", 1) == 1);
    while (count_threads() > threads) {
        sched_yield();
    }
    mf_image *image = open_image("plain.so", false); /* the next load sweeps it */
    CHECK(mf_image_close(image));
    mf_image_free(image);
    CHECK(mappings_of("/private-") == mapped);
}

static void
test_fork(void)
{
    mf_image *image = open_image("unique.so", false);
    char why[200];
    CHECK(call(image, "start_threads") == 0);
    pid_t child = fork();
    if (child == 0) {
        /* Only this thread is here: theirs stayed behind. */
        _exit(!mf_image_is_held(image, why, sizeof why) && mf_image_close(image) ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(access(mf_image_path(image), F_OK) == 0); /* the child left the parent's file alone */
    CHECK(mf_image_is_held(image, why, sizeof why));
    CHECK(call(image, "end_threads") == 0);
    CHECK(mf_image_close(image));
    mf_image_free(image);
}

int
main(int count, char **arguments)
{
    CHECK(count == 2);
    directory = arguments[1];
    test_load_and_unload(false);
    test_load_and_unload(true);
    test_failed_open();
    test_threads();
    test_handler();
    test_key_destructor();
    test_thread_in_key_destructor();
    test_constructor_that_throws_too_late();
    test_fork();
    return 0;
}
