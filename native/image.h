/* One version's code in this process's memory: a private copy, mapped under a name that is used once.
 *
 * Guarantees:
 * - The bytes that were checked are the bytes that get mapped: they are copied once, before the check, and nobody else
 *   can write to the copy.
 * - Nothing done to any file afterwards touches a loaded image.
 * - An image is said to be unmapped only after the kernel's map of this process shows it.
 * - A failed open leaves no mapping, no descriptor and no file behind.
 *
 * Opening and closing run constructors and destructors of the library: hold no lock that they could want.  Different
 * images may be used from different threads at once; one image by one thread at a time (the caller sees to that), but
 * for mf_image_symbol.
 */
#ifndef MF_IMAGE_H
#define MF_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attached.h"
#include "call.h"
#include "crash_note.h"
#include "failure.h"
#include "wrapper.h"

typedef struct mf_image mf_image;

/* A crash of a constructor, and where its library is; it stays mapped. */
typedef struct mf_image_crash {
    mf_crash crash;
    uintptr_t base, low, high;
} mf_image_crash;

typedef struct mf_image_facts {
    uintptr_t base, low, high;
    size_t uniques_rewritten;
    bool nodelete;          /* DF_1_NODELETE: the loader will never unmap it */
    bool exit_handlers;     /* it calls on_exit, whose functions can't be taken back: it is never closed */
    bool thread_destructors; /* it uses thread_local variables with destructors */
} mf_image_facts;

typedef struct mf_image_options {
    const char *path; /* where to put the private copy; as mf_copy_make wants it.  NULL: a sealed memfd */
    const char *name; /* a name for people: the memfd's, in messages */
    bool lazy;        /* resolve functions at their first call, not all of them now */
    bool (*before_load)(void); /* called when the copy is made and nothing of the library has run; false: give up */
    void (*mapped)(const mf_image_facts *facts); /* called when it is mapped and has its place, before its constructors; or NULL */
    const mf_wrapper *bindings; /* what undefined symbols (functions, data) are bound to; ended by a NULL symbol; or NULL */
    mf_image_crash *crash; /* not NULL: constructors and destructors are guarded; of MF_CONSTRUCTOR_CRASHED */
    bool sealed; /* the private copy is a sealed memfd also where there is a path: the path leads to it then */
    uint64_t line; /* its number in crash_record.h; 0: none */
} mf_image_options;

/* Checks, copies, maps and constructs.  NULL on failure, told through `failure` (kind MF_CONSTRUCTOR: `thrown` says
 * what was thrown). */
mf_image *mf_image_open(const mf_image_options *options, const void *bytes, size_t size, mf_failure *failure,
                        mf_exception_text *thrown);

void mf_image_get_facts(const mf_image *image, mf_image_facts *facts);

/* The path under which the loader knows it. */
const char *mf_image_path(const mf_image *image);

/* The address of an exported symbol that lies in this image itself; 0 where there is none. */
uintptr_t mf_image_symbol(const mf_image *image, const char *name);

/* Whether any of `size` bytes at a link-time address is another than when the library's constructors had run.
 * Precondition: it isn't closed. */
bool mf_image_changed(const mf_image *image, uint64_t address, uint64_t size);

enum { MF_IMAGE_TEXT = 512 }; /* room for what the two below have to say */

/* Says which threads the library has started that are alive, "" if there are none; returns how many. */
size_t mf_image_threads(const mf_image *image, char *text, size_t size);

/* Whether memory of malloc's that a variable led to then is as it was. */
mf_attachment mf_image_attached(const mf_image *image, uint64_t address);

/* Whether something that the library left behind points into it (a thread, a signal handler): closing it now would
 * crash the process later.  Says what in `text`. */
bool mf_image_is_held(const mf_image *image, char *text, size_t size);

/* What its destructors crashed with, where they are guarded and have been run; its signal is 0 if they didn't. */
const mf_crash *mf_image_crash_at_close(const mf_image *image);

/* Closes it, or tries again on one that stayed mapped; returns whether the memory map shows that it is gone.  While
 * mf_image_is_held, don't call this. */
bool mf_image_close(mf_image *image);

/* Frees the record.  An image that is still mapped stays so. */
void mf_image_free(mf_image *image);

#endif
