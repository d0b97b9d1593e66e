// keepwell-enter as the keeper uses it: on the host, without containers. What needs one is in
// enter_container_test.cc.
#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cstring>

#include "tests/unit/runtime/enter_harness.h"

using namespace keepwell;
using namespace keepwell::enter_test;

namespace {

ExecPlanBase host_base() {
  ExecPlanBase base = host_exec_plan_base();
  base.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  return base;
}

Outcome run(std::vector<std::string> argv, const ExecPlanBase& base = host_base()) {
  return run_plan(base, {.argv = std::move(argv)});
}

EnterReport report(const Outcome& outcome, const ExecRequest& request) {
  REQUIRE(outcome.failure);
  return explain_enter_failure(*outcome.failure, host_base(), request);
}

}  // namespace

TEST_CASE("keepwell-enter is a small static program without interpreter or libraries") {
  std::string bytes = slurp(program_path());
  REQUIRE(bytes.size() > sizeof(Elf64_Ehdr));
  CHECK(bytes.size() < 16 * 1024);
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  CHECK(header.e_type == ET_EXEC);
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, bytes.data() + header.e_phoff + i * header.e_phentsize, sizeof(segment));
    CHECK(segment.p_type != PT_INTERP);
    CHECK(segment.p_type != PT_DYNAMIC);
    bool writable_code = (segment.p_flags & PF_W) != 0 && (segment.p_flags & PF_X) != 0;
    CHECK_FALSE(writable_code);
  }
  for (int i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, bytes.data() + header.e_shoff + i * header.e_shentsize, sizeof(section));
    if (section.sh_type != SHT_SYMTAB && section.sh_type != SHT_DYNSYM) continue;
    for (std::size_t at = sizeof(Elf64_Sym); at < section.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, bytes.data() + section.sh_offset + at, sizeof(symbol));
      CHECK(symbol.st_shndx != SHN_UNDEF);
    }
  }
}

TEST_CASE("a program on the host runs in a session of its own and its status is ours to wait for") {
  Outcome outcome = run({"sh", "-c", "echo $PPID; cut -d' ' -f1,5,6 /proc/$$/stat; exit 37"});
  REQUIRE_FALSE(outcome.failure);
  CHECK(outcome.exit_code() == 37);
  std::stringstream text(outcome.output);
  int parent = 0, pid = 0, group = 0, session = 0;
  text >> parent >> pid >> group >> session;
  CHECK(parent == ::getpid());
  CHECK(group == pid);
  CHECK(session == pid);
  CHECK(run({"sh", "-c", "kill -9 $$"}).exit_code() == 137);
}

TEST_CASE("signals, descriptors and the environment are clean") {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  std::vector<UniqueFd> many;  // without CLOEXEC: what another library may have left open
  for (int i = 0; i < 200; ++i) many.emplace_back(::open("/dev/null", O_RDONLY));
  Outcome signals = run({"cat", "/proc/self/status"});
  Outcome fds = run({"ls", "/proc/self/fd"});
  Outcome env = run({"env"});
  ::sigprocmask(SIG_SETMASK, &before, nullptr);

  for (const char* line : {"SigPnd", "SigBlk", "SigIgn", "SigCgt"}) {
    CHECK_THAT(signals.output, ContainsSubstring(std::string(line) + ":\t0000000000000000\n"));
  }
  CHECK(fds.output == "0\n1\n2\n3\n");  // 3 is the directory that ls itself reads
  CHECK_THAT(env.output, ContainsSubstring("PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"));
  CHECK_THAT(env.output, ContainsSubstring("HOME=/"));
  CHECK(std::count(env.output.begin(), env.output.end(), '\n') == 2);
}

TEST_CASE("failed starts say why, with Docker's exit codes") {
  TempDir directory;
  spill(directory / "plain", "no program", 0644);
  spill(directory / "interpreter", "#!/nonexistent/interpreter\n", 0755);
  spill(directory / "format",
        "\x7f"
        "bad",
        0755);
  ::mkfifo((directory / "fifo").c_str(), 0755);
  struct Case {
    std::string program;
    EnterStep step;
    int exit_code;
    std::string text;
  };
  const Case cases[] = {
      {"kw-no-such-program", EnterStep::path_lookup, 127,
       "exec: \"kw-no-such-program\": executable file not found in $PATH"},
      {"/no/such", EnterStep::program, 127,
       "exec: \"/no/such\": stat /no/such: no such file or directory"},
      {"/etc", EnterStep::program, 126, "exec: \"/etc\": is a directory: permission denied"},
      {directory / "plain", EnterStep::program, 126, "permission denied"},
      {directory / "fifo", EnterStep::program, 126, "permission denied"},
      {directory / "interpreter", EnterStep::exec, 127, "no such file or directory"},
      {directory / "format", EnterStep::exec, 128, "exec format error"},
  };
  for (const Case& each : cases) {
    CAPTURE(each.program);
    Outcome outcome = run({each.program});
    REQUIRE(outcome.failure);
    CHECK(outcome.failure->step == each.step);
    EnterReport said = report(outcome, {.argv = {each.program}});
    CHECK(said.blame == EnterBlame::program);
    CHECK(said.exit_code == each.exit_code);
    CHECK_THAT(said.text, ContainsSubstring(each.text));
    CHECK((outcome.exit_code() == 126 || outcome.exit_code() == 127));
  }
}

