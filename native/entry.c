/* See entry.h.  The functions behind the addresses are made by the assembler: nothing is written that can be executed. */
#include "entry.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

#include "unwinder.h"

enum { CHUNK = 63, PORTION = 8 }; /* visits in a chunk, which is a page; and what a thread takes of them at once */

/* A thread's visits.  The layout is known to the assembly. */
typedef struct visits {
    mf_visit *free, *innermost;
} visits;

typedef struct chunk {
    mf_visit visits[CHUNK];
    struct chunk *next;
} chunk;

#define HIDDEN __attribute__((visibility("hidden")))

HIDDEN mf_entry mf_entries[MF_ENTRIES];
HIDDEN _Thread_local visits mf_visits __attribute__((tls_model("initial-exec")));
HIDDEN bool mf_entry_fences = true;
HIDDEN _Atomic(uintptr_t) mf_forwards[MF_FORWARDS];

bool (*mf_entry_wait)(mf_entry *entry, mf_visit *visit);
bool (*mf_entry_report)(mf_entry *entry, const char *text);

static size_t entry_count;
static mf_seat *free_seats;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects the two below; never held while other code runs */
static chunk *_Atomic chunks;
static mf_visit *orphans; /* free visits of threads that have ended */
static pthread_key_t at_thread_end;

extern const char mf_entry_thunks[], mf_forward_thunks[], mf_entry_landing[];
void mf_entry_nowhere(void) HIDDEN;

static mf_seat nowhere = {.target = (uintptr_t)mf_entry_nowhere};

/* ---- visits ---------------------------------------------------------------------------------------------------------- */

/* A signal handler that called through an entry meanwhile would wait for its own thread for ever. */
static void
lock_against_handlers(sigset_t *kept)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, kept);
    pthread_mutex_lock(&lock);
}

static void
unlock(const sigset_t *kept)
{
    pthread_mutex_unlock(&lock);
    pthread_sigmask(SIG_SETMASK, kept, NULL);
}

static void
give_up_visits(void *unused)
{
    sigset_t kept;
    (void)unused;
    lock_against_handlers(&kept);
    while (mf_visits.free != NULL) {
        mf_visit *visit = mf_visits.free;
        mf_visits.free = visit->next;
        visit->next = orphans;
        orphans = visit;
    }
    unlock(&kept);
}

static void
add_chunk(void)
{
    /* Not malloc, which a signal handler must not call. */
    chunk *made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) {
        static const char text[] = "midflight: no memory for a call through a stable pointer\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        abort();
    }
    for (size_t i = 0; i < CHUNK; i++) {
        made->visits[i].next = orphans;
        orphans = &made->visits[i];
    }
    made->next = chunks;
    chunks = made;
}

/* Called when this thread has no free visit left. */
HIDDEN void mf_entry_more_visits(void);

void
mf_entry_more_visits(void)
{
    sigset_t kept;
    lock_against_handlers(&kept);
    if (orphans == NULL) {
        add_chunk();
    }
    for (size_t i = 0; i < PORTION && orphans != NULL; i++) {
        mf_visit *visit = orphans;
        orphans = visit->next;
        visit->next = mf_visits.free;
        mf_visits.free = visit;
    }
    pthread_setspecific(at_thread_end, &mf_visits); /* fails for want of memory only: some visits are lost then */
    unlock(&kept);
}

size_t
mf_entry_inside(const void *holder)
{
    size_t count = 0;
    for (chunk *one = chunks; one != NULL; one = one->next) {
        for (size_t i = 0; i < CHUNK; i++) {
            const mf_seat *seat = atomic_load_explicit(&one->visits[i].seat, memory_order_acquire);
            count += seat != NULL && seat->holder == holder;
        }
    }
    return count;
}

const mf_visit *
mf_entry_innermost(void)
{
    return mf_visits.innermost;
}

