/* Foreign memory: the program's own, but nobody has told us that it is there.
 *
 * A pointer that is followed may point to anything.  So it is the kernel that reads and writes: where nothing is mapped it
 * says so, and the program lives on.  Owns nothing; safe from any thread.
 */
#ifndef MF_FOREIGN_H
#define MF_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MF_MOST_PIECES = 64 };

typedef struct mf_piece {
    uint64_t address;
    void *bytes; /* ours */
    uint64_t size;
    bool done;   /* the answer: all of it was there */
} mf_piece;

/* At most MF_MOST_PIECES.  False: the kernel doesn't let us ask (a sandbox); then nothing is done. */
bool mf_foreign_read(mf_piece *pieces, size_t count);
bool mf_foreign_write(mf_piece *pieces, size_t count);

/* How many bytes from each address on are one block of glibc's malloc's, if it is the start of one; 0: it isn't. */
bool mf_foreign_blocks(const uint64_t *addresses, uint64_t *sizes, size_t count);

#endif
