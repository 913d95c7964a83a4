/* The unwinder that is at work: libgcc's, for every library that g++ made.
 *
 * Its accessors must be its own; a static copy of another unwinder in this file would read its context wrongly.
 * Owns nothing.  May be called from anywhere, also while something is being unwound.
 */
#ifndef MF_UNWINDER_H
#define MF_UNWINDER_H

#include <unwind.h>

typedef struct mf_unwinder {
    void (*set_register)(struct _Unwind_Context *, int, _Unwind_Word);
    void (*set_ip)(struct _Unwind_Context *, _Unwind_Ptr);
    void (*delete_exception)(struct _Unwind_Exception *);
    void (*resume)(struct _Unwind_Exception *);
} mf_unwinder;

/* All NULL where nothing can have been thrown: it isn't loaded. */
mf_unwinder mf_find_unwinder(void);

#endif
