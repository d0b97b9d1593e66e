// The keys that say what a container finds around its program: what they become, and what is said
// where they are wrong.
#include <span>

#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

const std::map<std::string, PathFacts> kHost = {
    {"/p/data", {PathKind::directory, "/p/data", 0}},
    {"/p/root", {PathKind::directory, "/", 0}},
    {"/", {PathKind::directory, "/", 0}},
    {"/p/secret", {PathKind::file, "/p/secret", 10}},
    {"/p/huge", {PathKind::file, "/p/huge", std::uint64_t{1} << 40}},
    {"/p/fifo", {PathKind::other, "/p/fifo", 0}},
    {"/dev/null", {PathKind::device, "/dev/null", 0}},
    {"/dev/snd", {PathKind::directory, "/dev/snd", 0}},
};

Loaded load_container(const std::string& body, const std::string& below = "") {
  return load_text("name: shop\n" + one_container(body) + below,
                   {.environment = {{"HOME", "/home/me"}, {"TOKEN", "t0k"}}, .paths = kHost});
}

ServiceSpec container(const std::string& body, const std::string& below = "") {
  Loaded loaded = load_container(body, below);
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  return loaded.project->services.at(0);
}

std::string said_of(const std::string& body, const std::string& below = "") {
  return listing(load_container(body, below));
}

// Lines as they are in a file; errors are at line 5 + n, counted from the first line of BODY.
struct Case {
  const char* body;
  const char* said;
};

void check_cases(std::span<const Case> cases) {
  for (const Case& c : cases) {
    INFO(c.body);
    CHECK_THAT(said_of(c.body), ContainsSubstring(c.said));
  }
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("volumes: the short form") {
  ServiceSpec s = container(
      "    volumes: [./data:/a, ../x:/b/../c:ro, '~/y:/d:rslave', /e, 'db:/f:nocopy,ro', db:/g]\n",
      "volumes: { db: }\n");
  REQUIRE(s.mounts.size() == 6);
  CHECK(s.mounts[0].source == "/p/data");
  CHECK(s.mounts[0].create_source);
  CHECK((s.mounts[1].target == "/c" && s.mounts[1].source == "/x" && s.mounts[1].read_only));
  CHECK((s.mounts[2].source == "/home/me/y" && s.mounts[2].propagation == "rslave"));
  CHECK((s.mounts[3].kind == MountKind::volume && s.mounts[3].source.empty()));
  CHECK((s.mounts[4].source == "shop_db" && s.mounts[4].volume_key == "db"));
  CHECK((!s.mounts[4].copy && s.mounts[4].read_only));
  CHECK((s.mounts[5].copy && !s.mounts[5].read_only));
}

TEST_CASE("volumes: the long form") {
  ServiceSpec s =
      container(R"(    volumes:
      - { type: bind, source: ./data, target: /a, read_only: true,
          bind: { propagation: rshared, create_host_path: false, recursive: readonly } }
      - { type: volume, source: db, target: /b, volume: { nocopy: true } }
      - { type: tmpfs, target: /c, tmpfs: { size: 1m, mode: 01777 } }
      - { type: volume, source: far, target: /d }
)",
                "volumes:\n  db: { name: real, external: true }\n"
                "  far: { driver: local, driver_opts: { type: nfs, device: ':/x' } }\n");
  REQUIRE(s.mounts.size() == 4);
  CHECK((s.mounts[0].read_only && !s.mounts[0].create_source));
  CHECK((s.mounts[0].propagation == "rshared" && s.mounts[0].recursive == "readonly"));
  CHECK((s.mounts[1].source == "real" && s.mounts[1].external && !s.mounts[1].copy));
  CHECK(s.mounts[2].options == Words{"size=1048576", "mode=1777"});
  CHECK((s.mounts[3].source == "shop_far" && s.mounts[3].driver_opts.size() == 2));
}

TEST_CASE("tmpfs: one, or a list, with mount's options") {
  CHECK(container("    tmpfs: /run\n").mounts.at(0).target == "/run");
  ServiceSpec s = container("    tmpfs: ['/tmp:size=64m,mode=1777,exec,ro', /run]\n");
  CHECK(s.mounts.at(0).target == "/run");
  CHECK((s.mounts.at(1).options == Words{"size=64m", "mode=1777", "exec"} &&
         s.mounts.at(1).read_only));
}

