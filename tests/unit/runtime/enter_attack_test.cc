// What a container does to those who enter it, and what has to come of it. The engine's side of the
// same (results, deadlines, cleaning up) is tests/e2e/test_attacks.py; passwd files, descriptors,
// /proc/self/exe and terminals are in enter_container_test.cc.
#include "runtime/cgroup.h"
#include "tests/unit/runtime/enter_harness.h"

using namespace keepwell;
using namespace keepwell::enter_test;
using Clock = std::chrono::steady_clock;

namespace {

std::string attacker_program() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "test_attacker";
}

void bring_attacker(const std::string& root) {
  std::filesystem::copy_file(attacker_program(), root + "/bin/attacker");
}

// A process that runs while others are started: started here, its output read later.
class Background {
 public:
  Background(const Container& container, std::vector<std::string> argv,
             const std::vector<int>& cgroups = {}) {
    ExecRequest request{.argv = std::move(argv)};
    Pipe status;
    UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (container.by_zygote && can_have_zygotes()) {
      zygote_ = std::make_unique<AskedZygote>(
          container_base(container), request,
          Place{.pidfd = container.pidfd(), .root = container.root(), .cgroup_procs = cgroups});
      REQUIRE_FALSE(zygote_->failure());
      auto begin = Clock::now();
      zygote_->send(output_.write_end.get());
      blocked = Clock::now() - begin;
      clone_ = zygote_->answer();
      REQUIRE(clone_ > 0);
    } else {
      Result<ExecPlan> plan =
          build_exec_plan(container_base(container), request,
                          {.stdio = {null.get(), output_.write_end.get(), output_.write_end.get()},
                           .status = status.write_end.get(),
                           .target_pidfd = container.pidfd(),
                           .target_root = container.root(),
                           .cgroup_procs = cgroups});
      REQUIRE(plan);
      auto begin = Clock::now();
      spawned_ = std::make_unique<Spawned>(plan->fds);
      blocked = Clock::now() - begin;
    }
    output_.write_end.reset();
    status.write_end.reset();
    status_ = std::move(status.read_end);
  }
  static const ExecPlanBase& container_base(const Container& container) {
    return const_cast<Container&>(container).base();
  }
  std::string finish() {
    std::string text = drain(output_.read_end.get(), 20'000);
    if (spawned_)
      spawned_->wait();
    else
      REQUIRE(::waitpid(clone_, nullptr, 0) == clone_);
    return text;
  }
  pid_t pid() { return spawned_ ? spawned_->pid() : clone_; }
  void kill() { ::kill(pid(), SIGKILL); }

  Clock::duration blocked{};  // how long the keeper would have been held up

 private:
  Pipe output_;
  UniqueFd status_;
  std::unique_ptr<Spawned> spawned_;
  std::unique_ptr<AskedZygote> zygote_;
  pid_t clone_ = 0;
};

double milliseconds(Clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Cgroups {
  CgroupRoot root;
  bool usable = false;
  Cgroups() {
    Result<CgroupLayout> layout = detect_cgroup_layout();
    if (!layout) return;
    Result<CgroupRoot> opened =
        open_cgroup_root(*layout, "/attack-test/" + std::to_string(::getpid()));
    usable = opened.has_value() && !opened->layout.unified_mount.empty();
    if (!usable) {
      WARN("SKIPPED: no cgroup v2 tree that we may write to");
      return;
    }
    root = *opened;
    REQUIRE(create_container_cgroup(root, "c", {}));
  }
  ~Cgroups() {
    if (!usable) return;
    (void)kill_container_cgroup(root, "c");
    for (int i = 0; i < 2000 && !try_remove_container_cgroup(root, "c").value_or(true); ++i) {
      ::poll(nullptr, 0, 1);
    }
    remove_cgroup_root(root);
  }
};

bool empty_soon(const CgroupLeaf& leaf, int milliseconds_max) {
  for (int i = 0; i < milliseconds_max; ++i) {
    Result<CgroupLeaf::Inside> inside = leaf.inside();
    if (inside && !inside->populated) return true;
    ::poll(nullptr, 0, 1);
  }
  return false;
}

std::size_t descriptors_open() {
  auto all = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

namespace {

void in_user_namespace(nlohmann::json& config) {
  config["linux"]["namespaces"].push_back({{"type", "user"}});
  nlohmann::json map = {{{"containerID", 0}, {"hostID", 100000}, {"size", 65536}}};
  config["linux"]["uidMappings"] = map;
  config["linux"]["gidMappings"] = map;
  config["process"].erase("oomScoreAdj");
}

void unprivileged(nlohmann::json& config) {
  config["process"]["user"] = {{"uid", 1000}, {"gid", 1001}};
  for (const char* set : {"bounding", "effective", "permitted"}) {
    config["process"]["capabilities"][set] = nlohmann::json::array();
  }
}

void sniff(const Tweak& tweak, bool by_zygote) {
  Container container(tweak, [](const std::string& root) {
    bring_attacker(root);
    run_command("chmod 755 " + root + "/..");
  });
  container.by_zygote = by_zygote;
  Background sniffer(container, {"attacker", "sniff", "3"});
  auto end = Clock::now() + std::chrono::milliseconds(2500);
  int execs = 0;
  for (; Clock::now() < end; ++execs) {
    Outcome outcome = container.exec({.argv = {"/bin/true"}});
    REQUIRE_FALSE(outcome.failure);
  }
  std::string said = sniffer.finish();
  CAPTURE(said, execs);
  long seen = 0, memory = 1, descriptors = 1, environment = 1, cwd = 1, ptrace = 1;
  REQUIRE(std::sscanf(said.c_str(),
                      "seen %ld memory %ld descriptors %ld environment %ld cwd %ld ptrace %ld",
                      &seen, &memory, &descriptors, &environment, &cwd, &ptrace) == 6);
  CHECK(execs > 0);  // few: it contends for locks that execve needs, to its own harm
  CHECK(seen > 0);   // it did race with us
  CHECK(memory == 0);
  CHECK(descriptors == 0);
  CHECK(environment == 0);
  CHECK(cwd == 0);
  CHECK(ptrace == 0);
}

}  // namespace

TEST_CASE("attack: looking into a process that is entering") {
  if (!can_make_containers()) return;
  struct Fixture {
    const char* name;
    Tweak tweak;
  };
  const Fixture fixtures[] = {{"A: root with the default capabilities", {}},
                              {"C: a user namespace", in_user_namespace},
                              {"E: unprivileged", unprivileged}};
  for (const Fixture& fixture : fixtures) {
    CAPTURE(fixture.name);
    if (*fixture.name == 'C' && in_chroot()) continue;
    sniff(fixture.tweak, false);
    if (*fixture.name != 'C') sniff(fixture.tweak, true);
  }
}

TEST_CASE("attack: what CAP_SYS_PTRACE sees of a process that is entering") {
  if (!can_make_containers()) return;
  const std::string secret = "what-the-keeper-knows-4711";
  ::setenv("KEEPWELL_TEST_SECRET", secret.c_str(), 1);  // in our memory and our environment
  Container container(
      [](nlohmann::json& config) {
        for (const char* set : {"bounding", "effective", "permitted"}) {
          config["process"]["capabilities"][set].push_back("CAP_SYS_PTRACE");
        }
      },
      bring_attacker);
  Background prier(container, {"attacker", "pry", "4", secret.substr(0, 15)});
  auto end = Clock::now() + std::chrono::milliseconds(3500);
  while (Clock::now() < end) REQUIRE_FALSE(container.exec({.argv = {"/bin/true"}}).failure);
  std::string said = prier.finish();
  ::unsetenv("KEEPWELL_TEST_SECRET");
  CAPTURE(said);
  long seen = 0, files = 1, mappings = 1, secrets = 1;
  int highest = 99;
  REQUIRE(std::sscanf(said.c_str(), "seen %ld highest %d files %ld mappings %ld secrets %ld", &seen,
                      &highest, &files, &mappings, &secrets) == 5);
  CHECK(seen > 0);
  CHECK(highest <= kStatusFd);  // its stdio, and the pipe by which it says that it failed
  CHECK(files == 0);
  CHECK(mappings == 0);
  CHECK(secrets == 0);
}

TEST_CASE("attack: SIGSTOP to everything that enters does not hold up the keeper") {
  if (!can_make_containers()) return;
  Container container({}, bring_attacker);
  container.by_zygote = GENERATE(false, true);
  Background stopper(container, {"attacker", "stop", "60"});
  std::vector<double> blocked;
  int stopped = 0;
  for (int i = 0; i < 100; ++i) {
    Background probe(container, {"/bin/sleep", "1000"});
    blocked.push_back(milliseconds(probe.blocked));
    std::string stat;
    for (int wait = 0; wait < 200; ++wait) {
      stat = slurp("/proc/" + std::to_string(probe.pid()) + "/stat");
      if (stat.find(") T ") != std::string::npos) break;
      ::poll(nullptr, 0, 1);
    }
    stopped += stat.find(") T ") != std::string::npos ? 1 : 0;
    probe.kill();  // the deadline's SIGKILL works on stopped processes too
    probe.finish();
  }
  stopper.kill();
  stopper.finish();
  CAPTURE(blocked);
  CHECK(stopped > 90);
  CHECK(median(blocked) < 10);
}

TEST_CASE("attack: entering a frozen cgroup blocks the entering process only") {
  if (!can_make_containers()) return;
  Cgroups cgroups;
  if (!cgroups.usable) return;
  Container container;
  Result<CgroupLeaf> leaf = CgroupLeaf::create(cgroups.root, "c", "probe", {});
  REQUIRE(leaf);
  std::string freeze = cgroups.root.layout.unified_mount + leaf->path() + "/cgroup.freeze";
  spill(freeze, "1");
  std::vector<double> blocked;
  for (int i = 0; i < 20; ++i) {
    // The helper itself stands still in there, so there is no pid yet; killing the cgroup ends it.
    Pipe status;
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    Result<ExecPlan> plan = build_exec_plan(container.base(), {.argv = {"/bin/sleep", "1000"}},
                                            {.stdio = {null.get(), null.get(), null.get()},
                                             .status = status.write_end.get(),
                                             .target_pidfd = container.pidfd(),
                                             .target_root = container.root(),
                                             .cgroup_procs = leaf->join_fds({})});
    REQUIRE(plan);
    auto begin = Clock::now();
    Spawned spawned(plan->fds);
    blocked.push_back(milliseconds(Clock::now() - begin));
    for (int wait = 0; wait < 1000 && !leaf->inside()->populated; ++wait) ::poll(nullptr, 0, 1);
    CHECK(leaf->inside()->populated);
    REQUIRE(leaf->kill());
    spawned.wait_helper();
    CHECK(empty_soon(*leaf, 1000));
  }
  CAPTURE(blocked);
  CHECK(median(blocked) < 10);
  spill(freeze, "0");
}

TEST_CASE("attack: the container's init is killed while others enter") {
  if (!can_make_containers()) return;
  int ran = 0, gone = 0;
  for (int round = 0; round < 6; ++round) {
    Container container;
    container.by_zygote = round % 2 == 1;
    for (int i = 0; i < 60; ++i) {
      if (i == 20) ::kill(container.pid(), SIGKILL);
      Outcome outcome = container.exec({.argv = {"/bin/true"}});
      if (!outcome.failure) {
        // It ran, or died with its pid namespace before or in execve.
        CHECK((outcome.exit_code() == 0 || outcome.exit_code() == 137));
        ++ran;
        continue;
      }
      EnterReport report =
          explain_enter_failure(*outcome.failure, container.base(), {.argv = {"/bin/true"}});
      CAPTURE(report.text);
      CHECK(report.blame == EnterBlame::container_gone);
      ++gone;
    }
  }
  CHECK(ran >= 100);
  CHECK(gone >= 100);
}

TEST_CASE("attack: a made-up /proc, or none, changes nothing of what is set through ours") {
  if (!can_make_containers()) return;
  const bool by_zygote = GENERATE(false, true);
  for (const char* script : {"mount -t tmpfs none /proc && mkdir -p /proc/self/attr && "
                             "echo 7 >/proc/self/oom_score_adj",
                             "umount /proc"}) {
    CAPTURE(script);
    Container container([](nlohmann::json& config) {
      for (const char* set : {"bounding", "effective", "permitted"}) {
        config["process"]["capabilities"][set].push_back("CAP_SYS_ADMIN");
      }
    });
    container.by_zygote = by_zygote;
    Outcome prepared = container.shell(script);
    REQUIRE_FALSE(prepared.failure);
    REQUIRE(prepared.exit_code() == 0);
    Background probe(container, {"/bin/sleep", "1000"});
    std::string proc = "/proc/" + std::to_string(probe.pid());
    for (int i = 0; i < 1000 && slurp(proc + "/comm") != "sleep\n"; ++i) ::poll(nullptr, 0, 1);
    CHECK(slurp(proc + "/oom_score_adj") == "321\n");
    CHECK_THAT(slurp(proc + "/limits"),
               ContainsSubstring("Max open files            512                  1024"));
    probe.kill();
    probe.finish();
  }
}

TEST_CASE("attack: a fork bomb fills its own leaf and is gone at once") {
  if (!can_make_containers()) return;
  Cgroups cgroups;
  if (!cgroups.usable) return;
  Container container({}, bring_attacker);
  container.by_zygote = GENERATE(false, true);
  Result<CgroupLeaf> leaf = CgroupLeaf::create(cgroups.root, "c", "bomb", {.pids = 32});
  if (!leaf) {
    WARN("SKIPPED: " << leaf.error().text);
    return;
  }
  Background bomb(container, {"attacker", "bomb"}, leaf->join_fds({}));
  ::poll(nullptr, 0, 200);
  for (int i = 0; i < 20; ++i) CHECK(container.shell("true; (true) & wait").exit_code() == 0);
  auto begin = Clock::now();
  REQUIRE(leaf->kill());
  bomb.finish();
  CHECK(empty_soon(*leaf, 2000));
  CHECK(milliseconds(Clock::now() - begin) < 200);
}

TEST_CASE("attack: probes that leave a process in a session of its own") {
  if (!can_make_containers()) return;
  Cgroups cgroups;
  if (!cgroups.usable) return;
  const char* wanted = std::getenv("KEEPWELL_ATTACK_ROUNDS");
  const int rounds = wanted != nullptr ? std::atoi(wanted) : 300;
  // An init that reaps: the leftovers are its children.
  Container container([](nlohmann::json& config) {
    config["process"]["args"] = {"/bin/sh", "-c", "while :; do sleep 1; done"};
  });
  Result<CgroupLeaf> leaf = CgroupLeaf::create(cgroups.root, "c", "probe", {});
  REQUIRE(leaf);
  container.cgroup_procs = leaf->join_fds({});
  std::size_t before = descriptors_open();
  for (int i = 0; i < rounds; ++i) {
    Outcome outcome = container.shell("setsid sleep 1000 >/dev/null 2>&1 & echo ok");
    REQUIRE_FALSE(outcome.failure);
    REQUIRE(outcome.exit_code() == 0);
    REQUIRE(outcome.output == "ok\n");
    REQUIRE(outcome.took < std::chrono::milliseconds(1000));
    REQUIRE(leaf->inside()->populated);
    REQUIRE(leaf->kill());
    REQUIRE(empty_soon(*leaf, 2000));
  }
  CHECK(descriptors_open() == before);
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);  // no zombie, no child of ours
  Outcome left = container.shell("ls /proc | grep -c '^[0-9]' ");
  CAPTURE(left.output);
  CHECK(std::atoi(left.output.c_str()) < 12);  // init, its sleep, this shell
}
