#include "runtime/image/image_loader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "config/bytes.h"
#include "config/duration.h"
#include "runtime/image/layer_check.h"
#include "runtime/image/sha256.h"
#include "runtime/image/skopeo.h"
#include "runtime/loop.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

using nlohmann::json;

constexpr std::size_t kManifestBytesMax = std::size_t{4} << 20;
constexpr std::size_t kLayersMax = 1024;
constexpr std::int64_t kPlainBytesMax = std::int64_t{20} << 30;

// What skopeo inspect says of SOURCE.
Result<std::string> inspect(const std::string& platform, const std::string& tmp_dir,
                            const std::vector<std::string>& options, const std::string& source) {
  std::vector<std::string> arguments = skopeo_options(platform, tmp_dir);
  arguments.emplace_back("inspect");
  const std::vector<std::string> tls = tls_options(source, "--tls-verify");
  arguments.insert(arguments.end(), tls.begin(), tls.end());
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(source);
  if (!is_registry(source)) return ask_tool("skopeo", arguments);
  return ask_tool("skopeo", arguments, registry_patience());
}

// Tells when what a program writes has not grown for longer than registry_patience().
class Stall {
 public:
  Status look(std::uint64_t bytes) {
    const Instant now = Loop::now().mono;
    if (!since_ || bytes != bytes_) {
      since_ = now;
      bytes_ = bytes;
    }
    if (now - *since_ < registry_patience()) return {};
    return fail(Errc::timed_out,
                "the registry has sent nothing for " + format_duration(registry_patience()));
  }

 private:
  std::optional<Instant> since_;
  std::uint64_t bytes_ = 0;
};

struct Manifest {
  std::string config;               // hex
  std::vector<std::string> layers;  // hex, lowest first
};

Result<std::string> digest_hex(const json& descriptor) {
  const json& digest = descriptor.at("digest");
  if (!digest.is_string() || !is_sha256(digest.get<std::string>())) {
    return fail(Errc::invalid, "its manifest has a digest that is not sha256");
  }
  return digest.get<std::string>().substr(7);
}

Result<Manifest> parse_manifest(const std::string& text) {
  try {
    const json root = json::parse(text);
    if (root.value("schemaVersion", 0) != 2 || !root.contains("layers")) {
      return fail(Errc::unsupported,
                  "its manifest is of an old kind; push it anew with a current "
                  "docker or buildah");
    }
    Manifest manifest;
    Result<std::string> config = digest_hex(root.at("config"));
    if (!config) return fail(config.error());
    manifest.config = *config;
    for (const json& layer : root.at("layers")) {
      Result<std::string> hex = digest_hex(layer);
      if (!hex) return fail(hex.error());
      manifest.layers.push_back(*hex);
    }
    if (manifest.layers.size() > kLayersMax) return fail(Errc::invalid, "it has too many layers");
    return manifest;
  } catch (const json::exception&) {
    return fail(Errc::invalid, "its manifest is malformed");
  }
}

std::uint64_t bytes_in(const std::string& dir) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(dir, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code gone;
    if (it->is_regular_file(gone)) bytes += it->file_size(gone);
  }
  return bytes;
}

Status write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) return fail(Errc::os, "cannot write " + path);
  return {};
}

// One load: the steps in their order.
class Load {
 public:
  Load(const ImageStore& store, const ImageStore::Lock& lock, const ImageOrder& order,
       const OnLoadStep& on_step)
      : store_(store), lock_(lock), order_(order), on_step_(on_step) {}

  ~Load() {
    std::error_code ignored;
    if (!dir_.empty()) std::filesystem::remove_all(dir_, ignored);
  }

  Result<StoredImage> run() {
    Status status = begin();
    if (status) status = ask();
    if (status && !found_) {
      status = fetch();
      if (status) status = check();
      if (status) status = unpack();
      if (status) status = keep();
    }
    if (status && !order_.name.empty()) status = give_name();
    if (!status) return fail(status.error());
    step(LoadStep::Stage::ready);
    return image_;
  }

 private:
  void step(LoadStep::Stage stage, std::uint64_t bytes = 0, std::uint64_t total = 0) const {
    if (on_step_) on_step_({stage, bytes, total});
  }

  Status begin() {
    Result<std::string> dir = store_.make_temporary(lock_);
    if (!dir) return fail(dir.error());
    dir_ = *dir;
    image_.source = order_.source;
    Result<std::string> plain = plain_source(order_.source, dir_ + "/plain.tar", order_.bytes_max);
    if (!plain) return fail(plain.error());
    source_ = *plain;
    return {};
  }

