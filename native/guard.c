/* See guard.h: the handler's part, and a thread's. */
#include "guard.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <ucontext.h>

#include "crash_signals.h"
#include "entry.h"
#include "leaving.h"

_Thread_local mf_guard_thread *mf_guard_mine __attribute__((tls_model("initial-exec"), visibility("hidden")));

static pthread_key_t at_thread_end;

extern const char mf_guard_landing[], mf_guard_through_landing[];

/* ---- coming back ---------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
enum { TRAP = 0x100, BACKWARDS = 0x400, ALIGNED = 0x40000, FLOAT_FLAGS = 0x3f };

static void
read_modes(uint32_t *modes)
{
    __asm__ volatile("stmxcsr %0" : "=m"(modes[0]));
    __asm__ volatile("fnstcw %0" : "=m"(modes[1]));
}

static void
change_context(ucontext_t *context, const mf_guard_point *point, const uint32_t *modes)
{
    greg_t *registers = context->uc_mcontext.gregs;
    registers[REG_RIP] = (greg_t)point->landing;
    registers[REG_RSP] = (greg_t)point->stack;
    registers[REG_RAX] = (greg_t)(uintptr_t)point;
    registers[REG_EFL] &= ~(greg_t)(TRAP | BACKWARDS | ALIGNED);
    fpregset_t floating = context->uc_mcontext.fpregs;
    if (floating != NULL) {
        floating->mxcsr = modes[0] & ~(uint32_t)FLOAT_FLAGS;
        floating->cwd = (uint16_t)modes[1];
        floating->swd = 0; /* its stack is empty */
        floating->ftw = 0;
    }
}
#else
enum { BRANCH_TYPE = 0xc00 };

static void
read_modes(uint32_t *modes)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    modes[0] = (uint32_t)control;
}

static void
change_context(ucontext_t *context, const mf_guard_point *point, const uint32_t *modes)
{
    mcontext_t *machine = &context->uc_mcontext;
    machine->pc = point->landing;
    machine->sp = point->stack;
    machine->regs[0] = (uintptr_t)point;
    machine->pstate &= ~(uint64_t)BRANCH_TYPE;
    struct fpsimd_context *floating = (struct fpsimd_context *)machine->__reserved; /* always the first record */
    if (floating->head.magic == FPSIMD_MAGIC) {
        floating->fpcr = modes[0];
        floating->fpsr = 0;
    }
}
#endif

/* AddressSanitizer keeps books on the stack frames that are left. */
static void
forget_frames(uintptr_t from, uintptr_t to)
{
#if defined(__SANITIZE_ADDRESS__)
    void __asan_unpoison_memory_region(void const volatile *, size_t);
    if (from < to) {
        __asan_unpoison_memory_region((void *)from, to - from);
    }
#else
    (void)from;
    (void)to;
#endif
}

static bool
catch_crash(int number, siginfo_t *info, void *context)
{
    static const uint32_t standard[2] =
#if defined(__x86_64__)
        {0x1f80, 0x37f};
#else
        {0, 0};
#endif
    mf_guard_point *point = mf_guard_innermost;
    mf_guard_thread *mine = mf_guard_mine;
    if (point == NULL || !mf_crash_is_own(info)) {
        return false;
    }
    if (point->landing != (uintptr_t)mf_guard_landing && point->landing != (uintptr_t)mf_guard_through_landing) {
        return false; /* the crash has overwritten where to go back to */
    }
    if (point->crash != NULL) {
        if (mine == NULL || !mf_may_leave(info, context)) {
            return false;
        }
        mf_crash_describe(&mine->crash, number, info, context);
        mine->visits = point->visits;
        *point->crash = &mine->crash;
    }
    forget_frames(mf_crash_stack_pointer(context), point->stack);
    change_context(context, point, mine != NULL ? mine->modes : standard);
    return true;
}

/* ---- a thread ------------------------------------------------------------------------------------------------------- */

static void
end_thread(void *data)
{
    mf_guard_mine = NULL;
    free(data);
}

bool
mf_guard_make_ready(void)
{
    mf_guard_thread *made = mf_crash_stack() ? calloc(1, sizeof *made) : NULL;
    if (made == NULL || pthread_setspecific(at_thread_end, made) != 0) {
        free(made);
        return false;
    }
    read_modes(made->modes);
    mf_guard_mine = made;
    return true;
}

__attribute__((constructor)) static void
begin(void)
{
    pthread_key_create(&at_thread_end, end_thread);
    mf_crash_watch(MF_WATCH_GUARD, catch_crash);
}

const mf_crash *
mf_guard_take(const void *left_behind)
{
    mf_guard_thread *mine = mf_guard_mine;
    if (mine == NULL || left_behind != &mine->crash) {
        return NULL;
    }
    mf_entry_leave_to(mine->visits);
    return &mine->crash;
}

/* ---- a run ---------------------------------------------------------------------------------------------------------- */

static void
run(void (*function)(void *), void *data)
{
    function(data);
}

mf_guarded
mf_guard_run(void (*function)(void *), void *data, const mf_crash **crash)
{
    void *told = NULL;
    *crash = NULL;
    if (!mf_guard_ready() || !mf_crash_signals_arm(MF_CRASHES)) {
        return MF_NOT_RUN;
    }
    mf_guard_call((const void *)(uintptr_t)function, data, NULL, (const void *)(uintptr_t)run, &told);
    *crash = mf_guard_take(told);
    return *crash != NULL ? MF_CRASHED : MF_RETURNED;
}

void
mf_guard_plain(void (*function)(void *), void *data)
{
    mf_guard_call((const void *)(uintptr_t)function, data, NULL, (const void *)(uintptr_t)run, NULL);
}
