// keepwell-enter into real containers made by runc, as far as no second oracle is needed: the field
// by field comparison with `runc exec` is tests/e2e/oracle_test.py.
#include <algorithm>

#include "runtime/cgroup.h"
#include "tests/unit/runtime/enter_harness.h"

using namespace keepwell;
using namespace keepwell::enter_test;

TEST_CASE("inside a container: its namespaces, files, user and limits") {
  if (!can_make_containers()) return;
  Container container;
  container.by_zygote = GENERATE(false, true);
  Outcome outcome = container.shell(
      "cat /proc/sys/kernel/hostname; id; echo $HOME $COLOR; pwd; cat /proc/self/oom_score_adj; "
      "ulimit -Sn; echo $PPID; cut -d' ' -f1,5,6 /proc/$$/stat; ls /proc/self/fd; exit 9");
  REQUIRE_FALSE(outcome.failure);
  CHECK(outcome.exit_code() == 9);
  std::stringstream text(outcome.output);
  std::string line;
  auto next = [&] {
    std::getline(text, line);
    return line;
  };
  CHECK(next() == "box");
  CHECK_THAT(next(), StartsWith("uid=0(root) gid=0(root)"));
  CHECK(next() == "/root green");
  CHECK(next() == "/");
  CHECK(next() == "321");
  CHECK(next() == "512");
  CHECK(next() == "0");  // its parent is outside
  int pid = 0, group = 0, session = 0;
  std::stringstream(next()) >> pid >> group >> session;
  CHECK(pid == group);
  CHECK(pid == session);
  CHECK(next() == "0");
  CHECK(next() == "1");
  CHECK(next() == "2");
  CHECK(next() == "3");  // ls's own
  CHECK(next().empty());
}

TEST_CASE("users are looked up in the container's own files") {
  if (!can_make_containers()) return;
  Container container;
  container.by_zygote = GENERATE(false, true);
  auto as = [&](const std::string& user) {
    return container.shell("id -u; id -g; id -G; echo $HOME", user);
  };
  CHECK(as("alice").output == "1000\n1001\n1001 10 50\n/home/alice\n");
  CHECK(as("1000").output == "1000\n1001\n1001 10 50\n/home/alice\n");
  CHECK(as("alice:staff").output == "1000\n50\n50\n/home/alice\n");
  CHECK(as("4242").output == "4242\n0\n0\n/\n");
  CHECK(as("4242:77").output == "4242\n77\n77\n/\n");
  CHECK(as("root").output == "0\n0\n0 10\n/root\n");

  Outcome nobody = as("mallory");
  REQUIRE(nobody.failure);
  CHECK(nobody.failure->step == EnterStep::user_unknown);
  Outcome no_group = as("alice:mallory");
  REQUIRE(no_group.failure);
  CHECK(no_group.failure->step == EnterStep::group_unknown);
  // A target user can reopen its own output.
  CHECK(container.shell("echo hi >/proc/self/fd/1", "alice").output == "hi\n");
}

TEST_CASE("a zygote's clones find nothing of what the ones before had found") {
  if (!can_make_containers()) return;
  Container container;
  container.by_zygote = true;
  auto as_alice = [&] { return container.shell("id -u; id -G; echo $HOME", "alice").output; };
  auto numbered = [&] { return container.shell("id -u; id -G; echo $HOME", "1000").output; };
  for (const auto& who : {std::function<std::string()>(as_alice), {numbered}}) {
    for (int i = 0; i < 2; ++i) CHECK(who() == "1000\n1001 10 50\n/home/alice\n");
    std::string passwd = slurp(container.rootfs() + "/etc/passwd");
    std::string group = slurp(container.rootfs() + "/etc/group");
    spill(container.rootfs() + "/etc/group", "root:x:0:\n");
    CHECK(who() == "1000\n1001\n/home/alice\n");
    spill(container.rootfs() + "/etc/passwd", "alice:x:1000:7:::\n");
    CHECK(who() == "1000\n7\n/\n");
    spill(container.rootfs() + "/etc/passwd", passwd);
    spill(container.rootfs() + "/etc/group", group);
    CHECK(who() == "1000\n1001 10 50\n/home/alice\n");
  }
  container.end_zygote();
}

TEST_CASE("hostile passwd files cost at most an error") {
  if (!can_make_containers()) return;
  struct Case {
    const char* name;
    std::function<void(const std::string&)> put;
  };
  namespace fs = std::filesystem;
  const Case cases[] = {
      {"fifo", [](const std::string& p) { ::mkfifo(p.c_str(), 0644); }},
      {"directory", [](const std::string& p) { fs::create_directory(p); }},
      {"endless device", [](const std::string& p) { fs::create_symlink("/dev/zero", p); }},
      {"kernel memory", [](const std::string& p) { fs::create_symlink("/proc/kcore", p); }},
      {"link loop", [](const std::string& p) { fs::create_symlink("passwd", p); }},
      {"20 GiB of nothing",
       [](const std::string& p) {
         spill(p, "");
         fs::resize_file(p, 20ull << 30);
       }},
      {"one long line", [](const std::string& p) { spill(p, std::string(9 << 20, 'a')); }},
  };
  Container container;
  container.by_zygote = GENERATE(false, true);
  spill(container.rootfs() + "/dev-zero-marker", "");
  for (const Case& each : cases) {
    CAPTURE(each.name);
    std::string path = container.rootfs() + "/etc/passwd";
    fs::remove_all(path);
    each.put(path);
    Outcome named = container.shell("true", "alice");
    CHECK(named.took < std::chrono::milliseconds(1000));
    REQUIRE(named.failure);
    CHECK((named.failure->step == EnterStep::user_lookup ||
           named.failure->step == EnterStep::user_unknown));
    Outcome numbered = container.shell("grep Uid /proc/self/status; echo $HOME", "1000");
    CHECK(numbered.took < std::chrono::milliseconds(1000));
    CHECK(numbered.output == "Uid:\t1000\t1000\t1000\t1000\n/\n");
  }
}

