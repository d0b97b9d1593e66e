// Whole files to specs: what each key becomes.
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

ProjectSpec load_good(const std::string& compose, LoadInput input = {}) {
  Loaded loaded = load_text(compose, std::move(input));
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  return *loaded.project;
}

ServiceSpec service(const std::string& body, LoadInput input = {}) {
  return load_good(one_service(body), std::move(input)).services.at(0);
}

using Words = std::vector<std::string>;
using Values = std::vector<std::pair<std::string, std::string>>;

}  // namespace

TEST_CASE("a service with every key of a container") {
  ProjectSpec project = load_good(R"(
name: shop
x-keepwell:
  run_dir: ./run
  data_dir: /data
  runtime: crun
  on_exit: leave
  metrics: { listen: "127.0.0.1:0", histograms: off, max_services: 50 }
  log: { level: debug, format: json }
  api: { group: ops, mode: 0600, read: [alice, "@dev"], admin: root }
services:
  web:
    image: nginx:1
    container_name: web-1
    entrypoint: ["/entry"]
    command: serve --port '80 80'
    environment: { B: 2, A: "x$$y", LIST: }
    working_dir: /srv
    user: 1000:1000
    hostname: web.local
    network_mode: host
    cap_add: [net_admin, CAP_SYS_TIME]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true", "seccomp=./profile.json"]
    ulimits: { nofile: { soft: 1024, hard: 2048 }, nproc: 64, core: -1 }
    pids_limit: 100
    mem_limit: 64m
    cpus: 1.5
    oom_score_adj: -500
    labels: [a=1, b]
    logging: { driver: local, options: { max-size: 1m, max-file: "5" } }
    init: true
    tty: true
    stdin_open: true
    read_only: true
    privileged: true
    restart: on-failure:4
    stop_signal: quit
    stop_grace_period: 1m30s
    scale: 1
    x-other: anything
    x-keepwell: { rootfs: ../root, exec: runtime, probe_limits: { pids: 8, memory: 16m } }
)",
                                  {.environment = {{"LIST", "from outside"}}});
  CHECK(project.name == "shop");
  CHECK(project.file == "/p/compose.yaml");
  CHECK(project.run_dir == "/p/run");
  CHECK(project.data_dir == "/data");
  CHECK(project.runtime == "crun");
  CHECK(project.on_exit == OnExit::leave);
  CHECK(project.metrics == MetricsSpec{"127.0.0.1:0", MetricsSpec::Histograms::off, 50});
  CHECK(project.log == LogSpec{"debug", "json"});
  CHECK(project.api == ApiSpec{"ops", 0600, {"alice", "@dev"}, {"root"}});
  REQUIRE(project.services.size() == 1);

  ServiceSpec want;
  want.name = "web";
  want.container_name = "web-1";
  want.exec = ExecMode::runtime;
  want.image = "nginx:1";
  want.rootfs = "/root";
  want.entrypoint = Words{"/entry"};
  want.command = Words{"serve", "--port", "80 80"};
  want.environment = {{"B", "2"}, {"A", "x$y"}, {"LIST", "from outside"}};
  want.working_dir = "/srv";
  want.user = "1000:1000";
  want.hostname = "web.local";
  want.network_mode = "host";
  want.cap_add = {"NET_ADMIN", "SYS_TIME"};
  want.cap_drop = {"ALL"};
  want.privileged = want.read_only = want.no_new_privileges = true;
  want.init = want.tty = want.stdin_open = true;
  want.seccomp = "/p/profile.json";
  want.ulimits = {{"nofile", 1024, 2048}, {"nproc", 64, 64}, {"core", -1, -1}};
  want.pids_limit = 100;
  want.memory_bytes = 64 << 20;
  want.cpus = 1.5;
  want.oom_score_adj = -500;
  want.labels = {{"a", "1"}, {"b", ""}};
  want.stop_signal = "SIGQUIT";
  want.logging = {"local", 1 << 20, 5};
  want.probe_limits = {8, 16 << 20};
  want.stop_grace_period = 90s;
  want.restart.policy = RestartPolicy::on_failure;
  want.restart.max_attempts = 4;
  CHECK(project.services[0] == want);
}

