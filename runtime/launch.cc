#include "runtime/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "runtime/state_file.h"

extern char** environ;

namespace keepwell {

namespace {

// "pid 123 (keepwell-keeper)", as far as it can be told.
std::string describe_holder(int lock_fd) {
  std::array<char, 32> text{};
  ssize_t n = ::pread(lock_fd, text.data(), text.size() - 1, 0);
  long pid = n > 0 ? std::strtol(text.data(), nullptr, 10) : 0;
  if (pid <= 0) return "another keepwell";
  std::string who = "pid " + std::to_string(pid);
  Result<std::string> name = read_small_file("/proc/" + std::to_string(pid) + "/comm", 64);
  if (!name || name->empty()) return who;
  return who + " (" + name->substr(0, name->find('\n')) + ")";
}

constexpr int kLookAgainMs = 5;

// HOW: LOCK_NB, or 0 to wait; with the former, PATIENCE_MS for whoever is about to give it up.
Result<UniqueFd> lock_file(const std::string& dir, const std::string& name, int how,
                           int patience_ms = 0) {
  std::string path = dir + "/" + name;
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644));
  if (!fd) return fail_errno("cannot open " + path);
  while (::flock(fd.get(), LOCK_EX | how) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return fail_errno("cannot lock " + path);
    if ((patience_ms -= kLookAgainMs) >= 0) {
      ::poll(nullptr, 0, kLookAgainMs);
      continue;
    }
    return fail(Errc::conflict, "cannot use " + dir + ": " + describe_holder(fd.get()) +
                                    " uses it; stop that one first, or give another directory");
  }
  std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return fail_errno("cannot write " + path);
  }
  return fd;
}

}  // namespace

Result<UniqueFd> take_lock(const std::string& dir, const std::string& name) {
  return lock_file(dir, name, LOCK_NB);
}

Result<UniqueFd> take_agent_lock(const std::string& data_dir) {
  return lock_file(data_dir, "keepwell.lock", LOCK_NB, 5000);
}

Result<UniqueFd> wait_for_lock(const std::string& dir, const std::string& name) {
  return lock_file(dir, name, 0);
}

std::string own_program_path() {
  std::array<char, PATH_MAX> buffer{};
  ssize_t n = ::readlink("/proc/self/exe", buffer.data(), buffer.size() - 1);
  if (n <= 0) return "/proc/self/exe";
  std::string path(buffer.data(), static_cast<std::size_t>(n));
  // A program that was replaced by an upgrade: its successor has the same name.
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

Result<std::string> find_own_program(const std::string& name) {
  std::string own = own_program_path();
  std::string dir = own.substr(0, own.rfind('/'));
  for (const char* place : {"/", "/../libexec/keepwell/", "/../lib/keepwell/"}) {
    std::string path = dir + place + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return fail(Errc::not_found, "cannot find " + name + " in " + dir +
                                   ", ../libexec/keepwell or ../lib/keepwell; install keepwell's "
                                   "programs together");
}

Status check_program(const std::string& path) {
  struct stat info {};
  if (!path.starts_with('/')) return fail(Errc::invalid, "cannot run " + path + ": no full path");
  if (::stat(path.c_str(), &info) != 0) return fail_errno("cannot run " + path);
  if (!S_ISREG(info.st_mode) || ::access(path.c_str(), X_OK) != 0)
    return fail(Errc::invalid, "cannot run " + path + ": it is no program");
  bool ours = info.st_uid == 0 || info.st_uid == ::geteuid();
  if (!ours || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return fail(Errc::denied, "cannot run " + path +
                                  ": others can change it; chown it to root and chmod go-w it");
  return {};
}

Error become(const std::string& program, const std::vector<std::string>& argv,
             const std::vector<int>& inherited) {
  // A kernel or a sandbox without close_range keeps what the caller let through; no harm to us.
  (void)::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  for (int fd : inherited) {
    int flags = ::fcntl(fd, F_GETFD);
    if (flags < 0 || ::fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) < 0) {
      return Error::os(errno, "cannot pass on a descriptor to " + program);
    }
  }
  std::vector<char*> arguments;
  arguments.reserve(argv.size() + 1);
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  ::execve(program.c_str(), arguments.data(), environ);
  return Error::os(errno, "cannot run " + program);
}

std::map<std::string, std::string> process_environment() {
  std::map<std::string, std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    std::string_view text = *entry;
    std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

std::string absolute_path(const std::string& path) {
  std::error_code failed;
  std::filesystem::path absolute = std::filesystem::absolute(path, failed);
  if (failed) return path;
  std::string text = absolute.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

bool is_readable_file(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode) &&
         ::access(path.c_str(), R_OK) == 0;
}

}  // namespace keepwell
