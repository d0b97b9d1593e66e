// What is wrong with a file, where, and what would be right: all of it in one run.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <span>

#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;

TEST_CASE("every mistake of a file is told in one run, in order") {
  Loaded loaded = load_text(R"(servcies: {}
x-keepwell:
  runtime: process
  metrics: { listen: 9790 }
  journal: { max_sise: 1 }
services:
  web:
    comand: x
    command: sleep 1
    restart: sometimes
    healthcheck:
      test: []
      interval: 10
      retires: 3
    ports: ["80:80"]
    depends_on: [dbb]
    stop_signal: SIGTREM
  db:
    image: x
    command: y
    environment: ["A=${NO}", "=x"]
    cap_add: [NET_ADMN]
)");
  CHECK_FALSE(loaded.project);
  CHECK(listing(loaded) ==
        R"(1:1: error: unknown key "servcies" in the file; did you mean services?
4:22: error: metrics.listen "9790" is no address; write HOST:PORT, such as 127.0.0.1:9790
5:14: error: unknown key "max_sise" in journal; did you mean max_size?
8:5: error: unknown key "comand" in service web; did you mean command?
10:14: error: restart "sometimes" is not known; write no, always, on-failure or unless-stopped
12:13: error: test is empty; write ["CMD", program, ...], ["CMD-SHELL", text] or ["NONE"]
13:17: error: interval "10" is not a duration: it has no unit; write 10s, 10ms or 10m
14:7: error: unknown key "retires" in healthcheck; did you mean retries?
15:12: warning: ports has no effect with x-keepwell.runtime: process; remove it
16:18: error: service web depends on "dbb", which this file does not have; did you mean db?
17:18: error: stop_signal: cannot find signal "SIGTREM": did you mean SIGTERM?
21:19: warning: variable NO is not set and read as empty; set it, or write ${NO:-}
21:30: error: a variable has no name; write NAME: value
22:14: warning: cap_add has no effect with x-keepwell.runtime: process; remove it
22:15: error: capability "NET_ADMN" does not exist; did you mean NET_ADMIN?
)");
}

namespace {

struct Case {
  const char* body;  // of one service
  const char* said;
};

void check_cases(std::span<const Case> cases) {
  for (const Case& c : cases) {
    INFO(c.body);
    std::string said = listing(load_text(one_service(c.body)));
    CHECK_THAT(said, ContainsSubstring(c.said));
  }
}

}  // namespace

