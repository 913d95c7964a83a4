/* The same in a program of its own, with nothing else loaded: reload_program library symbol count.
 * Prints the nanoseconds of each reload. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "reload.h"

int
main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: reload_program library symbol count\n");
        return 2;
    }
    long count = atol(argv[3]);
    long *nanoseconds = calloc((size_t)count, sizeof *nanoseconds);
    if (nanoseconds == NULL || reload(argv[1], argv[2], nanoseconds, count) != 0) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    for (long i = 0; i < count; i++) {
        printf("%ld\n", nanoseconds[i]);
    }
    return 0;
}
