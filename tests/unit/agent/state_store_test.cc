// What one agent stores, the next one reads: fields, damage, reboots, and the pace of copies.
#include "agent/state_store.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "agent/save_pacer.h"
#include "agent/status_record.h"
#include "runtime/state_file.h"
#include "tests/catch.h"

namespace keepwell {
namespace {

struct TempDir {
  TempDir() {
    char name[] = "/tmp/kw-store-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string path;
};

Instant at(int seconds) { return Instant(std::chrono::seconds(seconds)); }

ContainerStatus example(char digit = 'a') {
  auto spec = std::make_shared<ServiceSpec>();
  spec->name = "web";
  spec->environment = {{"RAW", "\xff\xfe"}};
  spec->checks.resize(2);
  spec->checks[1].name = "deep";
  ContainerStatus status;
  status.id = std::string(64, digit);
  status.name = "p-web-1";
  status.spec = spec;
  status.state = ServiceState::backoff;
  status.run = 7;
  status.pid = 1234;
  status.pid_start_ticks = 99;
  status.exit_code = 137;
  status.exit_known = false;
  status.started = WallTime(std::chrono::seconds(5));
  status.next_start = at(70);
  status.restart_times = {at(1), at(2)};
  status.healthy_since = at(3);
  status.stop_cause = StopCause::unhealthy;
  status.last_restart_reason = RestartReason::unhealthy;
  status.last_restart_detail = "healthcheck failed";
  status.restarts_total[1] = 3;
  for (const CheckSpec& check : spec->checks) {
    status.checks.emplace_back().spec = std::make_shared<CheckSpec>(check);
  }
  CheckStatus& check = status.checks[0];
  check.status = Health::unhealthy;
  check.failing_streak = 4;
  check.next_probe = at(71);
  check.probes_total = 100;
  check.failures_total[0] = 4;
  check.duration[1] = {{1, 2, 3}, 3, 0.5};
  ProbeResult result;
  result.exit_code = 1;
  result.output = "no";
  result.started = at(60);
  check.log.push_back(result);
  return status;
}

void check_same(const ContainerStatus& a, const ContainerStatus& b) {
  // The texts hold every field; equal texts are equal records.
  CHECK(encode_status({a, "boot", 1}) == encode_status({b, "boot", 1}));
  CHECK(*a.spec == *b.spec);
}

}  // namespace

TEST_CASE("a record comes back whole") {
  ContainerStatus status = example();
  Result<StatusRecord> record = decode_status(encode_status({status, "boot", 9}));
  REQUIRE(record);
  CHECK(record->boot_id == "boot");
  CHECK(record->live_sequence == 9);
  check_same(record->status, status);
  CHECK(record->status.checks[0].log[0].output == "no");
  CHECK(record->status.checks[0].next_probe == at(71));
  CHECK(record->status.next_start == at(70));
  CHECK_FALSE(record->status.finished.has_value());
}

TEST_CASE("a record that is cut, or from the future, is an error and no crash") {
  std::string text = encode_status({example(), "boot", 9});
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    CHECK_FALSE(decode_status(std::string_view(text).substr(0, cut)));
  }
  std::string future = text;
  std::size_t place = future.find("\"state\":6");
  REQUIRE(place != std::string::npos);
  future.replace(place, 9, "\"state\":66");
  Result<StatusRecord> record = decode_status(future);
  REQUIRE_FALSE(record);
  CHECK_THAT(record.error().text, ContainsSubstring("state is wrong"));
}

TEST_CASE("the live part that is newer than the record counts, of the same run only") {
  TempDir dir;
  ContainerStatus status = example();
  {
    StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
    REQUIRE(store.save(status, true, at(0)));
    status.checks[0].failing_streak = 5;
    REQUIRE(store.save(status, false, at(1)));
  }
  std::vector<std::string> problems;
  {
    StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
    std::vector<ContainerStatus> restored = store.restore(problems);
    REQUIRE(restored.size() == 1);
    check_same(restored[0], status);
    CHECK(store.boot_id(status.id) == read_boot_id());
    // Numbering goes on, so that the newer of two live records stays the newer one.
    status.checks[0].failing_streak = 6;
    REQUIRE(store.save(status, false, at(2)));
    ContainerStatus other_run = status;
    other_run.run = 8;
    other_run.checks[0].failing_streak = 0;
    REQUIRE(store.save(other_run, false, at(3)));
  }
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  std::vector<ContainerStatus> restored = store.restore(problems);
  REQUIRE(restored.size() == 1);
  CHECK(restored[0].run == 7);
  CHECK(restored[0].checks[0].failing_streak == 4);
  CHECK(problems.empty());
}

TEST_CASE("an incident and what was told of it are stored together") {
  TempDir dir;
  ContainerStatus status = example();
  {
    StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
    status.incident = "0123456789ab";
    status.suppressed_now = 6;
    REQUIRE(store.save(status, true, at(0)));
    status.incident = "ba9876543210";  // begun by a probe, which saves the live part alone
    status.suppressed_now = 0;
    REQUIRE(store.save(status, false, at(1)));
  }
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  std::vector<std::string> problems;
  const std::vector<ContainerStatus> restored = store.restore(problems);
  REQUIRE(restored.size() == 1);
  CHECK(restored[0].incident == "ba9876543210");
  CHECK(restored[0].suppressed_now == 0);
}

TEST_CASE("after a reboot a container has its intent, and Instants of no other boot") {
  TempDir dir;
  ContainerStatus status = example();
  status.stopped_by_hand = true;
  {
    StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data", "one").value();
    REQUIRE(store.save(status, true, at(0)));
  }
  std::filesystem::remove_all(dir.path + "/run");
  std::vector<std::string> problems;
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data", "two").value();
  std::vector<ContainerStatus> restored = store.restore(problems);
  REQUIRE(restored.size() == 1);
  CHECK(restored[0].id == status.id);
  CHECK(restored[0].stopped_by_hand);
  CHECK(store.boot_id(status.id) == "one");  // its process is looked for in no other
  CHECK(restored[0].restarts_total[1] == 3);
  CHECK(restored[0].restart_times.empty());
  CHECK(restored[0].started_mono == Instant{});
}

TEST_CASE("a reboot starts what is to run always, and obeys who stopped the others by hand") {
  TempDir dir;
  auto stopped = [](char digit, RestartPolicy policy) {
    ContainerStatus status = example(digit);
    ServiceSpec spec = *status.spec;
    spec.restart.policy = policy;
    status.spec = std::make_shared<ServiceSpec>(spec);
    status.state = ServiceState::exited;
    status.stopped_by_hand = true;
    return status;
  };
  {
    StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data", "one").value();
    REQUIRE(store.save(stopped('a', RestartPolicy::always), true, at(0)));
    REQUIRE(store.save(stopped('b', RestartPolicy::unless_stopped), true, at(0)));
  }
  std::vector<std::string> problems;
  for (const char* boot : {"one", "two"}) {  // the first: keepwell alone had died
    StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data", boot).value();
    std::vector<ContainerStatus> restored = store.restore(problems);
    REQUIRE(restored.size() == 2);
    CHECK(restored[0].start_at_next_run == (std::string(boot) == "two"));
    CHECK_FALSE(restored[1].start_at_next_run);
    CHECK(restored[1].stopped_by_hand);
  }
}

TEST_CASE("a run directory that was emptied in the same boot costs no process") {
  TempDir dir;
  ContainerStatus status = example();
  {
    StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
    REQUIRE(store.save(status, true, at(0)));
  }
  std::filesystem::remove_all(dir.path + "/run");
  std::vector<std::string> problems;
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  std::vector<ContainerStatus> restored = store.restore(problems);
  REQUIRE(restored.size() == 1);
  CHECK(restored[0].pid == status.pid);
  CHECK(restored[0].started_mono == status.started_mono);
}

TEST_CASE("a damaged record costs one container's last step, and is told") {
  TempDir dir;
  ContainerStatus a = example('a');
  ContainerStatus b = example('b');
  {
    StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
    REQUIRE(store.save(a, true, at(0)));
    REQUIRE(store.save(b, true, at(0)));
    a.restart_count = 1;
    REQUIRE(store.save(a, true, at(1)));
  }
  std::string path = dir.path + "/run/state/" + a.id + ".json";
  std::ofstream(path) << "keepwell-state 1 torn";
  std::vector<std::string> problems;
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  std::vector<ContainerStatus> restored = store.restore(problems);
  REQUIRE(restored.size() == 2);
  CHECK(restored[0].restart_count == 0);
  check_same(restored[1], b);
  REQUIRE(problems.size() == 1);
  CHECK(std::filesystem::exists(path + ".bad"));
  CHECK(store.is_behind(a.id));
  CHECK_FALSE(store.is_behind(b.id));

  // So it is for whoever comes next, until the record is written anew.
  problems.clear();
  StateStore next = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  REQUIRE(next.restore(problems).size() == 2);
  CHECK(problems.empty());
  CHECK(next.is_behind(a.id));
  CHECK_FALSE(next.is_behind(b.id));
  REQUIRE(next.save(a, true, at(2)));
  StateStore last = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  REQUIRE(last.restore(problems).size() == 2);
  CHECK_FALSE(last.is_behind(a.id));
}

TEST_CASE("what cannot be written is said once and counted each time") {
  TempDir dir;
  ContainerStatus status = example();
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  std::filesystem::remove_all(dir.path + "/run");
  CHECK_FALSE(store.save(status, false, at(0)));
  CHECK(store.save(status, false, at(1)));
  CHECK(store.write_failures() == 2);
  std::filesystem::create_directories(dir.path + "/run/state");
  CHECK(store.save(status, false, at(2)));
  std::filesystem::remove_all(dir.path + "/run");
  CHECK_FALSE(store.save(status, false, at(3)));
}

TEST_CASE("a forgotten container is gone") {
  TempDir dir;
  ContainerStatus status = example();
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  REQUIRE(store.save(status, true, at(0)));
  REQUIRE(store.save(status, false, at(0)));
  store.forget(status.id);
  std::vector<std::string> problems;
  CHECK(store.restore(problems).empty());
}

TEST_CASE("the accepted configuration comes back") {
  TempDir dir;
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  std::vector<std::string> problems;
  Result<ProjectSpec> none = store.load_project(problems);
  REQUIRE_FALSE(none);
  CHECK(none.error().code == Errc::not_found);
  ProjectSpec project;
  project.name = "p";
  project.services.push_back(*example().spec);
  REQUIRE(store.save_project(project));
  CHECK(store.load_project(problems).value() == project);
  CHECK(problems.empty());
}

TEST_CASE("an emptied run directory: what is unsaved is known, and all of it can be saved again") {
  TempDir dir;
  StateStore store = StateStore::open(dir.path + "/run", dir.path + "/data").value();
  ProjectSpec project;
  project.name = "p";
  project.services.push_back(*example().spec);
  REQUIRE(store.save_project(project));
  ContainerStatus status = example();
  REQUIRE(store.save(status, true, at(0)));
  CHECK(store.unsaved().empty());
  std::filesystem::remove_all(dir.path + "/run");
  CHECK_FALSE(store.save(status, false, at(1)));
  CHECK_FALSE(store.save(status, true, at(1)));
  CHECK(store.write_failures() == 2);
  CHECK(store.unsaved() == std::set<std::string>{status.id});
  std::vector<std::string> problems;
  CHECK(store.load_project(problems).value() == project);  // its copy
  CHECK(problems.size() == 1);
  REQUIRE(store.make_dirs());
  CHECK(store.save(status, true, at(2)));
  CHECK(store.unsaved().empty());
  CHECK(store.restore(problems).size() == 1);
}

}  // namespace keepwell

TEST_CASE("records of many checks are written once a second, those of few at once") {
  keepwell::SavePacer pacer;
  const keepwell::Instant began{std::chrono::hours(1)};
  CHECK_FALSE(pacer.put_off("few", 4, began));
  CHECK_FALSE(pacer.put_off("few", 4, began));
  CHECK_FALSE(pacer.put_off("many", 50, began));
  pacer.saved("many", began);
  CHECK(pacer.put_off("many", 50, began + std::chrono::milliseconds(1)));
  CHECK(pacer.put_off("many", 50, began + std::chrono::milliseconds(900)));
  CHECK(pacer.next() == began + std::chrono::seconds(1));
  CHECK(pacer.due(began + std::chrono::milliseconds(999)).empty());
  CHECK(pacer.due(began + std::chrono::seconds(1)) == std::vector<std::string>{"many"});
  pacer.saved("many", began + std::chrono::seconds(1));
  CHECK_FALSE(pacer.next());
  CHECK(pacer.put_off("many", 50, began + std::chrono::milliseconds(1500)));
  pacer.forget("many");
  CHECK_FALSE(pacer.next());
}
