// Where the kernel enters a program without a libc: argc, then argv, then the environment lie on
// the stack. The program defines start_program(); include this in the one file that does.
#pragma once

#include "runtime/enter/syscall.h"

namespace keepwell {

// ARGV ends with a null pointer; the environment is behind it.
[[noreturn]] void start_program(long argc, char** argv);

}  // namespace keepwell

extern "C" [[noreturn, gnu::used]] void keepwell_start(long* stack) {
  keepwell::start_program(stack[0], reinterpret_cast<char**>(stack + 1));
}

#if defined(__x86_64__)
asm(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n"
    " call keepwell_start\n");
#else
asm(".globl _start\n_start:\n mov x29, #0\n mov x0, sp\n bl keepwell_start\n");
#endif
