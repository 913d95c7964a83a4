/* Serves the slots for calls, a thread each.
 *
 * Guarantee: a request is noted as taken before any of the library's code runs for it. */
#include <pthread.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>

#include "../crash_signals.h"
#include "worker.h"

mf_channel *channel;
mf_image *image;
_Thread_local mf_serving *serving;

void *
serving_room(mf_serving *self, size_t size)
{
    uint64_t start = (self->end + 15) & ~UINT64_C(15);
    if (start > self->limit || size > self->limit - start) {
        return NULL;
    }
    self->end = start + size;
    return (char *)channel + start;
}

/* Makes some of the arena the answer's payload. */
static void
give(mf_slot *slot, const void *place, uint64_t size)
{
    slot->at = (uint64_t)((const char *)place - (const char *)channel);
    slot->length = size;
}

/* The text behind a `const char *` result is brought to where the host can read it. */
static void
bring_text(mf_serving *self)
{
    mf_slot *slot = self->slot;
    const char *text = (const char *)(uintptr_t)slot->call.result_integers[0];
    slot->length = 0;
    if (text == NULL) {
        return;
    }
    size_t size = strlen(text);
    void *room = serving_room(self, size);
    if (room == NULL) {
        slot->kind = MF_THROWN;
        strcpy(slot->call.thrown.type_name, "text");
        strcpy(slot->call.thrown.what, "the text that it returned is larger than the shared memory of a call");
        return;
    }
    memcpy(room, text, size);
    give(slot, room, size);
}

static void
run_call(mf_serving *self)
{
    mf_slot *slot = self->slot;
    mf_slot_call *call = &slot->call;
    uint32_t flags = slot->flags;
    uint64_t stack[MF_STACK_WORDS];
    mf_registers registers;
    memcpy(registers.integers, call->integers, sizeof registers.integers);
    memcpy(registers.doubles, call->doubles, sizeof registers.doubles);
    registers.stack = stack;
    registers.stack_count = call->stack_count <= MF_STACK_WORDS ? call->stack_count : MF_STACK_WORDS;
    registers.exception = NULL;
    memcpy(stack, call->stack, registers.stack_count * sizeof *stack);
    mf_results results;
    mf_call_results(&registers, (uintptr_t)call->function, &results);
    memcpy(call->result_integers, results.integers, sizeof results.integers);
    memcpy(call->result_doubles, results.doubles, sizeof results.doubles);
    slot->kind = MF_DONE;
    if (registers.exception != NULL) {
        mf_exception_take(&registers, &call->thrown);
        slot->kind = MF_THROWN;
    } else if ((flags & MF_TEXT_RESULT) != 0) {
        bring_text(self);
    }
}

static void
find_symbols(mf_serving *self)
{
    mf_slot *slot = self->slot;
    const char *names = (const char *)channel + slot->at, *end = names + slot->length;
    size_t count = 0;
    for (const char *at = names; at < end; at++) {
        count += *at == '\0';
    }
    self->end = slot->at + slot->length;
    uint64_t *found = serving_room(self, count * sizeof *found);
    slot->kind = found != NULL ? MF_DONE : MF_THROWN;
    for (size_t i = 0; found != NULL && i < count; i++, names += strlen(names) + 1) {
        uint64_t address = mf_image_symbol(image, names);
        found[i] = address != 0 ? address - channel->image_base : 0;
    }
    if (found != NULL) {
        give(slot, found, count * sizeof *found);
    }
}

/* Where a link-time address of the library's is in this process: the host may have been told by one that has died. */
static void *
place_of(uint64_t address)
{
    return (void *)(uintptr_t)(channel->image_base + address);
}

static void
bring(mf_serving *self, const void *place, uint64_t size)
{
    void *room = serving_room(self, size);
    self->slot->kind = room != NULL ? MF_DONE : MF_THROWN;
    if (room != NULL) {
        memcpy(room, place, size);
        give(self->slot, room, size);
    }
}

