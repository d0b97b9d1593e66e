#include "exporters/inspect_json.h"

#include <nlohmann/json.hpp>

#include "exporters/health_json.h"
#include "exporters/ps_rows.h"
#include "fixtures.h"

using namespace keepwell;
using namespace std::chrono_literals;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

RuntimeFacts facts() {
  RuntimeFacts f;
  f.image_id = "sha256:" + std::string(64, 'a');
  f.log_path = "/var/lib/keepwell/logs/shop-web-1.log";
  f.cgroup_path = "/keepwell/0123";
  f.oci_runtime = "runc";
  f.driver = "overlay2";
  f.driver_data = {{"LowerDir", "/l"}, {"UpperDir", "/u"}};
  f.exec_ids = {std::string(64, 'e')};
  f.networks.resize(1);
  f.networks[0].name = "shop_default";
  f.networks[0].ip_address = "10.89.0.2";
  f.networks[0].ip_prefix_len = 24;
  f.networks[0].aliases = {"web"};
  f.ports.resize(2);
  f.ports[0].container_port = 80;
  f.ports[0].host_ip = "0.0.0.0";
  f.ports[0].host_port = 8080;
  f.ports[1].container_port = 443;
  f.mounts.resize(1);
  f.mounts[0].source = "/srv/data";
  f.mounts[0].destination = "/data";
  f.mounts[0].read_write = false;
  f.project_file = "/srv/shop/compose.yaml";
  f.config_hash = "0123456789abcdef";
  return f;
}

// State.Health as inspect has it.
std::string health_json(const ContainerStatus& container) {
  return has_health(container) ? json_text(health_object(container)) : "null";
}

std::string pretty(const std::string& text) { return ordered_json::parse(text).dump(2) + "\n"; }

// The i-th key of an object as text, to test order.
std::vector<std::string> keys(const ordered_json& object) {
  std::vector<std::string> all;
  for (const auto& [key, value] : object.items()) all.push_back(key);
  return all;
}

}  // namespace

TEST_CASE("inspect of a running container with everything") {
  const std::string text = inspect_json(web(), facts(), five_minutes_in(), false);
  CHECK(text.find('\n') == std::string::npos);
  check_golden("inspect_running.json", pretty(text));
}

TEST_CASE("inspect of one that was never started has no health and Go's zero times") {
  ContainerStatus c = web();
  c.state = ServiceState::created;
  c.pid = 0;
  c.started.reset();
  c.health = Health::none;
  c.checks[0].log.clear();
  const auto object = json::parse(inspect_json(c, {}, five_minutes_in()));
  CHECK(object["State"]["Status"] == "created");
  CHECK(object["State"]["StartedAt"] == "0001-01-01T00:00:00Z");
  CHECK_FALSE(object["State"].contains("Health"));
  CHECK(object["State"]["Running"] == false);
  CHECK(object["ExecIDs"].is_null());
  for (const char* key : {"State", "Config", "HostConfig", "NetworkSettings"}) {
    CHECK(object[key].is_object());
  }
  CHECK(object["HostConfig"]["RestartPolicy"] ==
        json({{"Name", "on-failure"}, {"MaximumRetryCount", 5}}));
}

TEST_CASE("health: the log is an empty list at first, oldest first later, and at most five") {
  ContainerStatus c = web();
  c.checks[0].log.clear();
  c.health = Health::starting;
  CHECK(health_json(c) == R"({"Status":"starting","FailingStreak":0,"Log":[]})");
  c.health = Health::healthy;
  c.checks[0].log = {probe(1, 0, "a")};
  CHECK(health_json(c) ==
        R"({"Status":"healthy","FailingStreak":0,"Log":[{"Start":"2026-11-24T20:00:02Z",)"
        R"("End":"2026-11-24T20:00:02.03Z","ExitCode":0,"Output":"a"}]})");

  // A second check's results are merged by time.
  c.checks.push_back(c.checks[0]);
  c.checks[0].log = {probe(1, 0, "1"), probe(3, 0, "3"), probe(5, 0, "5"), probe(7, 0, "7")};
  c.checks[1].log = {probe(2, 1, "2"), probe(4, 1, "4"), probe(6, -1, "6")};
  c.checks[1].failing_streak = 3;
  const auto object = json::parse(health_json(c));
  std::string order;
  for (const auto& entry : object["Log"]) order += entry["Output"].get<std::string>();
  CHECK(order == "34567");
  CHECK(object["FailingStreak"] == 3);
}

