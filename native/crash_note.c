/* See crash_note.h. */
#include "crash_note.h"

#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crash_frames.h"
#include "crash_signals.h"

static mf_crash *first;

static bool
add_frame(const mf_frame *frame, void *data)
{
    mf_crash *crash = data;
    crash->frames[crash->count] = frame->place;
    crash->count++;
    return crash->count < MF_FRAMES;
}

void
mf_crash_describe(mf_crash *crash, int number, siginfo_t *info, void *context)
{
    crash->code = info->si_code;
    crash->address = info->si_code > 0 ? (uint64_t)(uintptr_t)info->si_addr : 0;
    crash->thread = (uint32_t)syscall(SYS_gettid);
    crash->count = 0;
    atomic_store(&crash->signal, (uint32_t)number);
    mf_crash_walk(info, context, add_frame, crash);
}

static bool
note(int number, siginfo_t *info, void *context)
{
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&first->signal, &none, (uint32_t)number)) {
        mf_crash_describe(first, number, info, context);
    }
    return false;
}

bool
mf_crash_note_first(mf_crash *to, int signals)
{
    first = to;
    mf_crash_watch(MF_WATCH_NOTE, note);
    return mf_crash_signals_arm(signals);
}
