#include "runtime/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <fstream>

#include "tests/unit/runtime/enter_harness.h"

using namespace keepwell;
using namespace keepwell::enter_test;

namespace {

const char* const kHybridMounts =
    "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 / /sys/fs/cgroup/pids\\040x rw shared:9 - cgroup cgroup rw,pids\n"
    "33 30 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    "34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "35 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
const char* const kHybridOwn =
    "5:cpu,cpuacct:/a\n4:pids:/\n3:memory:/docker/abc/x\n1:name=systemd:/s:colon\n0::/u\n";

// Real cgroups below a root of this test's own.
struct Rig {
  CgroupRoot root;
  bool usable = false;
  Rig() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    Result<CgroupLayout> layout = detect_cgroup_layout();
    REQUIRE(layout);
    Result<CgroupRoot> opened = open_cgroup_root(*layout, "/test/" + std::to_string(::getpid()));
    if (!opened) {
      WARN("SKIPPED: " << opened.error().text);
      return;
    }
    root = *opened;
    usable = true;
  }
  ~Rig() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    if (!usable) return;
    for (const std::string& id : list_container_cgroups(root)) {
      (void)kill_container_cgroup(root, id);
      for (int i = 0; i < 1000 && !try_remove_container_cgroup(root, id).value_or(true); ++i) {
        ::poll(nullptr, 0, 1);
      }
    }
    remove_cgroup_root(root);
  }
};

// A child of ours that joins FDS as enter does and sleeps, with COPIES children of its own.
pid_t join_and_sleep(const std::vector<int>& fds, int copies = 0) {
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  pid_t pid = ::fork();
  if (pid == 0) {
    for (int fd : fds) {
      if (::write(fd, "0", 1) != 1) ::_exit(9);
    }
    for (int i = 0; i < copies; ++i) {
      if (::fork() == 0) {
        ::setsid();
        break;
      }
    }
    (void)!::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  ::close(ready[1]);
  for (int i = 0; i <= copies; ++i) {
    char byte;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
  }
  ::close(ready[0]);
  return pid;
}

// Waits for CHILD, then for the orphans that were re-parented to us. Returns CHILD's status.
int reap_all(pid_t child) {
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  return status;
}

// Waits for the kernel's word that the leaf is empty.
bool wait_empty(const CgroupLeaf& leaf) {
  for (int i = 0; i < 200; ++i) {
    Result<CgroupLeaf::Inside> inside = leaf.inside();
    if (inside && !inside->populated) return true;
    pollfd events{leaf.events_fd(), POLLPRI, 0};
    ::poll(&events, 1, 20);
  }
  return false;
}

bool remove_soon(CgroupLeaf& leaf) {
  for (int i = 0; i < 1000; ++i) {
    Result<bool> removed = leaf.try_remove();
    if (!removed || *removed) return removed.value_or(false);
    ::poll(nullptr, 0, 1);
  }
  return false;
}

}  // namespace

