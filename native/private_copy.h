/* The copy of a library's bytes that the loader is given: a file that nobody else writes to, or a sealed memfd, under a
 * path that is never used twice.  Safe from any thread. */
#ifndef MF_PRIVATE_COPY_H
#define MF_PRIVATE_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

typedef struct mf_copy {
    char *path;  /* for the loader; the caller frees it */
    char *label; /* how the memory map names it; the caller frees it */
    int memfd;
} mf_copy;

/* Makes the file `path`, which must not exist, and must be absolute and free of symbolic links: the memory map is
 * searched for it as it stands.  With NULL, a sealed memfd called `name`.  With a path and `sealed`, such a memfd, and
 * at `path` a symbolic link to it: for a library that looks for others beside itself.  Nothing is left behind when it
 * fails (kind MF_SYSTEM). */
mf_failure_kind mf_copy_make(mf_copy *copy, const char *path, bool sealed, const char *name, const void *bytes,
                             size_t size, mf_failure *failure);

/* Once the loader has opened it, or has refused to. */
void mf_copy_opened(mf_copy *copy);

#endif
