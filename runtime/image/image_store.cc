#include "runtime/image/image_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/launch.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

using nlohmann::json;

constexpr std::size_t kConfigBytesMax = std::size_t{4} << 20;
constexpr std::string_view kAlgorithm = "sha256:";
constexpr std::size_t kShortestPrefix = 4;

std::int64_t ns(WallTime at) { return at.time_since_epoch().count(); }
WallTime wall(std::int64_t value) { return WallTime(Duration(value)); }

std::string hex_of(const std::string& id) {
  return id.starts_with(kAlgorithm) ? id.substr(kAlgorithm.size()) : id;
}

bool is_hex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_id(const std::string& hex) { return hex.size() == 64 && is_hex(hex); }

Status sync_directory(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || fsync(fd.get()) != 0) return fail_errno("cannot write " + path + " to its disk");
  return {};
}

Status remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);  // follows no links
  if (error) return fail(Errc::os, "cannot remove " + path + ": " + error.message());
  return {};
}

Status write_json(const std::string& path, const json& value) {
  return write_state_file(path, value.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace

// ---- reading

Result<std::vector<ImageName>> ImageStore::read_names() const {
  StateFileRead read = read_state_file(dir_ + "/names.json");
  std::vector<ImageName> names;
  if (!read.body) return names;
  try {  // nlohmann throws for what is missing or of the wrong type
    for (const json& entry : json::parse(*read.body)) {
      ImageName name;
      name.name = entry.at("name").get<std::string>();
      name.id = entry.at("id").get<std::string>();
      name.digest = entry.at("digest").get<std::string>();
      name.source = entry.at("source").get<std::string>();
      name.checked = wall(entry.at("checked").get<std::int64_t>());
      names.push_back(std::move(name));
    }
  } catch (const json::exception& error) {
    return fail(Errc::invalid, "cannot read " + dir_ + "/names.json: " + error.what());
  }
  return names;
}

std::optional<StoredImage> ImageStore::read_image(const std::string& hex,
                                                  std::vector<std::string>* problems) const {
  auto problem = [&](const std::string& text) -> std::optional<StoredImage> {
    if (problems != nullptr) problems->push_back("cannot use image " + hex + ": " + text);
    return std::nullopt;
  };
  const std::string dir = dir_ + "/" + hex;
  StoredImage image;
  image.id = std::string(kAlgorithm) + hex;
  image.rootfs = dir + "/rootfs";
  Result<std::string> text = read_small_file(dir + "/config.json", kConfigBytesMax);
  if (!text) return problem(text.error().text);
  Result<ImageConfig> config = parse_image_config(*text);
  if (!config) return problem(config.error().text);
  StateFileRead record = read_state_file(dir + "/record.json");
  if (!record.body) return problem("its record is missing or damaged; load it again");
  try {
    json entry = json::parse(*record.body);
    image.bytes = entry.at("bytes").get<std::uint64_t>();
    image.entries = entry.at("entries").get<std::uint64_t>();
    image.loaded = wall(entry.at("loaded").get<std::int64_t>());
    image.source = entry.at("source").get<std::string>();
  } catch (const json::exception& error) {
    return problem(error.what());
  }
  image.config_text = std::move(*text);
  image.config = std::move(*config);
  return image;
}

std::vector<StoredImage> ImageStore::list(std::vector<std::string>* problems) const {
  std::vector<StoredImage> images;
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string hex = it->path().filename();
    if (!is_id(hex)) continue;
    if (std::optional<StoredImage> image = read_image(hex, problems)) {
      images.push_back(std::move(*image));
    }
  }
  Result<std::vector<ImageName>> names = read_names();
  if (!names) {
    if (problems != nullptr) problems->push_back(names.error().text);
    names = std::vector<ImageName>{};
  }
  for (const ImageName& name : *names) {
    for (StoredImage& image : images) {
      if (image.id == name.id) image.names.push_back(name);
    }
  }
  std::sort(images.begin(), images.end(), [](const StoredImage& a, const StoredImage& b) {
    return a.loaded != b.loaded ? a.loaded > b.loaded : a.id < b.id;
  });
  return images;
}

std::optional<StoredImage> ImageStore::find_id(const std::string& id) const {
  const std::string hex = hex_of(id);
  if (!is_id(hex) || access((dir_ + "/" + hex).c_str(), F_OK) != 0) return std::nullopt;
  return read_image(hex, nullptr);
}

std::optional<ImageStore::Named> ImageStore::find_name(const std::string& name) const {
  Result<std::vector<ImageName>> names = read_names();
  if (!names) return std::nullopt;
  for (const ImageName& entry : *names) {
    if (entry.name != name) continue;
    if (std::optional<StoredImage> image = find_id(entry.id)) return Named{entry, *image};
  }
  return std::nullopt;
}

Result<StoredImage> ImageStore::find(const std::string& name) const {
  std::vector<StoredImage> images = list();
  if (Result<ImageReference> reference = parse_image_reference(name)) {
    for (const StoredImage& image : images) {
      for (const ImageName& entry : image.names) {
        const bool pinned = !reference->digest.empty() && reference->digest == entry.digest &&
                            entry.name.starts_with(reference->repository());
        if (entry.name == reference->full() || pinned) return image;
      }
    }
  }
  const std::string hex = hex_of(name);
  const StoredImage* found = nullptr;
  for (const StoredImage& image : images) {
    if (hex.size() < kShortestPrefix || !is_hex(hex) || !hex_of(image.id).starts_with(hex))
      continue;
    if (found != nullptr) {
      return fail(Errc::conflict, "cannot tell which image " + name +
                                      " is: several begin so; write more of the id");
    }
    found = &image;
  }
  if (found != nullptr) return *found;
  return fail(Errc::not_found, "No such image: " + name);
}

// ---- changes

Result<ImageStore::Lock> ImageStore::lock(
    const std::function<void(const std::string& holder)>& on_wait) const {
  if (Status made = make_private_dir(dir_, 0700); !made) return fail(made.error());
  Result<UniqueFd> fd = take_lock(dir_, "lock");
  if (!fd && fd.error().code == Errc::conflict) {
    if (on_wait) on_wait(fd.error().text);
    fd = wait_for_lock(dir_, "lock");
  }
  if (!fd) return fail(fd.error());
  clean();
  return Lock(std::move(*fd));
}

void ImageStore::clean_if_idle() const {
  if (access(dir_.c_str(), F_OK) != 0) return;
  if (Result<UniqueFd> fd = take_lock(dir_, "lock")) clean();
}

void ImageStore::clean() const {
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    // Images appear whole; anything else is of a load that was cut short, or a tool's.
    const bool ours = is_id(name) || name == "lock" || name.starts_with("names.json");
    if (!ours) (void)remove_tree(it->path());
  }
}

