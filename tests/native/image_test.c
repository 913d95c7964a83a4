/* Would catch: an image that stays mapped, a stale library under a new name, a thread or handler that isn't noticed, a
 * file or descriptor left behind. */
#include "image.h"

#include <dirent.h>
#include <pthread.h>
#include <string.h>
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
    mf_image_options options = {in_memory ? NULL : path, name, false};
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
    char why[200];
    CHECK(!mf_image_is_held(image, why, sizeof why));
    CHECK(call(image, "start_threads") == 0);
    CHECK(mf_image_is_held(image, why, sizeof why));
    CHECK(strstr(why, "2 threads") != NULL);
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
    return 0;
}
