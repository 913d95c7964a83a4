/* The worker program: loads one library and runs calls of it for its host, until the host says that it is over or is
 * gone.
 *
 * It ends with the host, however that ends: it holds a pidfd of it, which no other process can be mistaken for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../crash_signals.h"
#include "worker.h"

enum { WATCHER_STACK = 64 * 1024 };

/* What the host wants, as words "name=value" after the program's name. */
typedef struct wishes {
    const char *path, *name; /* of the private copy */
    const char *heap;        /* where the module's typed blocks are; NULL: the library has none */
    bool lazy, sandbox, sealed;
    long long memory, cpu, files; /* -1: no limit */
    const mf_wrapper *bindings; /* of undefined symbols to functions of the host's */
} wishes;

static const char *
value_of(const char *word, const char *name)
{
    size_t size = strlen(name);
    return strncmp(word, name, size) == 0 && word[size] == '=' ? word + size + 1 : NULL;
}

/* "bind=NUMBER,KIND.SIZE,…:SYMBOL": an undefined symbol of the library's is a function of the host's, with such
 * parameters. */
static bool
read_binding(const char *text, mf_wrapper *binding)
{
    mf_callback_param params[MF_CALLBACK_PARAMS];
    size_t count = 0;
    char *at;
    uint64_t number = strtoul(text, &at, 10);
    while (*at == ',' && count < MF_CALLBACK_PARAMS) {
        params[count].kind = (uint32_t)strtoul(at + 1, &at, 10);
        params[count++].size = (uint32_t)strtoul(at + 1, &at, 10);
    }
    binding->symbol = at + 1;
    binding->address = (uintptr_t)mf_thunks + number * thunk_size();
    return *at == ':' && callback_describe(number, params, count);
}

/* Ended by a NULL symbol; NULL where they can't be read. */
static mf_wrapper *
read_bindings(int count, char **words)
{
    mf_wrapper *bindings = calloc((size_t)count + 1, sizeof *bindings), *next = bindings;
    for (int i = 1; i < count && bindings != NULL; i++) {
        const char *value = value_of(words[i], "bind");
        if (value != NULL && !read_binding(value, next++)) {
            free(bindings);
            return NULL;
        }
        if (bindings != NULL && value_of(words[i], "heap") != NULL) {
            *next++ = blocks_binding();
        }
    }
    return bindings;
}

static wishes
read_wishes(int count, char **words)
{
    wishes all = {.name = "midflight", .memory = -1, .cpu = -1, .files = -1};
    const struct {
        const char *name;
        long long *where;
    } numbers[] = {{"memory", &all.memory}, {"cpu", &all.cpu}, {"files", &all.files}};
    for (int i = 1; i < count; i++) {
        const char *value;
        all.path = (value = value_of(words[i], "path")) != NULL ? value : all.path;
        all.name = (value = value_of(words[i], "name")) != NULL ? value : all.name;
        all.heap = (value = value_of(words[i], "heap")) != NULL ? value : all.heap;
        all.lazy |= strcmp(words[i], "lazy") == 0;
        all.sealed |= strcmp(words[i], "sealed") == 0;
        all.sandbox |= strcmp(words[i], "sandbox") == 0;
        for (size_t j = 0; j < sizeof numbers / sizeof *numbers; j++) {
            if ((value = value_of(words[i], numbers[j].name)) != NULL) {
                *numbers[j].where = atoll(value);
            }
        }
    }
    return all;
}

/* ---- start --------------------------------------------------------------------------------------------------------- */

static bool
map_channel(void)
{
    struct stat facts;
    mf_channel first;
    if (fstat(MF_FD_CHANNEL, &facts) != 0 || pread(MF_FD_CHANNEL, &first, sizeof first, 0) != (ssize_t)sizeof first ||
        first.magic != MF_CHANNEL_MAGIC || first.version != MF_CHANNEL_VERSION) {
        return false;
    }
    void *memory = mmap((void *)(uintptr_t)first.base, (size_t)facts.st_size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, MF_FD_CHANNEL, 0);
    channel = memory;
    return memory != MAP_FAILED;
}

