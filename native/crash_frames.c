/* See crash_frames.h. */
#include "crash_frames.h"

#include <dlfcn.h>
#include <stddef.h>
#include <ucontext.h>
#include <unwind.h>

#include "foreign.h"
#include "guard.h"

/* The unwinder is the one that libraries use: looked up, like unwinder.c's. */
static struct {
    _Unwind_Reason_Code (*walk)(_Unwind_Trace_Fn, void *);
    _Unwind_Ptr (*place)(struct _Unwind_Context *);
    _Unwind_Ptr (*function)(struct _Unwind_Context *);
    _Unwind_Word (*stack)(struct _Unwind_Context *);
} use;

typedef struct walk {
    uintptr_t start;    /* where the interrupted code is: what lies before it is the handler's */
    uintptr_t bad;      /* the address that was jumped to; only if `jumped` */
    bool jumped, begun, whole;
    mf_frame_visitor visitor;
    void *data;
} walk;

#if defined(__x86_64__)
#define PLACE(context) ((context)->uc_mcontext.gregs[REG_RIP])
#define STACK(context) ((context)->uc_mcontext.gregs[REG_RSP])
#else
#define PLACE(context) ((context)->uc_mcontext.pc)
#define STACK(context) ((context)->uc_mcontext.sp)
#endif

void
mf_crash_walk_prepare(void)
{
    if (use.walk != NULL) {
        return;
    }
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW);
    if (library != NULL) {
        *(void **)&use.place = dlsym(library, "_Unwind_GetIP");
        *(void **)&use.function = dlsym(library, "_Unwind_GetRegionStart");
        *(void **)&use.stack = dlsym(library, "_Unwind_GetCFA");
        *(void **)&use.walk = dlsym(library, "_Unwind_Backtrace");
    }
}

static _Unwind_Reason_Code
visit(struct _Unwind_Context *context, void *data)
{
    walk *self = data;
    mf_frame frame = {.place = use.place(context)};
    if (!self->begun && frame.place != self->start) {
        return _URC_NO_REASON;
    }
    if (!self->begun && self->jumped) {
        mf_frame bad = {.place = self->bad, .stack = use.stack(context)};
        if (!self->visitor(&bad, self->data)) {
            return _URC_END_OF_STACK;
        }
    }
    self->begun = true;
    frame.function = use.function(context);
    frame.stack = use.stack(context);
    return self->visitor(&frame, self->data) ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void
run(void *data)
{
    walk *self = data;
    use.walk(visit, self);
    self->whole = self->begun;
}

/* The caller of a bad address is known all the same: as if it had returned at once. */
static bool
return_from_bad(ucontext_t *context)
{
#if defined(__x86_64__)
    uint64_t caller;
    mf_piece piece = {.address = (uint64_t)STACK(context), .bytes = &caller, .size = sizeof caller};
    if (!mf_foreign_read(&piece, 1) || !piece.done) {
        return false;
    }
    PLACE(context) = (greg_t)caller;
    STACK(context) += (greg_t)sizeof caller;
#else
    PLACE(context) = context->uc_mcontext.regs[30];
#endif
    return true;
}

bool
mf_crash_walk(const siginfo_t *info, void *at, mf_frame_visitor visitor, void *data)
{
    ucontext_t *context = at;
    walk self = {.bad = (uintptr_t)PLACE(context), .visitor = visitor, .data = data};
    uintptr_t stack = (uintptr_t)STACK(context);
    bool fault = info->si_code > 0 && (info->si_signo == SIGSEGV || info->si_signo == SIGBUS);
    self.jumped = fault && (uintptr_t)info->si_addr == self.bad && return_from_bad(context);
    self.start = (uintptr_t)PLACE(context);
    if (use.walk != NULL) {
        mf_guard_plain(run, &self);
    }
    PLACE(context) = (__typeof__(PLACE(context)))self.bad;
    STACK(context) = (__typeof__(STACK(context)))stack;
    if (!self.begun) {
        mf_frame only = {.place = self.bad, .stack = stack};
        visitor(&only, data);
    }
    return self.whole;
}
