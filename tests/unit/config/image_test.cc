// Images as config sees them: names, the config JSON, the keys of the file, and what comes of both.
#include "config/image_config.h"
#include "config/image_merge.h"
#include "config/image_reference.h"
#include "config/print.h"
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

std::string full(const char* text) {
  Result<ImageReference> reference = parse_image_reference(text);
  return reference ? reference->full() : reference.error().text;
}

std::string image_service(const std::string& body) {
  return "name: p\nservices:\n  web:\n    image: redis:7\n" + body;
}

struct Merged {
  Loaded loaded;
  ServiceSpec service;
  std::string said;  // of the merge
};

// The first service of COMPOSE with an image whose config is JSON.
Merged merged(const std::string& compose, const std::string& json) {
  Merged out;
  out.loaded = load_text(compose);
  INFO(listing(out.loaded));
  REQUIRE(out.loaded.project);
  REQUIRE_FALSE(out.loaded.images.empty());
  Result<ImageConfig> config = parse_image_config(json);
  INFO((config ? std::string() : config.error().text));
  REQUIRE(config);
  const ImageUse& use = out.loaded.images.front();
  out.service = out.loaded.project->services[use.service];
  std::vector<Diagnostic> said;
  merge_image(out.service, use, {"sha256:1", "/images/1/rootfs", *config}, said);
  for (const Diagnostic& diagnostic : said) out.said += to_string(diagnostic) + "\n";
  return out;
}

const CheckSpec& check_of(const Merged& m) {
  REQUIRE(m.service.checks.size() == 1);
  return m.service.checks.front();
}

using Words = std::vector<std::string>;

constexpr const char* kRedis =
    R"({"architecture":"amd64","os":"linux","created":"2024-01-02T03:04:05Z",
  "config":{"Entrypoint":["entry"],"Cmd":["redis-server","--save"],"Env":["PATH=/usr/bin","A=1","B="],
  "User":"redis","WorkingDir":"/data","StopSignal":"SIGINT","Volumes":{"/data":{}},
  "ExposedPorts":{"6379/tcp":{}},"Shell":["/bin/bash","-c"],"Labels":{"a":"image","b":"image"},
  "Healthcheck":{"Test":["CMD-SHELL","redis-cli ping"],"Interval":2000000000,"Timeout":3000000000,
  "StartPeriod":4000000000,"StartInterval":500000000,"Retries":5}}})";

}  // namespace

TEST_CASE("names of images, as Docker reads them") {
  CHECK(full("redis") == "docker.io/library/redis:latest");
  CHECK(full("redis:7") == "docker.io/library/redis:7");
  CHECK(full("me/app:1.2-x_y") == "docker.io/me/app:1.2-x_y");
  CHECK(full("index.docker.io/me/app") == "docker.io/me/app:latest");
  CHECK(full("localhost/app") == "localhost/app:latest");
  CHECK(full("localhost:5000/a/b__c--d.e:2") == "localhost:5000/a/b__c--d.e:2");
  CHECK(full("[::1]:5000/app") == "[::1]:5000/app:latest");
  const std::string digest = "sha256:" + std::string(64, 'a');
  CHECK(full(("redis@" + digest).c_str()) == "docker.io/library/redis@" + digest);
  CHECK(full(("redis:7@" + digest).c_str()) == "docker.io/library/redis@" + digest);
  for (const char* bad : {"",       ":",    "Redis",          "a//b",        "/a",    "a/",
                          "a b",    "a:",   "a:.x",           "a@sha256:12", "a@",    "-a",
                          "a-",     "a..b", "a___b",          "ho st/a",     "h:x/a", "../a",
                          "a/../b", "a\n",  "docker://redis", "\xC3\xA9"}) {
    INFO(bad);
    CHECK_THAT(full(bad), StartsWith("cannot use image name"));
  }
  CHECK_FALSE(parse_image_reference(std::string(300, 'a')));
  CHECK_FALSE(parse_image_reference("a:" + std::string(129, 'a')));
  CHECK(parse_image_reference("redis:7")->familiar_repository() == "redis");
  CHECK(parse_image_reference("me/app")->familiar_repository() == "me/app");
  CHECK(parse_image_reference("quay.io/me/app")->familiar_repository() == "quay.io/me/app");
}

