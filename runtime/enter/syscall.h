// System calls without a libc: the result is the kernel's own, negative errno on failure. Only what
// keepwell-enter uses; x86_64 and aarch64.
#pragma once

#include <asm/unistd.h>

namespace keepwell {

#if defined(__x86_64__)

inline long kernel(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                   long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

// clone3 of ARGS, which names a stack for the child: there, and in the caller's memory if ARGS says
// CLONE_VM, it calls ENTRY, which must not return.
inline long clone_to(const void* args, unsigned long size, void (*entry)()) {
  long result;
  asm volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n call *%[entry]\n ud2\n1:"
               : "=a"(result)
               : "a"(__NR_clone3), "D"(args), "S"(size), [entry] "d"(entry)
               : "rcx", "r11", "memory");
  return result;
}

#elif defined(__aarch64__)

inline long kernel(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                   long f = 0) {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
}

inline long clone_to(const void* args, unsigned long size, void (*entry)()) {
  register long x8 asm("x8") = __NR_clone3;
  register long x0 asm("x0") = reinterpret_cast<long>(args);
  register unsigned long x1 asm("x1") = size;
  register auto x2 asm("x2") = entry;
  asm volatile("svc 0\n cbnz x0, 1f\n mov x29, xzr\n blr %[entry]\n brk 1\n1:"
               : "+r"(x0)
               : "r"(x8), "r"(x1), [entry] "r"(x2)
               : "x30", "memory");
  return x0;
}

#else
#error "keepwell-enter knows x86_64 and aarch64"
#endif

inline long address(const void* pointer) { return reinterpret_cast<long>(pointer); }

[[noreturn]] inline void exit_process(int code) {
  for (;;) kernel(__NR_exit_group, code);
}

inline long close_fd(long fd) { return kernel(__NR_close, fd); }

inline long open_file(const char* path, long flags) {
  return kernel(__NR_openat, -100 /* AT_FDCWD */, address(path), flags, 0);
}

}  // namespace keepwell