TEST_CASE("volumes: mistakes") {
  const Case cases[] = {
      {"    volumes: [a:b:c:d]\n", "6:15: error: volume \"a:b:c:d\" is not one"},
      {"    volumes: [./data:b]\n", "6:15: error: the path \"b\" of a volume inside the container"},
      {"    volumes: [./data:/]\n", "cannot be mounted over /"},
      {"    volumes: [./data:/..]\n", "cannot be mounted over /"},
      {"    volumes: [db:/a]\n", "6:15: error: volume \"db\" is not among the file's volumes"},
      {"    volumes: [./data:/a:rx]\n", "volume option \"rx\" is not known; did you mean ro?"},
      {"    volumes: [./data:/a:z]\n", "warning: volume option z has no effect"},
      {"    volumes: [./data:/a, ./data:/a/]\n", "6:26: error: two volumes are mounted at /a"},
      {"    volumes: [./root:/a]\n",
       "6:15: error: the volume source /p/root is a symbolic link to /"},
      {"    volumes: [{ type: bind, source: ./no, target: /a, bind: { create_host_path: no } }]\n",
       "6:15: error: the volume source /p/no does not exist"},
      {"    volumes: [{ type: bind, target: /a }]\n", "the bind has no source"},
      {"    volumes: [{ source: ./data, target: /a }]\n", "the volume has no type"},
      {"    volumes: [{ type: tmpfs }]\n", "the volume has no target"},
      {"    volumes: [{ type: npipe, target: /a }]\n", "volume type npipe is not supported"},
      {"    volumes: [{ type: image, source: x, target: /a }]\n", "use bind, volume or tmpfs"},
      {"    volumes: [{ type: tmpfs, target: /a, bind: { propagation: rslave } }]\n",
       "warning: bind has no effect with type: tmpfs"},
      {"    volumes: [{ type: volume, target: /a, volume: { subpath: x } }]\n",
       "key subpath is not supported"},
      {"    volumes: { a: b }\n", "volumes must be a list, not a map"},
      {"    tmpfs: /run:sise=1\n", "tmpfs option \"sise=1\" is not known"},
      {"    tmpfs: run\n", "the path \"run\" of a volume inside the container is not absolute"},
  };
  check_cases(cases);
  CHECK(said_of("    volumes: [/:/host:ro]\n").empty());  // whoever writes / means it
  CHECK_THAT(said_of("", "volumes: { db: { driver: rexray } }\n"),
             ContainsSubstring("6:26: error: volume driver \"rexray\" is not supported"));
  CHECK_THAT(said_of("", "volumes: { db: { name: ../x } }\n"),
             ContainsSubstring("volume name \"../x\" cannot be used"));
  CHECK_THAT(said_of("    volumes: [dbb:/a]\n", "volumes: { db: }\n"),
             ContainsSubstring("did you mean db?"));
}

TEST_CASE("secrets and configs") {
  ServiceSpec s = container(
      "    configs: [{ source: c, target: conf/c, uid: \"5\", gid: \"6\", mode: 0400 }]\n"
      "    secrets: [f, { source: v, target: /v }]\n",
      "secrets:\n  f: { file: ./secret }\n  v: { environment: TOKEN }\n"
      "configs:\n  c: { content: \"a $$b\" }\n");
  REQUIRE(s.files.size() == 3);
  CHECK((s.files[0].path == "/p/secret" && s.files[0].target == "/run/secrets/f"));
  CHECK((s.files[1].content == "t0k" && s.files[1].variable == "TOKEN"));
  CHECK((s.files[1].target == "/v" && s.files[1].mode == 0444));
  CHECK((s.files[2].content == "a $b" && s.files[2].target == "/conf/c" && !s.files[2].secret));
  CHECK((s.files[2].uid == 5 && s.files[2].gid == 6 && s.files[2].mode == 0400));
}

TEST_CASE("secrets and configs: mistakes") {
  struct {
    const char *body, *below, *said;
  } cases[] = {
      {"    secrets: [x]\n", "", "6:15: error: secret \"x\" is not among the file's secrets"},
      {"    secrets: [x]\n", "secrets: { x: { file: ./no } }\n",
       "6:15: error: secret x: the file /p/no does not exist"},
      {"    secrets: [x]\n", "secrets: { x: { file: ./fifo } }\n", "/p/fifo is not a regular file"},
      {"    secrets: [x]\n", "secrets: { x: { file: ./huge } }\n",
       "6:15: error: secret x is 1073741824 KB large"},
      {"    secrets: [x]\n", "secrets: { x: { environment: NOPE } }\n",
       "7:12: error: secret x takes its value from the variable \"NOPE\", which is not set"},
      {"", "secrets: { x: {} }\n", "6:12: error: secret x has no content; write file or"},
      {"", "secrets: { x: { file: a, environment: B } }\n", "secret x has several"},
      {"", "secrets: { x: { content: a } }\n", "unknown key \"content\" in secret x"},
      {"", "configs: { x: { external: true } }\n",
       "external secrets and configs are not supported"},
      {"    secrets: [x, x]\n", "secrets: { x: { file: ./secret } }\n",
       "6:18: error: two files are put at /run/secrets/x"},
      {"    secrets: [{ target: x }]\n", "", "source is missing"},
      {"    secrets: [{ source: x, mode: 9 }]\n", "", "mode \"9\" is no file mode"},
  };
  for (const auto& c : cases) {
    INFO(c.body << c.below);
    CHECK_THAT(said_of(c.body, c.below), ContainsSubstring(c.said));
  }
}

