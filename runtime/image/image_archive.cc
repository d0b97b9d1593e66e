#include "runtime/image/image_archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "config/image_reference.h"
#include "runtime/image/skopeo.h"
#include "runtime/state_file.h"
#include "runtime/tar.h"

namespace keepwell {

namespace {

using nlohmann::json;

constexpr std::size_t kIndexBytesMax = std::size_t{1} << 20;
constexpr std::int64_t kPlainBytesMax = std::int64_t{20} << 30;

std::string name_in(const std::string& text) {
  Result<ImageReference> reference = parse_image_reference(text);
  return reference ? reference->full() : std::string();
}

// The images of an OCI index, each by its ref.name where there are several.
std::vector<ArchivedImage> images_in_index(const std::string& source, const std::string& text) {
  std::vector<ArchivedImage> images;
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const json manifests = root.is_object() ? root.value("manifests", json::array()) : json::array();
  for (const json& manifest : manifests) {
    ArchivedImage image{source, {}};
    const json notes = manifest.is_object() ? manifest.value("annotations", json()) : json();
    if (notes.is_object()) {
      const json& ref = notes.value("org.opencontainers.image.ref.name", json());
      const json& full = notes.value("io.containerd.image.name", json());
      const std::string word = ref.is_string() ? ref.get<std::string>() : "";
      if (manifests.size() > 1 && !word.empty()) image.source += ":" + word;
      if (full.is_string()) image.name = name_in(full.get<std::string>());
      // A bare tag names nothing.
      const bool whole = word.find_first_of("/:") != std::string::npos;
      if (image.name.empty() && whole) image.name = name_in(word);
    }
    images.push_back(std::move(image));
  }
  if (images.empty()) images.push_back({source, {}});
  return images;
}

// The file NAME of a plain tar archive; empty where it is not in it.
std::string member_of(const std::string& path, const std::string& name) {
  std::string text;
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  bool wanted = false, done = false;
  TarReader reader({.on_entry =
                        [&](const TarEntry& entry) {
                          wanted = entry.name == name || entry.name == "./" + name;
                          return Status();
                        },
                    .on_bytes =
                        [&](std::string_view bytes) {
                          if (wanted && text.size() < kIndexBytesMax) text.append(bytes);
                          return Status();
                        },
                    .on_file_end = [&] { return done = done || wanted, Status(); }});
  std::vector<char> buffer(1 << 20);
  while (fd && !done) {
    ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n <= 0 || !reader.feed({buffer.data(), static_cast<std::size_t>(n)})) break;
  }
  return done ? text : std::string();
}

Result<std::string> ask(const ImageStore& store, const std::vector<std::string>& words) {
  std::vector<std::string> arguments = skopeo_options("", store.dir());
  arguments.insert(arguments.end(), words.begin(), words.end());
  return ask_tool("skopeo", arguments);
}

Result<std::vector<ArchivedImage>> images_in_directory(const std::string& path) {
  if (Result<std::string> index = read_small_file(path + "/index.json", kIndexBytesMax)) {
    return images_in_index("oci:" + path, *index);
  }
  if (access((path + "/manifest.json").c_str(), F_OK) == 0) {
    return std::vector<ArchivedImage>{{"dir:" + path, {}}};
  }
  return fail(Errc::unavailable, "cannot load " + path +
                                     ": the directory has neither an index.json (OCI layout) nor a "
                                     "manifest.json (skopeo copy to dir:)");
}

}  // namespace

Result<std::vector<ArchivedImage>> images_in(const std::string& path, const ImageStore& store) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return fail_errno("cannot load " + path);
  if (S_ISDIR(info.st_mode)) return images_in_directory(path);
  if (!S_ISREG(info.st_mode)) {
    return fail(Errc::unavailable,
                "cannot load " + path + ": it is neither a file nor a directory");
  }
  const std::string archive = "docker-archive:" + path;
  const std::string copy = store.dir() + "/tmp.plain.tar";
  Result<std::string> plain = plain_source(archive, copy, kPlainBytesMax);
  if (!plain) return fail(plain.error());
  Result<std::string> tags = ask(store, {"list-tags", *plain});
  unlink(copy.c_str());
  if (tags) {
    std::vector<ArchivedImage> images;
    const json root = json::parse(*tags, nullptr, /*allow_exceptions=*/false);
    if (root.is_object() && root.contains("Tags") && root["Tags"].is_array()) {
      for (const json& tag : root["Tags"]) {
        if (!tag.is_string()) continue;
        const std::string word = tag.get<std::string>();  // "@0": the first, which has no name
        images.push_back({archive + ":" + word, word.starts_with("@") ? "" : name_in(word)});
      }
    }
    if (!images.empty()) return images;
    return fail(Errc::unavailable, "cannot load " + path + ": there is no image in it");
  }
  const std::string source = "oci-archive:" + path;
  Result<std::string> manifest = ask(store, {"inspect", "--raw", source});
  if (manifest) return images_in_index(source, member_of(path, "index.json"));
  return fail(Errc::unavailable,
              "cannot load " + path + ": it is neither an archive of docker save (" +
                  tags.error().text + ") nor of OCI kind (" + manifest.error().text + ")");
}

}  // namespace keepwell