/* The pointer is read here, not by an earlier request: what it points to is of the same process, and less likely gone. */
static void
find_changed(mf_serving *self)
{
    mf_slot *slot = self->slot;
    const uint64_t *places = (const uint64_t *)((const char *)channel + slot->at);
    size_t count = slot->length / (2 * sizeof *places);
    self->end = slot->at + slot->length;
    uint8_t *flags = serving_room(self, count);
    slot->kind = flags != NULL ? MF_DONE : MF_THROWN;
    for (size_t i = 0; flags != NULL && i < count; i++) {
        flags[i] = mf_image_changed(image, places[2 * i], places[2 * i + 1]);
    }
    if (flags != NULL) {
        give(slot, flags, count);
    }
}

static void
find_attached(mf_serving *self)
{
    mf_slot *slot = self->slot;
    const uint64_t *addresses = (const uint64_t *)((const char *)channel + slot->at);
    size_t count = slot->length / sizeof *addresses;
    self->end = slot->at + slot->length;
    uint8_t *states = serving_room(self, count);
    slot->kind = states != NULL ? MF_DONE : MF_THROWN;
    for (size_t i = 0; states != NULL && i < count; i++) {
        states[i] = (uint8_t)mf_image_attached(image, addresses[i]);
    }
    if (states != NULL) {
        give(slot, states, count);
    }
}

static void
bring_text_at(mf_serving *self)
{
    const char *text;
    memcpy(&text, place_of(self->slot->number), sizeof text);
    bring(self, text != NULL ? text : "", text != NULL ? strlen(text) + 1 : 0);
}

static void
bring_threads(mf_serving *self)
{
    char text[MF_IMAGE_TEXT];
    mf_image_threads(image, text, sizeof text);
    bring(self, text, strlen(text));
}

void
serve_request(mf_serving *self)
{
    mf_slot *slot = self->slot;
    uint64_t outer_end = self->end;
    self->end = slot->at;
    atomic_store(&slot->taken, slot->serial);
    switch (slot->kind) {
    case MF_CALL: run_call(self); break;
    case MF_SYMBOLS: find_symbols(self); break;
    case MF_PEEK: bring(self, place_of(slot->number), slot->length); break;
    case MF_CHANGED: find_changed(self); break;
    case MF_TEXT: bring_text_at(self); break;
    case MF_ATTACHED: find_attached(self); break;
    case MF_THREADS: bring_threads(self); break;
    case MF_POKE:
        memcpy(place_of(slot->number), (const char *)channel + slot->at, slot->length);
        slot->kind = MF_DONE;
        break;
    case MF_DESCRIBE:
        slot->kind = callback_describe(slot->number, (const mf_callback_param *)((const char *)channel + slot->at),
                                       slot->length / sizeof(mf_callback_param))
                         ? MF_DONE
                         : MF_THROWN;
        break;
    default: slot->kind = MF_THROWN; break;
    }
    self->end = outer_end;
}

void
show_prints(void)
{
    if (__fpending(stdout) != 0) {
        fflush(stdout);
    }
}

static void *
serve(void *data)
{
    uint32_t index = (uint32_t)(uintptr_t)data;
    uint64_t arena = channel->arenas_at + channel->arena_size * index;
    mf_serving self = {mf_channel_slot(channel, index), index, arena, arena + channel->arena_size, {0}};
    serving = &self;
    mf_crash_stack();
    for (;;) {
        mf_slot_wait(self.slot, MF_WORKER, 0, &self.patience, NULL);
        serve_request(&self);
        show_prints();
        mf_slot_pass(self.slot, MF_HOST);
    }
    return NULL;
}

bool
serve_all(void)
{
    for (uint32_t i = 0; i < channel->call_slots; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)(uintptr_t)i) != 0) {
            return false;
        }
        pthread_detach(thread);
    }
    return true;
}
