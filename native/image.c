/* See image.h. */
#include "image.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf_file.h"
#include "maps.h"
#include "leftovers.h"

struct mf_image {
    void *handle; /* the loader's; NULL once closed */
    char *path;   /* as the loader knows it */
    char *label;  /* how the memory map names it */
    bool is_file; /* path is a file of ours, to be removed when it is unmapped */
    pid_t owner;  /* the process that made the file: a fork's child must not remove it */
    bool handlers_possible;
    mf_image_facts facts;
};

/* What of the checked file is needed after its bytes are gone. */
typedef struct plan {
    uint64_t low, high, init, init_array, init_count;
} plan;

/* The arguments that glibc gives to every constructor; it gives them to ours. */
static int program_argc;
static char **program_argv, **program_environment;

__attribute__((constructor)) static void
remember_arguments(int argc, char **argv, char **environment)
{
    program_argc = argc;
    program_argv = argv;
    program_environment = environment;
}

/* ---- the private copy -------------------------------------------------------------------------------------------- */

static bool
imports(const mf_elf *elf, const char *name)
{
    for (size_t i = 1; i < elf->symbol_count; i++) {
        if (elf->symbols[i].st_shndx == SHN_UNDEF && strcmp(elf->strings + elf->symbols[i].st_name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool
imports_any(const mf_elf *elf, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (imports(elf, *names)) {
            return true;
        }
    }
    return false;
}

static const char *const SETS_HANDLERS[] = {"sigaction", "signal", "__sysv_signal", "bsd_signal", "sigset", NULL};
static const char *const THREAD_DESTRUCTORS[] = {"__cxa_thread_atexit", "__cxa_thread_atexit_impl", NULL};

/* Reads what is to be known of the file and makes the changes; see elf_file.h for why each. */
static void
prepare(mf_elf *elf, mf_image *image, plan *planned)
{
    image->handlers_possible = imports_any(elf, SETS_HANDLERS);
    image->facts.thread_destructors = imports_any(elf, THREAD_DESTRUCTORS);
    image->facts.nodelete = (elf->flags_1 & DF_1_NODELETE) != 0;
    image->facts.uniques_rewritten = mf_elf_weaken_unique(elf);
    for (const mf_wrapper *wrapper = mf_leftovers_wrappers; wrapper->symbol != NULL; wrapper++) {
        mf_elf_bind(elf, wrapper->symbol, wrapper->address);
    }
    mf_elf_forget_soname(elf);
    mf_elf_take_constructors(elf);
    *planned = (plan){elf->low, elf->high, elf->init, elf->init_array, elf->init_count};
}

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
    close(file);
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

static int
make_memfd(const char *name, const uint8_t *bytes, size_t size, mf_failure *failure)
{
    int file = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0 || !write_all(file, bytes, size) || fcntl(file, F_ADD_SEALS, SEALS) != 0) {
        mf_fail(failure, MF_SYSTEM, "the private copy in memory can't be made: %s", strerror(errno));
        if (file >= 0) {
            close(file);
        }
        return -1;
    }
    return file;
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static mf_failure_kind
open_handle(mf_image *image, const mf_image_options *options, const uint8_t *bytes, size_t size, mf_failure *failure)
{
    char memfd_path[MEMFD_PATH_SIZE];
    const char *path = options->path;
    int memfd = -1;
    if (path != NULL) {
        if (write_file(path, bytes, size, failure) != MF_OK) {
            return failure->kind;
        }
        image->is_file = true;
    } else {
        memfd = make_memfd(options->name, bytes, size, failure);
        if (memfd < 0) {
            return failure->kind;
        }
        spell_memfd_path(memfd_path, memfd);
        path = memfd_path;
    }
    image->path = strdup(path);
    image->label = strdup(options->path != NULL ? path : options->name);
    image->handle = dlopen(path, (options->lazy ? RTLD_LAZY : RTLD_NOW) | RTLD_LOCAL);
    if (image->handle == NULL) {
        const char *words = dlerror();
        mf_fail(failure, MF_LOAD_FAILED, "%s", words != NULL ? words : "the loader gave no reason");
    }
    if (memfd >= 0) {
        close(memfd);
    }
    return failure->kind;
}

static bool
construct(uintptr_t function, mf_exception_text *thrown)
{
    mf_registers registers;
    memset(&registers, 0, sizeof registers);
    registers.integers[0] = (uint64_t)program_argc;
    registers.integers[1] = (uint64_t)(uintptr_t)program_argv;
    registers.integers[2] = (uint64_t)(uintptr_t)program_environment;
    mf_call_integer(&registers, function);
    if (registers.exception == NULL) {
        return true;
    }
    mf_exception_take(&registers, thrown);
    return false;
}

static bool
run_constructors(const mf_image *image, const plan *planned, mf_exception_text *thrown)
{
    if (planned->init != 0 && !construct(image->facts.base + planned->init, thrown)) {
        return false;
    }
    const uintptr_t *list = (const uintptr_t *)(image->facts.base + planned->init_array);
    for (uint64_t i = 0; i < planned->init_count; i++) {
        if (list[i] != 0 && list[i] != UINTPTR_MAX && !construct(list[i], thrown)) {
            return false;
        }
    }
    return true;
}

static mf_failure_kind
map(mf_image *image, const mf_image_options *options, const void *bytes, size_t size, plan *planned,
    mf_failure *failure)
{
    uint8_t *copy = malloc(size != 0 ? size : 1);
    mf_elf elf;
    if (copy == NULL) {
        return mf_fail(failure, MF_SYSTEM, "no memory for a copy of %zu bytes", size);
    }
    memcpy(copy, bytes, size);
    if (mf_elf_check(&elf, copy, size, failure) == MF_OK) {
        prepare(&elf, image, planned);
        open_handle(image, options, copy, size, failure);
    }
    free(copy);
    return failure->kind;
}

static void
remove_file(mf_image *image)
{
    if (image->is_file && image->owner == getpid()) {
        unlink(image->path);
    }
    image->is_file = false;
}

mf_image *
mf_image_open(const mf_image_options *options, const void *bytes, size_t size, mf_failure *failure,
              mf_exception_text *thrown)
{
    mf_image *image = calloc(1, sizeof *image);
    plan planned = {0};
    failure->kind = MF_OK;
    if (image == NULL) {
        mf_fail(failure, MF_SYSTEM, "no memory");
        return NULL;
    }
    image->owner = getpid();
    if (map(image, options, bytes, size, &planned, failure) != MF_OK) {
        remove_file(image);
        mf_image_free(image);
        return NULL;
    }
    const struct link_map *loaded = image->handle;
    image->facts.base = loaded->l_addr;
    image->facts.low = loaded->l_addr + planned.low;
    image->facts.high = loaded->l_addr + planned.high;
    if (!run_constructors(image, &planned, thrown)) {
        mf_fail(failure, MF_CONSTRUCTOR, "a constructor raised a C++ exception");
        mf_image_close(image);
        remove_file(image);
        mf_image_free(image);
        return NULL;
    }
    return image;
}

/* ---- using -------------------------------------------------------------------------------------------------------- */

void
mf_image_get_facts(const mf_image *image, mf_image_facts *facts)
{
    *facts = image->facts;
}

const char *
mf_image_path(const mf_image *image)
{
    return image->path;
}

uintptr_t
mf_image_symbol(const mf_image *image, const char *name)
{
    /* dlsym also looks into the libraries that this one needs: an address out there isn't this image's function. */
    uintptr_t found = image->handle != NULL ? (uintptr_t)dlsym(image->handle, name) : 0;
    return found >= image->facts.low && found < image->facts.high ? found : 0;
}

/* ---- closing ------------------------------------------------------------------------------------------------------ */

bool
mf_image_is_held(const mf_image *image, char *text, size_t size)
{
    int number;
    size_t threads = mf_leftovers_inside(image->facts.low, image->facts.high, &number);
    if (threads != 0) {
        snprintf(text, size, "%zu thread%s that it started (one is thread %d)", threads, threads == 1 ? "" : "s",
                 number);
        return true;
    }
    number = image->handlers_possible ? mf_leftovers_signal_inside(image->facts.low, image->facts.high) : 0;
    if (number != 0) {
        snprintf(text, size, "its handler for signal %d (%s)", number, strsignal(number));
        return true;
    }
    return false;
}

bool
mf_image_close(mf_image *image)
{
    if (image->handle != NULL) {
        mf_leftovers_delete_keys(image->facts.low, image->facts.high);
        dlclose(image->handle);
        image->handle = NULL;
    } else {
        /* The loader sweeps what a thread's destructors had pinned only when something is closed: open and close it
         * once more. */
        void *again = dlopen(image->path, RTLD_LAZY | RTLD_NOLOAD);
        if (again != NULL) {
            dlclose(again);
        }
    }
    if (mf_maps_hold(image->facts.low, image->facts.high, image->label)) {
        return false;
    }
    remove_file(image);
    return true;
}

void
mf_image_free(mf_image *image)
{
    free(image->path);
    free(image->label);
    free(image);
}