TEST_CASE("a working directory or program reached through a host descriptor is refused") {
  if (!can_make_containers()) return;
  Container container;
  container.by_zygote = GENERATE(false, true);
  std::vector<UniqueFd> many;
  for (int i = 0; i < 200; ++i) many.emplace_back(::open("/", O_PATH | O_DIRECTORY));
  for (int fd = 0; fd < 256; ++fd) {
    std::string path = "/proc/self/fd/" + std::to_string(fd);
    Outcome cwd = container.exec({.argv = {"/bin/true"}, .cwd = path});
    CHECK(cwd.failure);
    Outcome program = container.exec({.argv = {path + "/bin/true"}});
    CHECK(program.failure);
  }
}

TEST_CASE("a program that is #!/proc/self/exe gets nothing of the host's") {
  if (!can_make_containers()) return;
  Container container;
  container.by_zygote = GENERATE(false, true);
  std::string before = slurp(program_path());
  spill(container.rootfs() + "/bin/probe", "#!/proc/self/exe\n", 0755);
  Outcome outcome = container.exec({.argv = {"probe"}});
  // The interpreter is keepwell-enter's own sealed memory; without a request it ends at once.
  CHECK((outcome.failure || outcome.exit_code() == 126));
  CHECK(outcome.output.empty());
  CHECK(slurp(program_path()) == before);
  UniqueFd writable(::open(("/proc/self/fd/" + std::to_string(sealed_program())).c_str(), O_RDWR));
  if (writable) CHECK(::write(writable.get(), "x", 1) == -1);
}

TEST_CASE("a terminal in a container, and one that is not a devpts") {
  if (!can_make_containers()) return;
  Container container;
  auto open_tty = [&] {
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    UniqueFd ours(pair[0]), theirs(pair[1]);
    return run_plan(
        container.base(),
        {.argv = {"sh", "-c", "tty >/tmp/tty; stty size >>/tmp/tty"},
         .tty = true,
         .tty_rows = 11,
         .tty_columns = 22},
        {.pidfd = container.pidfd(), .root = container.root(), .tty_socket = theirs.get()});
  };
  CHECK_FALSE(open_tty().failure);
  CHECK(container.shell("cat /tmp/tty").output == "/dev/pts/0\n11 22\n");
  // Not a devpts any more: a directory of the container's with a FIFO in place of ptmx.
  Container fooled([](nlohmann::json& config) {
    auto& mounts = config["mounts"];
    mounts.erase(std::remove_if(mounts.begin(), mounts.end(),
                                [](const auto& m) { return m["type"] == "devpts"; }),
                 mounts.end());
  });
  REQUIRE_FALSE(fooled.shell("mkdir -p /dev/pts && mkfifo /dev/pts/ptmx").failure);
  int pair[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  UniqueFd ours(pair[0]), theirs(pair[1]);
  Outcome refused =
      run_plan(fooled.base(), {.argv = {"sh"}, .tty = true},
               {.pidfd = fooled.pidfd(), .root = fooled.root(), .tty_socket = theirs.get()});
  REQUIRE(refused.failure);
  CHECK(refused.failure->step == EnterStep::tty);
  CHECK(refused.took < std::chrono::milliseconds(1000));
}

TEST_CASE("a user namespace: root there, and what it may give on") {
  if (!can_make_containers() || in_chroot()) return;
  auto with_userns = [](nlohmann::json& config) {
    config["linux"]["namespaces"].push_back({{"type", "user"}});
    nlohmann::json map = {{{"containerID", 0}, {"hostID", 100000}, {"size", 65536}}};
    config["linux"]["uidMappings"] = map;
    config["linux"]["gidMappings"] = map;
    config["process"].erase("oomScoreAdj");
  };
  Container container(with_userns, [](const std::string& root) {
    run_command("chown -R 100000:100000 " + root + " && chmod 755 " + root + "/..");
  });
  Outcome root = container.shell("id -u; cat /proc/self/uid_map | tr -s ' '");
  if (root.failure) INFO(explain_enter_failure(*root.failure, container.base(), {}).text);
  REQUIRE_FALSE(root.failure);
  CHECK_THAT(root.output, StartsWith("0\n"));
  CHECK(container.shell("id -u; echo hi >/proc/self/fd/1", "alice").output == "1000\nhi\n");
}

TEST_CASE("a container that ends while it is entered is gone, not broken") {
  if (!can_make_containers()) return;
  Container container;
  ::kill(container.pid(), SIGKILL);
  for (int i = 0; i < 1000 && !slurp("/proc/" + std::to_string(container.pid()) + "/stat").empty();
       ++i) {
    std::string stat = slurp("/proc/" + std::to_string(container.pid()) + "/stat");
    if (stat.find(") Z ") != std::string::npos) break;
    ::poll(nullptr, 0, 1);
  }
  Outcome outcome = container.shell("true");
  REQUIRE(outcome.failure);
  EnterReport report = explain_enter_failure(*outcome.failure, container.base(), {.argv = {"sh"}});
  CHECK(report.blame == EnterBlame::container_gone);
}