static _Noreturn void
fail(mf_failure_kind kind, const char *text)
{
    snprintf(channel->failure_text, sizeof channel->failure_text, "%s", text);
    channel->failure_kind = kind;
    atomic_store(&channel->ready, MF_FAILED);
    mf_wake(&channel->ready);
    _exit(1);
}

static void
limit(int what, long long soft, long long hard)
{
    struct rlimit both = {(rlim_t)soft, (rlim_t)hard};
    if (setrlimit(what, &both) != 0) {
        char text[128];
        snprintf(text, sizeof text, "a limit of %lld can't be set: %s", soft, strerror(errno));
        fail(MF_SYSTEM, text);
    }
}

/* RLIMIT_DATA counts what is written to and isn't shared: not the channel, whose arenas are mostly address space. */
static long long
data_size(void)
{
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%*s %*s %*s %*s %*s %lld", &pages) != 1) {
            pages = 0;
        }
        fclose(file);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

static void
set_limits(const wishes *all)
{
    if (all->memory >= 0) {
        long long most = data_size() + all->memory;
        limit(RLIMIT_DATA, most, most);
    }
    if (all->cpu >= 0) {
        limit(RLIMIT_CPU, all->cpu, all->cpu + 1);
    }
    if (all->files >= 0) {
        limit(RLIMIT_NOFILE, all->files, all->files);
    }
}

/* For the host: where a crash was, also one of a constructor. */
static void
note_place(const mf_image_facts *facts)
{
    channel->image_base = facts->base;
    channel->image_low = facts->low;
    channel->image_high = facts->high;
}

static void
load(const wishes *all)
{
    struct stat facts;
    void *bytes = MAP_FAILED;
    if (fstat(MF_FD_LIBRARY, &facts) == 0 && facts.st_size > 0) {
        bytes = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, MF_FD_LIBRARY, 0);
    }
    if (bytes == MAP_FAILED) {
        fail(MF_SYSTEM, "the worker can't read the library");
    }
    mf_failure failure;
    mf_exception_text thrown = {{0}, {0}};
    mf_image_options options = {all->path, all->name, all->lazy, all->sandbox ? sandbox_enter : NULL,
                                note_place, all->bindings, NULL, all->sealed};
    image = mf_image_open(&options, bytes, (size_t)facts.st_size, &failure, &thrown);
    munmap(bytes, (size_t)facts.st_size);
    close(MF_FD_LIBRARY);
    if (image == NULL) {
        memcpy(channel->thrown_type, thrown.type_name, sizeof channel->thrown_type);
        memcpy(channel->thrown_what, thrown.what, sizeof channel->thrown_what);
        fail(failure.kind, failure.text);
    }
}

static void
report(void)
{
    channel->thunks = (uint64_t)(uintptr_t)mf_thunks;
    channel->thunk_size = thunk_size();
    atomic_store(&channel->ready, MF_READY);
    mf_wake(&channel->ready);
}

/* ---- control ------------------------------------------------------------------------------------------------------- */

/* The library's destructors run, unless a thread of its own is still at work: then nothing can be pulled from under it. */
static _Noreturn void
end(void)
{
    char why[256];
    bool held = mf_image_is_held(image, why, sizeof why);
    if (!held) {
        mf_image_close(image);
    }
    if (held) {
        fflush(NULL);
        _exit(0);
    }
    exit(0); /* what it has left to be run at the end, if it can't be unloaded */
}

static void
map_block(mf_control control, int descriptor)
{
    void *memory = MAP_FAILED;
    if (descriptor >= 0) {
        memory = mmap((void *)(uintptr_t)control.a, control.b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
                      descriptor, 0);
        close(descriptor);
    }
    control.a = memory == MAP_FAILED;
    send(MF_FD_CONTROL, &control, sizeof control, MSG_NOSIGNAL);
}

