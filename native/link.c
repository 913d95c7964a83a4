/* See link.h. */
#include "link.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "spawn.h"

enum { GIVEN = 5, CONTROL_TIMEOUT = 5 };

struct mf_link {
    _Atomic uint32_t references;
    mf_channel *channel;
    size_t size;
    int memory, control, pidfd, crash_text;
    pid_t pid;
    uint32_t forks;   /* of the program, when it was started: another number means that we are in a child */
    uint32_t call_slots, all_slots;
    int status;
    _Atomic bool dead;
    _Atomic uint64_t serial;

    pthread_mutex_t free_lock; /* protects free_slots, free_count */
    pthread_cond_t freed;      /* a slot is free, or the link is dead */
    uint32_t *free_slots, free_count;
    mf_patience *patience; /* by slot: whoever has the slot */

    pthread_mutex_t control_lock; /* protects what is said over the socket, and known */
    uint64_t *known;              /* numbers of the shared blocks that the worker has mapped */
    size_t known_count, known_room;

    mf_link *previous, *next; /* all links, protected by list_lock */
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t status_lock = PTHREAD_MUTEX_INITIALIZER; /* a status is told once: to whom asks first */
static mf_link *links;

static _Thread_local mf_ride *innermost; /* of this thread */
static _Atomic uint32_t forks;           /* goes up in a fork's child: its copies of links aren't its own */

/* ---- start -------------------------------------------------------------------------------------------------------- */

static bool
make_channel(mf_link *link, const mf_link_options *options)
{
    uint64_t arenas_at = MF_CHANNEL_PAGE * (1 + (uint64_t)link->all_slots);
    arenas_at = (arenas_at + (1 << 21) - 1) & ~(uint64_t)((1 << 21) - 1);
    link->size = arenas_at + options->arena_size * link->all_slots;
    link->memory = memfd_create("midflight:channel", MFD_CLOEXEC);
    if (link->memory < 0 || ftruncate(link->memory, (off_t)link->size) != 0) {
        return false;
    }
    void *memory = MAP_FAILED;
    for (int i = 0; i < 16 && memory == MAP_FAILED; i++) {
        memory = mmap(mf_shared_place(link->size), link->size, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, link->memory, 0);
    }
    if (memory == MAP_FAILED) {
        return false;
    }
    link->channel = memory;
    *link->channel = (mf_channel){
        .magic = MF_CHANNEL_MAGIC,
        .version = MF_CHANNEL_VERSION,
        .slot_count = link->all_slots,
        .slots_at = MF_CHANNEL_PAGE,
        .slot_stride = MF_CHANNEL_PAGE,
        .arenas_at = arenas_at,
        .arena_size = options->arena_size,
        .base = (uint64_t)(uintptr_t)memory,
        .call_slots = link->call_slots,
    };
    for (uint32_t i = link->call_slots; i < link->all_slots; i++) {
        atomic_store(&mf_channel_slot(link->channel, i)->turn, MF_WORKER); /* the worker begins there */
    }
    return true;
}

static bool
make_slots(mf_link *link)
{
    link->free_slots = calloc(link->all_slots, sizeof *link->free_slots);
    link->patience = calloc(link->all_slots, sizeof *link->patience);
    if (link->free_slots == NULL || link->patience == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < link->call_slots; i++) {
        link->free_slots[i] = link->call_slots - 1 - i;
    }
    link->free_count = link->call_slots;
    return true;
}

static bool
start(mf_link *link, const mf_link_options *options, mf_failure *failure)
{
    int ends[2] = {-1, -1};
    int host = (int)syscall(SYS_pidfd_open, getpid(), 0);
    link->crash_text = memfd_create("midflight:crash", MFD_CLOEXEC);
    if (host >= 0 && link->crash_text >= 0 && make_slots(link) && make_channel(link, options) &&
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0) {
        struct timeval most = {.tv_sec = CONTROL_TIMEOUT};
        setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
        setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
        const int given[GIVEN] = {ends[1], link->memory, options->library, link->crash_text, host};
        mf_program program = {options->program, options->arguments, options->environment, given, GIVEN, NULL};
        link->control = ends[0];
        mf_spawn(&program, &link->pid, &link->pidfd, failure);
    } else {
        mf_fail(failure, MF_SYSTEM, "no memory or descriptors for a worker: %s", strerror(errno));
    }
    if (ends[1] >= 0) {
        close(ends[1]);
    }
    if (host >= 0) {
        close(host);
    }
    return failure->kind == MF_OK;
}

static void
enlist(mf_link *link)
{
    pthread_mutex_lock(&list_lock);
    link->next = links;
    if (links != NULL) {
        links->previous = link;
    }
    links = link;
    pthread_mutex_unlock(&list_lock);
}

static void
delist(mf_link *link)
{
    pthread_mutex_lock(&list_lock);
    *(link->previous != NULL ? &link->previous->next : &links) = link->next;
    if (link->next != NULL) {
        link->next->previous = link->previous;
    }
    pthread_mutex_unlock(&list_lock);
}

mf_link *
mf_link_start(const mf_link_options *options, mf_failure *failure)
{
    failure->kind = MF_OK;
    mf_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        mf_fail(failure, MF_SYSTEM, "no memory");
        return NULL;
    }
    atomic_store(&link->references, 1);
    link->memory = link->control = link->pidfd = link->crash_text = -1;
    link->forks = atomic_load(&forks);
    link->call_slots = options->call_slots;
    link->all_slots = options->call_slots + options->callback_slots;
    pthread_mutex_init(&link->free_lock, NULL);
    pthread_mutex_init(&link->control_lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&link->freed, &attributes);
    pthread_condattr_destroy(&attributes);
    enlist(link);
    if (!start(link, options, failure)) {
        mf_link_drop(link);
        return NULL;
    }
    return link;
}

