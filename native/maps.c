/* See maps.h. */
#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, FEW_PAGES = 64, CHUNK = 1 << 14 };

/* mincore answers ENOMEM exactly for addresses that aren't mapped: for a small image a few such questions cost less
 * than reading the whole map. */
static bool
all_unmapped(uintptr_t low, uintptr_t high)
{
    unsigned char resident;
    for (uintptr_t page = low; page < high; page += PAGE) {
        if (mincore((void *)page, PAGE, &resident) == 0 || errno != ENOMEM) {
            return false;
        }
    }
    return true;
}

static bool
contains(const char *text, size_t size, const char *name)
{
    return memmem(text, size, name, strlen(name)) != NULL;
}

/* Reads /proc/self/maps in chunks that overlap by the name's length, so that a name cut in two is found. */
static bool
map_names(const char *name)
{
    char buffer[CHUNK];
    size_t keep = strlen(name), filled = 0;
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return true;
    }
    for (;;) {
        ssize_t got = read(file, buffer + filled, sizeof buffer - filled);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            close(file);
            return got < 0;
        }
        filled += (size_t)got;
        if (contains(buffer, filled, name)) {
            close(file);
            return true;
        }
        if (filled > keep) {
            memmove(buffer, buffer + filled - keep, keep);
            filled = keep;
        }
    }
}

bool
mf_maps_hold(uintptr_t low, uintptr_t high, const char *name)
{
    if (high - low <= (uintptr_t)FEW_PAGES * PAGE && all_unmapped(low, high)) {
        return false;
    }
    return map_names(name);
}

bool
mf_maps_writable(mf_maps_visit *visit, void *closure)
{
    FILE *file = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t room = 0;
    if (file == NULL) {
        return false;
    }
    while (getline(&line, &room, file) > 0) {
        unsigned long low, high;
        char may_read, may_write;
        if (sscanf(line, "%lx-%lx %c%c", &low, &high, &may_read, &may_write) == 4 && may_write == 'w') {
            visit(closure, low, high);
        }
    }
    bool whole = feof(file) != 0;
    free(line);
    fclose(file);
    return whole;
}