TEST_CASE("what is not written gets the founding defaults") {
  ServiceSpec s = service("    command: x\n    healthcheck: { test: check it }\n");
  ServiceSpec want;
  want.name = "web";
  want.runtime = RuntimeKind::process;
  want.command = Words{"x"};
  want.checks.resize(1);
  want.checks[0].test = {"CMD-SHELL", "check it"};
  CHECK(s == want);
  CHECK(s.checks[0].interval == 30s);
  CHECK(s.checks[0].timeout == 30s);
  CHECK(s.checks[0].retries == 1);
  CHECK(s.checks[0].start_period == 0s);
  CHECK(s.checks[0].start_interval == 5s);
  CHECK(s.stop_grace_period == 10s);
}

TEST_CASE("healthcheck: all keys, and ours") {
  ServiceSpec s = service(R"(    command: x
    x-keepwell: { on_unhealthy: stop }
    healthcheck:
      test: ["CMD", "redis-cli", "ping"]
      interval: 5s
      timeout: 1.5s
      retries: "3"
      start_period: 1m
      start_interval: 250ms
      x-keepwell: { max_starting: 10m, success_threshold: 2, initial_delay: 1s, jitter: 10%, mode: observe, role: ready }
)");
  REQUIRE(s.checks.size() == 1);
  CheckSpec want;
  want.test = {"CMD", "redis-cli", "ping"};
  want.interval = 5s;
  want.timeout = 1500ms;
  want.retries = 3;
  want.start_period = 1min;
  want.start_interval = 250ms;
  want.max_starting = 10min;
  want.on_unhealthy = OnUnhealthy::stop;
  want.success_threshold = 2;
  want.initial_delay = 1s;
  want.jitter = 0.1;
  want.observe = true;
  want.role = CheckRole::ready;
  CHECK(s.checks[0] == want);
  CHECK(s.retries_given);
  CHECK_FALSE(s.healthcheck_disabled);
}

TEST_CASE("healthcheck: switched off in three ways") {
  for (const char* check :
       {"{ disable: true }", "{ test: [NONE] }", "{ test: [\"NONE\"], disable: yes }"}) {
    INFO(check);
    ServiceSpec s = service("    command: x\n    healthcheck: " + std::string(check) + "\n");
    CHECK(s.checks.empty());
    CHECK(s.healthcheck_disabled);
  }
  CHECK(service("    command: x\n    healthcheck: { test: a, disable: false }\n").checks.size() ==
        1);
}

TEST_CASE("x-keepwell.checks adds checks beside the healthcheck") {
  ServiceSpec s = service(R"(    command: x
    healthcheck: { test: a, retries: 2 }
    x-keepwell:
      on_unhealthy: kill
      checks:
        deep: { test: ["CMD", "b"], interval: 1m, on_unhealthy: none }
        wide: { test: c, role: info, retries: 4 }
)");
  REQUIRE(s.checks.size() == 3);
  CHECK(s.checks[0].name == kHealthcheckName);
  CHECK(s.checks[0].on_unhealthy == OnUnhealthy::kill);
  CHECK(s.checks[1].name == "deep");
  CHECK(s.checks[1].interval == 1min);
  CHECK(s.checks[1].on_unhealthy == OnUnhealthy::none);
  CHECK(s.checks[2].role == CheckRole::info);
  CHECK_FALSE(s.retries_given);
}