  // The config of a source is small: whether the image is of use here is known before it is
  // fetched.
  Status ask() {
    step(LoadStep::Stage::asking);
    Result<std::string> manifest = inspect(order_.platform, dir_, {"--raw"}, source_);
    if (!manifest) return fail(manifest.error());
    digest_ = "sha256:" + sha256_hex(*manifest);
    Result<std::string> config = inspect(order_.platform, dir_, {"--config", "--raw"}, source_);
    if (!config) return fail(config.error());
    if (Status good = take_config(*config); !good) return good;
    if (std::optional<StoredImage> there = store_.find_id(image_.id)) {
      image_ = *there;
      found_ = true;
    }
    return {};
  }

  Status take_config(const std::string& text) {
    Result<ImageConfig> config = parse_image_config(text);
    if (!config) return fail(config.error());
    image_.id = "sha256:" + sha256_hex(text);
    image_.config_text = text;
    image_.config = std::move(*config);
    const std::string wanted = order_.platform.empty() ? machine_platform() : order_.platform;
    const std::string is = image_.config.os + "/" + image_.config.architecture;
    if (image_.config.architecture.empty() || wanted == is || wanted.starts_with(is + "/")) {
      return {};
    }
    return fail(Errc::invalid, "it is for " + is + ", and " +
                                   (order_.platform.empty() ? "this machine is " : "platform is ") +
                                   wanted + "; name an image for that");
  }

  Status fetch() {
    step(LoadStep::Stage::fetching);
    std::vector<std::string> words = skopeo_options(order_.platform, dir_);
    words.insert(words.end(), {"copy", "--quiet", "--dest-decompress"});
    const std::vector<std::string> tls = tls_options(source_, "--src-tls-verify");
    words.insert(words.end(), tls.begin(), tls.end());
    words.insert(words.end(), {source_, "dir:" + image_dir()});
    Result<std::vector<std::string>> argv = confined_argv("skopeo", words, order_.bytes_max);
    if (!argv) return fail(argv.error());
    ToolOrder tool{.argv = *argv};
    Stall stall;
    tool.on_tick = [this, &stall](int) -> Status {
      const std::uint64_t bytes = bytes_in(image_dir());
      step(LoadStep::Stage::fetching, bytes);
      if (bytes > static_cast<std::uint64_t>(order_.bytes_max)) return too_large();
      return is_registry(source_) ? stall.look(bytes) : Status();
    };
    ToolResult result = run_tool(tool);
    if (result.ok()) return {};
    if (!result.stopped) return result.stopped;
    // The limit on file size makes a write fail in the middle, with the words of EFBIG.
    const std::string complaint = tool_complaint(result);
    if (complaint.ends_with("file too large")) return too_large();
    return fail(Errc::unavailable, complaint);
  }

  Status too_large() const {
    return fail(Errc::invalid, "it is larger than " + format_bytes(order_.bytes_max) +
                                   ", which x-keepwell.image.max_size or --max-size allows");
  }

  Status check() {
    step(LoadStep::Stage::checking);
    Result<std::string> text = read_small_file(image_dir() + "/manifest.json", kManifestBytesMax);
    if (!text) return fail(text.error());
    Result<Manifest> manifest = parse_manifest(*text);
    if (!manifest) return fail(manifest.error());
    manifest_ = std::move(*manifest);
    if ("sha256:" + manifest_.config != image_.id) {
      return fail(Errc::conflict, "it changed while it was fetched; try again");
    }
    LayerCheck check(static_cast<std::uint64_t>(order_.bytes_max));
    for (std::size_t i = 0; i < manifest_.layers.size(); ++i) {
      Status good = check_layer(image_dir() + "/" + manifest_.layers[i], check);
      if (!good) {
        return fail(good.error().with("layer " + std::to_string(i + 1) + " of " +
                                      std::to_string(manifest_.layers.size())));
      }
    }
    image_.bytes = check.bytes();
    image_.entries = check.entries();
    has_devices_ = check.devices() > 0;
    return has_room(check.bytes() + check.entries() * kBytesPerEntry);
  }

  Status has_room(std::uint64_t bytes) const {
    struct statvfs disk {};
    if (statvfs(dir_.c_str(), &disk) != 0) return {};
    const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
    if (bytes <= free) return {};
    return fail(Errc::unavailable, "unpacked it needs " +
                                       format_bytes(static_cast<std::int64_t>(bytes)) + ", and " +
                                       store_.dir() + " has only " +
                                       format_bytes(static_cast<std::int64_t>(free)) + " left");
  }

