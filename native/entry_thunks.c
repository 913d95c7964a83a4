/* The assembly of entry.h: what a call through an entry or a forward comes by, from the address that native code has to the
 * function that it leads to now.
 *
 * Owns the functions behind the addresses.  They are made by the assembler: nothing is written that can be executed.
 */
#include "entry.h"

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
_Static_assert(offsetof(mf_visit, seat) == 0 && offsetof(mf_visit, kept) == 8 && offsetof(mf_visit, outer) == 24 &&
                   offsetof(mf_visit, next) == 32,
               "the assembly above knows this layout");
