// What mounts, secrets and configs become on the host, with real directories.
#include "runtime/oci/volumes.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/catch.h"

using namespace keepwell;
namespace fs = std::filesystem;

namespace {

class Place {
 public:
  Place() {
    char name[] = "/tmp/keepwell-volumes-XXXXXX";
    dir_ = mkdtemp(name);
    fs::create_directory(dir_ + "/bundle");
  }
  ~Place() { fs::remove_all(dir_); }

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  MountPlaces places() const { return {path("volumes"), path("bundle/files"), "p-web-1"}; }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(path(name)).parent_path());
    std::ofstream(path(name)) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream in(path(name));
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
  }

 private:
  std::string dir_;
};

MountSpec mount_of(MountKind kind, const std::string& source, const std::string& target) {
  MountSpec mount;
  mount.kind = kind;
  mount.source = source;
  mount.target = target;
  return mount;
}

// Runs the command that fills a volume, with what is at /data of ROOT.
int fill(const Place& place, const VolumeCopy& copy) {
  Result<ContainerRoot> root = ContainerRoot::open(place.path("root"));
  REQUIRE(root);
  Result<UniqueFd> source = open_copy_source(*root, copy);
  REQUIRE(source);
  REQUIRE(*source);
  std::vector<std::string> argv = copy_volume_argv(copy);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(source->get(), 0);
    std::vector<char*> words;
    for (std::string& word : argv) words.push_back(word.data());
    words.push_back(nullptr);
    execv(words[0], words.data());
    _exit(127);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}

}  // namespace

TEST_CASE("binds: a missing source is made, or refused where the file says so") {
  Place place;
  ServiceSpec spec;
  spec.mounts = {mount_of(MountKind::bind, place.path("a/b"), "/x")};
  Result<PreparedMounts> made = prepare_mounts(spec, place.places());
  REQUIRE(made);
  CHECK(fs::is_directory(place.path("a/b")));
  CHECK(made->mounts ==
        std::vector<BundleMount>{{"/x", "bind", place.path("a/b"), {"rbind", "rprivate"}}});
  CHECK(made->copies.empty());

  spec.mounts[0].source = place.path("c");
  spec.mounts[0].create_source = false;
  made = prepare_mounts(spec, place.places());
  REQUIRE_FALSE(made);
  CHECK_THAT(made.error().text, ContainsSubstring("does not exist, and create_host_path is false"));
  CHECK_FALSE(fs::exists(place.path("c")));

  spec.mounts[0].source = place.path("a/b");
  spec.mounts[0].read_only = true;
  spec.mounts[0].recursive = "readonly";
  spec.mounts[0].propagation = "rslave";
  CHECK(prepare_mounts(spec, place.places())->mounts[0].options ==
        std::vector<std::string>{"rbind", "rslave", "rro"});
}

TEST_CASE("binds: a link to / is not the whole host") {
  Place place;
  fs::create_symlink("/", place.path("root"));
  ServiceSpec spec;
  spec.mounts = {mount_of(MountKind::bind, place.path("root"), "/x")};
  Result<PreparedMounts> made = prepare_mounts(spec, place.places());
  REQUIRE_FALSE(made);
  CHECK_THAT(made.error().text, ContainsSubstring("is a symbolic link to /"));
}

TEST_CASE("named volumes are directories of ours, and never somebody else's behind a link") {
  Place place;
  ServiceSpec spec;
  spec.mounts = {mount_of(MountKind::volume, "p_db", "/db"),
                 mount_of(MountKind::volume, "", "/anonymous")};
  spec.mounts[0].read_only = true;
  Result<PreparedMounts> made = prepare_mounts(spec, place.places());
  REQUIRE(made);
  CHECK(made->mounts[0] ==
        BundleMount{"/db", "bind", place.path("volumes/p_db/_data"), {"rbind", "rprivate", "ro"}});
  std::string name = anonymous_volume_name("p-web-1", "/anonymous");
  CHECK(fs::is_directory(place.path("volumes/" + name + "/_data")));
  CHECK(made->copies.size() == 2);

  fs::create_directory(place.path("elsewhere"));
  fs::create_directory_symlink(place.path("elsewhere"), place.path("volumes/link"));
  spec.mounts = {mount_of(MountKind::volume, "link", "/x")};
  made = prepare_mounts(spec, place.places());
  REQUIRE_FALSE(made);
  CHECK_THAT(made.error().text, ContainsSubstring("is no directory"));
  CHECK(fs::is_empty(place.path("elsewhere")));

  spec.mounts = {mount_of(MountKind::volume, "none", "/x")};
  spec.mounts[0].external = true;
  made = prepare_mounts(spec, place.places());
  REQUIRE_FALSE(made);
  CHECK_THAT(made.error().text, ContainsSubstring("it is external, and there is no"));
  CHECK_FALSE(fs::exists(place.path("volumes/none")));
}