TEST_CASE("a hostile PATH is not searched for long, and never relative to cwd") {
  TempDir directory;
  spill(directory / "tool", "#!/bin/sh\necho found\n", 0755);
  auto with_path = [&](const std::string& path) {
    ExecPlanBase base = host_base();
    base.env = {"PATH=" + path};
    base.cwd = directory.path();
    return run_plan(base, {.argv = {"tool"}});
  };
  CHECK(with_path("/nowhere:" + directory.path()).output == "found\n");
  CHECK(with_path(".:" + directory.path()).output == "found\n");
  for (const std::string& path :
       {std::string("."), std::string(":"), std::string(""), std::string("bin/../."),
        std::string(5000, ':') + directory.path()}) {
    Outcome outcome = with_path(path);
    REQUIRE(outcome.failure);
    CHECK(outcome.failure->step == EnterStep::path_lookup);
  }
  std::string long_path;
  for (int i = 0; i < 2000; ++i) long_path += "/a:";
  Outcome outcome = with_path(long_path + directory.path());
  REQUIRE(outcome.failure);
  CHECK(outcome.took < std::chrono::milliseconds(1000));
}

TEST_CASE("cwd, umask, rlimits and oom_score_adj are those of the plan") {
  ExecPlanBase base = host_base();
  base.cwd = "/usr/bin";
  base.umask = 0027;
  base.oom_score_adj = 500;
  base.rlimits = {{.resource = RLIMIT_NOFILE, .soft = 17, .hard = 33},
                  {.resource = RLIMIT_CORE, .soft = 0, .hard = 0}};
  Outcome outcome =
      run_plan(base, {.argv = {"sh", "-c",
                               "pwd; umask; cat /proc/self/oom_score_adj; ulimit -Sn; ulimit -Hn; "
                               "ulimit -Sc"}});
  REQUIRE_FALSE(outcome.failure);
  CHECK(outcome.output == "/usr/bin\n0027\n500\n17\n33\n0\n");

  Outcome nowhere = run_plan(host_base(), {.argv = {"true"}, .cwd = "/nope"});
  EnterReport said = report(nowhere, {.argv = {"true"}, .cwd = "/nope"});
  CHECK(said.exit_code == 127);
  CHECK(said.text ==
        "chdir to cwd (\"/nope\") set in config.json failed: no such file or directory");
}

TEST_CASE("a security label that cannot be given is a failed start, never a silent one") {
  std::string modules = slurp("/sys/kernel/security/lsm");
  struct Case {
    const char* module;
    std::string ExecPlanBase::*field;
    const char* value;
  };
  for (const Case& each :
       {Case{"selinux", &ExecPlanBase::selinux_label, "no_such_u:no_such_r:no_such_t:s0"},
        Case{"apparmor", &ExecPlanBase::apparmor_profile, "no-such-profile"}}) {
    CAPTURE(each.module);
    ExecPlanBase base = host_base();
    base.*each.field = each.value;
    Outcome outcome = run({"true"}, base);
    REQUIRE(outcome.failure);  // EINVAL without the module, ENOENT or EINVAL with it
    CHECK(outcome.failure->step == EnterStep::label);
    CHECK_THAT(report(outcome, {.argv = {"true"}}).text, ContainsSubstring("security label"));
    if (modules.find(each.module) == std::string::npos) {
      WARN("SKIPPED: no " << each.module << " here, so that a label is given is not seen");
      continue;
    }
    if (each.module != std::string("apparmor")) continue;
    base.*each.field = "unconfined";
    Outcome given = run({"cat", "/proc/self/attr/current"}, base);
    REQUIRE_FALSE(given.failure);
    CHECK_THAT(given.output, StartsWith("unconfined"));
  }
}