mf_link *
mf_link_hold(mf_link *link)
{
    atomic_fetch_add(&link->references, 1);
    return link;
}

void
mf_link_drop(mf_link *link)
{
    if (link == NULL || atomic_fetch_sub(&link->references, 1) != 1) {
        return;
    }
    if (link->forks == atomic_load(&forks)) {
        delist(link);
    }
    if (link->pidfd >= 0) {
        if (!mf_link_is_foreign(link)) {
            mf_link_kill(link);
            mf_link_gone(link, -1);
        }
        close(link->pidfd);
    }
    const int descriptors[] = {link->memory, link->control, link->crash_text};
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
    if (link->channel != NULL) {
        munmap(link->channel, link->size);
    }
    pthread_mutex_destroy(&link->free_lock);
    pthread_mutex_destroy(&link->control_lock);
    pthread_cond_destroy(&link->freed);
    free(link->free_slots);
    free(link->patience);
    free(link->known);
    free(link);
}

mf_failure_kind
mf_link_ready(mf_link *link, uint64_t deadline, mf_failure *failure)
{
    mf_channel *channel = link->channel;
    failure->kind = MF_OK;
    uint32_t state;
    while ((state = atomic_load(&channel->ready)) == MF_STARTING) {
        uint64_t now = mf_now();
        if (mf_link_gone(link, 0)) {
            return mf_fail(failure, MF_SYSTEM, "the worker ended before it was ready");
        }
        if (deadline != 0 && now >= deadline) {
            return mf_fail(failure, MF_SYSTEM, "the worker didn't get ready in time");
        }
        /* In short naps: a worker that dies here wakes nobody. */
        mf_sleep(&channel->ready, MF_STARTING, now + 5 * 1000 * 1000);
    }
    if (state == MF_FAILED) {
        char text[sizeof channel->failure_text];
        memcpy(text, channel->failure_text, sizeof text);
        uint32_t kind = channel->failure_kind;
        text[sizeof text - 1] = '\0';
        mf_fail(failure, kind > MF_OK && kind <= MF_SYSTEM ? (mf_failure_kind)kind : MF_LOAD_FAILED, "%s", text);
    }
    return failure->kind;
}

