// The image store's records: what is found by which word, what a damaged record costs, and what a
// lock sweeps away.
#include "runtime/image/image_store.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/image/sha256.h"
#include "tests/catch.h"

using namespace keepwell;
namespace fs = std::filesystem;

namespace {

struct Stage {
  Stage() {
    char path[] = "/tmp/keepwell-images-XXXXXX";
    REQUIRE(mkdtemp(path) != nullptr);
    dir = path;
  }
  ~Stage() { fs::remove_all(dir); }

  ImageStore store() const { return ImageStore(dir); }
  ImageStore::Lock lock() const {
    Result<ImageStore::Lock> lock = store().lock({});
    REQUIRE(lock);
    return std::move(*lock);
  }

  // Puts an image whose config has this label, and returns its id.
  std::string put(const std::string& label, std::int64_t loaded = 1) const {
    const std::string config =
        R"({"os":"linux","architecture":"amd64","config":{"Labels":{"l":")" + label + R"("}}})";
    ImageStore::Lock held = lock();
    Result<std::string> temporary = store().make_temporary(held);
    REQUIRE(temporary);
    fs::create_directory(*temporary + "/rootfs");
    std::ofstream(*temporary + "/config.json") << config;
    StoredImage image;
    image.id = "sha256:" + sha256_hex(config);
    image.bytes = 7;
    image.loaded = WallTime(Duration(loaded));
    image.source = "oci:/somewhere";
    REQUIRE(store().put(held, *temporary, image));
    return image.id;
  }

  void name(const std::string& name, const std::string& id) const {
    REQUIRE(store().set_name(lock(), {name, id, "sha256:" + std::string(64, 'd'), "oci:/x", {}}));
  }

  std::string dir;
};

}  // namespace

TEST_CASE("an image is found by its names and its id") {
  Stage stage;
  CHECK(stage.store().list().empty());
  CHECK_FALSE(stage.store().find("redis"));
  const std::string one = stage.put("one", 1), two = stage.put("two", 2);
  stage.name("docker.io/library/redis:7", one);
  stage.name("quay.io/me/app:1", one);
  stage.name("docker.io/library/redis:latest", two);

  std::vector<StoredImage> all = stage.store().list();
  REQUIRE(all.size() == 2);
  CHECK(all[0].id == two);  // newest first
  CHECK(all[1].names.size() == 2);
  CHECK(all[1].bytes == 7);
  CHECK(all[1].config.labels.at("l") == "one");
  CHECK(all[1].rootfs == stage.dir + "/images/" + one.substr(7) + "/rootfs");

  ImageStore store = stage.store();
  CHECK(store.find("redis")->id == two);
  CHECK(store.find("redis:7")->id == one);
  CHECK(store.find("docker.io/library/redis:7")->id == one);
  CHECK(store.find("redis@sha256:" + std::string(64, 'd')));
  CHECK(store.find(one)->id == one);
  CHECK(store.find(one.substr(7, 12))->id == one);
  CHECK(store.find("sha256:" + one.substr(7, 4))->id == one);
  CHECK(store.find(one.substr(7, 3)).error().code == Errc::not_found);
  CHECK(store.find("app").error().text == "No such image: app");
  CHECK(store.find_name("quay.io/me/app:1")->image.id == one);
  CHECK_FALSE(store.find_name("redis"));

  stage.name("docker.io/library/redis:7", two);  // moves
  CHECK(store.find("redis:7")->id == two);
  REQUIRE(store.remove_name(stage.lock(), "quay.io/me/app:1"));
  CHECK(store.find(one)->names.empty());
  REQUIRE(store.remove(stage.lock(), two));
  CHECK_FALSE(store.find("redis:7"));
  CHECK(store.list().size() == 1);
}

TEST_CASE("a beginning that fits two ids is refused") {
  Stage stage;
  std::map<std::string, std::string> by_beginning;
  std::string shared;
  for (int i = 0; shared.empty() && i < 2000; ++i) {
    // Ids are hashes: of enough labels two begin alike, and only those two are put.
    const std::string label = std::to_string(i);
    const std::string config =
        R"({"os":"linux","architecture":"amd64","config":{"Labels":{"l":")" + label + R"("}}})";
    const std::string begin = sha256_hex(config).substr(0, 4);
    auto [other, fresh] = by_beginning.try_emplace(begin, label);
    if (fresh) continue;
    shared = begin;
    stage.put(other->second);
    stage.put(label);
  }
  REQUIRE_FALSE(shared.empty());
  CHECK(stage.store().find(shared).error().code == Errc::conflict);
}

TEST_CASE("a damaged record costs its own image only") {
  Stage stage;
  const std::string good = stage.put("good"), bad = stage.put("bad");
  stage.name("docker.io/library/a:1", good);
  stage.name("docker.io/library/b:1", bad);
  const std::string dir = stage.dir + "/images/" + bad.substr(7);
  SECTION("the record is cut off") { fs::resize_file(dir + "/record.json", 20); }
  SECTION("the record is gone") { fs::remove(dir + "/record.json"); }
  SECTION("the config is no JSON") { std::ofstream(dir + "/config.json") << "x"; }
  std::vector<std::string> problems;
  std::vector<StoredImage> all = stage.store().list(&problems);
  REQUIRE(all.size() == 1);
  CHECK(all[0].id == good);
  REQUIRE(problems.size() == 1);
  CHECK_THAT(problems[0], StartsWith("cannot use image " + bad.substr(7)));
  CHECK_FALSE(stage.store().find_name("docker.io/library/b:1"));
  // Loading it again replaces it.
  CHECK(stage.put("bad") == bad);
  CHECK(stage.store().find("b:1")->id == bad);
}

TEST_CASE("a damaged list of names leaves the images") {
  Stage stage;
  stage.name("docker.io/library/a:1", stage.put("a"));
  for (const char* suffix : {"", ".prev"}) {
    std::ofstream(stage.dir + "/images/names.json" + suffix) << "x";
  }
  std::vector<StoredImage> all = stage.store().list();
  REQUIRE(all.size() == 1);
  CHECK(all[0].names.empty());
}

TEST_CASE("a lock sweeps away what was cut short, and nothing else") {
  Stage stage;
  const std::string id = stage.put("kept");
  stage.name("docker.io/library/kept:1", id);
  const std::string images = stage.dir + "/images/";
  fs::create_directories(images + "tmp.123/rootfs/usr");
  std::ofstream(images + "docker-tar42") << "left by skopeo";
  fs::create_symlink("/etc", images + "tmp.link");
  {
    ImageStore::Lock held = stage.lock();
    CHECK_FALSE(fs::exists(images + "tmp.123"));
    CHECK_FALSE(fs::exists(images + "docker-tar42"));
    CHECK_FALSE(fs::is_symlink(images + "tmp.link"));
    CHECK(fs::exists("/etc/passwd"));
    fs::create_directories(images + "tmp.9");
    stage.store().clean_if_idle();  // somebody holds the lock
    CHECK(fs::exists(images + "tmp.9"));
  }
  stage.store().clean_if_idle();
  CHECK_FALSE(fs::exists(images + "tmp.9"));
  CHECK(stage.store().find("kept:1")->id == id);
  CHECK(images_mounted(stage.store()).empty());
}