TEST_CASE("a disabled check and no check at all are the same: no health") {
  ContainerStatus c = web();
  c.checks.clear();
  CHECK(health_json(c) == "null");
  CHECK_FALSE(json::parse(inspect_json(c, {}, five_minutes_in()))["State"].contains("Health"));
  c = web();
  auto none = std::make_shared<CheckSpec>();
  none->test = {"NONE"};
  c.checks[0].spec = none;
  CHECK_FALSE(has_health(c));
}

TEST_CASE("any bytes give valid JSON") {
  ContainerStatus c = web();
  auto spec = web_spec();
  spec->labels["bad\xff"] = "\xc3\x28 \xed\xa0\x80";
  spec->command = std::vector<std::string>{"\x80", "a\nb"};
  c.spec = spec;
  c.error = "\xf8";
  c.checks[0].log[0].output = std::string("\xe2\x82") + '\0' + "\x1b[31m";
  for (const std::string& text : {inspect_json(c, facts(), five_minutes_in()),
                                  list_entry_json(c, facts(), five_minutes_in()), health_json(c)}) {
    CHECK(json::accept(text));  // refuses invalid UTF-8 too
  }
}

TEST_CASE("the words of the Status column") {
  const Now now = five_minutes_in();
  ContainerStatus c = web();
  CHECK(status_text(c, now) == "Up 4 minutes (healthy)");
  c.health = Health::unhealthy;
  CHECK(status_text(c, now) == "Up 4 minutes (unhealthy)");
  c.health = Health::starting;
  CHECK(status_text(c, now) == "Up 4 minutes (health: starting)");
  c.state = ServiceState::stopping;
  CHECK(status_text(c, now) == "Up 4 minutes (health: starting)");
  c.state = ServiceState::paused;
  CHECK(status_text(c, now) == "Up 4 minutes (Paused)");
  c.state = ServiceState::running;
  c.checks.clear();
  CHECK(status_text(c, now) == "Up 4 minutes");

  c.state = ServiceState::backoff;
  c.pid = 0;
  c.exit_code = 3;
  c.finished = now.wall - 7s;
  CHECK(status_text(c, now) == "Restarting (3) 7 seconds ago");
  c.state = ServiceState::exited;
  CHECK(status_text(c, now) == "Exited (3) 7 seconds ago");
  c.state = ServiceState::failed;
  c.exit_code = 137;
  c.finished = now.wall - 3h;
  CHECK(status_text(c, now) == "Exited (137) 3 hours ago");

  c.state = ServiceState::created;
  c.started.reset();
  CHECK(status_text(c, now) == "Created");

  // Stopping for a restart: the old process still runs, and its code is not known yet.
  c = web();
  c.state = ServiceState::restarting;
  c.exit_code = 9;
  CHECK(status_text(c, now) == "Restarting (0) 4 minutes ago");
}

TEST_CASE("a wall clock set back never gives a negative age") {
  ContainerStatus c = web();
  c.checks.clear();
  CHECK(status_text(c, {.mono = {}, .wall = kStart - 1h}) == "Up Less than a second");
}

TEST_CASE("State of the API for each of our states") {
  const std::pair<ServiceState, const char*> cases[] = {
      {ServiceState::created, "created"},    {ServiceState::starting, "running"},
      {ServiceState::running, "running"},    {ServiceState::paused, "paused"},
      {ServiceState::stopping, "running"},   {ServiceState::restarting, "restarting"},
      {ServiceState::backoff, "restarting"}, {ServiceState::exited, "exited"},
      {ServiceState::failed, "exited"}};
  for (const auto& [state, text] : cases) {
    CHECK(std::string(api_status(state)) == text);
    ContainerStatus c = web();
    c.state = state;
    const auto object = json::parse(inspect_json(c, {}, five_minutes_in()));
    // Docker counts paused and restarting as running.
    const bool runs = std::string(text) != "created" && std::string(text) != "exited";
    CHECK(object["State"]["Running"] == runs);
    CHECK(object["Keepwell"]["State"] == to_string(state));
  }
}

TEST_CASE("list entries") {
  const std::string text = list_entry_json(web(), facts(), five_minutes_in());
  check_golden("list_entry.json", pretty(text));
  const auto object = ordered_json::parse(text);
  CHECK(object["Created"] == 1795550400);
  CHECK(object["Names"] == ordered_json({"/shop-web-1"}));
  CHECK(keys(object)[0] == "Id");
}

