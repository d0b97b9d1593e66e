// Specs after loading: stored, printed and compared.
#include "config/diff.h"
#include "config/print.h"
#include "config/spec_json.h"
#include "config/spec_names.h"
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

// Every field away from its default.
ProjectSpec full_project() {
  CheckSpec check;
  check.test = {"CMD", "a", "$b \"c\"\n"};
  check.interval = 1ns;
  check.timeout = 2s;
  check.start_period = 3s;
  check.start_interval = 4s;
  check.retries = 5;
  check.max_starting = 6s;
  check.on_unhealthy = OnUnhealthy::kill;
  ActionSpec hook;
  hook.name = "page";
  hook.hook = {{"page", "a b"}, 3s};
  ActionSpec webhook;
  webhook.kind = ActionKind::webhook;
  webhook.name = "a.example:8443";
  webhook.first = false;
  webhook.webhook.secret_file = "/secret";
  webhook.webhook.timeout = 4s;
  webhook.webhook.request.method = "POST";
  webhook.webhook.request.scheme = "https";
  webhook.webhook.request.host = "a.example";
  webhook.webhook.request.port = 8443;
  webhook.webhook.request.path = "/x";
  webhook.webhook.request.headers = {{"A", "b"}};
  webhook.webhook.request.statuses = {{200, 299}};
  check.actions = {hook, webhook};
  check.success_threshold = 7;
  check.initial_delay = 8s;
  check.jitter = 0.3;
  check.observe = true;
  check.role = CheckRole::ready;
  check.shell = {"/bin/bash", "-c"};

  ServiceSpec s;
  s.name = "web";
  s.container_name = "c1";
  s.exec = ExecMode::runtime;
  s.image = "i:1";
  s.image_id = "sha256:1";
  s.rootfs = "/r";
  s.exposed_ports = {"80/tcp"};
  s.image_volumes = {"/data"};
  s.image_source = {"oci:/i:x", PullPolicy::refresh, 36h, "linux/arm/v7", 1 << 20};
  s.entrypoint = std::vector<std::string>{};
  s.command =
      std::vector<std::string>{"x", "", "true", "~", "- a", "#", "1", "caf\xC3\xA9", "\x01"};
  s.environment = {{"A", "$1 ${B}"}, {"B", " x "}, {"C", "no"}, {"D", "multi\nline\ttab"}};
  s.working_dir = "/w";
  s.user = "1:2";
  s.hostname = "h";
  s.domainname = "example.org";
  s.networks = {{{"k",
                  "n",
                  "br9",
                  1400,
                  true,
                  true,
                  {{"10.0.0.0/8", "10.0.0.1", "10.1.0.0/16"}, {"fd00::/64", "", ""}},
                  {{"a", "b"}}},
                 {"alias"},
                 "10.0.0.2",
                 "fd00::2",
                 "02:00:00:00:00:01",
                 3}};
  s.ports = {{80, "udp", "127.0.0.1", 8080, 8090}};
  s.pid_mode = s.cgroup_mode = "host";
  s.ipc_mode = "none";
  s.group_add = {"staff", "44"};
  s.extra_hosts = {{"a", "10.0.0.1"}, {"a", "::1"}};
  s.dns = {"10.0.0.2"};
  s.dns_search = {"."};
  s.dns_opt = {"ndots:2"};
  s.sysctls = {{"net.core.somaxconn", "9"}};
  s.annotations = {{"a.b", "c: d"}};
  s.cap_add = {"NET_ADMIN"};
  s.cap_drop = {"ALL"};
  s.privileged = s.read_only = s.no_new_privileges = s.init = s.tty = s.stdin_open = true;
  s.seccomp = "unconfined";
  s.apparmor = "unconfined";
  s.unmasked = true;
  MountSpec bind, volume, other, tmpfs;
  bind.target = "/a";
  bind.source = "/host/$x";
  bind.read_only = true;
  bind.create_source = false;
  bind.propagation = "rslave";
  bind.recursive = "writable";
  volume.kind = other.kind = MountKind::volume;
  volume.target = "/b";
  volume.source = "n_data";
  volume.volume_key = "data";
  volume.external = true;
  volume.copy = false;
  other.target = "/c";
  other.source = "nfs";
  other.volume_key = "far";
  other.copy = false;
  other.driver_opts = {{"type", "nfs"}, {"o", "addr=1.2.3.4,rw"}, {"device", ":/x"}};
  tmpfs.kind = MountKind::tmpfs;
  tmpfs.target = "/d";
  tmpfs.read_only = true;
  tmpfs.options = {"size=1m", "exec"};
  s.mounts = {bind, volume, other, tmpfs};
  s.files = {{true, "s", "/run/secrets/s", 1, 2, 0400, "/p/s", "", ""},
             {true, "v", "/v", 0, 0, 0444, "", "VALUE", "of it"},
             {false, "c", "/etc/c", 0, 0, 0444, "", "", "text\n$x\n"}};
  s.devices = {{"/dev/a", "/dev/b", "r"}};
  s.device_cgroup_rules = {"c 1:* mr"};
  s.shm_bytes = 1000;
  s.ulimits = {{"nofile", 1, -1}};
  s.pids_limit = 3;
  s.memory_bytes = 7 << 20;
  s.memory_swap_bytes = -1;
  s.memory_reservation_bytes = 6 << 20;
  s.mem_swappiness = 0;
  s.oom_kill_disable = true;
  s.cpus = 0.1;
  s.cpu_shares = 2;
  s.cpuset = "0-1,3";
  s.oom_score_adj = 0;
  s.labels = {{"a.b/c", "d e"}, {"on", "off"}};
  s.stop_signal = "SIGINT";
  s.logging = {"local", 5000, 9};
  s.probe_limits = {1, 2};
  s.stop_grace_period = 1min;
  s.restart = {RestartPolicy::on_failure, 3, 1s, 1.5, 2s, 0.25, 3s, 4, 5s};
  s.depends_on = {{"db", DependencyCondition::completed_successfully, true, true, true}};
  s.checks = {check};
  check.name = "second";
  check.observe = false;
  s.checks.push_back(check);
  s.priority = -7;
  s.pressure_guard = {.on = true, .cpu = 0.5, .memory = 0.25, .io = 0.125, .max_hold = 3s};
  s.flap = {.on = true, .window = 8, .high = 0.75, .low = 0.25};
  s.capture = {.on = true, .timeout = 2s, .log_lines = 9, .command = {"date", "-u"}};
  s.retries_given = true;
  s.profiles = {"p"};
  s.post_start = {{{"a", "b c"}, "u", true, "/w", {{"A", "$1"}}}};
  s.pre_stop = {{{"x"}, "", false, "", {}}};

  ProjectSpec p;
  p.name = "n";
  p.file = "/p/compose.yaml";
  p.run_dir = "/run/x";
  p.data_dir = "/data";
  p.runtime = "/usr/bin/crun";
  p.on_exit = OnExit::leave;
  p.probes_at_once = 9;
  p.metrics = {"[::1]:1", MetricsSpec::Histograms::off, 2};
  p.restart_budget = {.count = 3, .window = 4s};
  p.pressure_guard = {.on = true, .cpu = 0.75, .memory = 0.5, .io = 0.25, .max_hold = 5s};
  p.incidents = {.count = 6, .bytes_max = 7 << 20};
  p.journal = {.file_bytes_max = 8 << 20, .files_max = 9};
  p.log = {"warn", "json"};
  p.api = {"g", 0600, {"r"}, {"@a"}};
  p.services.push_back(s);
  ServiceSpec db;
  db.name = "db";
  db.runtime = RuntimeKind::process;
  db.command = std::vector<std::string>{"x"};
  db.healthcheck_disabled = true;
  db.scale = 3;
  p.services.push_back(db);
  return p;
}

}  // namespace

