/* See leaving.h. */
#include "leaving.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "crash_frames.h"
#include "entry.h"
#include "guard.h"

/* Functions of the C library that take no lock, whatever they are given. */
static const char *const LOCK_FREE[] = {
    "memcpy", "memmove", "mempcpy", "memset", "memcmp", "bcmp", "__memcmpeq", "memchr", "memrchr", "rawmemchr", "memmem",
    "memccpy", "memfrob", "bcopy", "bzero", "explicit_bzero", "swab", "__memcpy_chk", "__memmove_chk", "__mempcpy_chk",
    "__memset_chk", "strlen", "strnlen", "strcpy", "strncpy", "stpcpy", "stpncpy", "strcat", "strncat", "strcmp", "strncmp",
    "strcasecmp", "strncasecmp", "strcasecmp_l", "strncasecmp_l", "strchr", "strrchr", "strchrnul", "index", "rindex",
    "strstr", "strcasestr", "strspn", "strcspn", "strpbrk", "strtok", "strtok_r", "__strtok_r", "strsep", "strverscmp",
    "__strcpy_chk", "__stpcpy_chk", "__strncpy_chk", "__strcat_chk", "__strncat_chk", "wcslen", "wcsnlen", "wcscpy",
    "wcsncpy", "wcpcpy", "wcscat", "wcsncat", "wcscmp", "wcsncmp", "wcschr", "wcsrchr", "wcsstr", "wcsspn", "wcscspn",
    "wcspbrk", "wmemcpy", "wmemmove", "wmempcpy", "wmemset", "wmemcmp", "wmemchr", "strtol", "strtoul", "strtoll",
    "strtoull", "__isoc23_strtol", "__isoc23_strtoul", "__isoc23_strtoll", "__isoc23_strtoull", "strtod", "strtof",
    "strtold", "atoi", "atol", "atoll", "atof", "bsearch", "qsort", "qsort_r", "lfind", "lsearch", "longjmp", "_longjmp",
    "siglongjmp", "__longjmp_chk", "abort", "raise", "gsignal", "__assert_fail", "__assert_perror_fail", "__assert",
    "__stack_chk_fail", "__chk_fail", "__fortify_fail",
};
enum { FUNCTIONS = sizeof LOCK_FREE / sizeof *LOCK_FREE, MOST_RANGES = 16 };

typedef enum kind { C_LIBRARY, OURS, PYTHON, NEVER } kind;

typedef struct range {
    uintptr_t low, high;
    kind kind;
} range;

static uintptr_t functions[FUNCTIONS]; /* written before the first range is */
static range ranges[MOST_RANGES];
static _Atomic size_t range_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- beforehand ------------------------------------------------------------------------------------------------------ */

static void
add_range(uintptr_t low, uintptr_t high, kind kind)
{
    size_t count = atomic_load(&range_count);
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].low == low && ranges[i].high == high) {
            return;
        }
    }
    if (count < MOST_RANGES) {
        ranges[count] = (range){low, high, kind};
        atomic_store(&range_count, count + 1);
    }
}

/* The addresses that only some objects have. */
typedef struct marks {
    uintptr_t c_library, python, here;
} marks;

static bool
is_named(const struct dl_phdr_info *object, const char *part)
{
    return object->dlpi_name != NULL && strstr(object->dlpi_name, part) != NULL;
}

static int
look_at(struct dl_phdr_info *object, size_t size, void *data)
{
    const marks *known = data;
    uintptr_t low = UINTPTR_MAX, high = 0;
    (void)size;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD) {
            low = start < low ? start : low;
            high = start + part->p_memsz > high ? start + part->p_memsz : high;
        }
    }
    if ((known->c_library >= low && known->c_library < high) || is_named(object, "/libpthread.so")) {
        add_range(low, high, C_LIBRARY);
    } else if (known->here >= low && known->here < high && object->dlpi_name[0] == '/') {
        add_range(low, high, OURS);
    } else if (known->python >= low && known->python < high) {
        add_range(low, high, PYTHON);
    } else if (is_named(object, "/ld-linux") || is_named(object, "/_ctypes.") || is_named(object, "/libffi.so")) {
        add_range(low, high, NEVER);
    }
    return 0;
}

void
mf_leaving_prepare(void)
{
    void *library = atomic_load(&range_count) == 0 ? dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD) : NULL;
    marks known = {.here = (uintptr_t)mf_guard_call, .python = (uintptr_t)dlsym(RTLD_DEFAULT, "Py_IsInitialized")};
    if (library == NULL) {
        return; /* it is done; or nothing can be told, see mf_may_leave */
    }
    pthread_mutex_lock(&lock);
    known.c_library = (uintptr_t)dlsym(library, "abort");
    for (size_t i = 0; i < FUNCTIONS; i++) {
        functions[i] = (uintptr_t)dlsym(library, LOCK_FREE[i]); /* of several implementations, the one for this processor */
    }
    dl_iterate_phdr(look_at, &known);
    pthread_mutex_unlock(&lock);
    dlclose(library);
}

/* ---- in the handler --------------------------------------------------------------------------------------------------- */

static const range *
range_of(uintptr_t place)
{
    size_t count = atomic_load(&range_count);
    for (size_t i = 0; i < count; i++) {
        if (place >= ranges[i].low && place < ranges[i].high) {
            return &ranges[i];
        }
    }
    return NULL;
}

static bool
takes_no_lock(uintptr_t function)
{
    for (size_t i = 0; function != 0 && i < FUNCTIONS; i++) {
        if (functions[i] == function) {
            return true;
        }
    }
    return false;
}

/* Of functions of the C library that call each other the outermost counts: it is known by name, and the others aren't.
 * Ours are either what called the library, next to the guard, or what it called (its heap): `ours` until that is known. */
typedef struct verdict {
    uintptr_t outermost; /* of the C library's functions seen last; 0: it was another's */
    bool inside, ours, refused, sent;
    size_t seen;
} verdict;

static void
leave_c_library(verdict *self)
{
    self->refused = self->refused || (self->inside && !takes_no_lock(self->outermost));
    self->inside = false;
}

static bool
judge(const mf_frame *frame, void *data)
{
    verdict *self = data;
    const range *found = range_of(frame->place);
    bool first = self->seen++ == 0;
    if (frame->function == (uintptr_t)mf_guard_call || frame->function == (uintptr_t)mf_guard_call_through) {
        return false;
    }
    if (found != NULL && found->kind == C_LIBRARY) {
        self->inside = true;
        self->outermost = frame->function;
        return true;
    }
    leave_c_library(self);
    if (found != NULL && found->kind == OURS) {
        self->ours = self->ours || frame->function != (uintptr_t)mf_entry_common;
        return !self->refused;
    }
    self->refused = self->refused || self->ours;
    /* raise() is the C library's; what another thread has sent may come anywhere. */
    self->refused = self->refused || found != NULL || (first && self->sent);
    return !self->refused;
}

bool
mf_may_leave(const siginfo_t *info, void *context)
{
    verdict self = {.sent = info->si_code <= 0};
    if (atomic_load(&range_count) == 0) {
        return false;
    }
    mf_crash_walk(info, context, judge, &self);
    leave_c_library(&self);
    return !self.refused;
}

bool
mf_is_python(uintptr_t place)
{
    const range *found = range_of(place);
    return found != NULL && found->kind == PYTHON;
}
