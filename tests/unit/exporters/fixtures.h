// Containers as a test wants them, and comparison with the files of tests/golden. To accept a
// changed output, run the test with KEEPWELL_GOLDEN=write and read the diff.
#pragma once

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "exporters/container_status.h"
#include "exporters/event.h"
#include "tests/catch.h"

namespace keepwell {

// 2026-11-24 20:00:00 UTC
inline constexpr WallTime kStart{std::chrono::seconds(1795550400)};

inline std::shared_ptr<ServiceSpec> web_spec() {
  auto spec = std::make_shared<ServiceSpec>();
  spec->name = "web";
  spec->image = "busybox:1";
  spec->entrypoint = std::vector<std::string>{"/bin/sh", "-c"};
  spec->command = std::vector<std::string>{"while true; do sleep 1; done"};
  spec->environment = {{"PATH", "/bin"}, {"MODE", "a b"}};
  spec->labels = {{"tier", "front"}, {"weight", "3"}};
  spec->restart = {.policy = RestartPolicy::on_failure, .max_attempts = 5};
  spec->ulimits = {{.name = "nofile", .soft = 1024, .hard = 2048}};
  spec->memory_bytes = 64 << 20;
  spec->cpus = 1.5;
  CheckSpec check;
  check.test = {"CMD-SHELL", "wget -q -O- localhost"};
  check.interval = std::chrono::seconds(2);
  check.timeout = std::chrono::milliseconds(500);
  check.retries = 3;
  spec->checks = {check};
  return spec;
}

inline ProbeResult probe(int number, int exit_code, const std::string& output) {
  ProbeResult result;
  result.exit_code = exit_code;
  result.outcome = exit_code < 0 ? ProbeOutcome::timed_out : ProbeOutcome::exited;
  result.reason = exit_code < 0 ? FailureReason::timeout : FailureReason::exit;
  result.started_wall = kStart + std::chrono::seconds(2 * number);
  result.ended_wall = result.started_wall + std::chrono::milliseconds(30);
  result.started = Instant(std::chrono::seconds(100 + 2 * number));
  result.ended = result.started + std::chrono::milliseconds(30);
  result.output = output;
  result.output_bytes = output.size();
  return result;
}

// Running and healthy for five minutes, with one failed probe in its log.
inline ContainerStatus web() {
  ContainerStatus c;
  c.id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  c.name = "shop-web-1";
  c.project = "shop";
  c.spec = web_spec();
  c.state = ServiceState::running;
  c.run = 2;
  c.pid = 4711;
  c.created = kStart;
  c.started = kStart + std::chrono::seconds(1) + std::chrono::nanoseconds(120'000'000);
  c.health = Health::healthy;
  CheckStatus check;
  check.spec = std::make_shared<CheckSpec>(c.spec->checks[0]);
  check.status = Health::healthy;
  check.log = {probe(1, 1, "connection refused\n"), probe(2, 0, "ok\n")};
  check.probes_total = 2;
  check.failures_total[0] = 1;
  check.transitions_to_healthy_total = 1;
  check.last_success = check.log[1].ended_wall;
  c.checks = {check};
  c.restart_count = 1;
  c.starts_total = 2;
  c.restarts_total[static_cast<std::size_t>(RestartReason::unhealthy)] = 1;
  c.last_restart_reason = RestartReason::unhealthy;
  c.last_restart = kStart + std::chrono::milliseconds(500);
  c.last_restart_detail = "healthcheck failed 3 times";
  return c;
}

inline Now five_minutes_in() {
  return {.mono = Instant(std::chrono::seconds(400)), .wall = kStart + std::chrono::minutes(5)};
}

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void check_golden(const std::string& name, const std::string& text) {
  const std::string path = "tests/golden/" + name;
  if (const char* mode = std::getenv("KEEPWELL_GOLDEN"); mode && std::string(mode) == "write") {
    std::ofstream(path, std::ios::binary) << text;
  }
  INFO("compared with " << path);
  CHECK(text == read_text(path));
}

}  // namespace keepwell