/* Receives one message and what came with it; false: the host has closed its end. */
static bool
receive(mf_control *control, int *descriptor)
{
    struct iovec part = {control, sizeof *control};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.room, .msg_controllen = sizeof ancillary.room};
    ssize_t size = recvmsg(MF_FD_CONTROL, &message, MSG_CMSG_CLOEXEC);
    *descriptor = -1;
    const struct cmsghdr *header = size > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
    }
    return size == (ssize_t)sizeof *control || (size < 0 && errno == EINTR);
}

/* Waits for the host to hand over the module's heap: the library's constructors may want it. */
static void
join_heap(const wishes *all)
{
    blocks_place place;
    mf_control control = {0};
    int descriptor;
    do {
        if (!receive(&control, &descriptor) || control.kind == MF_END) {
            _exit(0);
        }
    } while (control.kind != MF_MAP);
    map_block(control, descriptor);
    if (!blocks_place_from(all->heap, &place) || control.a != place.address ||
        !blocks_join(&place, all->name, all->memory)) {
        fail(MF_SYSTEM, "the worker can't use the module's typed blocks");
    }
}

static _Noreturn void
obey(void)
{
    for (;;) {
        mf_control control = {0};
        int descriptor;
        if (!receive(&control, &descriptor)) {
            _exit(0);
        }
        switch (control.kind) {
        case MF_END: end();
        case MF_MAP: map_block(control, descriptor); break;
        case MF_UNMAP: munmap((void *)(uintptr_t)control.a, control.b); break;
        default: break;
        }
    }
}

/* A thread of its own: the host may also end while a constructor or a destructor of the library hangs. */
static void *
watch_host(void *unused)
{
    struct pollfd host = {.fd = MF_FD_HOST, .events = POLLIN};
    (void)unused;
    while (poll(&host, 1, -1) < 0) {
    }
    _exit(0);
}

static bool
start_watching(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WATCHER_STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = pthread_create(&thread, &attributes, watch_host, NULL) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

/* What the library starts must not keep them: the host would wait for it. */
static void
keep_descriptors(void)
{
    for (int descriptor = MF_FD_CONTROL; descriptor <= MF_FD_HOST; descriptor++) {
        fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    }
}

/* "exec": starts the program behind MF_FD_LIBRARY in the sandbox, with the same words.  Returns if it can't be started. */
static void
run_program(char **words)
{
    fcntl(MF_FD_LIBRARY, F_SETFD, FD_CLOEXEC);
    if (sandbox_enter_for_program()) {
        syscall(SYS_execveat, MF_FD_LIBRARY, "", words, environ, AT_EMPTY_PATH);
    }
    if (map_channel()) {
        char text[128];
        snprintf(text, sizeof text, "the program can't be started in the sandbox: %s", strerror(errno));
        fail(MF_SYSTEM, text);
    }
}

int
main(int count, char **words)
{
    wishes all = read_wishes(count, words);
    if (count > 1 && strcmp(words[1], "exec") == 0) {
        run_program(words);
        return 2;
    }
    if (!map_channel()) {
        fprintf(stderr, "This program is started by midflight, not by hand.\n");
        return 2;
    }
    prctl(PR_SET_NAME, all.name);
    keep_descriptors();
    mf_crash_note_first(&channel->crash, MF_ALL_CRASHES);
    /* The threads come first: their stacks are none of what the library uses up. */
    if (!start_watching() || !serve_all()) {
        fail(MF_SYSTEM, "no room for the worker's threads");
    }
    if (all.heap != NULL) {
        join_heap(&all);
    }
    all.bindings = read_bindings(count, words);
    if (all.bindings == NULL) {
        fail(MF_SYSTEM, "the worker can't read what its host provides");
    }
    set_limits(&all);
    load(&all);
    report();
    obey();
}
