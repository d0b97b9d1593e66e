#include "runtime/exec_plan.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/catch.h"

using namespace keepwell;
using nlohmann::json;

namespace {

json minimal() {
  return {{"process",
           {{"user", {{"uid", 5}, {"gid", 6}, {"additionalGids", {6, 7}}, {"umask", 23}}},
            {"env", {"A=1", "PATH=/bin"}},
            {"cwd", "/srv"},
            {"noNewPrivileges", true},
            {"oomScoreAdj", -5},
            {"capabilities",
             {{"bounding", {"CAP_CHOWN", "CAP_FROM_THE_FUTURE"}}, {"ambient", {"CAP_KILL"}}}},
            {"rlimits",
             {{{"type", "RLIMIT_NOFILE"}, {"soft", 1}, {"hard", 18446744073709551615ull}}}}}},
          {"linux",
           {{"namespaces",
             {{{"type", "pid"}},
              {{"type", "mount"}},
              {{"type", "network"}, {"path", "/proc/self/ns/net"}},
              {{"type", "user"}}}},
            {"uidMappings", {{{"containerID", 0}, {"hostID", 100000}, {"size", 10}}}},
            {"cgroupsPath", "/x/y"}}}};
}

struct Fds {
  int pipe_ends[2];
  Fds() { REQUIRE(::pipe(pipe_ends) == 0); }
  ~Fds() {
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
  }
  ExecFds get() const {
    int fd = pipe_ends[1];
    return {.stdio = {fd, fd, fd}, .status = fd, .target_pidfd = fd, .tty_socket = fd};
  }
};

PlanHeader header_of(const ExecPlan& plan) {
  PlanHeader header;
  REQUIRE(::pread(plan.memfd.get(), &header, sizeof(header), 0) == sizeof(header));
  return header;
}

// Runs a program of classic BPF on one system call. Only what libseccomp emits.
std::uint32_t interpret(const SeccompProgram& program, std::uint32_t arch, int call,
                        std::uint64_t argument = 0) {
  struct {
    std::int32_t nr;
    std::uint32_t arch;
    std::uint64_t ip;
    std::uint64_t args[6];
  } data{call, arch, 0, {argument, 0, 0, 0, 0, 0}};
  const auto* code = reinterpret_cast<const sock_filter*>(program.bytes.data());
  std::uint32_t a = 0;
  std::uint32_t memory[16] = {};
  for (std::size_t pc = 0; pc < program.instructions(); ++pc) {
    const sock_filter& at = code[pc];
    switch (at.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&a, reinterpret_cast<const char*>(&data) + at.k, 4);
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        pc += a == at.k ? at.jt : at.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        pc += a >= at.k ? at.jt : at.jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        pc += a > at.k ? at.jt : at.jf;
        break;
      case BPF_JMP | BPF_JA:
        pc += at.k;
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= at.k;
        break;
      case BPF_ST:
        memory[at.k & 15] = a;
        break;
      case BPF_LD | BPF_MEM:
        a = memory[at.k & 15];
        break;
      case BPF_RET | BPF_K:
        return at.k;
      default:
        FAIL("unexpected instruction " << at.code);
    }
  }
  FAIL("fell off the end");
  return 0;
}

constexpr std::uint32_t kAllow = 0x7fff0000, kErrno = 0x00050000;
#if defined(__x86_64__)
constexpr std::uint32_t kArch = 0xc000003e;
constexpr int kRead = 0, kSocket = 41, kPersonality = 135, kNewest = 334;
#else
constexpr std::uint32_t kArch = 0xc00000b7;
constexpr int kRead = 63, kSocket = 198, kPersonality = 92, kNewest = 293;
#endif

}  // namespace