mf_channel *
mf_link_channel(mf_link *link)
{
    return link->channel;
}

int
mf_link_pidfd(const mf_link *link)
{
    return link->pidfd;
}

int
mf_link_crash_text(const mf_link *link)
{
    return link->crash_text;
}

pid_t
mf_link_pid(const mf_link *link)
{
    return link->pid;
}

bool
mf_link_is_foreign(const mf_link *link)
{
    return link->forks != atomic_load(&forks);
}

/* ---- slots -------------------------------------------------------------------------------------------------------- */

static bool
take_free(mf_link *link, uint64_t deadline, uint32_t *index)
{
    const struct timespec until = {(time_t)(deadline / 1000000000), (long)(deadline % 1000000000)};
    int problem = 0;
    pthread_mutex_lock(&link->free_lock);
    while (link->free_count == 0 && !atomic_load(&link->dead) && problem == 0) {
        problem = deadline != 0 ? pthread_cond_timedwait(&link->freed, &link->free_lock, &until)
                                : pthread_cond_wait(&link->freed, &link->free_lock);
    }
    bool taken = link->free_count != 0 && !atomic_load(&link->dead);
    if (taken) {
        *index = link->free_slots[--link->free_count];
    }
    pthread_mutex_unlock(&link->free_lock);
    return taken;
}

static void
enter(mf_ride *ride)
{
    ride->outer = innermost;
    innermost = ride;
}

bool
mf_ride_begin(mf_ride *ride, mf_link *link, uint64_t deadline)
{
    const mf_ride *outer = innermost;
    if (link->forks != atomic_load_explicit(&forks, memory_order_relaxed)) {
        return false;
    }
    while (outer != NULL && outer->link != link) {
        outer = outer->outer;
    }
    *ride = (mf_ride){.link = link, .nested = outer != NULL};
    if (outer != NULL) {
        if (atomic_load(&link->dead)) {
            return false;
        }
        ride->index = outer->index;
        ride->used = outer->used;
    } else if (!take_free(link, deadline, &ride->index)) {
        return false;
    }
    ride->slot = mf_channel_slot(link->channel, ride->index);
    ride->size = link->channel->arena_size;
    ride->arena = link->channel->arenas_at + ride->size * ride->index;
    enter(ride);
    return true;
}

void
mf_ride_end(mf_ride *ride)
{
    mf_link *link = ride->link;
    innermost = ride->outer;
    if (ride->nested) {
        return;
    }
    pthread_mutex_lock(&link->free_lock);
    link->free_slots[link->free_count++] = ride->index;
    pthread_cond_signal(&link->freed);
    pthread_mutex_unlock(&link->free_lock);
}

void *
mf_ride_room(mf_ride *ride, size_t size, uintptr_t like)
{
    uint64_t start = ((ride->used + 63) & ~UINT64_C(63)) + (like & 63);
    if (start > ride->size || size > ride->size - start) {
        return NULL;
    }
    ride->used = start + size;
    return (char *)ride->link->channel + ride->arena + start;
}

bool
mf_ride_covers(const mf_ride *ride, uint64_t at, uint64_t size)
{
    return at >= ride->arena && size <= ride->size && at - ride->arena <= ride->size - size;
}

/* ---- to and fro --------------------------------------------------------------------------------------------------- */

/* Calls that the callback makes use the same slot: behind what the worker has put there (`at` says where that ends). */
static void
run_callback(mf_ride *ride, void (*callback)(void *, mf_ride *), void *data)
{
    mf_slot *slot = ride->slot;
    uint64_t serial = slot->serial, used = ride->used, end = slot->at;
    if (mf_ride_covers(ride, end, 0)) {
        ride->used = end - ride->arena;
    }
    if (callback != NULL) {
        callback(data, ride);
    } else {
        memset(slot->call.result_integers, 0, sizeof slot->call.result_integers);
        memset(slot->call.result_doubles, 0, sizeof slot->call.result_doubles);
    }
    slot->kind = MF_ANSWER;
    slot->serial = serial;
    ride->used = used;
}

