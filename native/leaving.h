/* Whether a crashed function can be left by a jump without doing more harm than the crash has done.
 *
 * It can't where a lock would stay locked for ever that the whole program needs: the C library's heap, its streams, the
 * loader; nor where Python's own code is in between.  Of the C library only functions that take no lock can be left: they
 * are known by name, and looked up beforehand.  What locks a library has of its own isn't known here.
 */
#ifndef MF_LEAVING_H
#define MF_LEAVING_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Looks up what a handler can't.  May be called again. */
void mf_leaving_prepare(void);

/* Whether all functions between the crash and the innermost guarded call can be left; also where the stack is so broken that
 * they can't be told. */
bool mf_may_leave(const siginfo_t *info, void *context);

/* Whether an address is in Python itself. */
bool mf_is_python(uintptr_t place);

#endif