TEST_CASE("mistakes in single keys") {
  const Case cases[] = {
      {"    []\n", "4:5: error: service web must be a map of keys and values, not a list"},
      {"    image: x\n", "3:3: error: service web has nothing to run"},
      {"    command: ''\n", "4:14: error: service web has nothing to run"},
      {"    command: [\"\"]\n", "4:14: error: the program of service web is an empty text"},
      {"    command: [[x]]\n",
       "4:15: error: an item of command must be a single value, not a list"},
      {"    command: {a: b}\n", "4:14: error: command must be a list, not a map"},
      {"    command: a > b\n", "no shell runs it"},
      {"    command: [\"a\\0\"]\n", "4:15: error: here is a zero byte"},
      {"    command: x\n    entrypoint: \"'\"\n", "entrypoint: cannot split"},
      {"    command: echo $1\n", "write $$ for a plain $"},
      {"    command: ${NO:?ask the boss}\n",
       "4:14: error: cannot go on without the variable NO: ask the boss"},
      {"    command: x\n    restart: true\n", "restart \"true\" is not a policy; write always"},
      {"    command: x\n    restart: alwys\n", "did you mean always?"},
      {"    command: x\n    restart: on-failure:x\n", "bad number of tries; write on-failure:3"},
      {"    command: x\n    restart: on-failure:-1\n", "bad number of tries"},
      {"    command: x\n    restart:\n", "restart has no value"},
      {"    command: x\n    stop_grace_period: 10\n", "has no unit; write 10s"},
      {"    command: x\n    stop_grace_period: -1s\n", "it is negative"},
      {"    command: x\n    user:\n", "user has no value; write a single value or remove the key"},
      {"    command: x\n    init: maybe\n", "init \"maybe\" is neither true nor false"},
      {"    command: x\n    scale: two\n", "is not a whole number"},
      {"    command: x\n    scale: -1\n", "is out of range"},
      {"    command: x\n    scale: 2\n    container_name: one\n",
       "6:21: error: container_name can name one container only"},
      {"    command: x\n    container_name: a b\n", "is no name"},
      {"    command: x\n    mem_limit: 1m\n", "is too small; write 6m or more"},
      {"    command: x\n    mem_limit: lots\n", "is not a size: write a number and a unit"},
      {"    command: x\n    cpus: fast\n", "is not a number"},
      {"    command: x\n    cpus: nan\n", "is not a number"},
      {"    command: x\n    ulimits: { nofiles: 1 }\n",
       "unknown key \"nofiles\" in ulimits; did you mean nofile?"},
      {"    command: x\n    ulimits: { nofile: { soft: 2, hard: 1 } }\n", "soft is above hard"},
      {"    command: x\n    ulimits: { nofile: { soft: 2 } }\n", "has no hard"},
      {"    command: x\n    security_opt: [seccmp:x]\n", "did you mean seccomp?"},
      {"    command: x\n    security_opt: [apparmor:x]\n", "security_opt has no effect"},
      {"    command: x\n    network_mode: brige\n", "did you mean bridge?"},
      {"    command: x\n    network_mode: service:db\n", "network_mode has no effect"},
      {"    command: x\n    hostname: a/b\n", "hostname \"a/b\" is not one"},
      {"    command: x\n    logging: { driver: journald }\n",
       "logging.driver journald is not supported"},
      {"    command: x\n    logging: { options: { max-size: 1 } }\n",
       "is too small; write 4k or more"},
      {"    command: x\n    logging: { options: { tag: x } }\n",
       "only max-size and max-file have an effect"},
      {"    command: x\n    environment: x\n", "environment must be a map (NAME: value) or a list"},
      {"    command: x\n    environment: { A: [1] }\n",
       "environment.A must be a single value, not a list"},
      {"    command: x\n    env_file: none.env\n",
       "5:15: error: env_file: cannot read /p/none.env"},
      {"    command: x\n    env_file: [{ required: false }]\n", "env_file names no file"},
      {"    command: x\n    profiles: [a b]\n", "profile \"a b\" is no name"},
      {"    command: x\n    depends_on: { db: { } }\n", "depends_on.db has no condition"},
      {"    command: x\n    depends_on: { web: { condition: service_ok } }\n",
       "condition \"service_ok\" is not known"},
      {"    command: x\n    depends_on: [a, a]\n",
       "5:21: error: depends_on names \"a\" a second time"},
      {"    command: x\n    depends_on: [web]\n", "depends_on goes in a circle: web -> web"},
      {"    command: x\n    x-keepwel: {}\n", "did you mean x-keepwell?"},
      {"    command: x\n    x-keepwell: { rootf: x }\n",
       "unknown key \"rootf\" in x-keepwell of service web; did you mean rootfs?"},
      {"    command: x\n    x-keepwell: { on_unhealthy: restrt }\n", "did you mean restart?"},
      {"    command: x\n    x-keepwell: { restart: { delay: 1m, max_delay: 1s } }\n",
       "max_delay is shorter"},
      {"    command: x\n    x-keepwell: { restart: { limit: { window: 1s } } }\n",
       "limit has no count"},
      {"    command: x\n    x-keepwell: { rootfs: r }\n",
       "rootfs has no effect with runtime: process"},
      {"    command: x\n    hostname: h\n",
       "hostname has no effect with x-keepwell.runtime: process"},
      {"    command: x\n    x-keepwell: { runtime: oci }\n",
       "service web has nothing to run from; write image: NAME"},
      {"    command: x\n    working_dir: a\n    x-keepwell: { runtime: oci, rootfs: r }\n",
       "working_dir \"a\" is relative"},
      {"    command: x\n    deploy: { mode: swarm }\n", "deploy.mode \"swarm\" is not known"},
      {"    command: x\n    build: .\n", "key build is not supported; build beforehand"},
  };
  check_cases(cases);
}

