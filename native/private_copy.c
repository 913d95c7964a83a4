/* See private_copy.h. */
#include "private_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
write_all(int file, const uint8_t *bytes, size_t size)
{
    while (size != 0) {
        ssize_t written = write(file, bytes, size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        bytes += written;
        size -= (size_t)written;
    }
    return true;
}

static mf_failure_kind
write_file(const char *path, const uint8_t *bytes, size_t size, mf_failure *failure)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (file < 0) {
        return mf_fail(failure, MF_SYSTEM, "the private copy %s can't be made: %s", path, strerror(errno));
    }
    if (!write_all(file, bytes, size)) {
        mf_fail(failure, MF_SYSTEM, "the private copy %s can't be written: %s", path, strerror(errno));
        close(file);
        unlink(path);
        return MF_SYSTEM;
    }
    if (close(file) != 0) { /* some file systems tell only now that there is no room */
        mf_fail(failure, MF_SYSTEM, "the private copy %s can't be written: %s", path, strerror(errno));
        unlink(path);
        return MF_SYSTEM;
    }
    return MF_OK;
}

/* glibc takes two equal names for the same library, and /proc/self/fd/7 may have been another file before.  Paths that
 * mean the same but are spelled by a number that is never used twice ("/" for a 0 bit, "/." for a 1) can't be mixed up. */
static void
spell_memfd_path(char *text, int file)
{
    static atomic_ulong counter;
    unsigned long number = atomic_fetch_add(&counter, 1);
    text += sprintf(text, "/proc/self");
    for (; number != 0; number >>= 1) {
        text += sprintf(text, (number & 1) != 0 ? "/." : "/");
    }
    sprintf(text, "/fd/%d", file);
}

enum { MEMFD_PATH_SIZE = 10 + 2 * 64 + 4 + 12, SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

/* A library is mapped, never run as a program: kernels since 6.3 make sure of that, and may ask that it is said. */
static int
open_memfd(const char *name)
{
    int file = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    return file >= 0 || errno != EINVAL ? file : memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

/* Before it was sealed, another program of this user's could have written to it, by way of /proc. */
static bool
holds(int file, const uint8_t *bytes, size_t size)
{
    void *view = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (view == MAP_FAILED) {
        return false;
    }
    bool same = lseek(file, 0, SEEK_END) == (off_t)size && memcmp(view, bytes, size) == 0;
    munmap(view, size);
    if (!same) {
        errno = EBUSY;
    }
    return same;
}

static int
make_memfd(const char *name, const uint8_t *bytes, size_t size, mf_failure *failure)
{
    int file = open_memfd(name);
    if (file < 0 || !write_all(file, bytes, size) || fcntl(file, F_ADD_SEALS, SEALS) != 0 || !holds(file, bytes, size)) {
        mf_fail(failure, MF_SYSTEM, "the private copy in memory can't be made: %s", strerror(errno));
        if (file >= 0) {
            close(file);
        }
        return -1;
    }
    return file;
}

/* How the memory map names it, which is told apart from all others by how it begins and ends. */
static char *
make_label(const char *path, bool sealed, const char *name)
{
    char *label = NULL;
    if (path != NULL && !sealed) {
        label = strdup(path);
    } else if (asprintf(&label, "/memfd:%s (deleted)", name) < 0) {
        label = NULL;
    }
    return label;
}

/* Makes the memfd, and the link to it that is wanted. */
static mf_failure_kind
seal(mf_copy *copy, const char *link, const char *name, const uint8_t *bytes, size_t size, mf_failure *failure)
{
    char memfd_path[MEMFD_PATH_SIZE];
    copy->memfd = make_memfd(name, bytes, size, failure);
    if (copy->memfd < 0) {
        return failure->kind;
    }
    spell_memfd_path(memfd_path, copy->memfd);
    if (link != NULL && symlink(memfd_path, link) != 0) {
        return mf_fail(failure, MF_SYSTEM, "the link %s to the private copy can't be made: %s", link, strerror(errno));
    }
    copy->path = strdup(link != NULL ? link : memfd_path);
    return MF_OK;
}

static mf_failure_kind
make(mf_copy *copy, const char *path, bool sealed, const char *name, const uint8_t *bytes, size_t size,
     mf_failure *failure)
{
    if (path != NULL && !sealed) {
        if (write_file(path, bytes, size, failure) != MF_OK) {
            return failure->kind;
        }
        copy->path = strdup(path);
    } else if (seal(copy, path, name, bytes, size, failure) != MF_OK) {
        return failure->kind;
    }
    copy->label = make_label(path, sealed, name);
    if (copy->path != NULL && copy->label != NULL) {
        return MF_OK;
    }
    if (path != NULL) {
        unlink(path);
    }
    return mf_fail(failure, MF_SYSTEM, "the private copy can't be named: %s", strerror(errno));
}

mf_failure_kind
mf_copy_make(mf_copy *copy, const char *path, bool sealed, const char *name, const void *bytes, size_t size,
             mf_failure *failure)
{
    *copy = (mf_copy){NULL, NULL, -1};
    if (make(copy, path, sealed, name, bytes, size, failure) != MF_OK) {
        free(copy->path);
        free(copy->label);
        mf_copy_opened(copy);
    }
    return failure->kind;
}

void
mf_copy_opened(mf_copy *copy)
{
    if (copy->memfd >= 0) {
        close(copy->memfd);
        copy->memfd = -1;
    }
}
