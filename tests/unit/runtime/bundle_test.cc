#include "runtime/oci/bundle.h"

#include <cstdlib>
#include <filesystem>
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

TEST_CASE("the service's mounts take the place of docker's at the same path, outer ones first") {
  ServiceSpec spec = service();
  spec.shm_bytes = 1000;
  BundlePlan with = plan();
  with.mounts = {{"/etc/hosts", "bind", "/mine", {"ro"}},
                 {"/a/b", "bind", "/inner", {}},
                 {"/a", "bind", "/outer", {}},
                 {"/dev/mqueue", "tmpfs", "tmpfs", {}}};
  json mounts = config(spec, with)["mounts"];
  auto places = [&](const std::string& where) {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < mounts.size(); ++i)
      if (mounts[i]["destination"] == where) found.push_back(i);
    return found;
  };
  REQUIRE(places("/etc/hosts").size() == 1);
  CHECK(mounts[places("/etc/hosts")[0]]["source"] == "/mine");
  CHECK(places("/etc/hostname").size() == 1);
  CHECK(places("/dev/mqueue").size() == 1);
  CHECK(places("/a")[0] < places("/a/b")[0]);
  CHECK(holds(mounts[places("/dev/shm")[0]]["options"], "size=1000"));
}

TEST_CASE("namespaces that are the host's are not in the config") {
  ServiceSpec spec = service();
  spec.pid_mode = spec.ipc_mode = spec.uts_mode = spec.cgroup_mode = spec.network_mode = "host";
  json made = config(spec);
  CHECK(made["linux"]["namespaces"] == json::array({{{"type", "mount"}}}));
  CHECK_FALSE(made.contains("hostname"));
  CHECK_FALSE(made["linux"].contains("sysctl"));
  spec.ipc_mode = "none";
  const json without = config(spec);
  for (const json& mount : without["mounts"]) CHECK(mount["destination"] != "/dev/shm");
}

TEST_CASE("limits, devices and kernel settings") {
  ServiceSpec spec = service();
  spec.memory_bytes = 64 << 20;
  spec.memory_swap_bytes = -1;
  spec.memory_reservation_bytes = 32 << 20;
  spec.mem_swappiness = 5;
  spec.oom_kill_disable = true;
  spec.cpu_shares = 512;
  spec.cpuset = "0";
  spec.domainname = "example.org";
  spec.sysctls = {{"net.core.somaxconn", "9"}};
  spec.apparmor = "mine";
  spec.annotations = {{"a", "b"}};
  spec.device_cgroup_rules = {"c 5:* rw"};
  BundlePlan with = plan();
  with.limit_swap = true;
  with.devices = {{"/dev/null", "/dev/other", "rw"}, {"/no/such/device", "/dev/x", "rwm"}};
  json made = config(spec, with);
  json resources = made["linux"]["resources"];
  CHECK(resources["memory"] ==
        json({{"limit", 64 << 20}, {"swap", -1}, {"reservation", 32 << 20}}));
  CHECK(resources["cpu"] == json({{"shares", 512}, {"cpus", "0"}}));
  CHECK(resources["devices"][1] ==
        json({{"allow", true}, {"type", "c"}, {"major", 1}, {"minor", 3}, {"access", "rw"}}));
  CHECK(resources["devices"][2] ==
        json({{"allow", true}, {"type", "c"}, {"major", 5}, {"access", "rw"}}));
  REQUIRE(made["linux"]["devices"].size() == 1);
  CHECK(made["linux"]["devices"][0]["path"] == "/dev/other");
  CHECK(made["linux"]["sysctl"]["kernel.domainname"] == "example.org");
  CHECK(made["linux"]["sysctl"]["net.core.somaxconn"] == "9");
  CHECK(made["process"]["apparmorProfile"] == "mine");
  CHECK(made["annotations"] == json({{"a", "b"}}));
  with.v1_memory = true;
  json memory = config(spec, with)["linux"]["resources"]["memory"];
  CHECK((memory["swappiness"] == 5 && memory["disableOOMKiller"] == true));
  spec.unmasked = true;
  CHECK_FALSE(config(spec)["linux"].contains("maskedPaths"));
}

TEST_CASE("the files under /etc: hosts of the service's own, name servers in place of the host's") {
  char dir[] = "/tmp/keepwell-etc-XXXXXX";
  REQUIRE(mkdtemp(dir) != nullptr);
  ServiceSpec spec = service();
  spec.extra_hosts = {{"db", "10.0.0.5"}, {"db", "::5"}};
  spec.dns = {"10.0.0.1", "10.0.0.2"};
  spec.dns_search = {"x.org", "y.org"};
  spec.dns_opt = {"ndots:2"};
  REQUIRE(write_etc_files(spec, "h", dir));
  auto text = [&](const char* name) {
    std::ifstream in(std::string(dir) + "/" + name);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
  };
  CHECK(text("hosts").find("10.0.0.5\tdb\n::5\tdb\n") != std::string::npos);
  std::string resolver = text("resolv.conf");
  CHECK(resolver.starts_with("search x.org y.org\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n"));
  CHECK(resolver.ends_with("options ndots:2\n"));
  CHECK(resolver.find("nameserver") == resolver.find("nameserver 10.0.0.1"));
  spec.dns_search = {"."};
  REQUIRE(write_etc_files(spec, "h", dir));
  CHECK(text("resolv.conf").find("search") == std::string::npos);
  std::filesystem::remove_all(dir);
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
