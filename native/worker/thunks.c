/* A function for each number of a callback: it puts its number into a scratch register and goes on to what they share,
 * which stores the argument registers for C and loads the result.  Made by the assembler: nothing here is written to
 * memory that can be executed. */
#include "worker.h"

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_thunks\n"
    ".hidden mf_thunks\n"
    "mf_thunks:\n"
    ".set number, 0\n"
    ".rept 1024\n"
    "  .p2align 4\n"
    "  endbr64\n"
    "  mov $number, %r11d\n"
    "  jmp mf_thunk_common\n"
    "  .set number, number + 1\n"
    ".endr\n"
    ".p2align 4\n"
    "mf_thunk_common:\n"
    "  .cfi_startproc\n"
    "  push %rbp\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset %rbp, -16\n"
    "  mov %rsp, %rbp\n"
    "  .cfi_def_cfa_register %rbp\n"
    "  sub $144, %rsp\n"
    "  mov %rdi, 0(%rsp)\n"
    "  mov %rsi, 8(%rsp)\n"
    "  mov %rdx, 16(%rsp)\n"
    "  mov %rcx, 24(%rsp)\n"
    "  mov %r8, 32(%rsp)\n"
    "  mov %r9, 40(%rsp)\n"
    "  movsd %xmm0, 48(%rsp)\n"
    "  movsd %xmm1, 56(%rsp)\n"
    "  movsd %xmm2, 64(%rsp)\n"
    "  movsd %xmm3, 72(%rsp)\n"
    "  movsd %xmm4, 80(%rsp)\n"
    "  movsd %xmm5, 88(%rsp)\n"
    "  movsd %xmm6, 96(%rsp)\n"
    "  movsd %xmm7, 104(%rsp)\n"
    "  lea 16(%rbp), %rax\n"
    "  mov %rax, 112(%rsp)\n"
    "  mov %r11d, %edi\n"
    "  mov %rsp, %rsi\n"
    "  call mf_callback_run\n"
    "  mov 120(%rsp), %rax\n"
    "  movsd 128(%rsp), %xmm0\n"
    "  leave\n"
    "  .cfi_def_cfa %rsp, 8\n"
    "  ret\n"
    "  .cfi_endproc\n");
#else
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_thunks\n"
    ".hidden mf_thunks\n"
    "mf_thunks:\n"
    ".set number, 0\n"
    ".rept 1024\n"
    "  .p2align 4\n"
    "  hint #34\n" /* bti c */
    "  mov w16, #number\n"
    "  b mf_thunk_common\n"
    "  .set number, number + 1\n"
    ".endr\n"
    ".p2align 4\n"
    "mf_thunk_common:\n"
    "  .cfi_startproc\n"
    "  stp x29, x30, [sp, #-176]!\n"
    "  .cfi_def_cfa_offset 176\n"
    "  .cfi_offset x29, -176\n"
    "  .cfi_offset x30, -168\n"
    "  mov x29, sp\n"
    "  stp x0, x1, [sp, #16]\n"
    "  stp x2, x3, [sp, #32]\n"
    "  stp x4, x5, [sp, #48]\n"
    "  stp x6, x7, [sp, #64]\n"
    "  stp d0, d1, [sp, #80]\n"
    "  stp d2, d3, [sp, #96]\n"
    "  stp d4, d5, [sp, #112]\n"
    "  stp d6, d7, [sp, #128]\n"
    "  add x9, sp, #176\n"
    "  str x9, [sp, #144]\n"
    "  mov w0, w16\n"
    "  add x1, sp, #16\n"
    "  bl mf_callback_run\n"
    "  ldr x0, [sp, #152]\n"
    "  ldr d0, [sp, #160]\n"
    "  ldp x29, x30, [sp], #176\n"
    "  .cfi_def_cfa_offset 0\n"
    "  ret\n"
    "  .cfi_endproc\n");
#endif

_Static_assert(MF_CALLBACKS == 1024, "as many as are made above");
_Static_assert(offsetof(mf_incoming, stack) == (MF_INTEGER_REGISTERS + MF_DOUBLE_REGISTERS) * 8 &&
                   offsetof(mf_incoming, double_result) == offsetof(mf_incoming, stack) + 16,
               "the assembly above knows this layout");

uint64_t
thunk_size(void)
{
    return 16;
}