TEST_CASE("mistakes in health checks") {
  const Case cases[] = {
      {"    command: x\n    healthcheck: { interval: 1s }\n",
       "5:5: error: healthcheck has no test"},
      {"    command: x\n    healthcheck: { test: '' }\n", "test is empty"},
      {"    command: x\n    healthcheck: { test: [CMD] }\n", "test has no command after CMD"},
      {"    command: x\n    healthcheck: { test: [CMD-SHELL, ''] }\n",
       "test has no command after CMD-SHELL"},
      {"    command: x\n    healthcheck: { test: [CMD-SHELL, a, b] }\n",
       "more than one text after CMD-SHELL"},
      {"    command: x\n    healthcheck: { test: [curl, x] }\n",
       "its first item must be CMD, CMD-SHELL or NONE"},
      {"    command: x\n    healthcheck: { test: [NONE, x] }\n", "nothing may follow NONE"},
      {"    command: x\n    healthcheck: { test: t, interval: 0s }\n",
       "warning: interval 0 means the default, 30s"},
      {"    command: x\n    healthcheck: { test: t, timeout: 10us }\n", "is shorter than 1ms"},
      {"    command: x\n    healthcheck: { test: t, retries: 0 }\n",
       "warning: retries 0 means the default, 1"},
      {"    command: x\n    healthcheck: { test: t, retries: -1 }\n", "is out of range"},
      {"    command: x\n    healthcheck: { test: t, start_interval: 1s }\n",
       "5:29: warning: start_interval has no effect without start_period"},
      {"    command: x\n    healthcheck: { disable: true, interval: 1s }\n",
       "warning: interval has no effect, since the healthcheck is switched off"},
      {"    command: x\n    healthcheck: [t]\n", "healthcheck must be a map"},
      {"    command: x\n    healthcheck: { test: t, x-keepwell: { role: boss } }\n",
       "role \"boss\" is not known"},
      {"    command: x\n    healthcheck: { test: t, x-keepwell: { jitter: 200% } }\n",
       "is not a share"},
      {"    command: x\n    healthcheck: { test: t, x-keepwell: { max_starting: 0s } }\n",
       "must be longer than 0"},
      {"    command: x\n    x-keepwell: { checks: { a: { interval: 1s } } }\n",
       "check a has no test"},
      {"    command: x\n    x-keepwell: { checks: { healthcheck: { test: t } } }\n",
       "cannot be used"},
      {"    command: x\n    restart: always\n    healthcheck: { test: t }\n",
       "6:5: warning: retries of service web is not set"},
  };
  check_cases(cases);
  std::string quiet = listing(load_text(one_service(
      "    command: x\n    restart: always\n    healthcheck: { test: t, retries: 1 }\n")));
  CHECK(quiet.empty());
}

TEST_CASE("mistakes in checks without a process") {
  auto said = [](const std::string& check, bool net_checks = true) {
    LoadInput input;
    input.net_checks = net_checks;
    return listing(load_text(
        one_service("    command: x\n    x-keepwell: { checks: { a: { " + check + " } } }\n"),
        input));
  };
  CHECK_THAT(said("tcp: 1", false), ContainsSubstring("key tcp is not supported"));
  CHECK_THAT(said("tcp: {}"), ContainsSubstring("tcp has no port"));
  CHECK_THAT(said("tcp: 70000"), ContainsSubstring("port \"70000\" is out of range"));
  CHECK_THAT(said("tcp: { port: 1, host: db }"), ContainsSubstring("write localhost or an IP"));
  CHECK_THAT(said("tcp: 1, grpc: 2"), ContainsSubstring("keep one of them"));
  CHECK_THAT(said("tcp: 1, test: x"), ContainsSubstring("warning: test has no effect beside tcp"));
  CHECK_THAT(said("http: { statuses: 200 }"), ContainsSubstring("did you mean status?"));
  CHECK_THAT(said("http: { status: 99 }"), ContainsSubstring("status \"99\" is none"));
  CHECK_THAT(said("http: { status: 300-200 }"), ContainsSubstring("is none"));
  CHECK_THAT(said("http: { path: x }"), ContainsSubstring("begin with /"));
  CHECK_THAT(said("http: { headers: { A: \"b\\nC: d\" } }"), ContainsSubstring("cannot be sent"));
  CHECK_THAT(said("http: { method: get }"), ContainsSubstring("in capitals"));
  for (const char* url :
       {"127.0.0.1", "ftp://127.0.0.1", "http://db/", "http://127.0.0.1:x", "http://127.0.0.1:0",
        "http://[::1", "http://[::1]x", "http://", "http://["}) {
    INFO(url);
    CHECK_THAT(said("http: '" + std::string(url) + "'"), ContainsSubstring("no address that can"));
  }
}