TEST_CASE("labels by which docker compose finds its containers") {
  ContainerStatus c = web();
  auto spec = std::make_shared<ServiceSpec>(*c.spec);
  spec->depends_on = {{.service = "db", .condition = DependencyCondition::healthy, .restart = true},
                      {.service = "cache"}};
  c.spec = spec;
  const auto labels = container_labels(c, facts());
  CHECK(labels.at("com.docker.compose.project") == "shop");
  CHECK(labels.at("com.docker.compose.service") == "web");
  CHECK(labels.at("com.docker.compose.container-number") == "1");
  CHECK(labels.at("com.docker.compose.oneoff") == "False");
  CHECK(labels.at("com.docker.compose.config-hash") == "0123456789abcdef");
  CHECK(labels.at("com.docker.compose.version") == KEEPWELL_VERSION);
  CHECK(labels.at("com.docker.compose.depends_on") ==
        "db:service_healthy:true,cache:service_started:false");
  CHECK(labels.at("com.docker.compose.project.config_files") == "/srv/shop/compose.yaml");
  CHECK(labels.at("com.docker.compose.project.working_dir") == "/srv/shop");
  CHECK(labels.at("tier") == "front");
}

TEST_CASE("the hash of a service follows its configuration") {
  const ServiceSpec before = *web().spec;
  ServiceSpec after = before;
  CHECK(config_hash(before) == config_hash(after));
  CHECK(config_hash(before).size() == 16);
  after.environment.emplace_back("NEW", "1");
  CHECK(config_hash(before) != config_hash(after));
}

TEST_CASE("what backs off says when and why") {
  ContainerStatus c = web();
  c.state = ServiceState::backoff;
  c.pid = 0;
  c.backoff = 400ms;
  c.next_start_wall = kStart + 5min + 200ms;
  c.checks[0].next_probe = Instant(402s);
  const auto own = json::parse(inspect_json(c, {}, five_minutes_in()))["Keepwell"];
  CHECK(own["NextStart"] == "2026-11-24T20:05:00.2Z");
  CHECK(own["Backoff"] == 400000000);
  CHECK(own["LastRestart"]["Reason"] == "unhealthy");
  CHECK(own["LastRestart"]["Detail"] == "healthcheck failed 3 times");
  CHECK(own["RestartsTotal"] == json({{"unhealthy", 1}}));
  CHECK(own["Checks"][0]["NextProbe"] == "2026-11-24T20:05:02Z");
}

TEST_CASE("ps rows are those of docker ps") {
  PsStyle style;
  style.now = kStart + 5min;
  const std::string list = "[" + list_entry_json(web(), facts(), five_minutes_in()) + "]";
  const auto rows = ps_rows(list, style);
  REQUIRE(rows);
  check_golden("ps_row.json", ps_row_json(rows->at(0)) + "\n");
  style.no_trunc = true;
  CHECK(ps_rows(list, style)->at(0).command == R"("/bin/sh -c 'while true; do sleep 1; done'")");
  CHECK(rows->at(0).service == "web");
  CHECK(rows->at(0).health == "healthy");
  CHECK_FALSE(ps_rows("{}", style));
  CHECK_FALSE(ps_rows("[1]", style));
  CHECK_FALSE(ps_rows("[", style));
  CHECK(ps_rows("[]", style)->empty());
  CHECK(ps_rows("[{}]", style)->at(0).image == "<no image>");
}

TEST_CASE("ports are joined into ranges") {
  const auto ports_text = [](const std::string& ports) {
    return ps_rows(R"([{"Ports":)" + ports + "}]", PsStyle{})->at(0).ports;
  };
  CHECK(ports_text("[]").empty());
  CHECK(ports_text(R"([{"PrivatePort":81,"Type":"tcp"},{"PrivatePort":80,"Type":"tcp"},
                      {"PrivatePort":53,"Type":"udp"}])") == "53/udp, 80-81/tcp");
  CHECK(ports_text(R"([{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
                      {"IP":"::1","PrivatePort":90,"PublicPort":90,"Type":"tcp"},
                      {"IP":"::1","PrivatePort":91,"PublicPort":91,"Type":"tcp"}])") ==
        "[::1]:90-91->90-91/tcp, 0.0.0.0:8080->80/tcp");
  CHECK(ports_text("7").empty());
}