TEST_CASE("checks without a process: http, tcp and grpc, short and long") {
  ServiceSpec s = service(R"(    command: x
    healthcheck: { retries: 1, x-keepwell: { http: "https://[::1]:8443/ready?x=1" } }
    x-keepwell:
      checks:
        long:
          http:
            port: 8080
            host: localhost
            path: /r
            method: HEAD
            headers: { Host: shop, X-A: "1" }
            status: [200, 300-399]
            body: "^ok"
            redirects: { max: 3, hosts: 10.0.0.1 }
            tls: { verify: false, server_name: shop, ca: ca.pem }
        short: { http: http://127.0.0.1 }
        tcp: { tcp: 6379 }
        talk: { tcp: { port: 6379, host: 10.0.0.1, send: "PING\r\n", expect: +PONG } }
        grpc: { grpc: 9090 }
        safe: { grpc: { port: 9090, service: a.B, tls: { verify: no } } }
)");
  REQUIRE(s.checks.size() == 7);
  CHECK(s.checks[0].kind == ProbeKind::http);
  CHECK(s.checks[0].test.empty());
  HttpCheck url;
  url.scheme = "https";
  url.host = "::1";
  url.port = 8443;
  url.path = "/ready?x=1";
  CHECK(s.checks[0].http == url);
  HttpCheck full{"HEAD",
                 "http",
                 "localhost",
                 8080,
                 "/r",
                 {{"Host", "shop"}, {"X-A", "1"}},
                 {{200, 200}, {300, 399}},
                 "^ok",
                 3,
                 {"10.0.0.1"},
                 false,
                 "shop",
                 "/p/ca.pem",
                 ""};
  CHECK(s.checks[1].http == full);
  CHECK(s.checks[2].http == HttpCheck{});
  CHECK(s.checks[3].tcp == TcpCheck{"127.0.0.1", 6379, "", ""});
  CHECK(s.checks[4].tcp == TcpCheck{"10.0.0.1", 6379, "PING\r\n", "+PONG"});
  CHECK(s.checks[5].grpc == GrpcCheck{"127.0.0.1", 9090, "", false, true, "", ""});
  CHECK(s.checks[6].grpc == GrpcCheck{"127.0.0.1", 9090, "a.B", true, false, "", ""});
}

TEST_CASE("defaults of the file go under each service's own values") {
  ProjectSpec project = load_good(R"(
services:
  a:
    command: x
    healthcheck: { test: t, interval: 1s }
    restart: "no"
  b:
    command: x
    healthcheck: { test: t, retries: 5, x-keepwell: { on_unhealthy: none } }
    logging: { options: { max-file: "9" } }
    x-keepwell: { on_unhealthy: stop, restart: { delay: 1s } }
x-keepwell:
  runtime: process
  defaults:
    healthcheck: { interval: 7s, retries: 3, x-keepwell: { on_unhealthy: kill, max_starting: 1h } }
    restart: { policy: always, delay: 200ms, max_delay: 10s, limit: { count: 5, window: 1m } }
    logging: { options: { max-size: 2m } }
)");
  const ServiceSpec& a = project.services.at(0);
  const ServiceSpec& b = project.services.at(1);
  CHECK(a.checks[0].interval == 1s);
  CHECK(a.checks[0].retries == 3);
  CHECK(a.checks[0].on_unhealthy == OnUnhealthy::kill);
  CHECK(a.checks[0].max_starting == Duration(1h));
  CHECK(a.retries_given);
  CHECK(a.restart.policy == RestartPolicy::no);
  CHECK(a.restart.delay == 200ms);
  CHECK(a.logging.file_bytes_max == 2 << 20);
  CHECK(b.checks[0].interval == 7s);
  CHECK(b.checks[0].retries == 5);
  CHECK(b.checks[0].on_unhealthy == OnUnhealthy::none);
  CHECK(b.restart.policy == RestartPolicy::always);
  CHECK(b.restart.delay == 1s);
  CHECK(b.restart.max_delay == 10s);
  CHECK(b.restart.limit_count == 5);
  CHECK(b.restart.limit_window == 1min);
  CHECK(b.logging.files_max == 9);
  CHECK(b.logging.file_bytes_max == 2 << 20);
}

TEST_CASE("restart policies, quoted or not") {
  struct Case {
    const char* text;
    RestartPolicy policy;
    int tries;
  };
  const Case cases[] = {
      {"no", RestartPolicy::no, 0},
      {"\"no\"", RestartPolicy::no, 0},
      {"false", RestartPolicy::no, 0},
      {"always", RestartPolicy::always, 0},
      {"unless-stopped", RestartPolicy::unless_stopped, 0},
      {"on-failure", RestartPolicy::on_failure, 0},
      {"on-failure:0", RestartPolicy::on_failure, 0},
      {"on-failure:7", RestartPolicy::on_failure, 7},
  };
  for (const Case& c : cases) {
    ServiceSpec s = service("    command: x\n    restart: " + std::string(c.text) + "\n");
    CHECK(s.restart.policy == c.policy);
    CHECK(s.restart.max_attempts == c.tries);
  }
}

TEST_CASE("environment goes over env_file, and a name alone takes the value from outside") {
  LoadInput input;
  input.files["/p/.env"] = "OUTSIDE=dotenv\nBOTH=dotenv\n";
  input.files["/p/one.env"] = "A=1\nB=file\nGONE=x\nREF=${OUTSIDE}\n";
  input.files["/p/raw.env"] = "RAW='$A'\n";
  input.environment = {{"BOTH", "process"}};
  ServiceSpec s = service(R"(    command: x ${BOTH} $OUTSIDE
    env_file:
      - one.env
      - { path: absent.env, required: false }
      - { path: ./raw.env, format: raw }
    environment:
      - B=list
      - OUTSIDE
      - BOTH
      - GONE
      - C=a=b
)",
                          input);
  CHECK(s.command == Words{"x", "process", "dotenv"});
  CHECK(s.environment == Values{{"A", "1"},
                                {"B", "list"},
                                {"REF", "dotenv"},
                                {"RAW", "'$A'"},
                                {"OUTSIDE", "dotenv"},
                                {"BOTH", "process"},
                                {"C", "a=b"}});
  CHECK(service("    command: x\n    env_file: one.env\n", input).environment.size() == 4);
}