TEST_CASE("mistakes between services") {
  const std::string top = "x-keepwell: { runtime: process }\nservices:\n";
  CHECK(listing(load_text(top + "  a: { command: x, depends_on: [b] }\n"
                                "  b: { command: x, depends_on: [c, a] }\n"
                                "  c: { command: x, depends_on: [c] }\n")) ==
        "4:36: error: depends_on goes in a circle: a -> b -> a; remove one of them\n"
        "5:33: error: depends_on goes in a circle: c -> c; remove one of them\n");
  CHECK(
      listing(load_text(top +
                        "  a: { command: x, depends_on: { b: { condition: service_healthy } } }\n"
                        "  b: { command: x }\n")) ==
      "3:34: error: service a waits for b to be healthy, which has no healthcheck; give it one or "
      "write condition: service_started\n");
  CHECK(listing(load_text(top + "  a: { command: x, depends_on: [b] }\n"
                                "  b: { command: x, profiles: [debug] }\n")) ==
        "3:33: error: service a depends on b, which is switched off; add --profile debug or "
        "required: false\n");
  CHECK_THAT(listing(load_text(top + "  a: { command: x, container_name: n1 }\n"
                                     "  b: { command: x, container_name: n1 }\n")),
             ContainsSubstring("4:36: error: container_name \"n1\" is taken by service a"));
}

TEST_CASE("a very long chain of dependencies is no trouble") {
  std::string file = "x-keepwell: { runtime: process }\nservices:\n";
  for (int i = 0; i < 20'000; ++i) {
    file += "  s" + std::to_string(i) + ": { command: x, depends_on: [s" + std::to_string(i + 1) +
            "] }\n";
  }
  file += "  s20000: { command: x }\n";
  CHECK(load_text(file).project);
}

TEST_CASE("mistakes of a file as a whole") {
  CHECK(listing(load_text("")) == "1:1: error: the file is empty; write services:\n");
  CHECK(listing(load_text("name: x\n")) ==
        "1:1: error: the file has no services; write services:\n");
  CHECK_THAT(listing(load_text("- a\n")), ContainsSubstring("the file must be a map"));
  CHECK_THAT(listing(load_text("just text\n")), ContainsSubstring("the file must be a map"));
  CHECK_THAT(listing(load_text("name: A\nservices: {}\n")),
             ContainsSubstring("1:7: error: project name \"A\" is not one"));
  CHECK_THAT(listing(load_text("version: '3'\nservices: {}\n")),
             ContainsSubstring("1:1: warning: version has no effect"));
  CHECK_THAT(listing(load_text("services: []\n")), ContainsSubstring("services must be a map"));
  CHECK_THAT(listing(load_text("services: {}\nmodels: {}\n")),
             ContainsSubstring("2:1: error: key models is not supported"));
}