TEST_CASE("a terminal: its master comes by the socket, the program controls it") {
  int pair[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  UniqueFd ours(pair[0]), theirs(pair[1]);
  Outcome outcome = run_plan(host_base(),
                             {.argv = {"sh", "-c", "tty; stty size </dev/tty"},
                              .tty = true,
                              .tty_rows = 33,
                              .tty_columns = 77},
                             {.tty_socket = theirs.get()});
  REQUIRE_FALSE(outcome.failure);
  char byte = 1;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  REQUIRE(::recvmsg(ours.get(), &message, MSG_CMSG_CLOEXEC) == 1);
  int master = -1;
  std::memcpy(&master, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
  UniqueFd terminal(master);
  std::string text = drain(terminal.get());
  CHECK_THAT(text, ContainsSubstring("/dev/pts/"));
  CHECK_THAT(text, ContainsSubstring("33 77"));
}

TEST_CASE("whatever is no plan is refused before anything is done") {
  auto run_bytes = [](const std::string& bytes, bool seal) {
    Pipe status;
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    UniqueFd plan(::memfd_create("plan", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::write(plan.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    if (seal) ::fcntl(plan.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    Spawned spawned({null.get(), null.get(), null.get(), plan.get(), status.write_end.get()});
    status.write_end.reset();
    std::optional<EnterFailure> failure = decode_enter_status(drain(status.read_end.get()));
    CHECK(spawned.pid() == 0);
    REQUIRE(failure);
    return failure->step;
  };
  Pipe dummy;
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  Result<ExecPlan> good = build_exec_plan(
      host_base(), {.argv = {"true"}},
      {.stdio = {null.get(), null.get(), null.get()}, .status = dummy.write_end.get()});
  REQUIRE(good);
  std::string bytes(static_cast<std::size_t>(::lseek(good->memfd.get(), 0, SEEK_END)), '\0');
  REQUIRE(::pread(good->memfd.get(), bytes.data(), bytes.size(), 0) > 0);

  CHECK(run_bytes("", true) == EnterStep::plan);
  CHECK(run_bytes("short", true) == EnterStep::plan);
  CHECK(run_bytes(std::string(4096, 'x'), true) == EnterStep::plan);
  CHECK(run_bytes(bytes, false) == EnterStep::plan);  // not sealed
  CHECK(run_bytes(bytes.substr(0, bytes.size() - 1), true) == EnterStep::plan);
  PlanHeader header;
  auto with = [&](const std::function<void(PlanHeader&)>& change) {
    std::memcpy(&header, bytes.data(), sizeof(header));
    change(header);
    std::string changed = bytes;
    std::memcpy(changed.data(), &header, sizeof(header));
    return run_bytes(changed, true);
  };
  CHECK(with([](PlanHeader& h) { h.version = kPlanVersion + 1; }) == EnterStep::plan);
  CHECK(with([](PlanHeader& h) { h.flags |= std::uint64_t{1} << 40; }) == EnterStep::plan);
  CHECK(with([](PlanHeader& h) { h.argv.offset = 0xfffffff8; }) == EnterStep::plan);
  CHECK(with([](PlanHeader& h) { h.argv.count = 0xffffffff; }) == EnterStep::plan);
  CHECK(with([](PlanHeader& h) { h.argv = {}; }) == EnterStep::plan);
  CHECK(with([](PlanHeader& h) { h.env.offset += 4; }) == EnterStep::plan);
  CHECK(with([](PlanHeader& h) { h.cwd.count += 1; }) == EnterStep::plan);
  CHECK(with([](PlanHeader& h) { h.target_pidfd = 1; }) == EnterStep::plan);
  CHECK(with([](PlanHeader& h) {
          h.groups = {sizeof(PlanHeader), 0x40000000};
        }) == EnterStep::plan);
}

// Kills whoever renames itself, as keepwell-enter's first half does to say what it has made.
void kill_at_the_naming() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_NAME, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

TEST_CASE("what nobody was told of ends, when the first half is killed after the clone") {
  Pipe output, status;
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  Result<ExecPlan> plan =
      build_exec_plan(host_base(), {.argv = {"echo", "it ran"}},
                      {.stdio = {null.get(), output.write_end.get(), output.write_end.get()},
                       .status = status.write_end.get()});
  REQUIRE(plan);
  Spawned spawned(plan->fds, kill_at_the_naming);
  output.write_end.reset();
  status.write_end.reset();
  CHECK(drain(output.read_end.get()).empty());
  const std::optional<EnterFailure> failure = decode_enter_status(drain(status.read_end.get()));
  REQUIRE(failure);
  CHECK(failure->step == EnterStep::clone);
  const int first = spawned.wait_helper();
  CHECK((WIFSIGNALED(first) && WTERMSIG(first) == SIGSYS));
  CHECK(spawned.pid() == 0);
  int second = 0;  // CLONE_PARENT: a child of ours like the first
  REQUIRE(::waitpid(-1, &second, 0) > 0);
  CHECK((WIFEXITED(second) && WEXITSTATUS(second) == 126));
}

TEST_CASE("without a request the program ends at once and touches nothing") {
  std::string program = program_path();
  CHECK(WEXITSTATUS(run_command(program + " 2>/dev/null")) == 126);
  CHECK(WEXITSTATUS(run_command(program + " 5 0 2>/dev/null")) == 126);
  CHECK(WEXITSTATUS(run_command(program + " x y 2>/dev/null")) == 126);
}