TEST_CASE("an image's config") {
  Result<ImageConfig> config = parse_image_config(kRedis);
  REQUIRE(config);
  CHECK(config->architecture == "amd64");
  CHECK(config->entrypoint == Words{"entry"});
  CHECK(config->command == Words{"redis-server", "--save"});
  CHECK(config->environment.size() == 3);
  CHECK(config->environment[2] == std::pair<std::string, std::string>("B", ""));
  CHECK(config->stop_signal == "SIGINT");
  CHECK(config->volumes == Words{"/data"});
  CHECK(config->exposed_ports == Words{"6379/tcp"});
  CHECK(config->shell == Words{"/bin/bash", "-c"});
  REQUIRE(config->healthcheck);
  CHECK(config->healthcheck->interval == 2s);
  CHECK(config->healthcheck->retries == 5);

  CHECK(parse_image_config("{}").value() == ImageConfig{});
  CHECK(parse_image_config(R"({"config":null})").value() == ImageConfig{});
  CHECK(parse_image_config(R"({"config":{"Env":["NOVALUE"],"StopSignal":"9","WorkingDir":"w",
                              "Volumes":{"v":{}}}})")
            .value()
            .stop_signal == "SIGKILL");
  for (const char* bad : {"",
                          "x",
                          "null",
                          "[]",
                          "\"{}\"",
                          "{",
                          R"({"config":[]})",
                          R"({"os":1})",
                          R"({"config":{"Cmd":"x"}})",
                          R"({"config":{"Cmd":[1]}})",
                          R"({"config":{"Env":["=x"]}})",
                          R"({"config":{"Env":["A=\u0000"]}})",
                          R"({"config":{"Labels":{"a":1}}})",
                          R"({"config":{"StopSignal":"SIGNOT"}})",
                          R"({"config":{"Healthcheck":[]}})",
                          R"({"config":{"Healthcheck":{"Test":["x"]}}})",
                          R"({"config":{"Healthcheck":{"Test":["CMD"]}}})",
                          R"({"config":{"Healthcheck":{"Interval":"30s"}}})",
                          R"({"config":{"Healthcheck":{"Interval":999999}}})",
                          R"({"config":{"Healthcheck":{"Interval":-1}}})",
                          R"({"config":{"Healthcheck":{"Interval":18446744073709551615}}})",
                          R"({"config":{"Healthcheck":{"Retries":-1}}})",
                          R"({"config":{"Healthcheck":{"Retries":4294967296}}})"}) {
    INFO(bad);
    Result<ImageConfig> read = parse_image_config(bad);
    REQUIRE_FALSE(read);
    CHECK_THAT(read.error().text, StartsWith("cannot use the image's config: "));
  }
  CHECK_FALSE(parse_image_config(std::string(100'000, '[')));
}

TEST_CASE("what the file leaves out, the image gives") {
  Merged m = merged(image_service(""), kRedis);
  CHECK(m.said.empty());
  CHECK(m.service.image_id == "sha256:1");
  CHECK(m.service.rootfs == "/images/1/rootfs");
  CHECK(m.service.argv() == Words{"entry", "redis-server", "--save"});
  CHECK(m.service.user == "redis");
  CHECK(m.service.working_dir == "/data");
  CHECK(m.service.stop_signal == "SIGINT");
  CHECK(m.service.labels == std::map<std::string, std::string>{{"a", "image"}, {"b", "image"}});
  CHECK(m.service.image_volumes == Words{"/data"});
  REQUIRE(m.service.mounts.size() == 1);
  CHECK(m.service.mounts[0].kind == MountKind::volume);
  CHECK(m.service.mounts[0].target == "/data");
  CHECK(m.service.mounts[0].source.empty());
  CHECK(m.service.exposed_ports == Words{"6379/tcp"});
  CHECK(m.service.retries_given);
  const CheckSpec& check = check_of(m);
  CHECK(check.test == Words{"CMD-SHELL", "redis-cli ping"});
  CHECK(check.shell == Words{"/bin/bash", "-c"});
  CHECK(check.interval == 2s);
  CHECK(check.timeout == 3s);
  CHECK(check.start_period == 4s);
  CHECK(check.start_interval == 500ms);
  CHECK(check.retries == 5);
}

TEST_CASE("what the file says goes before the image, field by field") {
  Merged m = merged(image_service(R"(    user: "0"
    working_dir: /w
    stop_signal: SIGTERM
    environment: { A: "2", C: "3" }
    labels: { a: file }
    healthcheck: { interval: 9s, timeout: 0s, retries: 0 }
    tmpfs: /data
    x-keepwell: { on_unhealthy: kill }
)"),
                    kRedis);
  CHECK(m.service.user == "0");
  REQUIRE(m.service.mounts.size() == 1);
  CHECK(m.service.mounts[0].kind == MountKind::tmpfs);
  CHECK(m.service.working_dir == "/w");
  CHECK(m.service.stop_signal == "SIGTERM");
  CHECK(m.service.environment == std::vector<std::pair<std::string, std::string>>{
                                     {"PATH", "/usr/bin"}, {"A", "2"}, {"B", ""}, {"C", "3"}});
  CHECK(m.service.labels == std::map<std::string, std::string>{{"a", "file"}, {"b", "image"}});
  const CheckSpec& check = check_of(m);
  CHECK(check.interval == 9s);  // the file's
  CHECK(check.timeout == 3s);   // 0 inherits
  CHECK(check.retries == 5);
  CHECK(check.on_unhealthy == OnUnhealthy::kill);
}

TEST_CASE("image before the file's defaults, file before both") {
  const std::string defaults =
      "x-keepwell: { defaults: { healthcheck: { interval: 7s, retries: 3 } } }\n";
  CHECK(check_of(merged(defaults + image_service(""), kRedis)).interval == 2s);
  const char* bare = R"({"config":{"Cmd":["x"],"Healthcheck":{"Test":["CMD","t"]}}})";
  Merged m = merged(defaults + image_service(""), bare);
  CHECK(check_of(m).interval == 7s);
  CHECK(check_of(m).retries == 3);
  CHECK(m.service.retries_given);
  m = merged(defaults + image_service("    healthcheck: { interval: 1s }\n"), bare);
  CHECK(check_of(m).interval == 1s);
}

TEST_CASE("entrypoint and command") {
  auto argv = [](const char* body, const char* json) {
    return merged(image_service(body), json).service.argv();
  };
  CHECK(argv("    command: [x]\n", kRedis) == Words{"entry", "x"});
  CHECK(argv("    entrypoint: [e]\n", kRedis) == Words{"e"});
  CHECK(argv("    entrypoint: [e]\n    command: [c]\n", kRedis) == Words{"e", "c"});
  CHECK(argv("    command: []\n", kRedis) == Words{"entry"});
  CHECK(argv("    entrypoint: null\n", kRedis) == Words{"entry", "redis-server", "--save"});
  Merged m = merged(image_service("    entrypoint: []\n"), kRedis);
  CHECK(m.said ==
        "/p/compose.yaml:4:12: error: service web has nothing to run: its image has no command; "
        "write command: [...]\n");
  CHECK_THAT(merged(image_service(""), "{}").said, ContainsSubstring("has nothing to run"));
  CHECK_THAT(merged(image_service(""), R"({"config":{"Cmd":[""]}})").said,
             ContainsSubstring("the program of service web is an empty text"));
}

TEST_CASE("a healthcheck of the image is switched off") {
  for (const char* body :
       {"    healthcheck: { test: [\"NONE\"] }\n", "    healthcheck: { disable: true }\n"}) {
    Merged m = merged(image_service(body), kRedis);
    CHECK(m.service.checks.empty());
    CHECK(m.service.healthcheck_disabled);
  }
  const char* none =
      R"({"config":{"Cmd":["x"],"Healthcheck":{"Test":["NONE"],"Interval":9000000000}}})";
  Merged m = merged(image_service("    healthcheck: { timeout: 1s }\n"), none);
  CHECK(m.service.checks.empty());
  CHECK(m.service.healthcheck_disabled);
  // A test of the file's own replaces NONE, and inherits the numbers.
  m = merged(image_service("    healthcheck: { test: [CMD, t] }\n"), none);
  CHECK(check_of(m).test == Words{"CMD", "t"});
  CHECK(check_of(m).interval == 9s);
  // A check of another kind stands on its own.
  m = merged(image_service("    healthcheck: { x-keepwell: { tcp: { port: 1 } } }\n"), kRedis);
  CHECK(check_of(m).kind == ProbeKind::tcp);
  CHECK(check_of(m).interval == 2s);
}

TEST_CASE("what only the image can tell is judged once it is there") {
  const char* bare = R"({"config":{"Cmd":["x"]}})";
  Merged m = merged(image_service("    healthcheck: { interval: 1s }\n"), bare);
  CHECK(m.service.checks.empty());
  CHECK_THAT(m.said, ContainsSubstring("4:12: warning: healthcheck of service web has no test"));

  const std::string waits = image_service(
      "  app:\n    image: a\n    depends_on: { web: { condition: service_healthy } }\n");
  CHECK(merged(waits, kRedis).said.empty());
  CHECK_THAT(merged(waits, bare).said,
             ContainsSubstring("7:19: error: service app waits for web to be healthy, which has no "
                               "healthcheck, nor has its image"));
  Loaded off =
      load_text(image_service("    healthcheck: { disable: true }\n  app:\n    image: a\n"
                              "    depends_on: { web: { condition: service_healthy } }\n"));
  CHECK_THAT(listing(off), ContainsSubstring("to be healthy, which has no healthcheck"));

  const char* once = R"({"config":{"Cmd":["x"],"Healthcheck":{"Test":["CMD","t"]}}})";
  CHECK_THAT(merged(image_service("    restart: always\n"), once).said,
             ContainsSubstring("4:12: warning: retries of service web is not set"));
  CHECK(merged(image_service("    restart: always\n"), kRedis).said.empty());
}

TEST_CASE("the keys of a service that runs an image") {
  Loaded loaded = load_text(R"(name: p
services:
  a:
    image: redis
    pull_policy: daily
    platform: linux/arm64/v8
    x-keepwell: { image: "docker-archive:img/r.tar:redis:7" }
  B_b:
    x-keepwell: { image: { from: "docker://quay.io/x/y:1", max_size: 1g } }
  c:
    image: c
    pull_policy: every_1d12h
  d:
    image: d
    pull_policy: if_not_present
)");
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  const std::vector<ServiceSpec>& s = loaded.project->services;
  CHECK(s[0].image_source.from == "docker-archive:/p/img/r.tar:redis:7");
  CHECK(s[0].image_source.pull == PullPolicy::refresh);
  CHECK(s[0].image_source.refresh == 24h);
  CHECK(s[0].image_source.platform == "linux/arm64/v8");
  CHECK(s[1].image == "p-b-b");
  CHECK(s[1].image_source.bytes_max == 1 << 30);
  CHECK(s[2].image_source.refresh == 36h);
  CHECK(s[3].image_source.pull == PullPolicy::missing);
  CHECK(loaded.images.size() == 4);
  CHECK(loaded.images[1].place.line == 9);

  Loaded again = load_text(print_project(*loaded.project));
  INFO(listing(again));
  REQUIRE(again.project);
  CHECK(again.project->services == loaded.project->services);

  struct Case {
    const char* body;
    const char* said;
  };
  for (const Case& c : {
           Case{"    image: Redis\n", "4:12: error: cannot use image name Redis"},
           Case{"    image: x\n    pull_policy: build\n", "keepwell builds no images"},
           Case{"    image: x\n    pull_policy: refresh\n",
                "write daily, weekly or every_DURATION"},
           Case{"    image: x\n    pull_policy: alwys\n", "did you mean always?"},
           Case{"    image: x\n    pull_policy: every_\n", "has no duration"},
           Case{"    image: x\n    platform: windows/amd64\n", "is not one that runs here"},
           Case{"    image: x\n    platform: linux/\n", "is not one that runs here"},
           Case{"    image: x\n    build: .\n", "name the result in image or x-keepwell.image"},
           Case{"    x-keepwell: { image: ./x.tar }\n", "names no source; write docker-archive:"},
           Case{"    x-keepwell: { image: \"docker-archve:x\" }\n",
                "did you mean docker-archive:?"},
           Case{"    x-keepwell: { image: \"docker:x\" }\n", "write docker://HOST/NAME:TAG"},
           Case{"    x-keepwell: { image: \"oci:\" }\n", "names no image; write oci:WHAT"},
           Case{"    x-keepwell: { image: { max_size: 0 } }\n", "max_size is 0"},
           Case{"    x-keepwell: { rootfs: r, image: \"oci:x\" }\n    command: x\n",
                "x-keepwell.image has no effect beside x-keepwell.rootfs"},
           Case{"    x-keepwell: { runtime: process }\n    command: x\n    pull_policy: never\n",
                "pull_policy has no effect with x-keepwell.runtime: process"},
       }) {
    INFO(c.body);
    CHECK_THAT(listing(load_text(std::string("services:\n\n  web:\n") + c.body)),
               ContainsSubstring(c.said));
  }
}
