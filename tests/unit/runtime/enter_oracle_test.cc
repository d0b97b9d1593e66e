// The same program in the same container, once by `runc exec --process` (or crun's, see oracle()),
// once by keepwell-enter:
// what it can learn about itself must be equal, line by line. The differences that are meant are
// listed in kMeant, each with its reason; anything else fails.
#include <map>
#include <set>

#include "runtime/cgroup.h"
#include "runtime/zygote.h"
#include "tests/unit/runtime/enter_harness.h"

using namespace keepwell;
using namespace keepwell::enter_test;
using nlohmann::json;

namespace {

struct Meant {
  const char* oracle;
  const char* prefix;
  const char* why;
};
// Of runc 1.1 and crun 1.8; newer ones have fewer of them.
constexpr Meant kMeant[] = {
    {"runc", "status: Umask", "runc before 1.2 ignores user.umask of an exec"},
    {"runc", "limits: Max open files", "one built by Go 1.19 or later may leave the limit raised"},
    {"runc", "cgroup: 0::", "before 1.2 it leaves an exec out of the v2 tree of a hybrid host"},
    {"crun", "oom_score_adj", "crun's exec keeps its caller's"},
    {"crun", "session_leader", "crun before 1.9 makes its intermediate process the leader"},
    {"crun", "group_leader", "the same"},
    {"crun", "session_keyring", "crun's exec keeps its caller's keyring"},
    {"crun", "fd: ", "crun hands its caller's descriptors on as they are"},
    {"crun", "env: HOME=", "crun keeps an empty one, and has none for a user without an entry"},
};

std::string dump_program() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "test_dump_process";
}

std::multiset<std::string> lines_of(const std::string& text) {
  std::multiset<std::string> lines;
  std::stringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

bool is_meant(const std::string& line) {
  return std::any_of(std::begin(kMeant), std::end(kMeant), [&](const Meant& meant) {
    return oracle() == meant.oracle && line.rfind(meant.prefix, 0) == 0;
  });
}

// Every line that only one of the two has, and that is not meant.
std::string difference(const std::string& by_runtime, const std::string& native) {
  std::multiset<std::string> ours = lines_of(native), theirs = lines_of(by_runtime);
  std::string text;
  for (const std::string& line : theirs) {
    if (ours.count(line) != theirs.count(line) && !is_meant(line)) text += "- " + line + "\n";
  }
  for (const std::string& line : ours) {
    if (ours.count(line) != theirs.count(line) && !is_meant(line)) text += "+ " + line + "\n";
  }
  return text;
}

struct Case {
  const char* name;
  Tweak tweak;
};

void set_caps(json& config, const std::vector<std::string>& caps) {
  for (const char* set : {"bounding", "effective", "permitted"}) {
    config["process"]["capabilities"][set] = caps;
  }
}

void set_user(json& config, int uid, int gid, std::vector<int> groups) {
  config["process"]["user"] = {{"uid", uid}, {"gid", gid}, {"additionalGids", std::move(groups)}};
}

void add_user_namespace(json& config) {
  config["linux"]["namespaces"].push_back({{"type", "user"}});
  json map = {{{"containerID", 0}, {"hostID", 100000}, {"size", 65536}}};
  config["linux"]["uidMappings"] = map;
  config["linux"]["gidMappings"] = map;
  config["process"].erase("oomScoreAdj");
}

void add_seccomp(json& config) {
  config["linux"]["seccomp"] = {
      {"defaultAction", "SCMP_ACT_ALLOW"},
      {"architectures", {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}},
      {"syscalls", {{{"names", {"swapon", "reboot", "add_key"}}, {"action", "SCMP_ACT_ERRNO"}}}}};
#if !defined(__x86_64__)
  config["linux"]["seccomp"].erase("architectures");
#endif
}

const Case kCases[] = {
    {"root with some capabilities", {}},
    {"a user with groups",
     [](json& c) {
       set_user(c, 1000, 1001, {1001, 50, 10});
     }},
    {"a user without an entry", [](json& c) { set_user(c, 4242, 77, {}); }},
    {"a user namespace", add_user_namespace},
    {"a user in a user namespace",
     [](json& c) {
       add_user_namespace(c);
       set_user(c, 1000, 1001, {1001, 50});
     }},
    {"no capability at all", [](json& c) { set_caps(c, {}); }},
    {"ambient capabilities for a user",
     [](json& c) {
       std::vector<std::string> caps = {"CAP_NET_BIND_SERVICE", "CAP_CHOWN"};
       set_caps(c, caps);
       c["process"]["capabilities"]["inheritable"] = caps;
       c["process"]["capabilities"]["ambient"] = {"CAP_NET_BIND_SERVICE"};
       set_user(c, 1000, 1001, {});
     }},
    {"inheritable capabilities",
     [](json& c) {
       c["process"]["capabilities"]["inheritable"] = {"CAP_CHOWN", "CAP_KILL"};
     }},
    {"no_new_privs", [](json& c) { c["process"]["noNewPrivileges"] = true; }},
    {"seccomp", add_seccomp},
    {"seccomp and no_new_privs for a user",
     [](json& c) {
       add_seccomp(c);
       c["process"]["noNewPrivileges"] = true;
       set_user(c, 1000, 1001, {50});
     }},
    {"rlimits",
     [](json& c) {
       json limits = json::array();
       const std::pair<const char*, std::pair<int, int>> values[] = {
           {"RLIMIT_NOFILE", {33, 64}},          {"RLIMIT_CORE", {0, 0}},
           {"RLIMIT_NPROC", {900, 1000}},        {"RLIMIT_STACK", {4 << 20, 8 << 20}},
           {"RLIMIT_FSIZE", {1 << 30, 1 << 30}}, {"RLIMIT_CPU", {100, 200}}};
       for (const auto& [type, value] : values) {
         limits.push_back({{"type", type}, {"soft", value.first}, {"hard", value.second}});
       }
       c["process"]["rlimits"] = limits;
     }},
    {"a read-only root and a cwd",
     [](json& c) {
       c["root"]["readonly"] = true;
       c["process"]["cwd"] = "/home/alice";
     }},
    {"a umask", [](json& c) { c["process"]["user"]["umask"] = 23; }},
    {"an environment with doubles",
     [](json& c) {
       c["process"]["env"] = {"A=1", "A=2", "PATH=/bin", "HOME=", "EMPTY=", "X=a=b"};
     }},
    {"the host's network and pids",
     [](json& c) {
       json kept = json::array();
       for (const json& each : c["linux"]["namespaces"]) {
         if (each["type"] != "network" && each["type"] != "pid") kept.push_back(each);
       }
       c["linux"]["namespaces"] = kept;
     }},
    {"limits of its cgroup",
     [](json& c) {
       c["linux"]["resources"] = {{"pids", {{"limit", 50}}}, {"memory", {{"limit", 200 << 20}}}};
     }},
    {"no cgroup namespace",
     [](json& c) {
       json& all = c["linux"]["namespaces"];
       all.erase(std::remove_if(all.begin(), all.end(),
                                [](const json& each) { return each["type"] == "cgroup"; }),
                 all.end());
     }},
};

std::string run_oracle(const Container& container) {
  json process = container.config()["process"];
  process["args"] = {"/dump", "one", "two words"};
  spill(container.directory() / "process.json", process.dump());
  std::string out = container.directory() / "oracle";
  std::string command =
      container.runc("exec --process " + (container.directory() / "process.json") + " " +
                     container.id()) +
      " </dev/null 2>&1 | cat >" + out;
  REQUIRE(run_command(command) == 0);
  return slurp(out);
}

}  // namespace