mf_link_result
mf_ride_go(mf_ride *ride, uint64_t deadline, void (*callback)(void *, mf_ride *), void *data)
{
    mf_link *link = ride->link;
    mf_slot *slot = ride->slot;
    mf_patience *patience = &link->patience[ride->index];
    slot->serial = atomic_fetch_add(&link->serial, 1) + 1;
    for (;;) {
        mf_slot_pass(slot, MF_WORKER);
        /* Whoever marks the link as dead does so before it takes the turn back: one of us two sees the other. */
        if (atomic_load(&link->dead)) {
            return MF_LINK_DEAD;
        }
        if (mf_slot_wait(slot, MF_HOST, deadline, patience, NULL) == MF_TIMED_OUT) {
            return MF_LINK_LATE;
        }
        if (atomic_load(&link->dead)) {
            return MF_LINK_DEAD;
        }
        if (slot->kind != MF_CALLBACK) {
            return MF_LINK_DONE;
        }
        run_callback(ride, callback, data);
        if (atomic_load(&link->dead)) {
            return MF_LINK_DEAD;
        }
    }
}

bool
mf_ride_was_begun(const mf_ride *ride)
{
    /* Calls that were made from inside it have later serials. */
    return atomic_load(&ride->slot->taken) >= ride->slot->serial;
}

bool
mf_link_serve(mf_link *link, uint32_t which, void (*callback)(void *, mf_ride *), void *data)
{
    uint32_t index = link->call_slots + which;
    mf_ride ride = {.link = link, .slot = mf_channel_slot(link->channel, index), .index = index, .nested = true};
    ride.size = link->channel->arena_size;
    ride.arena = link->channel->arenas_at + ride.size * index;
    while (!atomic_load(&link->dead)) {
        if (mf_slot_wait(ride.slot, MF_HOST, 0, &link->patience[index], NULL) == MF_ARRIVED &&
            !atomic_load(&link->dead)) {
            enter(&ride);
            run_callback(&ride, callback, data);
            innermost = ride.outer;
            mf_slot_pass(ride.slot, MF_WORKER);
            return true;
        }
    }
    return false;
}

/* ---- besides ------------------------------------------------------------------------------------------------------ */

/* The caller holds control_lock. */
static bool
say(const mf_link *link, const mf_control *control, int descriptor)
{
    struct iovec part = {(void *)(uintptr_t)control, sizeof *control};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        memset(&ancillary, 0, sizeof ancillary);
        message.msg_control = ancillary.room;
        message.msg_controllen = sizeof ancillary.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof descriptor);
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    return sendmsg(link->control, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *control;
}

static bool
knows(const mf_link *link, uint64_t number)
{
    for (size_t i = link->known_count; i-- > 0;) {
        if (link->known[i] == number) {
            return true;
        }
    }
    return false;
}

static bool
learn(mf_link *link, uint64_t number)
{
    if (link->known_count == link->known_room) {
        size_t room = link->known_room * 2 + 16;
        uint64_t *known = realloc(link->known, room * sizeof *known);
        if (known == NULL) {
            return false;
        }
        link->known = known;
        link->known_room = room;
    }
    link->known[link->known_count++] = number;
    return true;
}

bool
mf_link_map(mf_link *link, mf_shared *block)
{
    mf_control control = {MF_MAP, 0, (uint64_t)(uintptr_t)block->memory, block->size, block->number};
    mf_control answer;
    pthread_mutex_lock(&link->control_lock);
    bool known = knows(link, block->number);
    if (!known && say(link, &control, block->descriptor)) {
        do { /* an answer that came too late for who had asked is still there */
            known = recv(link->control, &answer, sizeof answer, 0) == (ssize_t)sizeof answer && answer.kind == MF_MAP;
        } while (known && answer.c != block->number);
        known = known && answer.a == 0 && learn(link, block->number);
    }
    pthread_mutex_unlock(&link->control_lock);
    return known;
}

