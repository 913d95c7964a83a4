/* Attached memory: the blocks of malloc's that a library's variables led to when it had just been loaded, and what was in
 * them.  By this it is told whether the program has changed a table that a constructor made: the variable itself doesn't
 * show it.
 *
 * Owns copies of the blocks, up to a bound.  Written once, by the thread that loads the library; then it may be read from
 * any thread.
 */
#ifndef MF_ATTACHED_H
#define MF_ATTACHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mf_attached mf_attached;

/* Of a library that is mapped at [low, high): what lies there isn't malloc's.  NULL: no memory. */
mf_attached *mf_attached_new(uintptr_t low, uintptr_t high);

/* Copies the blocks that begin at any of the words, and all that they lead to.  What finds no room is unknown later. */
void mf_attached_follow(mf_attached *attached, const uint64_t *words, size_t count);

typedef enum mf_attachment { MF_ATTACHED_SAME, MF_ATTACHED_CHANGED, MF_ATTACHED_UNKNOWN } mf_attachment;

/* Whether the block that an address lies in, and all that it leads to, is as it was. */
mf_attachment mf_attached_state(const mf_attached *attached, uint64_t address);

void mf_attached_free(mf_attached *attached);

#endif
