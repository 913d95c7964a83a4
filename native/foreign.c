/* See foreign.h. */
#include "foreign.h"

#include <errno.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

typedef ssize_t transfer(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
                         unsigned long);

/* The kernel goes on until a piece fails; then we go on behind that. */
static bool
pass(transfer *transfer, mf_piece *pieces, size_t count)
{
    struct iovec ours[MF_MOST_PIECES], theirs[MF_MOST_PIECES];
    for (size_t i = 0; i < count; i++) {
        ours[i] = (struct iovec){pieces[i].bytes, pieces[i].size};
        theirs[i] = (struct iovec){(void *)(uintptr_t)pieces[i].address, pieces[i].size};
        pieces[i].done = false;
    }
    for (size_t next = 0; next < count; next++) {
        ssize_t passed = transfer(getpid(), ours + next, count - next, theirs + next, count - next, 0);
        if (passed < 0 && errno != EFAULT && errno != EINVAL && errno != ENOMEM) {
            return false;
        }
        uint64_t left = passed > 0 ? (uint64_t)passed : 0;
        while (next < count && left >= pieces[next].size && passed >= 0) {
            left -= pieces[next].size;
            pieces[next++].done = true;
        }
    }
    return true;
}

bool
mf_foreign_read(mf_piece *pieces, size_t count)
{
    return pass(process_vm_readv, pieces, count);
}

bool
mf_foreign_write(mf_piece *pieces, size_t count)
{
    return pass(process_vm_writev, pieces, count);
}

/* ---- glibc's malloc ---------------------------------------------------------------------------------------------------- */

/* A word before each block has its size with that word, in its upper bits, and flags. */
enum { HEADER = 8, ALIGNMENT = 16, SMALLEST = 32, IN_USE_BEFORE = 1, OWN_MAPPING = 2, FLAGS = 7, PAGE = 4096 };

static bool
read_words(const uint64_t *addresses, uint64_t *words, bool *there, size_t count)
{
    mf_piece pieces[MF_MOST_PIECES];
    for (size_t i = 0; i < count; i++) {
        pieces[i] = (mf_piece){addresses[i], &words[i], sizeof words[i], false};
    }
    bool asked = mf_foreign_read(pieces, count);
    for (size_t i = 0; i < count; i++) {
        there[i] = pieces[i].done;
    }
    return asked;
}

static bool
plausible(uint64_t header)
{
    uint64_t size = header & ~(uint64_t)FLAGS;
    return size >= SMALLEST && size % ALIGNMENT == 0 && size < UINT64_C(1) << 40;
}

/* Anything may lie before an address that isn't malloc's, so one word's word isn't enough: the header of the block behind
 * has to say that this one is in use. */
bool
mf_foreign_blocks(const uint64_t *addresses, uint64_t *sizes, size_t count)
{
    uint64_t headers[MF_MOST_PIECES], behind[MF_MOST_PIECES], where[MF_MOST_PIECES];
    bool there[MF_MOST_PIECES], there_behind[MF_MOST_PIECES];
    for (size_t i = 0; i < count; i++) {
        where[i] = addresses[i] - HEADER;
    }
    if (!read_words(where, headers, there, count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        there[i] = there[i] && addresses[i] % ALIGNMENT == 0 && plausible(headers[i]);
        where[i] = there[i] ? addresses[i] - HEADER + (headers[i] & ~(uint64_t)FLAGS) : 0;
    }
    if (!read_words(where, behind, there_behind, count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t size = headers[i] & ~(uint64_t)FLAGS;
        sizes[i] = 0;
        if (there[i] && (headers[i] & OWN_MAPPING) != 0) { /* alone in whole pages, and two words are its own */
            sizes[i] = (addresses[i] - 2 * HEADER) % PAGE == 0 && size % PAGE == 0 ? size - 2 * HEADER : 0;
        } else if (there[i] && there_behind[i] && (behind[i] & IN_USE_BEFORE) != 0 && (behind[i] & ~(uint64_t)FLAGS) != 0) {
            sizes[i] = size - HEADER;
        }
    }
    return true;
}