void
mf_entry_leave_to(const mf_visit *innermost)
{
    sigset_t kept;
    lock_against_handlers(&kept);
    while (mf_visits.innermost != NULL && mf_visits.innermost != innermost) {
        mf_visit *left = mf_visits.innermost;
        atomic_store(&left->seat, NULL);
        mf_visits.innermost = left->outer;
        left->next = mf_visits.free;
        mf_visits.free = left;
    }
    unlock(&kept);
}

/* ---- entering -------------------------------------------------------------------------------------------------------- */

/* Called where the quick way found no seat, or another one at its second look. */
HIDDEN mf_seat *mf_entry_take(mf_entry *entry, mf_visit *visit);

mf_seat *
mf_entry_take(mf_entry *entry, mf_visit *visit)
{
    for (;;) {
        mf_seat *seat = atomic_load(&entry->seat);
        atomic_store(&visit->seat, seat);
        if (seat != NULL && atomic_load(&entry->seat) == seat) {
            return seat;
        }
        if (seat == NULL && mf_entry_wait(entry, visit)) {
            return atomic_load(&visit->seat);
        }
    }
}

/* What an entry that leads nowhere does: `memory` is where a struct is to be returned, if one is in memory. */
HIDDEN void *mf_entry_tell(mf_entry *entry, void *memory);

void *
mf_entry_tell(mf_entry *entry, void *memory)
{
    const char *text = entry->text != NULL ? entry->text : "a stable pointer leads nowhere";
    bool reported = mf_entry_report != NULL && mf_entry_report(entry, text);
    if (!reported && !atomic_exchange(&entry->told, true)) {
        char line[512];
        int size = snprintf(line, sizeof line, "midflight: %s; the call returns 0\n", text);
        (void)!write(STDERR_FILENO, line, size < (int)sizeof line ? (size_t)size : sizeof line - 1);
    }
    return entry->result_size != 0 ? memset(memory, 0, entry->result_size) : NULL;
}

/* An exception or pthread_exit passes: it is counted out, and goes on as if the caller had been called by nobody else. */
HIDDEN _Unwind_Reason_Code
mf_personality_entry(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                     struct _Unwind_Exception *exception, struct _Unwind_Context *context);

_Unwind_Reason_Code
mf_personality_entry(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                     struct _Unwind_Exception *exception, struct _Unwind_Context *context)
{
    (void)exception_class;
    mf_unwinder use = mf_find_unwinder();
    if (version != 1 || (actions & _UA_SEARCH_PHASE) != 0 || use.set_register == NULL || use.set_ip == NULL ||
        use.resume == NULL) {
        return version != 1 ? _URC_FATAL_PHASE1_ERROR : _URC_CONTINUE_UNWIND;
    }
    use.set_register(context, 0, (_Unwind_Word)(uintptr_t)exception);  /* rax or x0 */
    use.set_register(context, 1, (_Unwind_Word)(uintptr_t)use.resume); /* rdx or x1 */
    use.set_ip(context, (_Unwind_Ptr)(uintptr_t)mf_entry_landing);
    return _URC_INSTALL_CONTEXT;
}

#if defined(__x86_64__)
#define SAVE                                                                                                           \
    "  sub $192, %rsp\n"                                                                                               \
    "  .cfi_adjust_cfa_offset 192\n"                                                                                   \
    "  mov %rdi, 0(%rsp)\n"                                                                                            \
    "  mov %rsi, 8(%rsp)\n"                                                                                            \
    "  mov %rdx, 16(%rsp)\n"                                                                                           \
    "  mov %rcx, 24(%rsp)\n"                                                                                           \
    "  mov %r8, 32(%rsp)\n"                                                                                            \
    "  mov %r9, 40(%rsp)\n"                                                                                            \
    "  mov %rax, 48(%rsp)\n" /* a variadic function's count of vector registers */                                     \
    "  mov %r11, 56(%rsp)\n"                                                                                           \
    "  movups %xmm0, 64(%rsp)\n"                                                                                       \
    "  movups %xmm1, 80(%rsp)\n"                                                                                       \
    "  movups %xmm2, 96(%rsp)\n"                                                                                       \
    "  movups %xmm3, 112(%rsp)\n"                                                                                      \
    "  movups %xmm4, 128(%rsp)\n"                                                                                      \
    "  movups %xmm5, 144(%rsp)\n"                                                                                      \
    "  movups %xmm6, 160(%rsp)\n"                                                                                      \
    "  movups %xmm7, 176(%rsp)\n"
