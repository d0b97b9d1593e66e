// Several files of one project: -f, extends, include, !reset and !override.
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;

namespace {

Loaded load_files(const std::string& compose, std::map<std::string, std::string> files,
                  std::vector<std::string> overrides = {}) {
  return load_text(compose, {.files = std::move(files), .overrides = std::move(overrides)});
}

ServiceSpec first(const Loaded& loaded) {
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  return loaded.project->services.at(0);
}

ServiceSpec merged(const std::string& base, const std::string& later) {
  return first(load_files(one_container(base), {{"/p/b.yaml", "services:\n  web:\n" + later}},
                          {"/p/b.yaml"}));
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("several files: items that have a key replace each other, others are appended") {
  ServiceSpec s = merged(
      "    volumes: [/one:/a, /two:/b]\n    dns: 10.0.0.1\n    cap_add: [KILL]\n"
      "    extra_hosts: { a: 10.0.0.1 }\n    tmpfs: /t\n    sysctls: [net.a=1, net.b=1]\n"
      "    security_opt: [no-new-privileges]\n",
      "    volumes: ['/three:/b:ro', { type: bind, source: /four, target: /c }]\n"
      "    dns: [10.0.0.2]\n    cap_add: [KILL, CHOWN]\n    extra_hosts: ['b:10.0.0.2']\n"
      "    tmpfs: ['/t:size=1m']\n    sysctls: { net.b: 2 }\n");
  REQUIRE(s.mounts.size() == 4);
  CHECK((s.mounts[1].source == "/three" && s.mounts[1].read_only));
  CHECK(s.mounts[2].source == "/four");
  CHECK(s.mounts[3].options == Words{"size=1m"});
  CHECK(s.dns == Words{"10.0.0.1", "10.0.0.2"});
  CHECK(s.cap_add == Words{"KILL", "CHOWN"});
  CHECK(s.extra_hosts.size() == 2);
  CHECK(s.sysctls == std::map<std::string, std::string>{{"net.a", "1"}, {"net.b", "2"}});
  CHECK(s.no_new_privileges);
}

TEST_CASE("several files: !reset takes a key away, !override replaces it whole") {
  ServiceSpec s = merged(
      "    volumes: [/one:/a]\n    cap_add: [KILL]\n    environment: { A: 1, B: 2 }\n"
      "    hostname: h\n    labels: { a: b }\n",
      "    volumes: !reset []\n    cap_add: !override [CHOWN]\n    environment: { A: !reset null "
      "}\n"
      "    hostname: !reset\n    labels: !override { c: d }\n");
  CHECK(s.mounts.empty());
  CHECK(s.cap_add == Words{"CHOWN"});
  CHECK(s.environment == std::vector<std::pair<std::string, std::string>>{{"B", "2"}});
  CHECK(s.hostname.empty());
  CHECK(s.labels == std::map<std::string, std::string>{{"c", "d"}});
  CHECK(first(load_text(one_container("    hostname: !reset h\n"))).hostname.empty());
}

TEST_CASE("extends: from the same file, over several steps") {
  Loaded loaded = load_text(R"(
services:
  web:
    extends: middle
    environment: { C: 3 }
  middle:
    extends: { service: base }
    command: y
    environment: [B=2]
  base:
    x-keepwell: { rootfs: /r }
    command: x
    environment: { A: 1, B: 1 }
)");
  ServiceSpec s = first(loaded);
  CHECK(s.command == Words{"y"});
  CHECK(s.rootfs == "/r");
  CHECK(s.environment ==
        std::vector<std::pair<std::string, std::string>>{{"A", "1"}, {"B", "2"}, {"C", "3"}});
}

TEST_CASE("extends: from another file, whose relative paths are its own") {
  Loaded loaded = load_files(
      "services:\n  web:\n    extends: { file: lib/base.yaml, service: app }\n"
      "    volumes: [./own:/b]\n",
      {{"/p/lib/base.yaml",
        "services:\n  app:\n    extends: { file: deep/x.yaml, service: y }\n"
        "    volumes: [./data:/a, named:/n]\n    env_file: [{ path: e }, f]\n"},
       {"/p/lib/deep/x.yaml",
        "services: { y: { command: x, x-keepwell: { rootfs: r },\n"
        "  security_opt: ['seccomp=./s.json'] } }\n"},
       {"/p/lib/e", "E=1\n"},
       {"/p/lib/f", "F=2\n"}});
  CHECK_THAT(listing(loaded), ContainsSubstring("volume \"named\" is not among"));
  loaded = load_files(
      "services:\n  web:\n    extends: { file: lib/base.yaml, service: app }\n"
      "    volumes: [./own:/b]\n",
      {{"/p/lib/base.yaml",
        "services:\n  app:\n    extends: { file: deep/x.yaml, service: y }\n"
        "    volumes: [./data:/a]\n    env_file: [{ path: e }, f]\n"},
       {"/p/lib/deep/x.yaml",
        "services: { y: { command: x, x-keepwell: { rootfs: r },\n"
        "  security_opt: ['seccomp=./s.json'] } }\n"},
       {"/p/lib/e", "E=1\n"},
       {"/p/lib/f", "F=2\n"}});
  ServiceSpec s = first(loaded);
  CHECK(s.rootfs == "/p/lib/deep/r");
  CHECK(s.seccomp == "/p/lib/deep/s.json");
  CHECK((s.mounts.at(0).source == "/p/lib/data" && s.mounts.at(1).source == "/p/own"));
  CHECK(s.environment.size() == 2);
}

TEST_CASE("extends: mistakes") {
  auto said = [](const std::string& text, std::map<std::string, std::string> files = {}) {
    return listing(load_files(text, std::move(files)));
  };
  CHECK_THAT(said("services:\n  a: { extends: b }\n  b: { extends: a }\n"),
             ContainsSubstring("extends goes in a circle over service \"a\""));
  CHECK_THAT(said("services:\n  a: { extends: a }\n"), ContainsSubstring("2:17: error: extends"));
  CHECK_THAT(said("services:\n  a: { extends: bee }\n  bea: { command: x }\n"),
             ContainsSubstring("service \"bee\" is not in /p/compose.yaml; did you mean bea?"));
  CHECK_THAT(said("services:\n  a: { extends: { file: no.yaml, service: x } }\n"),
             ContainsSubstring("2:17: error: cannot read /p/no.yaml"));
  CHECK_THAT(said("services:\n  a: { extends: { file: b.yaml } }\n"),
             ContainsSubstring("extends names no service"));
  CHECK_THAT(
      said("services:\n  a: { extends: { file: b.yaml, service: x } }\n",
           {{"/p/b.yaml", "services: { x: { extends: { file: compose.yaml, service: a } } }"}}),
      ContainsSubstring("extends goes in a circle"));
  // Many copies of something large.
  std::string bomb = "services:\n  s0: { command: [";
  for (int i = 0; i < 5000; ++i) bomb += "x,";
  bomb += "x] }\n";
  for (int i = 1; i < 300; ++i) bomb += "  s" + std::to_string(i) + ": { extends: s0 }\n";
  CHECK_THAT(said(bomb), ContainsSubstring("grows beyond 300000 values when extends is followed"));
}

TEST_CASE("include: its services, with its own directory and variables") {
  Loaded loaded = load_files(
      "name: main\ninclude:\n  - sub/inc.yaml\n  - { path: [other.yaml, over.yaml], env_file: "
      "v.env,\n"
      "      project_directory: sub }\nservices:\n"
      "  web: { command: w, x-keepwell: { rootfs: /r }, depends_on: [db] }\n",
      {{"/p/sub/inc.yaml",
        "services: { db: { command: $CMD, x-keepwell: { rootfs: ./r }, volumes: [v:/v],\n"
        "  secrets: [s] } }\nvolumes: { v: }\nsecrets: { s: { file: secret } }\n"},
       {"/p/sub/.env", "CMD=from_sub\n"},
       {"/p/v.env", "CMD=from_v\n"},
       {"/p/other.yaml", "services: { o: { command: x, x-keepwell: { rootfs: r } } }\n"},
       {"/p/over.yaml", "services: { o: { command: $CMD } }\n"}});
  CHECK_THAT(listing(loaded), ContainsSubstring("secret s: the file /p/sub/secret does not exist"));
  loaded = load_text(
      "name: main\ninclude:\n  - sub/inc.yaml\n  - { path: [other.yaml, over.yaml], env_file: "
      "v.env,\n"
      "      project_directory: sub }\nservices:\n"
      "  web: { command: w, x-keepwell: { rootfs: /r }, depends_on: [db] }\n",
      {.files = {
           {"/p/sub/inc.yaml",
            "services: { db: { command: $CMD, x-keepwell: { rootfs: ./r }, volumes: [v:/v] } }\n"
            "volumes: { v: }\n"},
           {"/p/sub/.env", "CMD=from_sub\n"},
           {"/p/v.env", "CMD=from_v\n"},
           {"/p/other.yaml", "services: { o: { command: x, x-keepwell: { rootfs: r } } }\n"},
           {"/p/over.yaml", "services: { o: { command: $CMD } }\n"}}});
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  REQUIRE(loaded.project->services.size() == 3);
  const ServiceSpec& db = loaded.project->services[1];
  CHECK((db.command == Words{"from_sub"} && db.rootfs == "/p/sub/r"));
  CHECK(db.mounts.at(0).source == "main_v");
  const ServiceSpec& o = loaded.project->services[2];
  CHECK((o.command == Words{"from_v"} && o.rootfs == "/p/sub/r"));
}

TEST_CASE("include: mistakes") {
  auto said = [](const std::string& text, std::map<std::string, std::string> files = {}) {
    return listing(load_files(text, std::move(files)));
  };
  CHECK_THAT(said("include: [a.yaml]\n", {{"/p/a.yaml", "include: [compose.yaml]\n"}}),
             ContainsSubstring("include goes in a circle over /p/compose.yaml"));
  CHECK_THAT(said("include: [a.yaml]\n"), ContainsSubstring("1:11: error: cannot read /p/a.yaml"));
  CHECK_THAT(said("include: a.yaml\n"), ContainsSubstring("include must be a list"));
  CHECK_THAT(said("include: [{}]\n"), ContainsSubstring("include names no file"));
  CHECK_THAT(said("include: [a.yaml]\nservices: { web: { command: x } }\n",
                  {{"/p/a.yaml", "services: { web: { command: y } }\n"}}),
             ContainsSubstring("\"web\" of services is in the including file too"));
  // A file that includes itself under ever new names, as far as the bound goes.
  std::map<std::string, std::string> files;
  for (int i = 0; i < 30; ++i) {
    files["/p/" + std::to_string(i)] = "include: [" + std::to_string(i + 1) + "]\n";
  }
  CHECK_THAT(said("include: ['0']\n", files), ContainsSubstring("nested deeper than 20 levels"));
  // Many, in little depth.
  std::string wide = "include: [";
  for (int i = 0; i < 300; ++i) wide += "'w" + std::to_string(i) + "',";
  std::map<std::string, std::string> many;
  for (int i = 0; i < 300; ++i) many["/p/w" + std::to_string(i)] = "services: {}\n";
  CHECK_THAT(said(wide + "]\n", many), ContainsSubstring("more than 200 files"));
}