TEST_CASE("--lenient turns what is not supported into warnings, and nothing else") {
  const std::string file = one_service("    command: x\n    gpus: all\n    expose: [1]\n");
  CHECK_FALSE(load_text(file).project);
  Loaded lenient = load_text(file, {.lenient = true});
  CHECK(lenient.project);
  CHECK(lenient.diagnostics.size() == 2);
  CHECK_THAT(listing(lenient), ContainsSubstring("warning: key gpus is not supported"));
  CHECK_FALSE(load_text(one_service("    command: x\n    prots: []\n"), {.lenient = true}).project);
}

TEST_CASE("mistakes in .env and env_file have their own file and line") {
  LoadInput input;
  input.files["/p/.env"] = "GOOD=1\nb ad\n";
  input.files["/p/a.env"] = "X=$UNSET\n?\n";
  std::string said =
      listing(load_text(one_service("    command: x\n    env_file: a.env\n"), input));
  CHECK_THAT(said, ContainsSubstring("/p/.env:2:1: error: cannot read \"b ad\""));
  CHECK_THAT(said, ContainsSubstring("/p/a.env:2:1: error: cannot read \"?\""));
  CHECK_THAT(said, ContainsSubstring("5:15: warning: env_file: variable UNSET is not set"));
}

TEST_CASE("many mistakes are bounded") {
  std::string file = "services:\n  web:\n    command: x\n";
  for (int i = 0; i < 20'000; ++i) file += "    key" + std::to_string(i) + ": 1\n";
  Loaded loaded = load_text(file);
  CHECK(loaded.diagnostics.size() <= Report::kDiagnosticsMax + 1);
  CHECK_THAT(to_string(loaded.diagnostics.back()), ContainsSubstring("too many mistakes"));
}

TEST_CASE("files on disk: missing, a directory, a FIFO, too large") {
  char directory[] = "/tmp/kw-config-test-XXXXXX";
  REQUIRE(mkdtemp(directory) != nullptr);
  std::string base = directory;
  std::string fifo = base + "/fifo";
  std::string large = base + "/large.yaml";
  std::string good = base + "/good.yaml";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  std::ofstream(large) << std::string(10 << 20, 'x');
  std::ofstream(good) << "x-keepwell: { runtime: process }\nservices: { a: { command: x } }\n";
  auto said = [](const std::string& path) {
    LoadOptions options;
    options.files = {path};
    Loaded loaded = load_project(options);
    return loaded.diagnostics.empty() ? std::string() : to_string(loaded.diagnostics[0]);
  };
  CHECK_THAT(said(base + "/none.yaml"), ContainsSubstring("No such file"));
  CHECK_THAT(said(base), ContainsSubstring("it is not a regular file"));
  CHECK_THAT(said(fifo), ContainsSubstring("it is not a regular file"));
  CHECK_THAT(said(large), ContainsSubstring("it is 10240 KB large"));
  CHECK(said(good).empty());
  CHECK_FALSE(load_project({}).project);
  unlink(fifo.c_str());
  unlink(large.c_str());
  unlink(good.c_str());
  rmdir(directory);
}

TEST_CASE("what a file holds cannot act on the terminal that a message is shown on") {
  std::string said =
      listing(load_text("services: {a: {command: \"${X:?\\e[31m \\x9b \\n two}\", \"k\\x07\": 1, "
                        "stop_signal: \"\\e\"}}\n"));
  for (char c : said) CHECK((c == '\n' || static_cast<unsigned char>(c) >= 0x20));
  CHECK_THAT(said, ContainsSubstring("\\x1b[31m \\x9b \\n two"));
  CHECK_THAT(said, ContainsSubstring("unknown key \"k\\x07\""));
}

TEST_CASE("bytes that are no text reach a service only through environment") {
  LoadInput input;
  input.environment = {{"BYTES", "\xFF"}};
  std::string said = listing(load_text(one_service("    command: x $BYTES\n"), input));
  CHECK_THAT(said, StartsWith("4:14: error: a variable here has a value that is not UTF-8 text"));
  Loaded loaded = load_text(one_service("    command: x\n    environment: [BYTES]\n"), input);
  REQUIRE(loaded.project);
  CHECK(loaded.project->services[0].environment[0].second == "\xFF");
}