TEST_CASE("layouts of hosts") {
  CgroupLayout hybrid = parse_cgroup_layout(kHybridMounts, kHybridOwn);
  CHECK(hybrid.kind == CgroupKind::hybrid);
  CHECK(hybrid.unified_mount == "/sys/fs/cgroup/unified");
  CHECK(hybrid.unified_own_path == "/u");
  REQUIRE(hybrid.find_v1("cpuacct") != nullptr);
  CHECK(hybrid.find_v1("cpuacct")->own_path == "/a");
  CHECK(hybrid.find_v1("pids")->mount == "/sys/fs/cgroup/pids x");
  CHECK(hybrid.find_v1("memory")->own_path == "/x");  // below what the mount shows
  CHECK(hybrid.find_v1("name=systemd")->own_path == "/s:colon");
  CHECK(hybrid.find_v1("io") == nullptr);

  CgroupLayout v2 = parse_cgroup_layout("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                                        "0::/system.slice/x.service\n");
  CHECK(v2.kind == CgroupKind::v2);
  CHECK(parse_cgroup_layout("1 0 0:1 / /c rw - cgroup cgroup rw,pids\n", "4:pids:/\n").kind ==
        CgroupKind::v1);
  CHECK(parse_cgroup_layout("", "").kind == CgroupKind::none);
  CHECK(parse_cgroup_layout("garbage\n - \n1 2 - cgroup2", "::\n:\nx\n").kind == CgroupKind::none);
  for (const CgroupLayout& layout : {hybrid, v2, CgroupLayout{}}) {
    CHECK_FALSE(describe(layout).empty());
  }
}

TEST_CASE("only cgroups that are not ours have to be joined") {
  CgroupLayout layout = parse_cgroup_layout(kHybridMounts, kHybridOwn);
  CHECK(differing_cgroup_dirs(
            layout, "5:cpu,cpuacct:/a\n4:pids:/kw/id\n1:name=systemd:/s:colon\n0::/kw/id\n") ==
        std::vector<std::string>{"/sys/fs/cgroup/unified/kw/id", "/sys/fs/cgroup/pids x/kw/id"});
  CHECK(differing_cgroup_dirs(layout, "0::/u\n").empty());
}

TEST_CASE("a leaf: joined, looked into, killed whole, used again, removed") {
  Rig rig;
  if (!rig.usable) return;
  REQUIRE(create_container_cgroup(rig.root, "one", {}));
  CHECK(list_container_cgroups(rig.root) == std::vector<std::string>{"one"});
  Result<CgroupLeaf> leaf = CgroupLeaf::create(rig.root, "one", "probe-1", {.pids = 20});
  if (!leaf) FAIL(leaf.error().text);
  for (int round = 0; round < 3; ++round) {
    CHECK_FALSE(leaf->inside()->populated);
    pid_t pid = join_and_sleep(leaf->join_fds({}), 5);
    CHECK(leaf->inside()->populated);
    CHECK_FALSE(*leaf->try_remove());  // busy
    CgroupLeaf again = std::move(*CgroupLeaf::create(rig.root, "one", "probe-2", {.pids = 20}));
    CHECK(remove_soon(again));
    // A busy leaf lost nothing that is needed for killing it.
    leaf = CgroupLeaf::create(rig.root, "one", "probe-1", {.pids = 20});  // taken over: killed
    CHECK(WTERMSIG(reap_all(pid)) == SIGKILL);
    CHECK(wait_empty(*leaf));
  }
  pid_t pid = join_and_sleep(leaf->join_fds({}), 5);
  REQUIRE(leaf->kill());
  reap_all(pid);
  CHECK(wait_empty(*leaf));
  CHECK(leaf->cpu() >= Duration{0});
  CHECK(remove_soon(*leaf));
  CHECK(*try_remove_container_cgroup(rig.root, "one"));
  CHECK(list_container_cgroups(rig.root).empty());
}

TEST_CASE("limits are set where the controller is, and lifted again") {
  Rig rig;
  if (!rig.usable) return;
  CgroupLimits limits{.pids = 7, .memory_bytes = 64 << 20};
  Status made = create_container_cgroup(rig.root, "two", limits);
  if (!made) {
    CHECK(made.error().code == Errc::unsupported);  // no controller: says so
    return;
  }
  CgroupStats stats = *read_cgroup_stats(rig.root, "two");
  CHECK(stats.pids_limit == 7u);
  CHECK(stats.memory_limit_bytes == 64u << 20);
  CHECK(stats.oom_kills == 0);
  Result<CgroupLeaf> leaf = CgroupLeaf::create(rig.root, "two", "p", {.pids = 3});
  REQUIRE(leaf);
  pid_t pid = join_and_sleep(leaf->join_fds({}), 2);
  stats = *read_cgroup_stats(rig.root, "two");
  CHECK(stats.pids == 3);
  REQUIRE(leaf->kill());
  reap_all(pid);
  CHECK(wait_empty(*leaf));
  REQUIRE(create_container_cgroup(rig.root, "two", {}));
  CHECK_FALSE(read_cgroup_stats(rig.root, "two")->pids_limit);
  CHECK_FALSE(read_cgroup_stats(rig.root, "two")->memory_limit_bytes);
  CHECK_FALSE(read_cgroup_stats(rig.root, "none"));
}

TEST_CASE("the payload of a process service is measured, whatever its limits") {
  Rig rig;
  if (!rig.usable) return;
  REQUIRE(create_container_cgroup(rig.root, "six", {}));
  Result<CgroupLeaf> leaf =
      CgroupLeaf::create(rig.root, "six", "payload", {}, CgroupLeaf::Use::service);
  REQUIRE(leaf);
  pid_t pid = join_and_sleep(leaf->join_fds({}), 3);
  CgroupStats stats = *read_cgroup_stats(rig.root, "six");
  bool has_memory = rig.root.layout.find_v1("memory") != nullptr ||
                    rig.root.controllers.find("memory") != std::string::npos;
  if (has_memory) CHECK(stats.memory_bytes > 0);
  bool has_pids = rig.root.layout.find_v1("pids") != nullptr ||
                  rig.root.controllers.find("pids") != std::string::npos;
  if (has_pids) CHECK(stats.pids == 4);
  REQUIRE(leaf->kill());
  reap_all(pid);
  CHECK(wait_empty(*leaf));
  CHECK(remove_soon(*leaf));
}

TEST_CASE("every limit of a service has its file") {
  Rig rig;
  if (!rig.usable) return;
  ServiceSpec spec;
  spec.memory_reservation_bytes = 16 << 20;
  spec.cpus = 0.5;
  spec.cpu_shares = 512;
  spec.cpuset = "0";
  CgroupLimits limits = container_limits(spec);
  CHECK((limits.cpus == 0.5 && limits.cpu_shares == 512 && limits.cpuset == "0"));
  if (!create_container_cgroup(rig.root, "seven", limits)) return;  // no controllers
  auto leaf = CgroupLeaf::create(rig.root, "seven", "payload", limits, CgroupLeaf::Use::service);
  REQUIRE(leaf);
  std::string path = rig.root.path + "/seven/payload/";
  auto text = [](const std::string& file) {
    std::ifstream in(file);
    std::string word;
    in >> word;
    return word;
  };
  if (const CgroupV1Mount* v1 = rig.root.layout.find_v1("cpu")) {
    CHECK(text(v1->mount + path + "cpu.shares") == "512");
    CHECK(text(v1->mount + path + "cpu.cfs_quota_us") == "50000");
  } else {
    CHECK(text(rig.root.layout.unified_mount + path + "cpu.weight") == "20");
  }
  if (const CgroupV1Mount* v1 = rig.root.layout.find_v1("memory"))
    CHECK(text(v1->mount + path + "memory.soft_limit_in_bytes") == "16777216");
  if (const CgroupV1Mount* v1 = rig.root.layout.find_v1("cpuset"))
    CHECK(text(v1->mount + path + "cpuset.cpus") == "0");
}

TEST_CASE("freezing a payload, and killing what is frozen") {
  Rig rig;
  if (!rig.usable) return;
  REQUIRE(create_container_cgroup(rig.root, "three", {}));
  if (rig.root.layout.kind != CgroupKind::hybrid) return;  // elsewhere the runtime makes payload/
  auto fds = open_create_cgroups(rig.root, "three");
  REQUIRE(fds);
  REQUIRE(fds->size() == 1);
  pid_t pid = join_and_sleep({(*fds)[0].get()});
  CHECK(*container_pids(rig.root, "three") == std::vector<int>{pid});
  REQUIRE(freeze_container(rig.root, "three", true));
  bool frozen = false;
  for (int i = 0; i < 1000 && !frozen; ++i) {
    frozen = *container_frozen(rig.root, "three");
    ::poll(nullptr, 0, 1);
  }
  CHECK(frozen);
  REQUIRE(kill_container_cgroup(rig.root, "three"));
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(WTERMSIG(status) == SIGKILL);
}

TEST_CASE("zombies that nobody reaps are counted") {
  Rig rig;
  if (!rig.usable) return;
  REQUIRE(create_container_cgroup(rig.root, "four", {}));
  Result<CgroupLeaf> leaf = CgroupLeaf::create(rig.root, "four", "p", {.pids = 20});
  REQUIRE(leaf);
  pid_t pid = join_and_sleep(leaf->join_fds({}));
  REQUIRE(leaf->kill());
  CHECK(wait_empty(*leaf));
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
  CHECK(leaf->inside()->zombies == 1);
  ::waitpid(pid, nullptr, 0);
  CHECK(leaf->inside()->zombies == 0);
}
