#include "runtime/cgroup_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "runtime/unique_fd.h"

namespace keepwell {

Result<std::string> read_small_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("cannot read " + path);
  std::string text;
  char chunk[4096];
  for (;;) {
    ssize_t got = ::read(fd.get(), chunk, sizeof(chunk));
    if (got < 0) return fail_errno("cannot read " + path);
    if (got == 0) return text;
    text.append(chunk, static_cast<std::size_t>(got));
  }
}

Status write_small_file(const std::string& path, std::string_view text) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return fail_errno("cannot write " + std::string(text) + " to " + path);
  }
  return {};
}

Status make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
    return fail_errno("cannot make cgroup " + path);
  }
  return {};
}

Result<bool> remove_directory(const std::string& path) {
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return true;
  if (errno == EBUSY || errno == ENOTEMPTY) return false;
  return fail_errno("cannot remove cgroup " + path);
}

std::vector<std::string> child_directories(const std::string& path) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::optional<std::uint64_t> keyed_value(std::string_view text, std::string_view key) {
  for (std::string_view line : split(text, '\n')) {
    if (line.size() <= key.size() || line.substr(0, key.size()) != key) continue;
    if (line[key.size()] != ' ') continue;
    std::string_view number = line.substr(key.size() + 1);
    std::uint64_t value = 0;
    if (std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc()) {
      return value;
    }
  }
  return std::nullopt;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
  Result<std::string> text = read_small_file(path);
  std::uint64_t value = 0;
  if (!text ||
      std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc()) {
    return std::nullopt;
  }
  return value;
}

void collect_pids(const std::string& directory, std::vector<int>& pids) {
  if (Result<std::string> text = read_small_file(directory + "/cgroup.procs")) {
    for (std::string_view line : split(*text, '\n')) {
      int pid = 0;
      std::from_chars(line.data(), line.data() + line.size(), pid);
      if (pid > 0) pids.push_back(pid);  // 0: one that this pid namespace does not see
    }
  }
  for (const std::string& child : child_directories(directory)) {
    collect_pids(directory + "/" + child, pids);
  }
}

void kill_walk(const std::string& directory) {
  constexpr int kRounds = 8;  // a fork bomb outruns this only while it is not frozen
  for (int round = 0; round < kRounds; ++round) {
    std::vector<int> pids;
    collect_pids(directory, pids);
    if (pids.empty()) return;
    for (int pid : pids) ::kill(pid, SIGKILL);
  }
}

Result<bool> remove_tree(const std::string& directory) {
  bool all = true;
  for (const std::string& child : child_directories(directory)) {
    Result<bool> removed = remove_tree(directory + "/" + child);
    if (!removed) return removed;
    all = all && *removed;
  }
  if (!all) return false;
  return remove_directory(directory);
}

}  // namespace keepwell
