/* The record of this process's crash in the code of a version, in a mapped file that is read when the program starts again.
 *
 * A crash is a version's if its code is the innermost that isn't a library's that it calls: in a call of a function of its, or
 * in a thread that it has started.  Where Python is in between (a callback), it isn't.
 *
 * Guarantees:
 * - It is written by plain stores, from a signal handler; then the crash goes on as if nobody had looked.
 * - In a fork's child nothing is written to its parent's record: it begins its own, with the same versions in it.
 * - Versions may come and go in any thread.
 */
#ifndef MF_CRASH_RECORD_H
#define MF_CRASH_RECORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "crash_note.h"

#define MF_RECORD_MAGIC UINT64_C(0x3152434552464d00)

enum { MF_RECORD_PLACES = 1024 };

/* Where a version is. */
typedef struct mf_record_place {
    _Atomic uint64_t low; /* 0: nothing is here */
    uint64_t high, base, line;
} mf_record_place;

typedef struct mf_record {
    uint64_t magic;
    _Atomic uint32_t claimed; /* a crash is being written, or has been */
    uint32_t written;
    int64_t crashed_at, ended_at; /* nanoseconds of the clock on the wall; 0: not so */
    uint64_t line, base, low, high; /* of the version that has crashed; `line` is the owner's number of it */
    mf_crash crash;
    _Alignas(4096) mf_record_place places[MF_RECORD_PLACES];
} mf_record;

/* From now on a crash is written to `record`, which is all 0; NULL: nowhere. */
bool mf_record_begin(mf_record *record);

/* The program ends as it should. */
void mf_record_end(void);

/* A version's code is there; where there is no room it goes unrecorded.  And: it is gone. */
void mf_record_add(uint64_t base, uint64_t low, uint64_t high, uint64_t line);
void mf_record_remove(uint64_t low);

/* Asked where the stack tells nothing: an address in the function that this thread has called, or 0.  Set once, or NULL. */
extern uintptr_t (*mf_record_called)(void);

#endif