TEST_CASE("volumes with driver options and tmpfs are mounts of their own") {
  Place place;
  ServiceSpec spec;
  MountSpec far = mount_of(MountKind::volume, "far", "/f"),
            tmpfs = mount_of(MountKind::tmpfs, "", "/t");
  far.driver_opts = {{"type", "nfs"}, {"o", "addr=10.0.0.1,rw"}, {"device", ":/x"}};
  tmpfs.options = {"size=1m"};
  tmpfs.read_only = true;
  spec.mounts = {far, tmpfs};
  Result<PreparedMounts> made = prepare_mounts(spec, place.places());
  REQUIRE(made);
  CHECK(made->mounts[0] == BundleMount{"/f", "nfs", ":/x", {"addr=10.0.0.1", "rw"}});
  CHECK(made->mounts[1] ==
        BundleMount{
            "/t", "tmpfs", "tmpfs", {"noexec", "nosuid", "nodev", "rprivate", "size=1m", "ro"}});
  CHECK_FALSE(fs::exists(place.path("volumes")));
}

TEST_CASE("a volume that is empty gets the image's files once, whole") {
  Place place;
  place.write("root/data/sub/file", "from the image");
  chmod(place.path("root/data").c_str(), 0750);
  fs::create_directory_symlink("/data", place.path("root/link"));
  ServiceSpec spec;
  spec.mounts = {mount_of(MountKind::volume, "v", "/link")};  // as the container would resolve it
  Result<PreparedMounts> made = prepare_mounts(spec, place.places());
  REQUIRE(made);
  REQUIRE(made->copies.size() == 1);
  CHECK(fill(place, made->copies[0]) == 0);
  CHECK(place.read("volumes/v/_data/sub/file") == "from the image");
  struct stat found {};
  REQUIRE(stat(place.path("volumes/v/_data").c_str(), &found) == 0);
  CHECK((found.st_mode & 0777) == 0750);
  CHECK_FALSE(fs::exists(place.path("volumes/v/copying")));

  // What the service made of it stays.
  place.write("volumes/v/_data/sub/file", "changed");
  CHECK(fill(place, made->copies[0]) == 0);
  CHECK(place.read("volumes/v/_data/sub/file") == "changed");

  // A copy that was cut short is done again.
  place.write("volumes/v/copying", "");
  CHECK(fill(place, made->copies[0]) == 0);
  CHECK(place.read("volumes/v/_data/sub/file") == "from the image");

  Result<ContainerRoot> root = ContainerRoot::open(place.path("root"));
  CHECK_FALSE(*open_copy_source(*root, {"", "/none"}));
  CHECK_FALSE(*open_copy_source(*root, {"", "/data/sub/file"}));
  // Not beyond the root, by whatever link.
  fs::create_directory_symlink("../../../../..", place.path("root/out"));
  Result<UniqueFd> out = open_copy_source(*root, {"", "/out/data"});
  REQUIRE((out && *out));
}

TEST_CASE("secrets and configs are files of their own owner and mode") {
  Place place;
  place.write("secret", std::string("a\0b", 3));
  ServiceSpec spec;
  spec.files = {{true, "s", "/run/secrets/s", 12, 34, 0400, place.path("secret"), "", ""},
                {false, "c", "/c", 0, 0, 0444, "", "", "text"}};
  Result<PreparedMounts> made = prepare_mounts(spec, place.places());
  if (geteuid() != 0) return;  // chown
  REQUIRE(made);
  CHECK(made->mounts[0] ==
        BundleMount{
            "/run/secrets/s", "bind", place.path("bundle/files/0"), {"rbind", "rprivate", "ro"}});
  struct stat found {};
  REQUIRE(stat(place.path("bundle/files/0").c_str(), &found) == 0);
  CHECK((found.st_uid == 12 && found.st_gid == 34 && (found.st_mode & 07777) == 0400));
  CHECK(place.read("bundle/files/0") == std::string("a\0b", 3));
  CHECK(place.read("bundle/files/1") == "text");
  CHECK(prepare_mounts(spec, place.places()));  // again, at the next start

  for (const char* kind : {"fifo", "large", "absent"}) {
    std::string path = place.path(kind);
    if (kind == std::string("fifo")) REQUIRE(mkfifo(path.c_str(), 0600) == 0);
    if (kind == std::string("large")) {
      place.write("large", "");
      REQUIRE(truncate(path.c_str(), off_t{1} << 40) == 0);
    }
    spec.files[0].path = path;
    made = prepare_mounts(spec, place.places());
    REQUIRE_FALSE(made);
    CHECK_THAT(made.error().text, StartsWith("cannot give secret s to the container"));
  }
}
