// on_unhealthy as a list, hooks, excuses, and what is checked of a pattern.
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;
using namespace std::chrono_literals;

namespace {

ServiceSpec load_web(const std::string& keepwell) {
  Loaded loaded =
      load_text(one_service("    command: x\n    healthcheck: { test: t, retries: 1 }\n"
                            "    x-keepwell:\n" +
                            keepwell));
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  CHECK(loaded.diagnostics.empty());
  return loaded.project->services.at(0);
}

std::string said(const std::string& keepwell) {
  return listing(
      load_text(one_service("    command: x\n    healthcheck: { test: t, retries: 1 }\n"
                            "    x-keepwell: { " +
                            keepwell + " }\n")));
}

}  // namespace

TEST_CASE("on_unhealthy is a word or a list in order") {
  CHECK(load_web("      on_unhealthy: stop\n").checks[0].on_unhealthy == OnUnhealthy::stop);
  const ServiceSpec web = load_web(R"(
      hooks:
        page: { command: [page, "two words"], timeout: 5s }
        chat: { url: "https://chat.example/x?y", headers: { A: b }, secret_file: key }
      on_unhealthy:
        - hook: page
        - hook: { command: [/usr/bin/drain] }
        - webhook: http://127.0.0.1:9000/in
        - restart
        - webhook: chat
)");
  const CheckSpec& check = web.checks[0];
  CHECK(check.on_unhealthy == OnUnhealthy::restart);
  REQUIRE(check.actions.size() == 4);
  CHECK(check.actions[0].name == "page");
  CHECK(check.actions[0].first);
  CHECK(check.actions[0].hook.command == std::vector<std::string>{"page", "two words"});
  CHECK(check.actions[0].hook.timeout == 5s);
  CHECK(check.actions[1].name == "drain");
  CHECK(check.actions[1].hook.timeout == 30s);
  const HttpCheck& plain = check.actions[2].webhook.request;
  CHECK(check.actions[2].name == "127.0.0.1:9000");
  CHECK(plain.method == "POST");
  CHECK(plain.port == 9000);
  CHECK(plain.path == "/in");
  CHECK(plain.statuses == std::vector<std::pair<int, int>>{{200, 299}});
  const ActionSpec& chat = check.actions[3];
  CHECK_FALSE(chat.first);
  CHECK(chat.name == "chat");
  CHECK(chat.webhook.request.host == "chat.example");
  CHECK(chat.webhook.request.port == 443);
  CHECK(chat.webhook.secret_file == "/p/key");
}

TEST_CASE("a list without a word leaves the service as it is") {
  const ServiceSpec web = load_web("      on_unhealthy: [hook: { command: [page] }]\n");
  CHECK(web.checks[0].on_unhealthy == OnUnhealthy::none);
  CHECK(web.checks[0].actions.size() == 1);
}

TEST_CASE("mistakes in actions") {
  CHECK_THAT(said("on_unhealthy: [restart, stop]"), ContainsSubstring("says stop after restart"));
  CHECK_THAT(said("on_unhealthy: [restart, capture]"), ContainsSubstring("capture comes too late"));
  CHECK(said("on_unhealthy: [capture]").empty());
  CHECK_THAT(said("on_unhealthy: [hook: page]"), ContainsSubstring("has no hook named \"page\""));
  CHECK_THAT(said("on_unhealthy: [hook: {}]"), ContainsSubstring("hook has no command"));
  CHECK_THAT(said("on_unhealthy: [hook: { command: [] }]"), ContainsSubstring("names no program"));
  CHECK_THAT(said("on_unhealthy: [hook: { command: echo }]"), ContainsSubstring("hook.command"));
  CHECK_THAT(said("on_unhealthy: [webhook: { timeout: 1s }]"), ContainsSubstring("has no url"));
  CHECK_THAT(said("on_unhealthy: [webhook: 'ftp://x/']"), ContainsSubstring("no address"));
  CHECK_THAT(said("on_unhealthy: [webhook: 'http://a b/']"), ContainsSubstring("no address"));
  CHECK_THAT(said("on_unhealthy: [reboot]"), ContainsSubstring("reboot"));
  CHECK_THAT(said("on_unhealthy: [{ hook: a, webhook: b }]"),
             ContainsSubstring("must have one key"));
  CHECK_THAT(said("hooks: { page: { command: [p] } }"),
             ContainsSubstring("hook page has no effect"));
  CHECK_THAT(said("hooks: { page: { timeout: 1s } }"), ContainsSubstring("must have either"));
  CHECK_THAT(said("hooks: { a: { command: [p], url: 'http://x/' } }"),
             ContainsSubstring("must have either"));
  CHECK_THAT(said("on_unhealthy: [hook: a], hooks: { a: { command: [p], timeout: 2h } }"),
             ContainsSubstring("out of range"));
}

TEST_CASE("a dependency may excuse failures") {
  Loaded loaded = load_text(
      "x-keepwell: { runtime: process, probes_at_once: 7 }\nservices:\n  db: { command: x }\n"
      "  web: { command: x, depends_on: { db: { condition: service_started, "
      "x-keepwell: { excuses: true } } } }\n");
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  CHECK(loaded.project->probes_at_once == 7);
  CHECK(loaded.project->services.at(1).depends_on.at(0).excuses);
}

TEST_CASE("a pattern's fault is told with its place") {
  LoadOptions options;
  options.files = {"/p/compose.yaml"};
  options.net_checks = true;
  options.read_file = [](const std::string& path, std::size_t) -> Result<std::string> {
    if (path != "/p/compose.yaml") return fail(Errc::not_found, "no");
    return one_service(
        "    command: x\n    x-keepwell: { checks: { a: { retries: 1, http: {\n"
        "      body: 'a[' } } } }\n");
  };
  options.regex_fault = [](const std::string& pattern) -> std::optional<std::string> {
    return pattern == "a[" ? std::optional<std::string>("missing ]") : std::nullopt;
  };
  CHECK(listing(load_project(options)) ==
        "6:13: error: body \"a[\" is no pattern that can be used: missing ]; write one in RE2's "
        "syntax\n");
}