static void
unmap(mf_link *link, const mf_shared *block)
{
    mf_control control = {MF_UNMAP, 0, (uint64_t)(uintptr_t)block->memory, block->size, block->number};
    pthread_mutex_lock(&link->control_lock);
    for (size_t i = 0; i < link->known_count; i++) {
        if (link->known[i] == block->number) {
            link->known[i] = link->known[--link->known_count];
            send(link->control, &control, sizeof control, MSG_NOSIGNAL | MSG_DONTWAIT); /* at worst it stays mapped there */
            break;
        }
    }
    pthread_mutex_unlock(&link->control_lock);
}

void
mf_link_forget(const mf_shared *block)
{
    pthread_mutex_lock(&list_lock);
    for (mf_link *link = links; link != NULL; link = link->next) {
        unmap(link, block);
    }
    pthread_mutex_unlock(&list_lock);
}

void
mf_link_cancel(mf_link *link, uint32_t slot, uint64_t serial)
{
    mf_control control = {MF_CANCEL, slot, serial, 0, 0};
    pthread_mutex_lock(&link->control_lock);
    say(link, &control, -1);
    pthread_mutex_unlock(&link->control_lock);
}

void
mf_link_end(mf_link *link, int grace)
{
    mf_control control = {MF_END, 0, 0, 0, 0};
    pthread_mutex_lock(&link->control_lock);
    say(link, &control, -1);
    pthread_mutex_unlock(&link->control_lock);
    if (!mf_link_gone(link, grace)) {
        mf_link_kill(link);
        mf_link_gone(link, -1);
    }
}

void
mf_link_kill(mf_link *link)
{
    mf_signal(link->pidfd, SIGKILL);
}

/* The process is gone: what it had in hand is ours again. */
static void
take_back(mf_link *link)
{
    atomic_store(&link->dead, true);
    for (uint32_t i = 0; i < link->all_slots; i++) {
        mf_slot *slot = mf_channel_slot(link->channel, i);
        atomic_store(&slot->turn, MF_HOST);
        mf_wake(&slot->turn);
    }
    pthread_mutex_lock(&link->free_lock);
    pthread_cond_broadcast(&link->freed);
    pthread_mutex_unlock(&link->free_lock);
}

bool
mf_link_gone(mf_link *link, int wait)
{
    if (mf_link_is_foreign(link)) {
        return false; /* not ours to ask about */
    }
    if (atomic_load(&link->dead)) {
        return true;
    }
    if (!mf_await_end(link->pidfd, wait)) {
        return false;
    }
    pthread_mutex_lock(&status_lock);
    if (!atomic_load(&link->dead)) {
        mf_ended(link->pidfd, 0, &link->status);
        take_back(link);
    }
    pthread_mutex_unlock(&status_lock);
    return true;
}

int
mf_link_status(const mf_link *link)
{
    return link->status;
}

/* ---- fork ----------------------------------------------------------------------------------------------------------- */

/* A call that the thread which forked is inside of goes on here too, and must not disturb the parent's: the child gets
 * a copy of the channel, and finds the worker dead. */
static void
after_fork_in_child(void)
{
    atomic_fetch_add(&forks, 1);
    pthread_mutex_init(&list_lock, NULL);
    pthread_mutex_init(&status_lock, NULL);
    for (mf_link *link = links; link != NULL; link = link->next) {
        if (link->channel != NULL) {
            mmap(link->channel, link->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, link->memory,
                 0);
        }
        atomic_store(&link->dead, true);
    }
    links = NULL; /* the parent's */
    innermost = NULL;
}

__attribute__((constructor)) static void
register_fork_handler(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}
