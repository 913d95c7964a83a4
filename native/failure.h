/* A failure as a value: which kind, and one sentence.  Owns nothing; the text lives in the struct. */
#ifndef MF_FAILURE_H
#define MF_FAILURE_H

#include <stdarg.h>
#include <stdio.h>

typedef enum mf_failure_kind {
    MF_OK = 0,
    MF_BAD_LIBRARY,   /* the bytes aren't a shared library that can be loaded safely */
    MF_WRONG_MACHINE, /* a shared library for another processor or word size */
    MF_LOAD_FAILED,   /* the loader's own refusal, in its words */
    MF_CONSTRUCTOR,   /* a constructor raised a C++ exception */
    MF_SYSTEM,        /* a system call failed: no space, no permission */
    MF_CONSTRUCTOR_CRASHED, /* a constructor crashed, behind the guard */
} mf_failure_kind;

typedef struct mf_failure {
    mf_failure_kind kind;
    char text[512];
} mf_failure;

/* Records the failure and returns its kind, so that a caller can `return mf_fail(...)`. */
__attribute__((format(printf, 3, 4))) static inline mf_failure_kind
mf_fail(mf_failure *failure, mf_failure_kind kind, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    failure->kind = kind;
    vsnprintf(failure->text, sizeof failure->text, format, values);
    va_end(values);
    return kind;
}

#endif