TEST_CASE("limits, in keys of the service and in deploy") {
  ServiceSpec s = container(R"(    mem_limit: 64m
    memswap_limit: 128m
    mem_reservation: 32m
    mem_swappiness: 10
    oom_kill_disable: true
    cpu_shares: 512
    cpuset: 0-1,3
    shm_size: 1g
    deploy:
      mode: global
      replicas: 2
      resources: { limits: { cpus: '0.5', pids: 9, memory: 64M }, reservations: { memory: 32m } }
      restart_policy: { condition: on-failure, delay: 5s, max_attempts: 3, window: 2m }
)");
  CHECK((s.memory_bytes == 64 << 20 && s.memory_swap_bytes == 128 << 20));
  CHECK((s.memory_reservation_bytes == 32 << 20 && s.mem_swappiness == 10));
  CHECK((s.oom_kill_disable && s.cpu_shares == 512 && s.cpuset == "0-1,3"));
  CHECK((s.cpus == 0.5 && s.pids_limit == 9 && s.scale == 2));
  CHECK(s.shm_bytes == std::int64_t{1} << 30);
  CHECK((s.restart.policy == RestartPolicy::on_failure && s.restart.max_attempts == 0));
  CHECK((s.restart.delay == 5s && s.restart.factor == 1));
  CHECK((s.restart.limit_count == 3 && s.restart.limit_window == 2min));
  CHECK(container("    memswap_limit: -1\n    mem_limit: 6m\n").memory_swap_bytes == -1);
  CHECK(container("    deploy: { restart_policy: {} }\n").restart.policy == RestartPolicy::always);
}

TEST_CASE("limits: mistakes") {
  const Case cases[] = {
      {"    mem_limit: 5m\n", "6:16: error: mem_limit \"5m\" is too small; write 6m or more"},
      {"    cpus: 0.001\n", "6:11: error: cpus \"0.001\" is too small; write 0.01 or more"},
      {"    cpu_shares: 1\n", "cpu_shares 1 is too small"},
      {"    cpuset: 1-0\n", "cpuset \"1-0\" is no list of CPUs"},
      {"    cpuset: '0,'\n", "is no list of CPUs"},
      {"    memswap_limit: 1m\n", "memswap_limit needs mem_limit"},
      {"    mem_limit: 8m\n    memswap_limit: 7m\n",
       "7:20: error: memswap_limit is memory and swap"},
      {"    mem_limit: 8m\n    mem_reservation: 9m\n", "reservation is above the limit"},
      {"    oom_kill_disable: true\n", "oom_kill_disable without mem_limit"},
      {"    cpus: 1\n    deploy: { resources: { limits: { cpus: 2 } } }\n",
       "deploy.resources.limits.cpus and cpus differ"},
      {"    deploy: { resources: { limits: { memory: 5m } } }\n",
       "deploy.resources.limits.memory \"5m\" is too small"},
      {"    deploy: { resources: { reservations: { cpus: 1 } } }\n",
       "warning: reservations.cpus has no effect"},
      {"    deploy: { resources: { reservations: { devices: [] } } }\n", "use devices"},
      {"    deploy: { placement: {} }\n", "warning: deploy.placement has no effect"},
      {"    deploy: { update_config: {} }\n", "warning: deploy.update_config has no effect"},
      {"    deploy: { restart_policy: { window: 1m } }\n",
       "warning: restart_policy.window has no effect without max_attempts"},
      {"    restart: always\n    deploy: { restart_policy: {} }\n",
       "6:14: warning: restart has no effect beside deploy.restart_policy"},
      {"    deploy: { restart_policy: { condition: always } }\n",
       "condition \"always\" is not known"},
      {"    shm_size: 0\n", "shm_size 0 would leave no shared memory"},
  };
  check_cases(cases);
}

