// What /proc and the cgroup files say of processes that are about to be stopped. Each call reads a
// bounded number of small files and returns text for people; what is gone meanwhile, or may not be
// read, is left out or said so. Nothing here touches the processes themselves.
#pragma once

#include <string>

#include "runtime/cgroup.h"

namespace keepwell {

// Command line (or only the name, where reading that might hang), state, threads with the kernel
// function each waits in, and (as root) its kernel stack. Empty where PID is gone.
std::string describe_process(int pid);

// Open descriptors and what they are, at most 256 of them.
std::string describe_descriptors(int pid);

// The sockets of PID's network namespace, as /proc/PID/net lists them.
std::string describe_sockets(int pid);

// Pressure, memory and process counts of the cgroup at DIRECTORY (absolute, v2), file by file.
std::string describe_cgroup(const std::string& directory);

// The same numbers from wherever this host keeps them (v1 or v2), one a line.
std::string describe_usage(const CgroupStats& stats);

}  // namespace keepwell
