// Plays the keeper for tests of keepwell-enter: puts descriptors in place, starts the program from
// a sealed memfd, reads what it has made and the status pipe, waits for both processes. Also makes
// a small real container with runc, for the tests that need one (root only).
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/cgroup.h"
#include "runtime/exec_plan.h"
#include "runtime/unique_fd.h"
#include "runtime/wire_socket.h"
#include "tests/catch.h"

namespace keepwell::enter_test {

inline std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void spill(const std::string& path, const std::string& text, int mode = 0644) {
  std::ofstream(path, std::ios::binary) << text;
  REQUIRE(::chmod(path.c_str(), static_cast<mode_t>(mode)) == 0);
}

inline std::string program_path() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "keepwell-enter";
}

inline int sealed_program() {
  static int memfd = [] {
    std::string bytes = slurp(program_path());
    REQUIRE(!bytes.empty());
    int fd = ::memfd_create("enter", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    REQUIRE(::fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) ==
            0);
    int high = ::fcntl(fd, F_DUPFD_CLOEXEC, 400);
    ::close(fd);
    return high;
  }();
  return memfd;
}

struct Pipe {
  UniqueFd read_end, write_end;
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    read_end.reset(ends[0]);
    write_end.reset(ends[1]);
  }
};

// What the keeper does for one Spawn message. BEFORE is called in the child, which shares our
// memory: system calls only.
class Spawned {
 public:
  explicit Spawned(const std::vector<int>& fds, void (*before)() = nullptr) {
    std::vector<int> high;
    for (int fd : fds) high.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, 500));
    const char* argv[] = {"keepwell-enter", nullptr};
    const char* env[] = {nullptr};
    int program = sealed_program();
    pid_t pid = ::vfork();
    if (pid == 0) {
      for (std::size_t i = 0; i < high.size(); ++i) ::dup2(high[i], static_cast<int>(i));
      ::syscall(SYS_close_range, high.size(), ~0u, 4 /* CLOEXEC */);
      if (before != nullptr) before();
      ::syscall(SYS_execveat, program, "", argv, env, AT_EMPTY_PATH);
      ::_exit(99);
    }
    for (int fd : high) ::close(fd);
    REQUIRE(pid > 0);
    helper_ = pid;
  }
  ~Spawned() {
    if (!reaped_ && pid() > 0) {
      ::kill(pid(), SIGKILL);
      wait();
    }
  }
  Spawned(const Spawned&) = delete;

  // Waits for the first half; its exit status.
  int wait_helper() {
    if (helper_ > 0) {
      siginfo_t info{};
      REQUIRE(::waitid(P_PID, static_cast<id_t>(helper_), &info, WEXITED | WNOWAIT) == 0);
      const std::string name = slurp("/proc/" + std::to_string(helper_) + "/comm");
      if (name.starts_with(kClonePrefix)) pid_ = std::stoi(name.substr(kClonePrefixBytes));
      REQUIRE(::waitpid(helper_, &helper_status_, 0) == helper_);
      helper_ = 0;
    }
    return helper_status_;
  }

  pid_t pid() {
    wait_helper();
    return pid_;
  }

  pid_t helper() const { return helper_; }

  // Waits for the program itself, which must be our child. -1: there is none.
  int wait() {
    if (pid() == 0) return -1;
    if (!reaped_) {
      REQUIRE(::waitpid(pid(), &status_, 0) == pid());
      reaped_ = true;
    }
    return status_;
  }

 private:
  pid_t helper_ = 0;
  pid_t pid_ = 0;
  int helper_status_ = 0;
  int status_ = 0;
  bool reaped_ = false;
};

struct Outcome {
  std::optional<EnterFailure> failure;
  int status = -1;  // as waitpid says
  std::string output;
  std::chrono::milliseconds took{0};

  int exit_code() const { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }
};

inline std::string drain(int fd, int deadline_ms = 10'000) {
  std::string text;
  char chunk[65536];
  for (;;) {
    pollfd watched{fd, POLLIN, 0};
    if (::poll(&watched, 1, deadline_ms) <= 0) return text + "<timed out>";
    ssize_t got = ::read(fd, chunk, sizeof(chunk));
    if (got <= 0) return text;
    text.append(chunk, static_cast<std::size_t>(got));
  }
}

struct Place {  // where to run: descriptors of a container, or nothing for the host
  int pidfd = -1;
  int root = -1;
  std::vector<int> cgroup_procs{};
  int tty_socket = -1;
};

