// Makes a seccomp filter smaller without changing what it answers. The kernel compiles a filter
// anew for every process that attaches it, in time proportional to its length, so this is a good
// part of what a probe costs.
//
// libseccomp tests for each system call by its number, some 400 of them for each architecture. Most
// neighbours have the same answer: here the program is run for every architecture and every range
// of numbers in which it cannot behave differently, ranges with the same outcome become one, and a
// binary tree over the ranges is what remains. Conditions on arguments are carried over as they
// are.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <span>
#include <vector>

namespace keepwell {

using BpfProgram = std::vector<sock_filter>;

// What the kernel would do with DATA: the value of the RET that PROGRAM reaches (SECCOMP_RET_*), or
// SECCOMP_RET_KILL_PROCESS for a program that it would not take. For tests and the check below.
std::uint32_t run_filter(std::span<const sock_filter> program, const seccomp_data& data);

// An equivalent of PROGRAM, which knows the AUDIT_ARCH_* of ARCHES and answers all others alike.
// Returns PROGRAM itself where that would be longer, where it does what libseccomp's programs never
// do (scratch memory, say), or where a check of both at the ends of every range finds a
// difference. Cost: a millisecond.
BpfProgram compact_filter(BpfProgram program, std::span<const std::uint32_t> arches);

}  // namespace keepwell