#define RESTORE                                                                                                        \
    "  mov 0(%rsp), %rdi\n"                                                                                            \
    "  mov 8(%rsp), %rsi\n"                                                                                            \
    "  mov 16(%rsp), %rdx\n"                                                                                           \
    "  mov 24(%rsp), %rcx\n"                                                                                           \
    "  mov 32(%rsp), %r8\n"                                                                                            \
    "  mov 40(%rsp), %r9\n"                                                                                            \
    "  mov 48(%rsp), %rax\n"                                                                                           \
    "  mov 56(%rsp), %r11\n"                                                                                           \
    "  movups 64(%rsp), %xmm0\n"                                                                                       \
    "  movups 80(%rsp), %xmm1\n"                                                                                       \
    "  movups 96(%rsp), %xmm2\n"                                                                                       \
    "  movups 112(%rsp), %xmm3\n"                                                                                      \
    "  movups 128(%rsp), %xmm4\n"                                                                                      \
    "  movups 144(%rsp), %xmm5\n"                                                                                      \
    "  movups 160(%rsp), %xmm6\n"                                                                                      \
    "  movups 176(%rsp), %xmm7\n"                                                                                      \
    "  add $192, %rsp\n"                                                                                               \
    "  .cfi_adjust_cfa_offset -192\n"
/* Ends the visit in %rbx: nothing that can hold a result is touched.  The visit may be taken again from the store of the
 * free list's head on, by a signal handler, so all is read before.  Leaves the return address in %rcx. */
#define LEAVE                                                                                                          \
    "  movq $0, (%rbx)\n"                                                                                              \
    "  mov mf_visits@gottpoff(%rip), %r10\n"                                                                           \
    "  mov 24(%rbx), %r11\n"                                                                                           \
    "  mov %r11, %fs:8(%r10)\n"                                                                                        \
    "  mov %fs:(%r10), %r11\n"                                                                                         \
    "  mov %r11, 32(%rbx)\n"                                                                                           \
    "  mov 8(%rbx), %rcx\n"                                                                                            \
    "  mov 16(%rbx), %r11\n"                                                                                           \
    "  mov %rbx, %fs:(%r10)\n"                                                                                         \
    "  mov %r11, %rbx\n"                                                                                               \
    "  .cfi_restore %rbx\n"                                                                                            \
    "  .cfi_register %rip, %rcx\n"                                                                                     \
    "  push %rcx\n"                                                                                                    \
    "  .cfi_def_cfa_offset 8\n"                                                                                        \
    "  .cfi_offset %rip, -8\n"