  // umoci takes OCI layouts only: the same files by other names, and a manifest that calls them so.
  Status make_layout() const {
    const std::string blobs = dir_ + "/oci/blobs/sha256";
    std::error_code error;
    std::filesystem::create_directories(blobs, error);
    auto blob = [&](const std::string& hex, const char* type) -> json {
      const std::string path = blobs + "/" + hex;
      if (access(path.c_str(), F_OK) != 0)
        std::filesystem::rename(image_dir() + "/" + hex, path, error);
      const std::uintmax_t size = std::filesystem::file_size(path, error);
      return {{"mediaType", type}, {"digest", "sha256:" + hex}, {"size", size}};
    };
    json manifest{{"schemaVersion", 2},
                  {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                  {"config", blob(manifest_.config, "application/vnd.oci.image.config.v1+json")},
                  {"layers", json::array()}};
    for (const std::string& hex : manifest_.layers) {
      manifest["layers"].push_back(blob(hex, "application/vnd.oci.image.layer.v1.tar"));
    }
    if (error) return fail(Errc::os, "cannot lay out its files: " + error.message());
    const std::string text = manifest.dump(), hex = sha256_hex(text);
    json index{{"schemaVersion", 2},
               {"manifests",
                {{{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                  {"digest", "sha256:" + hex},
                  {"size", text.size()},
                  {"annotations", {{"org.opencontainers.image.ref.name", "image"}}}}}}};
    Status written = write_file(blobs + "/" + hex, text);
    if (written) written = write_file(dir_ + "/oci/index.json", index.dump());
    if (written)
      written = write_file(dir_ + "/oci/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    return written;
  }

  Status unpack() {
    if (Status made = make_layout(); !made) return made;
    step(LoadStep::Stage::unpacking, 0, image_.bytes);
    std::vector<std::string> words{"raw", "unpack"};
    if (geteuid() != 0) words.emplace_back("--rootless");
    words.insert(words.end(), {"--image", dir_ + "/oci:image", root_dir()});
    Result<std::vector<std::string>> argv =
        confined_argv("umoci", words, order_.bytes_max, has_devices_);
    if (!argv) return fail(argv.error());
    ToolOrder tool{.argv = *argv};
    tool.on_tick = [this](int pid) -> Status {
      step(LoadStep::Stage::unpacking, std::min(bytes_written(pid), image_.bytes), image_.bytes);
      return {};
    };
    ToolResult result = run_tool(tool);
    if (!result.ok()) return fail(Errc::unavailable, tool_complaint(result));
    return {};
  }

  Status keep() {
    std::error_code error;
    std::filesystem::remove_all(dir_ + "/oci", error);
    std::filesystem::remove_all(image_dir(), error);
    std::filesystem::remove(dir_ + "/plain.tar", error);
    // What a container sees at /dev is not the image's; and an image may lack the directory.
    std::filesystem::remove_all(root_dir() + "/dev", error);
    if (mkdir((root_dir() + "/dev").c_str(), 0755) != 0) {
      return fail_errno("cannot make " + root_dir() + "/dev");
    }
    // The root directory is the container's "/" for every user of it.
    if (chmod(root_dir().c_str(), 0755) != 0) return fail_errno("cannot use " + root_dir());
    if (Status written = write_file(dir_ + "/config.json", image_.config_text); !written) {
      return written;
    }
    image_.loaded = Loop::now().wall;
    if (Status put = store_.put(lock_, dir_, image_); !put) return put;
    dir_.clear();
    std::optional<StoredImage> there = store_.find_id(image_.id);
    if (!there) return fail(Errc::os, "cannot read back image " + image_.id);
    image_ = *there;
    return {};
  }

  Status give_name() {
    ImageName name{order_.name, image_.id, digest_, order_.source, Loop::now().wall};
    return store_.set_name(lock_, name);
  }

  std::string image_dir() const { return dir_ + "/image"; }
  std::string root_dir() const { return dir_ + "/rootfs"; }

  static constexpr std::uint64_t kBytesPerEntry = 4096;  // a block, and then some for the inode

  const ImageStore& store_;
  const ImageStore::Lock& lock_;
  const ImageOrder& order_;
  const OnLoadStep& on_step_;
  std::string dir_;
  std::string source_;  // that skopeo is asked
  std::string digest_;
  Manifest manifest_;
  StoredImage image_;
  bool found_ = false;
  bool has_devices_ = false;
};

}  // namespace

Result<StoredImage> load_image(const ImageStore& store, const ImageStore::Lock& lock,
                               const ImageOrder& order, const OnLoadStep& on_step) {
  Result<StoredImage> image = Load(store, lock, order, on_step).run();
  if (image) return image;
  const std::string what = order.name.empty() ? order.source : order.name + " from " + order.source;
  // Whatever is wrong with it: not with what the user wrote.
  const bool silent = image.error().code == Errc::timed_out;
  return fail(silent ? Errc::timed_out : Errc::unavailable,
              image.error().with("cannot load image " + what).text);
}

Result<std::string> source_digest(const ImageStore& store, const std::string& source,
                                  const std::string& platform) {
  const std::string copy = store.dir() + "/tmp.plain.tar";
  Result<std::string> plain = plain_source(source, copy, kPlainBytesMax);
  if (!plain) return fail(plain.error());
  Result<std::string> manifest = inspect(platform, store.dir(), {"--raw"}, *plain);
  unlink(copy.c_str());
  if (!manifest) return fail(manifest.error().with("cannot look at image " + source));
  return "sha256:" + sha256_hex(*manifest);
}

}  // namespace keepwell
