/* What the system itself needs for a reload: dlopen, dlsym and dlclose of one file, `count` times.
 * Prints the nanoseconds of each. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

int
main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: reload library symbol count\n");
        return 2;
    }
    for (long left = atol(argv[3]); left > 0; left--) {
        long start = now();
        void *handle = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (handle == NULL || dlsym(handle, argv[2]) == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        dlclose(handle);
        printf("%ld\n", now() - start);
    }
    return 0;
}