TEST_CASE("a project survives JSON unchanged") {
  ProjectSpec project = full_project();
  CheckSpec http;
  http.name = "http";
  http.kind = ProbeKind::http;
  http.http = {"POST", "https", "::1",   1,     "/x", {{"H", "v"}}, {{200, 201}},
               "r",    2,       {"::2"}, false, "s",  "/ca",        ""};
  CheckSpec tcp;
  tcp.name = "tcp";
  tcp.kind = ProbeKind::tcp;
  tcp.tcp = {"::1", 2, "s", "e"};
  CheckSpec grpc;
  grpc.name = "grpc";
  grpc.kind = ProbeKind::grpc;
  grpc.grpc = {"::1", 3, "svc", true, false, "n", "/ca"};
  project.services[1].checks = {http, tcp, grpc};
  project.services[1].environment = {{"BYTES\xFF", std::string("\x00\xFF\x80", 3)}};
  Result<ProjectSpec> back = project_from_json(project_to_json(project));
  REQUIRE(back);
  CHECK(*back == project);
  CHECK(project_from_json(project_to_json(ProjectSpec{})).value() == ProjectSpec{});
}

TEST_CASE("JSON of other versions: unknown fields are ignored, absent ones are defaults") {
  Result<ProjectSpec> read = project_from_json(
      R"({"name":"x","future":{"a":[1]},"services":[{"name":"web","newer":1,"checks":[{"retries":2}]}]})");
  REQUIRE(read);
  ProjectSpec want;
  want.name = "x";
  want.services.resize(1);
  want.services[0].name = "web";
  want.services[0].checks.resize(1);
  want.services[0].checks[0].retries = 2;
  CHECK(*read == want);
}