/* %r11 is the entry, %rbx the visit, %r10 the seat.  The arguments stay where they are, also those on the stack: the return
 * address goes into the visit, and the function's own takes its place.  The escapes say where it and the caller's %rbx
 * are kept: at %rbx + 8 and %rbx + 16. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_entry_thunks\n"
    ".hidden mf_entry_thunks\n"
    "mf_entry_thunks:\n"
    ".set number, 0\n"
    ".rept 4096\n"
    "  .p2align 4\n"
    "  endbr64\n"
    "  mov $number, %r11d\n"
    "  jmp mf_entry_common\n"
    "  .set number, number + 1\n"
    ".endr\n"
    ".p2align 5\n"
    ".globl mf_entry_common\n"
    ".hidden mf_entry_common\n"
    ".type mf_entry_common, @function\n"
    "mf_entry_common:\n"
    "  .cfi_startproc\n"
    "  .cfi_personality 0x1b, mf_personality_entry\n"
    "  shl $6, %r11\n"
    "  lea mf_entries(%rip), %r10\n"
    "  add %r10, %r11\n"
    "  push %rbx\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset %rbx, -16\n"
    "1:\n"
    "  mov mf_visits@gottpoff(%rip), %r10\n"
    "  mov %fs:(%r10), %rbx\n"
    "  test %rbx, %rbx\n"
    "  jz 4f\n"
    "  push 32(%rbx)\n"
    "  .cfi_adjust_cfa_offset 8\n"
    "  pop %fs:(%r10)\n" /* from here on the visit is ours: a signal handler takes another one */
    "  .cfi_adjust_cfa_offset -8\n"
    "  push %fs:8(%r10)\n"
    "  .cfi_adjust_cfa_offset 8\n"
    "  pop 24(%rbx)\n"
    "  .cfi_adjust_cfa_offset -8\n"
    "  mov %rbx, %fs:8(%r10)\n"
    "  .cfi_remember_state\n"
    "  pop 16(%rbx)\n"
    "  .cfi_adjust_cfa_offset -8\n"
    "  .cfi_escape 0x10, 0x03, 0x02, 0x73, 0x10\n"
    "  pop 8(%rbx)\n"
    "  .cfi_adjust_cfa_offset -8\n"
    "  .cfi_escape 0x10, 0x10, 0x02, 0x73, 0x08\n"
    "  mov (%r11), %r10\n"
    "  mov %r10, (%rbx)\n"
    "  cmpb $0, mf_entry_fences(%rip)\n"
    "  jne 5f\n"
    "2:\n"
    "  cmp %r10, (%r11)\n"
    "  jne 6f\n"
    "  test %r10, %r10\n"
    "  jz 6f\n"
    "3:\n"
    "  call *(%r10)\n"
    "  .cfi_remember_state\n" LEAVE
    "  ret\n"
    "  .cfi_restore_state\n"
    ".globl mf_entry_landing\n"
    ".hidden mf_entry_landing\n"
    "mf_entry_landing:\n"
    "  .cfi_remember_state\n" LEAVE
    "  mov %rax, %rdi\n" /* the exception */
    "  jmp *%rdx\n"      /* _Unwind_Resume */
    "  .cfi_restore_state\n"
    "5:\n"
    "  mfence\n"
    "  jmp 2b\n"
    "6:\n" SAVE
    "  mov %r11, %rdi\n"
    "  mov %rbx, %rsi\n"
    "  call mf_entry_take\n"
    "  mov %rax, %r10\n" RESTORE
    "  jmp 3b\n"
    "  .cfi_restore_state\n"
    "4:\n" SAVE
    "  call mf_entry_more_visits\n" RESTORE
    "  jmp 1b\n"
    "  .cfi_endproc\n"
    ".size mf_entry_common, .-mf_entry_common\n");

/* %r11 is the entry. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_entry_nowhere\n"
    ".hidden mf_entry_nowhere\n"
    ".type mf_entry_nowhere, @function\n"
    "mf_entry_nowhere:\n"
    "  .cfi_startproc\n"
    "  endbr64\n"
    "  sub $8, %rsp\n"
    "  .cfi_def_cfa_offset 16\n"
    "  mov %rdi, %rsi\n"
    "  mov %r11, %rdi\n"
    "  call mf_entry_tell\n"
    "  xor %edx, %edx\n"
    "  pxor %xmm0, %xmm0\n"
    "  pxor %xmm1, %xmm1\n"
    "  add $8, %rsp\n"
    "  .cfi_def_cfa_offset 8\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size mf_entry_nowhere, .-mf_entry_nowhere\n"
    ".p2align 4\n"
    ".globl mf_forward_thunks\n"
    ".hidden mf_forward_thunks\n"
    "mf_forward_thunks:\n"
    ".set number, 0\n"
    ".rept 4096\n"
    "  .p2align 4\n"
    "  endbr64\n"
    "  jmp *mf_forwards + 8 * number(%rip)\n"
    "  .set number, number + 1\n"
    ".endr\n");
#else
#define SAVE                                                                                                           \
    "  sub sp, sp, #224\n"                                                                                            \
    "  .cfi_adjust_cfa_offset 224\n"                                                                                  \
    "  stp x0, x1, [sp, #0]\n"                                                                                        \
    "  stp x2, x3, [sp, #16]\n"                                                                                       \
    "  stp x4, x5, [sp, #32]\n"                                                                                       \
    "  stp x6, x7, [sp, #48]\n"                                                                                       \
    "  stp x8, x16, [sp, #64]\n" /* x8: where a struct is returned in memory */                                       \
    "  stp q0, q1, [sp, #80]\n"                                                                                       \
    "  stp q2, q3, [sp, #112]\n"                                                                                      \
    "  stp q4, q5, [sp, #144]\n"                                                                                      \
    "  stp q6, q7, [sp, #176]\n"                                                                                      \
    "  str x30, [sp, #208]\n"
