// Small reads and writes of cgroup files, shared by the cgroup*.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"

namespace keepwell {

// All of a small file. Error: "cannot read PATH: ...".
Result<std::string> read_small_file(const std::string& path);
// One write of all of TEXT. Error: "cannot write TEXT to PATH: ...".
Status write_small_file(const std::string& path, std::string_view text);

// mkdir; one that exists is fine.
Status make_directory(const std::string& path);

// true: gone (or never was); false: busy.
Result<bool> remove_directory(const std::string& path);

std::vector<std::string> child_directories(const std::string& path);

// Value of "KEY NUMBER" in a flat keyed file ("populated 1\nfrozen 0\n").
std::optional<std::uint64_t> keyed_value(std::string_view text, std::string_view key);

// A file that holds one number; none for "max" and for what cannot be read.
std::optional<std::uint64_t> read_number(const std::string& path);

std::vector<std::string_view> split(std::string_view text, char separator);

// Pids listed in DIRECTORY/cgroup.procs and below.
void collect_pids(const std::string& directory, std::vector<int>& pids);

// SIGKILL for all of collect_pids(), over and over while new ones appear (bounded).
void kill_walk(const std::string& directory);

// rmdir, deepest first. true: gone; false: something was busy.
Result<bool> remove_tree(const std::string& directory);

}  // namespace keepwell