TEST_CASE("JSON that is damaged is an error, never a crash") {
  std::string good = project_to_json(full_project());
  for (std::size_t cut = 0; cut < good.size(); cut += 7) {
    CHECK_FALSE(project_from_json(good.substr(0, cut)));
  }
  for (const char* text :
       {"", "null", "[]", "1", R"({"name":1})", R"({"services":{}})", R"({"services":[1]})",
        R"({"on_exit":"explode"})", R"({"services":[{"labels":[["a"]]}]})",
        R"({"name":{"hex":"zz"}})", R"({"services":[{"restart":[]}]})", "{\"name\":\"\xFF\"}"}) {
    INFO(text);
    Result<ProjectSpec> read = project_from_json(text);
    REQUIRE_FALSE(read);
    CHECK_THAT(read.error().text, StartsWith("cannot read the stored config"));
  }
}

TEST_CASE("what is printed loads as the same project") {
  ProjectSpec project = full_project();
  // What the image gives is not printed: it is found again.
  project.services[0].image_id.clear();
  project.services[0].exposed_ports.clear();
  project.services[0].image_volumes.clear();
  for (CheckSpec& check : project.services[0].checks) check.shell.clear();
  project.services[0].checks[0].interval = 1ms;
  project.services[0].checks[1].interval = 1500ms;
  CheckSpec net;
  net.name = "http";
  net.kind = ProbeKind::http;
  net.http = {"HEAD",  "https", "::1", 1,  "/x", {{"H", "a=b"}}, {{200, 201}}, "r$", 2,
              {"::2"}, false,   "s",   "", ""};
  project.services[0].checks.push_back(net);
  net.name = "tcp";
  net.kind = ProbeKind::tcp;
  net.http = {};
  net.tcp = {"localhost", 2, "s\r\n", "e"};
  project.services[0].checks.push_back(net);
  net.name = "grpc";
  net.kind = ProbeKind::grpc;
  net.tcp = {};
  net.grpc = {"127.0.0.1", 3, "svc", true, true, "n", "/ca"};
  project.services[0].checks.push_back(net);
  std::string printed = print_project(project);
  INFO(printed);
  Loaded loaded = load_text(printed, {.environment = {{"VALUE", "of it"}},
                                      .profiles = {"p"},
                                      .paths = {{"/host/$x", {PathKind::directory, "/host/$x", 0}},
                                                {"/dev/a", {PathKind::device, "/dev/a", 0}},
                                                {"/p/s", {PathKind::file, "/p/s", 1}}}});
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  project.services[0].retries_given = false;  // not of every check; printed, it is
  loaded.project->services[0].retries_given = false;
  CHECK(*loaded.project == project);
}

TEST_CASE("launch settings: each field of the first part of ServiceSpec, none of the second") {
  ServiceSpec base = full_project().services[0];
  CHECK_FALSE(launch_settings_differ(base, base));
  ServiceSpec other = base;
  other.environment.pop_back();
  CHECK(launch_settings_differ(base, other));
  other = base;
  other.logging.files_max++;
  CHECK(launch_settings_differ(base, other));
  other = base;
  other.image_source.pull = PullPolicy::never;
  other.stop_grace_period += 1s;
  other.restart.delay += 1s;
  other.depends_on.clear();
  other.checks.clear();
  other.profiles.clear();
  other.post_start.clear();
  other.pre_stop.clear();
  other.scale = 9;
  CHECK_FALSE(launch_settings_differ(base, other));
}

TEST_CASE("the plan of a reload") {
  ProjectSpec running = full_project();
  CHECK(diff_projects(running, running).empty());
  ProjectSpec wanted = running;
  wanted.services[0].checks[0].retries = 9;
  wanted.services[0].restart.factor = 3;
  wanted.services[1].user = "root";
  ServiceSpec fresh;
  fresh.name = "fresh";
  wanted.services.insert(wanted.services.begin(), fresh);
  ServiceSpec gone;
  gone.name = "gone";
  running.services.push_back(gone);
  wanted.log.level = "debug";
  wanted.run_dir = "/other";
  ProjectDiff diff = diff_projects(running, wanted);
  CHECK(diff.services == std::vector<ServiceDiff>{
                             {"fresh", ServiceChange::added, {}},
                             {"web", ServiceChange::update, {"restart", "checks"}},
                             {"db", ServiceChange::recreate, {"user"}},
                             {"gone", ServiceChange::removed, {}},
                         });
  CHECK(diff.settings == std::vector<std::string>{"log"});
  CHECK(diff.fixed == std::vector<std::string>{"run_dir"});
}

TEST_CASE("every field of a service reaches the stored form") {
  // A field that spec_json forgets would be equal to its default after a round trip; full_project()
  // has every field away from it, and this counts that none was added without being listed here.
  ProjectSpec project = full_project();
  ServiceSpec plain;
  auto all = service_fields(project.services[0]);
  auto defaults = service_fields(plain);
  std::vector<std::string> same;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] == defaults[i]) same.push_back(all[i].first);
  }
  CHECK(same == std::vector<std::string>{"runtime", "network_mode", "networks_implicit", "uts_mode",
                                         "healthcheck_disabled", "scale"});
}
