// Saved incidents keep to their limits, whatever was there before and whoever removes some.
#include "runtime/incident_store.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/evidence.h"
#include "tests/catch.h"

namespace keepwell {
namespace {

namespace fs = std::filesystem;

struct Store {
  Store() {
    char name[] = "/tmp/kw-incidents-XXXXXX";
    dir = ::mkdtemp(name);
  }
  ~Store() { fs::remove_all(dir); }

  // Incident "ID", with BYTES of evidence; the later, the larger AT.
  Status save(IncidentStore& store, const std::string& id, int at, std::size_t bytes) {
    if (Status begun = store.begin(id, WallTime(std::chrono::seconds(at))); !begun) return begun;
    const Status written = store.write(id, "log.txt", std::string(bytes, 'x'));
    store.end(id);
    return written;
  }
  static std::string ids(const IncidentStore& store) {
    std::string text;
    for (const StoredIncident& each : store.list()) text += (text.empty() ? "" : " ") + each.id;
    return text;
  }

  std::string dir;
};

}  // namespace

TEST_CASE("incidents: the oldest go, by count and by bytes") {
  Store place;
  IncidentStore store(place.dir);
  store.configure({.count = 3, .bytes_max = 1000});
  for (int i = 1; i <= 5; ++i) CHECK(place.save(store, "id" + std::to_string(i), i, 10));
  CHECK(Store::ids(store) == "id5 id4 id3");
  CHECK(store.removed_total() == 2);
  CHECK(place.save(store, "big", 6, 990));
  CHECK(Store::ids(store) == "big id5");
  // One that is larger than all may be is not written, and costs the others nothing more.
  const Status refused = place.save(store, "huge", 7, 1001);
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().text, ContainsSubstring("incidents.max_size"));
  CHECK(Store::ids(store) == "huge big id5");
}

TEST_CASE("incidents: an earlier agent's count, and an id is gone on with") {
  Store place;
  {
    IncidentStore earlier(place.dir);
    for (int i = 1; i <= 4; ++i) CHECK(place.save(earlier, "id" + std::to_string(i), i, 10));
  }
  std::ofstream(place.dir + "/incidents/notes") << "not ours";
  IncidentStore store(place.dir);
  store.configure({.count = 3, .bytes_max = 1000});
  CHECK(place.save(store, "id4", 99, 20));
  CHECK(Store::ids(store) == "id4 id3 id2");
  CHECK(store.list()[0].at == WallTime(std::chrono::seconds(4)));
  CHECK(store.list()[0].bytes == 20);
  CHECK(fs::exists(place.dir + "/incidents/notes"));
  CHECK(store.show("id4")->files.at(0).second == std::string(20, 'x'));
  CHECK(store.show("id").error().code == Errc::invalid);
  CHECK(store.show("nothing").error().code == Errc::not_found);
}

TEST_CASE("incidents: what somebody else has removed makes room") {
  Store place;
  IncidentStore store(place.dir);
  store.configure({.count = 3, .bytes_max = 1000});
  for (int i = 1; i <= 3; ++i) CHECK(place.save(store, "id" + std::to_string(i), i, 10));
  for (const StoredIncident& each : store.list()) {
    if (each.id != "id3") {
      fs::remove_all(place.dir + "/incidents/" +
                     std::to_string(each.at.time_since_epoch() / std::chrono::milliseconds(1)) +
                     "-" + each.id);
    }
  }
  CHECK(Store::ids(store) == "id3");
  CHECK(place.save(store, "id4", 4, 10));
  CHECK(Store::ids(store) == "id4 id3");
  CHECK(store.removed_total() == 0);
}

TEST_CASE("evidence: a process says what it is and what it waits in") {
  const std::string self = describe_process(static_cast<int>(::getpid()));
  CHECK_THAT(self, ContainsSubstring("process " + std::to_string(::getpid()) + ": "));
  CHECK_THAT(self, ContainsSubstring("test_runtime"));
  CHECK_THAT(self, ContainsSubstring("thread " + std::to_string(::getpid()) + " waits in "));
  CHECK_THAT(describe_descriptors(static_cast<int>(::getpid())), ContainsSubstring("  0 -> "));
  CHECK_THAT(describe_sockets(static_cast<int>(::getpid())), ContainsSubstring("tcp\n"));
  CHECK(describe_process(0x7ffffff0).empty());
}

}  // namespace keepwell