// The directory of the v2 cgroup among PROCS, which is taken out of there; without one, our own.
inline UniqueFd take_leaf_directory(std::vector<int>& procs) {
  for (auto at = procs.begin(); at != procs.end(); ++at) {
    struct statfs info {};
    if (::fstatfs(*at, &info) != 0 || info.f_type != 0x63677270 /* CGROUP2_SUPER_MAGIC */) continue;
    std::string file = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(*at));
    procs.erase(at);
    std::string directory = file.substr(0, file.rfind('/'));
    return UniqueFd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  Result<CgroupLayout> layout = detect_cgroup_layout();
  REQUIRE(layout);
  return UniqueFd(::open((layout->unified_mount + layout->unified_own_path).c_str(),
                         O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Without a v2 tree there are no zygotes.
inline bool can_have_zygotes() {
  static bool can = [] {
    Result<CgroupLayout> layout = detect_cgroup_layout();
    return layout && !layout->unified_mount.empty();
  }();
  if (!can) WARN("SKIPPED: no cgroup v2 tree, so no zygotes");
  return can;
}

// A zygote, asked as the keeper does. Its clones begin in the v2 cgroup of the place and join the
// others but for the last, SHARED of them.
class AskedZygote {
 public:
  AskedZygote(const ExecPlanBase& base, const ExecRequest& request, const Place& place,
              std::size_t shared = 0)
      : request_(request) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    control_.reset(ends[0]);
    UniqueFd theirs(ends[1]);
    UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    std::vector<int> procs = place.cgroup_procs;
    UniqueFd leaf = take_leaf_directory(procs);
    Result<ExecPlan> plan =
        build_exec_plan(base, request,
                        {.stdio = {null.get(), null.get(), null.get()},
                         .status = theirs.get(),
                         .target_pidfd = place.pidfd,
                         .target_root = place.root,
                         .cgroup_procs = procs,
                         .cgroups_of_clones = procs.size() - std::min(shared, procs.size()),
                         .leaf_directory = leaf.get(),
                         .clone_status = status_.write_end.get()});
    if (!plan) FAIL(plan.error().text);
    process_ = std::make_unique<Spawned>(plan->fds);
  }
  ~AskedZygote() {
    control_.reset();  // that is how it ends
    process_->wait_helper();
  }

  bool is_for(const ExecRequest& request) const { return request == request_; }

  // What it says about itself: nothing if it serves.
  std::optional<EnterFailure> failure() {
    if (said_.empty()) {
      char text[64];
      ssize_t got = ::recv(control_.get(), text, sizeof(text), 0);
      said_.assign(text, got > 0 ? static_cast<std::size_t>(got) : 0);
    }
    if (said_.size() == sizeof(ZygoteAnswer)) return std::nullopt;
    return decode_enter_status(said_).value_or(EnterFailure{EnterStep::plan, 0});
  }

  void send(int output) {
    std::array<int, kZygoteRequestFds> fds{output};
    REQUIRE(wire::send_with_fds(control_.get(), {"\0", 1}, fds) == 0);
  }

  // The clone, our child; 0 or a negative errno where there is none.
  pid_t answer() {
    ZygoteAnswer answer;
    if (::recv(control_.get(), &answer, sizeof(answer), 0) != sizeof(answer)) return 0;
    return answer.pid;
  }

  // What the clone that has ended last has said; nothing if it became the program.
  std::optional<EnterFailure> said() {
    char text[64];
    ::fcntl(status_.read_end.get(), F_SETFL, O_NONBLOCK);
    ssize_t got = ::read(status_.read_end.get(), text, sizeof(text));
    return decode_enter_status({text, got > 0 ? static_cast<std::size_t>(got) : 0});
  }

  pid_t pid() const { return process_->helper(); }

 private:
  ExecRequest request_;
  UniqueFd control_;
  Pipe status_;
  std::string said_;
  std::unique_ptr<Spawned> process_;
};

// Runs REQUEST to its end, stdout and stderr into one pipe. ZYGOTE, if there is one, makes the
// process.
inline Outcome run_plan(const ExecPlanBase& base, const ExecRequest& request,
                        const Place& place = {}, AskedZygote* zygote = nullptr) {
  auto begin = std::chrono::steady_clock::now();
  Pipe output, status;
  Outcome outcome;
  if (zygote != nullptr) {
    outcome.failure = zygote->failure();
    if (outcome.failure) return outcome;
    zygote->send(output.write_end.get());
    output.write_end.reset();
    pid_t pid = zygote->answer();
    outcome.output = drain(output.read_end.get());
    if (pid > 0) REQUIRE(::waitpid(pid, &outcome.status, 0) == pid);
    outcome.failure = pid > 0 ? zygote->said() : EnterFailure{EnterStep::clone, -pid};
    outcome.took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    return outcome;
  }
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Result<ExecPlan> plan =
      build_exec_plan(base, request,
                      {.stdio = {null.get(), output.write_end.get(), output.write_end.get()},
                       .status = status.write_end.get(),
                       .target_pidfd = place.pidfd,
                       .target_root = place.root,
                       .tty_socket = place.tty_socket,
                       .cgroup_procs = place.cgroup_procs});
  if (!plan) FAIL(plan.error().text);
  Spawned spawned(plan->fds);
  output.write_end.reset();
  status.write_end.reset();
  outcome.failure = decode_enter_status(drain(status.read_end.get()));
  outcome.output = drain(output.read_end.get());
  outcome.status = spawned.wait();
  outcome.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  return outcome;
}

// Like system(), which however makes glibc's own signals ignored, and runc hands that on.
inline int run_command(const std::string& command) {
  pid_t pid = ::fork();
  if (pid == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  int status = -1;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// runc, or what KEEPWELL_TEST_ORACLE says: "crun", which on a hybrid host works only in a mount
// namespace whose /sys/fs/cgroup is a cgroup2 (tests/e2e/test_oracle.py).
inline std::string oracle() {
  const char* wanted = std::getenv("KEEPWELL_TEST_ORACLE");
  return wanted != nullptr ? wanted : "runc";
}

inline bool can_make_containers() {
  static bool can = ::geteuid() == 0 && run_command(oracle() + " --version >/dev/null 2>&1") == 0;
  if (!can) WARN("SKIPPED: needs root and " << oracle());
  return can;
}

// There the kernel lets nobody make a user namespace, and `runc exec` enters the host's root.
inline bool in_chroot() {
  static bool is = [] {
    pid_t pid = ::fork();
    if (pid == 0) ::_exit(::unshare(CLONE_NEWUSER) != 0 && errno == EPERM ? 1 : 0);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return ::geteuid() == 0 && status != 0;
  }();
  if (is) WARN("SKIPPED: these tests run in a chroot");
  return is;
}

// A directory under /tmp that goes with the object.
class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/kw-enter-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string find_busybox() {
  for (const char* path : {"/bin/busybox", "/usr/bin/busybox"}) {
    if (std::filesystem::exists(path)) return path;
  }
  return "";
}

inline void make_rootfs(const std::string& root) {
  namespace fs = std::filesystem;
  for (const char* name : {"bin", "etc", "proc", "sys", "dev", "tmp", "home/alice", "usr/bin"}) {
    fs::create_directories(root + "/" + name);
  }
  fs::copy_file(find_busybox(), root + "/bin/busybox");
  for (const char* name :
       {"sh",     "cat", "id",    "true",  "false",  "env", "pwd",      "ls",     "sleep",
        "mkfifo", "ln",  "kill",  "rm",    "echo",   "tty", "stty",     "grep",   "setsid",
        "test",   "mv",  "mkdir", "mount", "umount", "dd",  "readlink", "printf", "stat"}) {
    fs::create_symlink("busybox", root + "/bin/" + name);
  }
  spill(root + "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n"
        "alice:x:1000:1001:Alice:/home/alice:/bin/sh\n");
  spill(root + "/etc/group", "root:x:0:\nalice:x:1001:\nstaff:x:50:alice\nwheel:x:10:root,alice\n");
}

// Changes the standard config before the container is made.
using Tweak = std::function<void(nlohmann::json&)>;

inline nlohmann::json standard_config(const std::string& cgroup) {
  using nlohmann::json;
  json caps = {"CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FOWNER",  "CAP_KILL",  "CAP_SETGID",
               "CAP_SETUID", "CAP_SETPCAP",      "CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_CHROOT"};
  json mounts = json::array();
  auto mount = [&](const char* where, const char* type, json options) {
    mounts.push_back({{"destination", where},
                      {"type", type},
                      {"source", type},
                      {"options", std::move(options)}});
  };
  mount("/proc", "proc", json::array());
  mount("/dev", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"});
  mount("/dev/pts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"});
  mount("/tmp", "tmpfs", {"nosuid", "mode=1777"});
  json namespaces = json::array();
  for (const char* type : {"pid", "network", "ipc", "uts", "mount", "cgroup"}) {
    namespaces.push_back({{"type", type}});
  }
  return {{"ociVersion", "1.0.2"},
          {"process",
           {{"terminal", false},
            {"user", {{"uid", 0}, {"gid", 0}}},
            {"args", {"/bin/sleep", "1000"}},
            {"env", {"PATH=/usr/bin:/bin", "TERM=xterm", "COLOR=green"}},
            {"cwd", "/"},
            {"oomScoreAdj", 321},
            {"rlimits", {{{"type", "RLIMIT_NOFILE"}, {"soft", 512}, {"hard", 1024}}}},
            {"capabilities", {{"bounding", caps}, {"effective", caps}, {"permitted", caps}}}}},
          {"root", {{"path", "rootfs"}, {"readonly", false}}},
          {"hostname", "box"},
          {"mounts", mounts},
          {"linux", {{"namespaces", namespaces}, {"cgroupsPath", cgroup}}}};
}

// A running container, gone with the object.
class Container {
 public:
  explicit Container(const Tweak& tweak = {},
                     const std::function<void(std::string)>& furnish = {}) {
    static int serial = 0;
    id_ = "kwtest-" + std::to_string(::getpid()) + "-" + std::to_string(++serial);
    std::filesystem::create_directories(directory_ / "rootfs");
    make_rootfs(directory_ / "rootfs");
    if (furnish) furnish(directory_ / "rootfs");
    config_ = standard_config("/" + id_);
    if (tweak) tweak(config_);
    spill(directory_ / "config.json", config_.dump());
    std::string command = runc("run --detach --bundle " + directory_.path() + " " + id_) +
                          " >/dev/null </dev/null 2>" + (directory_ / "error");
    if (run_command(command) != 0) FAIL("runc: " + slurp(directory_ / "error"));
    REQUIRE(run_command(runc("state " + id_) + " >" + (directory_ / "state")) == 0);
    pid_ = nlohmann::json::parse(slurp(directory_ / "state")).at("pid").get<int>();
    pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    root_ = UniqueFd(::open(("/proc/" + std::to_string(pid_) + "/root").c_str(),
                            O_PATH | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(root_);
    Result<ExecPlanBase> compiled =
        compile_exec_plan_base(config_.dump(), {.keyring = crun() ? id_ : "_ses." + id_});
    if (!compiled) FAIL(compiled.error().text);
    base_ = std::move(*compiled);
  }
  ~Container() {
    zygote_.reset();
    // crun leaves one without a pid namespace running.
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
    run_command(runc("delete --force " + id_) + " >/dev/null 2>&1");
  }
  Container(const Container&) = delete;

  static bool crun() { return oracle() == "crun"; }
  std::string runc(const std::string& arguments) const {
    std::string options = crun() ? " --cgroup-manager=disabled" : "";
    return oracle() + options + " --root " + (directory_ / "runc") + " " + arguments;
  }
  // By a zygote if BY_ZYGOTE says so, which then serves all requests of the same kind.
  Outcome exec(const ExecRequest& request) {
    Place place{.pidfd = pidfd_.get(), .root = root_.get(), .cgroup_procs = cgroup_procs};
    if (!by_zygote || !can_have_zygotes()) return run_plan(base_, request, place);
    if (!zygote_ || !zygote_->is_for(request))
      zygote_ = std::make_unique<AskedZygote>(base_, request, place, shared_cgroups);
    return run_plan(base_, request, place, zygote_.get());
  }
  void end_zygote() { zygote_.reset(); }
  // A shell script inside; its output.
  Outcome shell(const std::string& script, const std::string& user = "") {
    return exec({.argv = {"sh", "-c", script}, .user = user});
  }

  const std::string& id() const { return id_; }
  int pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  int root() const { return root_.get(); }
  std::string rootfs() const { return directory_ / "rootfs"; }
  const TempDir& directory() const { return directory_; }
  ExecPlanBase& base() { return base_; }
  const nlohmann::json& config() const { return config_; }
  std::vector<int> cgroup_procs;
  bool by_zygote = false;
  std::size_t shared_cgroups = 0;  // of CGROUP_PROCS, from the end: what a zygote joins itself

 private:
  TempDir directory_;
  std::string id_;
  int pid_ = 0;
  UniqueFd pidfd_;
  UniqueFd
      root_;  // where the tests run in a chroot, the mount namespace's own is not the container's
  nlohmann::json config_;
  ExecPlanBase base_;
  std::unique_ptr<AskedZygote> zygote_;
};

}  // namespace keepwell::enter_test