TEST_CASE("the runtime's exec and keepwell-enter give a program the same, field by field") {
  if (!can_make_containers() || in_chroot()) return;
  Result<CgroupLayout> layout = detect_cgroup_layout();
  REQUIRE(layout);
  CHECK(std::size(kCases) >= 10);
  // A v2 tree as on a hybrid host has no controllers, so no runtime can set limits through it.
  bool limits =
      layout->kind != CgroupKind::v2 ||
      slurp(layout->unified_mount + "/cgroup.controllers").find("pids") != std::string::npos;
  for (const Case& each : kCases) {
    DYNAMIC_SECTION(each.name) {
      if (!limits && each.name == std::string("limits of its cgroup")) {
        WARN("SKIPPED: this cgroup v2 tree has no pids controller, so there are no limits");
        continue;
      }
      Container container(each.tweak, [](const std::string& root) {
        std::filesystem::copy_file(dump_program(), root + "/dump");
        run_command("chmod 755 " + root + "/.. && chmod 700 " + root +
                    "/home/alice && chown 1000:1001 " + root + "/home/alice");
        spill(root + "/etc/marker", "");
      });
      if (container.config()["linux"].contains("uidMappings")) {
        run_command("chown -R 100000:100000 " + container.rootfs() + "/home/alice");
      }
      Result<std::vector<UniqueFd>> cgroups = open_payload_cgroups(*layout, container.pid());
      if (!cgroups) FAIL(cgroups.error().text);
      for (const UniqueFd& fd : *cgroups) container.cgroup_procs.push_back(fd.get());
      std::string by_runtime = run_oracle(container);
      Outcome native = container.exec({.argv = {"/dump", "one", "two words"}});
      if (native.failure) {
        FAIL(explain_enter_failure(*native.failure, container.base(), {.argv = {"/dump"}}).text);
      }
      CHECK_THAT(by_runtime, ContainsSubstring("ns: time"));  // it ran to its end
      if (container.config()["linux"].contains("uidMappings")) {
        // Neither may find the ring of the container's init there: each exec has one of its own.
        for (std::string* text : {&by_runtime, &native.output}) {
          std::size_t at = text->find("session_keyring_serial:");
          if (at != std::string::npos) text->erase(at, text->find('\n', at) + 1 - at);
        }
      }
      std::string differs = difference(by_runtime, native.output);
      CHECK(differs == "");
      if (Zygote::possible(container.base()) && can_have_zygotes()) {
        // With none of the cgroups joined by the clone, and with half of them.
        for (std::size_t shared :
             {container.cgroup_procs.size(), container.cgroup_procs.size() / 2}) {
          container.by_zygote = true;
          container.shared_cgroups = shared;
          for (int i = 0; i < 2; ++i) {
            Outcome cloned = container.exec({.argv = {"/dump", "one", "two words"}});
            if (cloned.failure)
              FAIL(explain_enter_failure(*cloned.failure, container.base(), {.argv = {"/dump"}})
                       .text);
            CHECK(difference(by_runtime, cloned.output) == "");
          }
          container.end_zygote();
        }
      }
      if (!container.config()["process"]["rlimits"].empty()) {
        const json& files = container.config()["process"]["rlimits"][0];
        CHECK_THAT(native.output,
                   ContainsSubstring("limits: Max open files            " +
                                     std::to_string(files["soft"].get<int>()) + " "));
      }
      if (const json& user = container.config()["process"]["user"]; user.contains("umask")) {
        CHECK_THAT(native.output, ContainsSubstring("status: Umask:\t0027\n"));
      }
    }
  }
}