TEST_CASE("a base has what config.json says") {
  Result<ExecPlanBase> base = compile_exec_plan_base(minimal().dump(), {.keyring = "k"});
  REQUIRE(base);
  CHECK(base->namespaces == (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUSER));  // our net is skipped
  CHECK(base->uid == 5);
  CHECK(base->groups == std::vector<std::uint32_t>{6, 7});
  CHECK(base->umask == 23u);
  CHECK(base->env.size() == 2);
  CHECK(base->cwd == "/srv");
  CHECK(base->no_new_privileges);
  CHECK(base->oom_score_adj == -5);
  CHECK(base->capabilities->bounding == 1);
  CHECK(base->capabilities->ambient == 32);
  CHECK(base->capabilities->inheritable == 0);
  REQUIRE(base->rlimits.size() == 1);
  CHECK(base->rlimits[0].hard == ~std::uint64_t{0});
  CHECK(base->cgroup_path == "/x/y");
  CHECK(base->keyring == "k");
  CHECK(base->seccomp == nullptr);
}

TEST_CASE("a config.json that is none is an error that names the place") {
  for (const char* text : {"", "[]", "7", "{", "null", "\"x\""}) {
    CHECK_FALSE(compile_exec_plan_base(text));
  }
  CHECK(compile_exec_plan_base("{}"));
  const std::pair<const char*, json> breaks[] = {
      {"/process", 7},
      {"/process/env", json::array({1})},
      {"/process/cwd", json::array()},
      {"/process/user/uid", -1},
      {"/process/user/uid", 4294967295u},
      {"/process/user/additionalGids", json::array({"x"})},
      {"/process/noNewPrivileges", "yes"},
      {"/process/rlimits/0/type", "RLIMIT_LUCK"},
      {"/process/rlimits/0/soft", "many"},
      {"/process/capabilities", json::array()},
      {"/linux/namespaces/0/type", "dream"},
      {"/linux/uidMappings", "all"},
      {"/linux/seccomp", json::array()}};
  for (const auto& [pointer, value] : breaks) {
    CAPTURE(pointer);
    json config = minimal();
    config[json::json_pointer(pointer)] = value;
    Result<ExecPlanBase> base = compile_exec_plan_base(config.dump());
    REQUIRE_FALSE(base);
    CHECK(base.error().code == Errc::invalid);
    CHECK_THAT(base.error().text, StartsWith("cannot read the container's config.json"));
  }
}

TEST_CASE("environments merge in runc's way") {
  auto merged = merge_env({"A=1", "B=2", "A=3", "HOME="}, {"B=4", "C=", "D=x=y"});
  REQUIRE(merged);
  CHECK(*merged == std::vector<std::string>{"A=3", "B=4", "C=", "D=x=y"});
  CHECK_FALSE(merge_env({"NOEQUALS"}, {}));
  CHECK_FALSE(merge_env({}, {"=x"}));
  CHECK_FALSE(merge_env({}, {std::string("A=\0", 3)}));
}

TEST_CASE("a kept plan serves the same request again, and no other") {
  Fds fds;
  auto base = std::make_shared<const ExecPlanBase>(*compile_exec_plan_base(minimal().dump()));
  const ExecRequest request{.argv = {"true", "x"}};
  KeptPlan kept;
  auto ino = [&](const std::shared_ptr<const ExecPlanBase>& of, const ExecRequest& asked,
                 const ExecFds& given) {
    Result<ExecPlan> plan = kept.build(of, asked, given);
    REQUIRE(plan);
    CHECK_FALSE(plan->memfd);
    struct stat st {};
    REQUIRE(::fstat(plan->fds[kPlanFd], &st) == 0);
    // Whatever is kept says what a plan made for this one says.
    Result<ExecPlan> fresh = build_exec_plan(*of, asked, given);
    REQUIRE(fresh);
    std::string have(static_cast<std::size_t>(st.st_size), '\0'), want(have.size() + 1, '\0');
    REQUIRE(::pread(plan->fds[kPlanFd], have.data(), have.size(), 0) ==
            static_cast<ssize_t>(have.size()));
    REQUIRE(::pread(fresh->memfd.get(), want.data(), want.size(), 0) ==
            static_cast<ssize_t>(have.size()));
    CHECK(have == want.substr(0, have.size()));
    fresh->fds[kPlanFd] = plan->fds[kPlanFd];
    CHECK(plan->fds == fresh->fds);
    return st.st_ino;
  };
  const ino_t first = ino(base, request, fds.get());
  CHECK(ino(base, request, fds.get()) == first);
  Fds others;  // the same kinds by other numbers
  CHECK(ino(base, request, others.get()) == first);
  ExecFds joined = fds.get();
  joined.cgroup_procs = {fds.pipe_ends[0]};
  const ino_t second = ino(base, request, joined);
  CHECK(second != first);
  const ino_t third = ino(base, {.argv = {"true", "y"}}, joined);
  CHECK(third != second);
  auto again = std::make_shared<const ExecPlanBase>(*base);
  CHECK(ino(again, {.argv = {"true", "y"}}, joined) != third);
  CHECK_FALSE(kept.build(again, {}, joined));
  CHECK(ino(again, {.argv = {"true", "y"}}, joined) != third);
}

