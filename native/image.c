/* See image.h. */
#include "image.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash_record.h"
#include "destructors.h"
#include "elf_file.h"
#include "exit_handlers.h"
#include "guard.h"
#include "initial.h"
#include "leftovers.h"
#include "maps.h"
#include "private_copy.h"
#include "thread_keys.h"

struct mf_image {
    void *handle; /* the loader's; NULL once closed */
    char *path;   /* as the loader knows it */
    char *label;  /* how the memory map names it */
    bool is_file; /* path is a file of ours, to be removed when it is unmapped */
    pid_t owner;  /* the process that made the file: a fork's child must not remove it */
    bool handlers_possible, lazy_possible;
    bool guarded;
    mf_crash crash_at_close;
    mf_initial *initial;
    mf_image *next; /* in the list of those that couldn't be opened */
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

/* ---- what is changed ----------------------------------------------------------------------------------------------- */

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

static void
bind_all(mf_elf *elf, const mf_wrapper *wrapper)
{
    for (; wrapper->symbol != NULL; wrapper++) {
        mf_elf_bind(elf, wrapper->symbol, wrapper->address);
    }
}

/* Reads what is to be known of the file and makes the changes; see elf_file.h for why each. */
static void
prepare(mf_elf *elf, mf_image *image, const mf_image_options *options, plan *planned)
{
    image->handlers_possible = imports_any(elf, SETS_HANDLERS);
    image->facts.thread_destructors = imports_any(elf, THREAD_DESTRUCTORS);
    image->facts.exit_handlers = imports(elf, "on_exit");
    image->facts.nodelete = (elf->flags_1 & DF_1_NODELETE) != 0;
    image->facts.uniques_rewritten = mf_elf_weaken_unique(elf);
    image->lazy_possible = elf->lazy_possible;
    bind_all(elf, mf_leftovers_wrappers);
    bind_all(elf, mf_thread_keys_wrappers);
    bind_all(elf, mf_exit_handlers_wrappers);
    if (options->bindings != NULL) {
        bind_all(elf, options->bindings);
    }
    mf_elf_forget_soname(elf);
    mf_elf_take_constructors(elf);
    *planned = (plan){elf->low, elf->high, elf->init, elf->init_array, elf->init_count};
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static mf_failure_kind
open_handle(mf_image *image, const mf_image_options *options, const uint8_t *bytes, size_t size, mf_failure *failure)
{
    mf_copy copy;
    if (mf_copy_make(&copy, options->path, options->sealed, options->name, bytes, size, failure) != MF_OK) {
        return failure->kind;
    }
    image->path = copy.path;
    image->label = copy.label;
    image->is_file = options->path != NULL;
    if (options->before_load != NULL && !options->before_load()) {
        mf_copy_opened(&copy);
        return mf_fail(failure, MF_SYSTEM, "the kernel refuses what was to be done before it is loaded");
    }
    image->handle = dlopen(image->path, (options->lazy && image->lazy_possible ? RTLD_LAZY : RTLD_NOW) | RTLD_LOCAL);
    if (image->handle == NULL) {
        const char *words = dlerror();
        mf_fail(failure, MF_LOAD_FAILED, "%s", words != NULL ? words : "the loader gave no reason");
    }
    mf_copy_opened(&copy);
    return failure->kind;
}

static void
call_constructor(mf_registers *registers, uintptr_t function, bool guarded)
{
    if (guarded && mf_guard_ready()) {
        mf_guard_call(registers, (const void *)function, NULL, (const void *)(uintptr_t)mf_call_integer,
                      &registers->exception);
    } else {
        mf_call_integer(registers, function);
    }
}

/* Where a constructor has crashed, what was left half done may still be used: its library stays. */
static mf_failure_kind
note_crash(const mf_image *image, const mf_image_options *options, const mf_crash *crash, mf_failure *failure)
{
    *options->crash = (mf_image_crash){*crash, image->facts.base, image->facts.low, image->facts.high};
    return mf_fail(failure, MF_CONSTRUCTOR_CRASHED, "a constructor crashed");
}

static mf_failure_kind
construct(const mf_image *image, const mf_image_options *options, uintptr_t function, mf_failure *failure,
          mf_exception_text *thrown)
{
    mf_registers registers;
    memset(&registers, 0, sizeof registers);
    registers.integers[0] = (uint64_t)program_argc;
    registers.integers[1] = (uint64_t)(uintptr_t)program_argv;
    registers.integers[2] = (uint64_t)(uintptr_t)program_environment;
    call_constructor(&registers, function, image->guarded);
    if (registers.exception == NULL) {
        return MF_OK;
    }
    const mf_crash *crash = mf_guard_take(registers.exception);
    if (crash != NULL) {
        return note_crash(image, options, crash, failure);
    }
    mf_exception_take(&registers, thrown);
    return mf_fail(failure, MF_CONSTRUCTOR, "a constructor raised a C++ exception");
}

static mf_failure_kind
run_constructors(const mf_image *image, const mf_image_options *options, const plan *planned, mf_failure *failure,
                 mf_exception_text *thrown)
{
    if (planned->init != 0) {
        construct(image, options, image->facts.base + planned->init, failure, thrown);
    }
    const uintptr_t *list = (const uintptr_t *)(image->facts.base + planned->init_array);
    for (uint64_t i = 0; i < planned->init_count && failure->kind == MF_OK; i++) {
        if (list[i] != 0 && list[i] != UINTPTR_MAX) {
            construct(image, options, list[i], failure, thrown);
        }
    }
    return failure->kind;
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
        prepare(&elf, image, options, planned);
        image->initial = mf_initial_new(&elf);
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

/* ---- what couldn't be opened and can't be closed yet ----------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects the list; never held while a library's code runs */
static mf_image *abandoned;

/* Closes an image whose constructors failed, now or later: an earlier constructor may have started a thread. */
static void
abandon(mf_image *image)
{
    char why[1];
    if (!mf_image_is_held(image, why, sizeof why) && mf_image_close(image)) {
        mf_image_free(image);
        return;
    }
    pthread_mutex_lock(&lock);
    image->next = abandoned;
    abandoned = image;
    pthread_mutex_unlock(&lock);
}

static void
sweep_abandoned(void)
{
    pthread_mutex_lock(&lock);
    mf_image *list = abandoned;
    abandoned = NULL;
    pthread_mutex_unlock(&lock);
    while (list != NULL) {
        mf_image *image = list;
        list = image->next;
        abandon(image);
    }
}

/* In a fork's child another thread may have held it. */
static void
after_fork_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
}

__attribute__((constructor)) static void
register_fork_handler(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

mf_image *
mf_image_open(const mf_image_options *options, const void *bytes, size_t size, mf_failure *failure,
              mf_exception_text *thrown)
{
    mf_image *image = calloc(1, sizeof *image);
    plan planned = {0};
    failure->kind = MF_OK;
    sweep_abandoned();
    if (image == NULL) {
        mf_fail(failure, MF_SYSTEM, "no memory");
        return NULL;
    }
    image->owner = getpid();
    image->guarded = options->crash != NULL;
    if (map(image, options, bytes, size, &planned, failure) != MF_OK) {
        remove_file(image);
        mf_image_free(image);
        return NULL;
    }
    const struct link_map *loaded = image->handle;
    image->facts.base = loaded->l_addr;
    image->facts.low = loaded->l_addr + planned.low;
    image->facts.high = loaded->l_addr + planned.high;
    mf_record_add(image->facts.base, image->facts.low, image->facts.high, options->line);
    if (options->mapped != NULL) {
        options->mapped(&image->facts);
    }
    if (run_constructors(image, options, &planned, failure, thrown) == MF_CONSTRUCTOR_CRASHED) {
        remove_file(image);
        mf_image_free(image);
        return NULL;
    }
    if (failure->kind != MF_OK) {
        abandon(image);
        return NULL;
    }
    if (image->initial == NULL || !mf_initial_take(image->initial, image->facts.base, image->facts.low, image->facts.high)) {
        mf_fail(failure, MF_SYSTEM, "no memory for a copy of the library's variables");
        abandon(image);
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

bool
mf_image_changed(const mf_image *image, uint64_t address, uint64_t size)
{
    return mf_initial_changed(image->initial, image->facts.base, address, size);
}

mf_attachment
mf_image_attached(const mf_image *image, uint64_t address)
{
    return mf_initial_attached(image->initial, address);
}

/* ---- closing ------------------------------------------------------------------------------------------------------ */

size_t
mf_image_threads(const mf_image *image, char *text, size_t size)
{
    return mf_leftovers_describe(image->facts.low, image->facts.high, text, size);
}

bool
mf_image_is_held(const mf_image *image, char *text, size_t size)
{
    int number;
    size_t threads = mf_leftovers_describe(image->facts.low, image->facts.high, text, size);
    if (threads != 0) {
        return true;
    }
    threads = mf_thread_keys_running(image->facts.low, image->facts.high);
    if (threads != 0) {
        snprintf(text, size, "%zu ending thread%s in a destructor of its thread-specific data", threads,
                 threads == 1 ? "" : "s");
        return true;
    }
    number = image->handlers_possible ? mf_leftovers_signal_inside(image->facts.low, image->facts.high) : 0;
    if (number != 0) {
        snprintf(text, size, "its handler for signal %d (%s)", number, strsignal(number));
        return true;
    }
    return false;
}

const mf_crash *
mf_image_crash_at_close(const mf_image *image)
{
    return &image->crash_at_close;
}

static void
close_handle(mf_image *image, void *handle)
{
    mf_destructors destructors;
    if (!image->guarded) {
        dlclose(handle);
        return;
    }
    mf_destructors_guard(&destructors, handle, &image->crash_at_close);
    dlclose(handle);
    mf_destructors_done(&destructors, mf_maps_hold(image->facts.low, image->facts.high, image->label));
}

/* The loader sweeps what a thread's destructors had pinned only when something is closed: open it and close it once
 * more.  Only while it is mapped: its path may be another file's by then. */
static void
close_again(mf_image *image)
{
    if (mf_maps_hold(image->facts.low, image->facts.high, image->label)) {
        void *again = dlopen(image->path, RTLD_LAZY | RTLD_NOLOAD);
        if (again != NULL) {
            close_handle(image, again);
        }
    }
}

bool
mf_image_close(mf_image *image)
{
    if (image->facts.exit_handlers) {
        return false; /* nothing takes them back, and the process calls them when it ends */
    }
    if (image->handle == NULL) {
        close_again(image);
    } else if (image->facts.nodelete || mf_thread_keys_disarm(image->facts.low, image->facts.high)) {
        close_handle(image, image->handle);
        image->handle = NULL;
    } else {
        return false; /* a thread has just entered a destructor: mf_image_is_held says so */
    }
    if (mf_maps_hold(image->facts.low, image->facts.high, image->label)) {
        return false;
    }
    mf_thread_keys_delete(image->facts.low, image->facts.high);
    mf_exit_handlers_forget(image->facts.low, image->facts.high);
    mf_record_remove(image->facts.low);
    remove_file(image);
    return true;
}

void
mf_image_free(mf_image *image)
{
    mf_initial_free(image->initial);
    free(image->path);
    free(image->label);
    free(image);
}
