#include "reload.h"

#include <dlfcn.h>
#include <stddef.h>
#include <time.h>

static long
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

int
reload(const char *library, const char *symbol, long *nanoseconds, long count)
{
    for (long i = 0; i < count; i++) {
        long start = now();
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        if (handle == NULL || dlsym(handle, symbol) == NULL) {
            return -1;
        }
        dlclose(handle);
        nanoseconds[i] = now() - start;
    }
    return 0;
}
