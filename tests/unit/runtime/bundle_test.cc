#include "runtime/oci/bundle.h"

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/oci/seccomp_profile.h"
#include "tests/catch.h"

using namespace keepwell;
using nlohmann::json;

namespace {

const std::string kId(64, 'a');

ServiceSpec service() {
  ServiceSpec spec;
  spec.name = "web";
  spec.command = std::vector<std::string>{"/bin/server", "--port", "80"};
  return spec;
}

BundlePlan plan() {
  BundlePlan made;
  made.id = kId;
  made.rootfs = "/run/keepwell/x/rootfs";
  made.etc_dir = "/run/keepwell/x/etc";
  made.cgroups_path = "/keepwell-1/x/payload";
  made.nofile_hard = 1048576;
  return made;
}

json config(const ServiceSpec& spec, const BundlePlan& with = plan()) {
  auto made = bundle_config(spec, with);
  REQUIRE(made.has_value());
  return *made;
}

// The file NAME in tests/golden; KEEPWELL_GOLDEN=write makes it anew.
void check_golden(const std::string& name, const std::string& text) {
  std::string path = "tests/golden/" + name;
  const char* mode = std::getenv("KEEPWELL_GOLDEN");
  if (mode != nullptr && std::string(mode) == "write") std::ofstream(path) << text;
  std::ifstream in(path);
  std::ostringstream stored;
  stored << in.rdbuf();
  CHECK(text == stored.str());
}

bool holds(const json& list, const std::string& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

TEST_CASE("the config of a plain service is docker run's") {
  json made = config(service());
  made["linux"].erase("seccomp");  // a table of its own, see below
  check_golden("bundle_plain.json", made.dump(2) + "\n");
}

TEST_CASE("with init a reaper of ours is the first process") {
  ServiceSpec spec = service();
  spec.init = true;
  BundlePlan with = plan();
  with.init = "/data/containers/x/init";
  json made = config(spec, with);
  CHECK(made["process"]["args"] == json{"/sbin/docker-init", "--", "/bin/server", "--port", "80"});
  const json& mount = made["mounts"].back();
  CHECK(mount["source"] == "/data/containers/x/init");
  CHECK(mount["destination"] == "/sbin/docker-init");
  CHECK(holds(mount["options"], "ro"));
}

TEST_CASE("the config shows every launch setting") {
  ServiceSpec spec = service();
  spec.entrypoint = std::vector<std::string>{"/entry"};
  spec.environment = {{"PATH", "/opt/bin"}, {"A", "1=2"}, {"HOSTNAME", "mine"}};
  spec.working_dir = "/srv";
  spec.hostname = "host1";
  spec.network_mode = "host";
  spec.cap_add = {"net_admin", "CAP_SYS_TIME"};
  spec.cap_drop = {"MKNOD"};
  spec.read_only = true;
  spec.no_new_privileges = true;
  spec.tty = true;
  spec.ulimits = {{"nofile", 100, 200}, {"core", -1, -1}};
  spec.pids_limit = 77;
  spec.memory_bytes = 64 << 20;
  spec.cpus = 1.5;
  spec.oom_score_adj = 321;
  spec.labels = {{"run.oci.handler", "evil"}};
  BundlePlan with = plan();
  with.uid = 1000;
  with.gid = 1001;
  with.groups = {1001, 44};
  with.limit_swap = true;
  json made = config(spec, with);
  CHECK_FALSE(made.contains("annotations"));  // labels are no orders to the runtime
  made["linux"].erase("seccomp");
  check_golden("bundle_full.json", made.dump(2) + "\n");
}

TEST_CASE("users but root get their capabilities only as a bound") {
  BundlePlan with = plan();
  with.uid = 5;
  json sets = config(service(), with)["process"]["capabilities"];
  CHECK(sets["bounding"].size() == 14);
  CHECK_FALSE(sets.contains("effective"));
  CHECK_FALSE(sets.contains("permitted"));
  CHECK_FALSE(sets.contains("inheritable"));
}

TEST_CASE("capabilities are added and dropped as docker does") {
  auto of = [](std::vector<std::string> add, std::vector<std::string> drop) {
    ServiceSpec spec = service();
    spec.cap_add = std::move(add);
    spec.cap_drop = std::move(drop);
    auto made = bundle_capabilities(spec, {});
    REQUIRE(made.has_value());
    return *made;
  };
  CHECK(of({}, {}).size() == 14);
  CHECK(of({}, {"ALL"}).empty());
  CHECK(of({"CHOWN"}, {"ALL"}) == std::set<std::string>{"CAP_CHOWN"});
  CHECK(of({"ALL"}, {"sys_admin"}).count("CAP_SYS_ADMIN") == 0);
  CHECK(of({"ALL"}, {}).size() == 41);
  ServiceSpec wrong = service();
  wrong.cap_add = {"FLY"};
  auto made = bundle_capabilities(wrong, {});
  REQUIRE_FALSE(made.has_value());
  CHECK(made.error().text.find("FLY") != std::string::npos);

  ServiceSpec all = service();
  all.privileged = true;
  CHECK(*bundle_capabilities(all, {"CAP_CHOWN", "CAP_KILL"}) ==
        std::set<std::string>{"CAP_CHOWN", "CAP_KILL"});
}

TEST_CASE("a privileged service has no filter and no masked paths") {
  ServiceSpec spec = service();
  spec.privileged = true;
  json linux = config(spec)["linux"];
  CHECK_FALSE(linux.contains("seccomp"));
  CHECK_FALSE(linux.contains("maskedPaths"));
  CHECK_FALSE(linux.contains("readonlyPaths"));
  CHECK(linux["resources"]["devices"][0]["allow"] == true);
}

TEST_CASE("the default seccomp profile follows the capabilities") {
  json plain = default_seccomp_profile({});
  CHECK(plain["defaultAction"] == "SCMP_ACT_ERRNO");
  CHECK(plain["defaultErrnoRet"] == 1);
  const json& names = plain["syscalls"][0]["names"];
  for (const char* allowed : {"read", "execve", "futex", "openat2", "ptrace", "statx", "prctl"})
    CHECK(holds(names, allowed));
  for (const char* refused : {"mount", "unshare", "setns", "bpf", "kexec_load", "add_key", "keyctl",
                              "userfaultfd", "io_uring_setup", "clone", "clone3", "socket",
                              "personality", "reboot", "open_by_handle_at"})
    CHECK_FALSE(holds(names, refused));

  auto rule_for = [](const json& profile, const std::string& name) {
    json found = json::array();
    for (const json& rule : profile["syscalls"])
      if (holds(rule["names"], name)) found.push_back(rule);
    return found;
  };
  json clone = rule_for(plain, "clone");
  REQUIRE(clone.size() == 1);
  CHECK(clone[0]["args"][0]["value"] == 0x7E020000);
  CHECK(clone[0]["args"][0]["op"] == "SCMP_CMP_MASKED_EQ");
  CHECK(rule_for(plain, "clone3")[0]["errnoRet"] == 38);
  CHECK(rule_for(plain, "socket")[0]["args"][0]["value"] == 40);
  CHECK(rule_for(plain, "personality").size() == 5);

  json admin = default_seccomp_profile({"CAP_SYS_ADMIN"});
  for (const char* allowed : {"mount", "unshare", "setns", "clone", "clone3"})
    CHECK(holds(admin["syscalls"][0]["names"], allowed));
  CHECK(rule_for(admin, "clone3").size() == 1);
  CHECK(holds(default_seccomp_profile({"CAP_SYS_BOOT"})["syscalls"][0]["names"], "reboot"));
}

TEST_CASE("a seccomp profile in docker's format becomes one for the runtime") {
  const char* text = R"({
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
      {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "x", "includes": {}, "excludes": {}},
      {"name": "chroot", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
      {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_CHROOT"]}}
    ]})";
  auto with = parse_seccomp_profile(text, "/p.json", {"CAP_SYS_CHROOT"});
  REQUIRE(with.has_value());
  CHECK((*with)["syscalls"].size() == 2);
  CHECK((*with)["syscalls"][1]["names"] == json::array({"chroot"}));
  CHECK_FALSE((*with)["syscalls"][0].contains("includes"));
  auto without = parse_seccomp_profile(text, "/p.json", {});
  REQUIRE(without.has_value());
  CHECK((*without)["syscalls"][1]["names"] == json::array({"mount"}));

  for (const char* broken :
       {"", "[]", "{", "{\"syscalls\": 3}", "{\"defaultAction\": \"x\", \"syscalls\": [3]}"}) {
    auto made = parse_seccomp_profile(broken, "/p.json", {});
    REQUIRE_FALSE(made.has_value());
    CHECK(made.error().text.rfind("cannot use seccomp profile /p.json", 0) == 0);
  }
}