TEST_CASE("names, name servers, namespaces, devices, groups") {
  ServiceSpec s = container(R"(    domainname: example.org
    extra_hosts: ["a:10.0.0.1", "b=::1", "c:[::2]"]
    dns: 10.0.0.2
    dns_search: [x.org, y.org]
    dns_opt: [ndots:2]
    sysctls: [net.core.somaxconn=9, kernel/msgmax=8]
    pid: host
    uts: ""
    cgroup: private
    ipc: none
    userns_mode: host
    group_add: [staff, 44]
    devices: ["/dev/null:/dev/other:rw", { source: /dev/snd, permissions: r }, /dev/null:m]
    device_cgroup_rules: ["c 1:3 mr", "a *:* rwm"]
    security_opt: [apparmor=unconfined, systempaths=unconfined, label=disable]
    annotations: { a: 1 }
)");
  CHECK(s.extra_hosts == std::vector<std::pair<std::string, std::string>>{
                             {"a", "10.0.0.1"}, {"b", "::1"}, {"c", "::2"}});
  CHECK((s.dns == Words{"10.0.0.2"} && s.dns_search == Words{"x.org", "y.org"}));
  CHECK(s.sysctls ==
        std::map<std::string, std::string>{{"net.core.somaxconn", "9"}, {"kernel.msgmax", "8"}});
  CHECK((s.pid_mode == "host" && s.uts_mode.empty() && s.cgroup_mode.empty()));
  CHECK((s.ipc_mode == "none" && s.group_add == Words{"staff", "44"}));
  CHECK(s.devices == std::vector<DeviceSpec>{{"/dev/null", "/dev/other", "rw"},
                                             {"/dev/snd", "/dev/snd", "r"},
                                             {"/dev/null", "/dev/null", "m"}});
  CHECK((s.apparmor == "unconfined" && s.unmasked));
  CHECK(container("    extra_hosts: { a: [10.0.0.1, 10.0.0.2] }\n").extra_hosts.size() == 2);
}

TEST_CASE("names, name servers, namespaces, devices, groups: mistakes") {
  const Case cases[] = {
      {"    extra_hosts: [a]\n", "6:19: error: extra_hosts: \"a\" has no address"},
      {"    extra_hosts: [a=b]\n", "\"b\" is no address"},
      {"    extra_hosts: ['a=host-gateway']\n    network_mode: none\n",
       "host-gateway needs a bridge"},
      {"    dns: ns1\n", "dns \"ns1\" is not the address of a name server"},
      {"    dns_opt: [\"a\\nnameserver 1\"]\n", "is not an option of resolv.conf"},
      {"    sysctls: { vm.swappiness: 1 }\n",
       "6:16: error: sysctl \"vm.swappiness\" is of the whole host"},
      {"    network_mode: host\n    sysctls: { net.core.somaxconn: 1 }\n",
       "would be the host's with network_mode: host"},
      {"    sysctls: [net.core.somaxconn]\n", "has no value"},
      {"    pid: service:db\n", "pid service:db is not supported; write host"},
      {"    pid: hots\n", "6:10: error: pid \"hots\" is not known"},
      {"    userns_mode: keep-id\n", "userns_mode \"keep-id\" is not supported"},
      {"    devices: [/dev/nope]\n", "6:15: error: device /dev/nope does not exist on this host"},
      {"    devices: [./secret]\n", "is no path; write /dev/NAME"},
      {"    devices: [/p/secret]\n", "device /p/secret is no device"},
      {"    devices: [vendor.com/gpu=all]\n", "is a CDI name, which is not supported"},
      {"    devices: [{ source: /dev/null, permissions: x }]\n", "are not r, w and m"},
      {"    device_cgroup_rules: [c 1 mr]\n", "device rule \"c 1 mr\" is not one"},
      {"    group_add: ['a:b']\n", "is no group"},
      {"    uts: host\n    hostname: h\n", "6:10: error: hostname and domainname would be"},
      {"    ipc: host\n    shm_size: 1m\n", "7:15: warning: shm_size has no effect"},
      {"    security_opt: [label=type:x]\n", "security_opt label is not supported"},
      {"    links: [db]\n", "key links is not supported; services find each other"},
  };
  check_cases(cases);
}

TEST_CASE("hooks") {
  ServiceSpec s = container(
      "    post_start: [{ command: [a, b], user: root, environment: [A=1, TOKEN], privileged: "
      "true,\n"
      "                   working_dir: /w }]\n    pre_stop: [{ command: x 'y z' }]\n");
  REQUIRE(s.post_start.size() == 1);
  CHECK(s.post_start[0] ==
        HookSpec{{"a", "b"}, "root", true, "/w", {{"A", "1"}, {"TOKEN", "t0k"}}});
  CHECK(s.pre_stop.at(0).command == Words{"x", "y z"});
  const Case cases[] = {
      {"    post_start: [{ user: x }]\n", "6:18: error: a hook of post_start has no command"},
      {"    pre_stop: x\n", "pre_stop must be a list"},
      {"    pre_start: []\n", "key pre_start is not supported; use a service of its own"},
  };
  check_cases(cases);
}

TEST_CASE("label_file is under labels") {
  Loaded loaded =
      load_text("name: x\n" + one_container("    label_file: l\n    labels: { A: own }\n"),
                {.files = {{"/p/l", "A=1\nB=2\nB=3\n"}}});
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  CHECK(loaded.project->services[0].labels ==
        std::map<std::string, std::string>{{"A", "own"}, {"B", "3"}});
}