Result<std::string> ImageStore::make_temporary(const Lock&) const {
  std::string dir = dir_ + "/tmp." + std::to_string(getpid());
  if (Status gone = remove_tree(dir); !gone) return fail(gone.error());
  if (Status made = make_private_dir(dir, 0700); !made) return fail(made.error());
  return dir;
}

Status ImageStore::put(const Lock&, const std::string& temporary, const StoredImage& image) const {
  const std::string hex = hex_of(image.id), target = dir_ + "/" + hex;
  if (!is_id(hex)) return fail(Errc::invalid, "cannot keep image " + image.id + ": it has no id");
  Status written = write_json(temporary + "/record.json", {{"bytes", image.bytes},
                                                           {"entries", image.entries},
                                                           {"loaded", ns(image.loaded)},
                                                           {"source", image.source}});
  if (!written) return written;
  UniqueFd fd(open(temporary.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || syncfs(fd.get()) != 0) return fail_errno("cannot write " + temporary + " to its disk");
  // What is there already could not be read, or it would not have been loaded again.
  if (access(target.c_str(), F_OK) == 0) {
    const std::vector<std::string> mounted = images_mounted(*this);
    if (std::find(mounted.begin(), mounted.end(), image.id) != mounted.end()) {
      return fail(Errc::conflict,
                  "cannot replace " + target +
                      ", whose record is damaged: containers use it; stop them first");
    }
    if (Status gone = remove_tree(target); !gone) return gone;
  }
  if (Status moved = rename_file(temporary, target); !moved) return moved;
  return sync_directory(dir_);
}

Status ImageStore::write_names(const std::vector<ImageName>& names) const {
  json list = json::array();
  for (const ImageName& name : names) {
    list.push_back({{"name", name.name},
                    {"id", name.id},
                    {"digest", name.digest},
                    {"source", name.source},
                    {"checked", ns(name.checked)}});
  }
  return write_json(dir_ + "/names.json", list);
}

Status ImageStore::set_name(const Lock&, const ImageName& name) const {
  Result<std::vector<ImageName>> names = read_names();
  if (!names) return fail(names.error());
  std::erase_if(*names, [&](const ImageName& other) { return other.name == name.name; });
  names->push_back(name);
  return write_names(*names);
}

Status ImageStore::remove_name(const Lock&, const std::string& name) const {
  Result<std::vector<ImageName>> names = read_names();
  if (!names) return fail(names.error());
  std::erase_if(*names, [&](const ImageName& other) { return other.name == name; });
  return write_names(*names);
}

Status ImageStore::remove(const Lock& lock, const std::string& id) const {
  Result<std::vector<ImageName>> names = read_names();
  if (!names) return fail(names.error());
  std::erase_if(*names, [&](const ImageName& other) { return other.id == id; });
  if (Status written = write_names(*names); !written) return written;
  // Out of sight first, so that it is never seen half gone.
  Result<std::string> temporary = make_temporary(lock);
  if (!temporary) return fail(temporary.error());
  Status moved = rename_file(dir_ + "/" + hex_of(id), *temporary + "/image");
  return moved ? remove_tree(*temporary) : moved;
}

std::vector<std::string> images_mounted(const ImageStore& store) {
  constexpr std::size_t kMountsBytesMax = std::size_t{64} << 20;
  std::vector<std::string> ids;
  Result<std::string> mounts = read_small_file("/proc/self/mountinfo", kMountsBytesMax);
  if (!mounts) return ids;
  const std::string before = "lowerdir=", dir = store.dir() + "/";
  for (std::size_t at = mounts->find(before); at != std::string::npos;
       at = mounts->find(before, at + 1)) {
    const std::size_t path = at + before.size();
    if (mounts->compare(path, dir.size(), dir) != 0) continue;
    const std::string hex = mounts->substr(path + dir.size(), 64);
    if (is_id(hex)) ids.push_back(std::string(kAlgorithm) + hex);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace keepwell