#define RESTORE                                                                                                        \
    "  ldp x0, x1, [sp, #0]\n"                                                                                        \
    "  ldp x2, x3, [sp, #16]\n"                                                                                       \
    "  ldp x4, x5, [sp, #32]\n"                                                                                       \
    "  ldp x6, x7, [sp, #48]\n"                                                                                       \
    "  ldp x8, x16, [sp, #64]\n"                                                                                      \
    "  ldp q0, q1, [sp, #80]\n"                                                                                       \
    "  ldp q2, q3, [sp, #112]\n"                                                                                      \
    "  ldp q4, q5, [sp, #144]\n"                                                                                      \
    "  ldp q6, q7, [sp, #176]\n"                                                                                      \
    "  ldr x30, [sp, #208]\n"                                                                                         \
    "  add sp, sp, #224\n"                                                                                            \
    "  .cfi_adjust_cfa_offset -224\n"
/* x10 becomes the address of this thread's mf_visits. */
#define VISITS                                                                                                         \
    "  adrp x10, :gottprel:mf_visits\n"                                                                               \
    "  ldr x10, [x10, #:gottprel_lo12:mf_visits]\n"                                                                   \
    "  mrs x11, tpidr_el0\n"                                                                                          \
    "  add x10, x10, x11\n"
/* As on x86-64; x19 is the visit. */
#define LEAVE                                                                                                          \
    "  stlr xzr, [x19]\n" VISITS                                                                                      \
    "  ldr x11, [x19, #24]\n"                                                                                         \
    "  str x11, [x10, #8]\n"                                                                                          \
    "  ldr x11, [x10]\n"                                                                                              \
    "  str x11, [x19, #32]\n"                                                                                         \
    "  mov x12, x19\n"                                                                                                \
    "  ldp x30, x19, [x12, #8]\n"                                                                                     \
    "  .cfi_restore x30\n"                                                                                            \
    "  .cfi_restore x19\n"                                                                                            \
    "  str x12, [x10]\n"