TEST_CASE("depends_on in both forms") {
  ProjectSpec project = load_good(R"(
x-keepwell: { runtime: process }
services:
  web:
    command: x
    depends_on:
      db: { condition: service_healthy, restart: true }
      job: { condition: service_completed_successfully }
      absent: { condition: service_started, required: false }
      off: { condition: service_started, required: false }
  api: { command: x, depends_on: [db, job] }
  db: { command: x, healthcheck: { test: t } }
  job: { command: x }
  off: { command: x, profiles: [debug] }
)");
  CHECK(project.services.size() == 4);
  const auto& web = project.services[0].depends_on;
  REQUIRE(web.size() == 2);  // what is not there and not required is left out
  CHECK(web[0] == Dependency{"db", DependencyCondition::healthy, true, true});
  CHECK(web[1] == Dependency{"job", DependencyCondition::completed_successfully, false, true});
  CHECK(project.services[1].depends_on.size() == 2);
}

TEST_CASE("profiles choose services") {
  const std::string file = R"(
x-keepwell: { runtime: process }
services:
  a: { command: x }
  b: { command: x, profiles: [debug, test] }
  c: { command: x, profiles: [other] }
)";
  CHECK(load_good(file).services.size() == 1);
  CHECK(load_good(file, {.profiles = {"debug"}}).services.size() == 2);
  CHECK(load_good(file, {.environment = {{"COMPOSE_PROFILES", "test,other"}}}).services.size() ==
        3);
  CHECK(load_good(file, {.profiles = {"*"}}).services.size() == 3);
}

TEST_CASE("the project is named as docker compose names it") {
  const std::string rest = "x-keepwell: { runtime: process }\nservices: { a: { command: x } }\n";
  CHECK(load_good(rest).name == "p");
  CHECK(load_good("name: ${N}\n" + rest, {.environment = {{"N", "abc"}}}).name == "abc");
  CHECK(load_good("name: abc\n" + rest, {.environment = {{"COMPOSE_PROJECT_NAME", "e-1"}}}).name ==
        "e-1");
  LoadOptions options;
  options.files = {"/srv/My.App_2/compose.yaml"};
  options.read_file = [&](const std::string& path, std::size_t) -> Result<std::string> {
    if (path == options.files[0]) return rest;
    return fail(Errc::not_found, "cannot read " + path);
  };
  CHECK(load_project(options).project->name == "myapp_2");
  options.project_name = "given";
  options.run_dir = "/elsewhere";
  Loaded loaded = load_project(options);
  CHECK(loaded.project->name == "given");
  CHECK(loaded.project->run_dir == "/elsewhere");
}

TEST_CASE("anchors, merge keys and several files") {
  LoadInput input;
  input.files["/p/over.yaml"] = "services:\n  a: { command: y, environment: { B: 2 } }\n";
  input.overrides = {"/p/over.yaml"};
  ProjectSpec project = load_good(R"(
x-common: &common
  restart: always
  environment: [A=1]
x-keepwell: { runtime: process }
services:
  a: { <<: *common, command: x }
  b: { <<: *common, command: x, restart: "no" }
)",
                                  input);
  CHECK(project.services[0].command == Words{"y"});
  CHECK(project.services[0].environment == Values{{"A", "1"}, {"B", "2"}});
  CHECK(project.services[0].restart.policy == RestartPolicy::always);
  CHECK(project.services[1].restart.policy == RestartPolicy::no);
}