TEST_CASE("a plan is sealed, complete and in order") {
  Fds fds;
  ExecPlanBase base = *compile_exec_plan_base(minimal().dump());
  Result<ExecPlan> plan = build_exec_plan(base, {.argv = {"true", "x"}}, fds.get());
  REQUIRE(plan);
  CHECK(::fcntl(plan->memfd.get(), F_GET_SEALS) ==
        (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
  CHECK(plan->fds.size() == 6);
  CHECK(plan->fds[3] == plan->memfd.get());
  PlanHeader header = header_of(*plan);
  CHECK(header.target_pidfd == 5);
  CHECK(header.tty_socket == kNoFd);
  CHECK(header.stdio_root_uid == 100000);
  CHECK((header.flags & kPlanLookUpHome) != 0);
  CHECK((header.flags & kPlanIdentity) != 0);

  auto with_user =
      build_exec_plan(base, {.argv = {"true"}, .env = {"HOME=/x"}, .user = "bob"}, fds.get());
  REQUIRE(with_user);
  header = header_of(*with_user);
  CHECK((header.flags & kPlanLookUpUser) != 0);
  CHECK((header.flags & kPlanLookUpHome) == 0);
}

TEST_CASE("bad requests are refused before anything is started") {
  Fds fds;
  ExecPlanBase base = *compile_exec_plan_base(minimal().dump());
  auto refused = [&](const ExecRequest& request, const ExecFds& given) {
    return !build_exec_plan(base, request, given);
  };
  CHECK(refused({}, fds.get()));
  CHECK(refused({.argv = {""}}, fds.get()));
  CHECK(refused({.argv = {std::string("a\0b", 3)}}, fds.get()));
  CHECK(refused({.argv = {"a"}, .env = {"x"}}, fds.get()));
  CHECK(refused({.argv = {"a"}, .user = "-1"}, fds.get()));
  CHECK(refused({.argv = {"a"}, .cwd = "relative"}, fds.get()));
  CHECK(refused({.argv = {std::string(5 << 20, 'a')}}, fds.get()));
  ExecFds incomplete = fds.get();
  incomplete.target_pidfd = -1;
  CHECK(refused({.argv = {"a"}}, incomplete));
  incomplete = fds.get();
  incomplete.tty_socket = -1;
  CHECK(refused({.argv = {"a"}, .tty = true}, incomplete));
}

TEST_CASE("status bytes: nothing is success, eight bytes a failure, the rest a bug of ours") {
  CHECK_FALSE(decode_enter_status(""));
  PlanFailure raw{static_cast<std::uint32_t>(EnterStep::cwd), ENOENT};
  std::string bytes(reinterpret_cast<const char*>(&raw), sizeof(raw));
  CHECK(decode_enter_status(bytes)->step == EnterStep::cwd);
  CHECK(decode_enter_status(bytes.substr(1))->step == EnterStep::plan);
  CHECK(decode_enter_status(bytes + bytes)->step == EnterStep::plan);
  raw.step = 4000;
  bytes.assign(reinterpret_cast<const char*>(&raw), sizeof(raw));
  CHECK(decode_enter_status(bytes)->step == EnterStep::plan);
}

TEST_CASE("failures have somebody to blame, and every step has words") {
  ExecPlanBase base = host_exec_plan_base();
  ExecRequest request{.argv = {"x"}};
  auto blame = [&](EnterStep step, int error_number) {
    return explain_enter_failure({step, error_number}, base, request).blame;
  };
  CHECK(blame(EnterStep::namespaces, ESRCH) == EnterBlame::container_gone);
  CHECK(blame(EnterStep::clone, ENOMEM) == EnterBlame::container_gone);
  CHECK(blame(EnterStep::cgroup, ENODEV) == EnterBlame::container_gone);
  CHECK(blame(EnterStep::clone, EAGAIN) == EnterBlame::ours);
  CHECK(blame(EnterStep::tty, EMFILE) == EnterBlame::ours);
  CHECK(blame(EnterStep::capabilities, EPERM) == EnterBlame::ours);
  CHECK(blame(EnterStep::path_lookup, ENOENT) == EnterBlame::program);
  CHECK(blame(EnterStep::exec, ENOEXEC) == EnterBlame::program);
  for (std::uint32_t step = 1; step <= static_cast<std::uint32_t>(EnterStep::parent_gone); ++step) {
    EnterReport report = explain_enter_failure({static_cast<EnterStep>(step), EIO}, base, request);
    CHECK_FALSE(report.text.empty());
    CHECK(report.exit_code >= 126);
    CHECK(report.exit_code <= 128);
  }
}

TEST_CASE("a seccomp section becomes a program that decides as it says") {
  json config = minimal();
  config["linux"]["seccomp"] = {
      {"defaultAction", "SCMP_ACT_ERRNO"},
      {"defaultErrnoRet", 1},
      {"architectures", {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}},
      {"syscalls",
       {{{"names", {"read", "statx", "rseq", "io_pgetevents", "no_such_call_at_all"}},
         {"action", "SCMP_ACT_ALLOW"}},
        {{"names", {"socket"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", 22}},
        {{"names", {"personality"}},
         {"action", "SCMP_ACT_ALLOW"},
         {"args",
          {{{"index", 0}, {"value", 8}, {"op", "SCMP_CMP_EQ"}},
           {{"index", 0}, {"value", 0}, {"op", "SCMP_CMP_EQ"}}}}}}}};
  Result<ExecPlanBase> base = compile_exec_plan_base(config.dump());
  REQUIRE(base);
  REQUIRE(base->seccomp != nullptr);
  const SeccompProgram& program = *base->seccomp;
  CHECK(interpret(program, kArch, kRead) == kAllow);
  CHECK(interpret(program, kArch, kSocket) == (kErrno | 22));
  CHECK(interpret(program, kArch, kPersonality, 8) == kAllow);
  CHECK(interpret(program, kArch, kPersonality, 0) == kAllow);
  CHECK(interpret(program, kArch, kPersonality, 1) == (kErrno | 1));
  CHECK(interpret(program, kArch, kNewest + 100) == (kErrno | ENOSYS));  // newer than the profile
  CHECK(interpret(program, 0x40000028, kRead) == 0);                     // another machine: killed

  config["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_NOTIFY";
  Result<ExecPlanBase> notify = compile_exec_plan_base(config.dump());
  REQUIRE_FALSE(notify);
  CHECK(notify.error().code == Errc::unsupported);
  CHECK_THAT(notify.error().text, ContainsSubstring("exec: runtime"));
  config["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_WISH";
  CHECK(compile_exec_plan_base(config.dump()).error().code == Errc::invalid);
}