/* x16 is the entry, x19 the visit, x14 the seat; x30 and x19 are kept at x19 + 8 and x19 + 16, as the escapes say. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_entry_thunks\n"
    ".hidden mf_entry_thunks\n"
    "mf_entry_thunks:\n"
    ".set number, 0\n"
    ".rept 4096\n"
    "  .p2align 4\n"
    "  hint #34\n" /* bti c */
    "  mov w16, #number\n"
    "  b mf_entry_common\n"
    "  .set number, number + 1\n"
    ".endr\n"
    ".p2align 5\n"
    ".globl mf_entry_common\n"
    ".hidden mf_entry_common\n"
    ".type mf_entry_common, %function\n"
    "mf_entry_common:\n"
    "  .cfi_startproc\n"
    "  .cfi_personality 0x1b, mf_personality_entry\n"
    "  adrp x9, mf_entries\n"
    "  add x9, x9, :lo12:mf_entries\n"
    "  add x16, x9, x16, lsl #6\n"
    "1:\n" VISITS
    "  ldr x12, [x10]\n"
    "  cbz x12, 4f\n"
    "  ldr x13, [x12, #32]\n"
    "  str x13, [x10]\n" /* from here on the visit is ours: a signal handler takes another one */
    "  ldr x13, [x10, #8]\n"
    "  str x13, [x12, #24]\n"
    "  str x12, [x10, #8]\n"
    "  stp x30, x19, [x12, #8]\n"
    "  .cfi_remember_state\n"
    "  mov x19, x12\n"
    "  .cfi_escape 0x10, 0x1e, 0x02, 0x83, 0x08\n"
    "  .cfi_escape 0x10, 0x13, 0x02, 0x83, 0x10\n"
    "  ldr x14, [x16]\n"
    "  str x14, [x19]\n"
    "  adrp x13, mf_entry_fences\n"
    "  ldrb w13, [x13, #:lo12:mf_entry_fences]\n"
    "  cbnz w13, 5f\n"
    "2:\n"
    "  ldr x15, [x16]\n"
    "  cmp x14, x15\n"
    "  b.ne 6f\n"
    "  cbz x14, 6f\n"
    "3:\n"
    "  ldr x17, [x14]\n"
    "  blr x17\n"
    "  .cfi_remember_state\n" LEAVE
    "  ret\n"
    "  .cfi_restore_state\n"
    ".globl mf_entry_landing\n"
    ".hidden mf_entry_landing\n"
    "mf_entry_landing:\n"
    "  .cfi_remember_state\n"
    "  mov x17, x1\n" LEAVE
    "  br x17\n" /* _Unwind_Resume, with the exception in x0 */
    "  .cfi_restore_state\n"
    "5:\n"
    "  dmb ish\n"
    "  b 2b\n"
    "6:\n" SAVE
    "  mov x0, x16\n"
    "  mov x1, x19\n"
    "  bl mf_entry_take\n"
    "  mov x14, x0\n" RESTORE
    "  b 3b\n"
    "  .cfi_restore_state\n"
    "4:\n" SAVE
    "  .cfi_offset x30, -16\n"
    "  bl mf_entry_more_visits\n" RESTORE
    "  .cfi_restore x30\n"
    "  b 1b\n"
    "  .cfi_endproc\n"
    ".size mf_entry_common, .-mf_entry_common\n");

/* x16 is the entry. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_entry_nowhere\n"
    ".hidden mf_entry_nowhere\n"
    ".type mf_entry_nowhere, %function\n"
    "mf_entry_nowhere:\n"
    "  .cfi_startproc\n"
    "  hint #34\n"
    "  stp x29, x30, [sp, #-16]!\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset x29, -16\n"
    "  .cfi_offset x30, -8\n"
    "  mov x0, x16\n"
    "  mov x1, x8\n"
    "  bl mf_entry_tell\n"
    "  mov x0, #0\n"
    "  mov x1, #0\n"
    "  movi v0.2d, #0\n"
    "  movi v1.2d, #0\n"
    "  movi v2.2d, #0\n"
    "  movi v3.2d, #0\n"
    "  ldp x29, x30, [sp], #16\n"
    "  .cfi_def_cfa_offset 0\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size mf_entry_nowhere, .-mf_entry_nowhere\n"
    ".p2align 4\n"
    ".globl mf_forward_thunks\n"
    ".hidden mf_forward_thunks\n"
    "mf_forward_thunks:\n"
    ".set number, 0\n"
    ".rept 4096\n"
    "  .p2align 4\n"
    "  hint #34\n"
    "  mov w16, #number\n"
    "  b mf_forward_common\n"
    "  .set number, number + 1\n"
    ".endr\n"
    ".p2align 4\n"
    "mf_forward_common:\n"
    "  adrp x9, mf_forwards\n"
    "  add x9, x9, :lo12:mf_forwards\n"
    "  ldr x16, [x9, x16, lsl #3]\n"
    "  br x16\n");
#endif

_Static_assert(MF_ENTRIES == 4096 && MF_FORWARDS == 4096, "as many as are made above");
_Static_assert(sizeof(mf_entry) == 64 && offsetof(mf_entry, seat) == 0 && offsetof(mf_seat, target) == 0,
               "the assembly above knows this layout");
_Static_assert(sizeof(chunk) == 4096, "as many as fit");
_Static_assert(offsetof(mf_visit, seat) == 0 && offsetof(mf_visit, kept) == 8 && offsetof(mf_visit, outer) == 24 &&
                   offsetof(mf_visit, next) == 32 && offsetof(visits, innermost) == 8,
               "the assembly above knows this layout");

enum { THUNK = 16 };

/* ---- entries and seats ----------------------------------------------------------------------------------------------- */

mf_entry *
mf_entry_new(void *data, size_t result_size)
{
    if (entry_count == MF_ENTRIES) {
        return NULL;
    }
    mf_entry *entry = &mf_entries[entry_count++];
    entry->data = data;
    entry->result_size = result_size;
    return entry;
}

uintptr_t
mf_entry_address(const mf_entry *entry)
{
    return (uintptr_t)mf_entry_thunks + (uintptr_t)(entry - mf_entries) * THUNK;
}

void
mf_entry_set(mf_entry *entry, mf_seat *seat)
{
    atomic_store(&entry->seat, seat);
}

/* The text that was there before stays: a call may be reading it. */
void
mf_entry_end(mf_entry *entry, const char *text)
{
    if (entry->text == NULL || strcmp(entry->text, text) != 0) {
        entry->text = strdup(text);
        atomic_store(&entry->told, false);
    }
    atomic_store(&entry->seat, &nowhere);
}

void
mf_entry_refuse(mf_entry *entry, mf_visit *visit, const char *text)
{
    if (entry->text == NULL) {
        entry->text = strdup(text);
    }
    atomic_store(&visit->seat, &nowhere);
}

mf_seat *
mf_seat_new(uintptr_t target, const void *holder)
{
    mf_seat *seat = free_seats;
    if (seat != NULL) {
        free_seats = seat->next;
    } else {
        seat = malloc(sizeof *seat);
    }
    if (seat != NULL) {
        seat->target = target;
        atomic_store(&seat->holder, holder);
    }
    return seat;
}

void
mf_seat_free(mf_seat *seat)
{
    seat->next = free_seats;
    free_seats = seat;
}

/* ---- forwards -------------------------------------------------------------------------------------------------------- */

static uintptr_t free_forwards[MF_FORWARDS];
static size_t free_forward_count, forward_count;

uintptr_t
mf_forward_new(uintptr_t target)
{
    uintptr_t forward = 0;
    if (free_forward_count != 0) {
        forward = free_forwards[--free_forward_count];
    } else if (forward_count != MF_FORWARDS) {
        forward = (uintptr_t)mf_forward_thunks + forward_count++ * THUNK;
    }
    if (forward != 0) {
        mf_forward_set(forward, target);
    }
    return forward;
}

void
mf_forward_set(uintptr_t forward, uintptr_t target)
{
    atomic_store(&mf_forwards[(forward - (uintptr_t)mf_forward_thunks) / THUNK], target);
}

void
mf_forward_free(uintptr_t forward)
{
    free_forwards[free_forward_count++] = forward;
}

/* ---- order ----------------------------------------------------------------------------------------------------------- */

void
mf_entry_settle(void)
{
    if (mf_entry_fences) {
        atomic_thread_fence(memory_order_seq_cst);
    } else {
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    }
}

static void
register_barrier(void)
{
    mf_entry_fences = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
}

/* ---- fork ------------------------------------------------------------------------------------------------------------ */

static void
before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void
after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static bool
is_mine(const mf_visit *visit)
{
    for (const mf_visit *mine = mf_visits.innermost; mine != NULL; mine = mine->outer) {
        if (mine == visit) {
            return true;
        }
    }
    return false;
}

/* The visits of other threads are lost, and so are those that they had free. */
static void
after_fork_in_child(void)
{
    for (chunk *one = chunks; one != NULL; one = one->next) {
        for (size_t i = 0; i < CHUNK; i++) {
            if (atomic_load(&one->visits[i].seat) != NULL && !is_mine(&one->visits[i])) {
                atomic_store(&one->visits[i].seat, NULL);
            }
        }
    }
    register_barrier();
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void
begin(void)
{
    register_barrier();
    pthread_key_create(&at_thread_end, give_up_visits);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}
