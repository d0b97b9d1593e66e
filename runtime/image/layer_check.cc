#include "runtime/image/layer_check.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "config/bytes.h"
#include "config/diagnostic.h"
#include "runtime/unique_fd.h"

namespace keepwell {

namespace {

constexpr std::uint64_t kEntriesMax = 4'000'000;  // more would exhaust a file system's inodes
constexpr std::size_t kPathMax = 4095, kPartMax = 255;
constexpr std::string_view kWhiteout = ".wh.";

// Calls VISIT for each part of PATH but empty ones and "."; false as soon as it returns false.
template <class Visit>
bool each_part(std::string_view path, Visit visit) {
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (!part.empty() && part != "." && !visit(part)) return false;
  }
  return true;
}

int depth_of(std::string_view path) {
  int depth = 0;
  each_part(path, [&depth](std::string_view) { return ++depth, true; });
  return depth;
}

bool is_plain_path(std::string_view path) {
  return path.size() <= kPathMax && each_part(path, [](std::string_view part) {
           return part != ".." && part.size() <= kPartMax;
         });
}

// ".wh.NAME" hides NAME, ".wh..wh..opq" a whole directory; ".wh..." would be the directory above.
bool is_odd_whiteout(std::string_view path) {
  return !each_part(path, [](std::string_view part) {
    if (part.substr(0, kWhiteout.size()) != kWhiteout) return true;
    const std::string_view hidden = part.substr(kWhiteout.size());
    return !hidden.empty() && hidden != "." && hidden != "..";
  });
}

// A relative link in a directory DEPTH below the root.
bool leaves_root(std::string_view target, int depth) {
  if (target.substr(0, 1) == "/") return false;  // from the root inside
  return !each_part(target, [&depth](std::string_view part) {
    depth += part == ".." ? -1 : 1;
    return depth >= 0;
  });
}

// "dev" itself, or what is directly in it.
bool is_dev(std::string_view path, int depth) {
  std::string_view first;
  each_part(path, [&first](std::string_view part) { return first = part, false; });
  return first == "dev" && depth_of(path) == depth;
}

Status refuse(const std::string& what) { return fail(Errc::invalid, what); }

}  // namespace

Status LayerCheck::take(const TarEntry& entry) {
  const std::string name = in_quotes(entry.name);
  if (++entries_ > kEntriesMax) {
    return refuse("it has more than " + std::to_string(kEntriesMax) + " files");
  }
  if (!is_plain_path(entry.name)) return refuse("the name " + name + " leads out of the image");
  if (is_odd_whiteout(entry.name)) return refuse("the whiteout " + name + " hides no file");
  // So that what goes to /dev, and is removed with it, cannot land elsewhere.
  if (entry.type != '5' && is_dev(entry.name, 1)) return refuse("/dev is no directory");
  switch (entry.type) {
    case '0':
    case '\0':
    case '7':
    case 'S':
    case '5':
    case '6':
      break;
    case '1':
      if (entry.target.empty() || entry.target.front() == '/' || !is_plain_path(entry.target)) {
        return refuse("the hard link " + name + " to " + in_quotes(entry.target) +
                      " leads out of the image");
      }
      break;
    case '2':
      if (entry.target.size() > kPathMax || leaves_root(entry.target, depth_of(entry.name) - 1)) {
        return refuse("the link " + name + " to " + in_quotes(entry.target) +
                      " leads out of the image");
      }
      break;
    case '3':
    case '4':
      if (!is_dev(entry.name, 2)) return refuse("it has a device node, " + name);
      ++devices_;
      break;
    default:
      return refuse("the entry " + name + " is of an unknown kind");
  }
  if (entry.unpacked_bytes > bytes_max_ - std::min(bytes_, bytes_max_)) {
    return refuse("with " + name + " (" +
                  format_bytes(static_cast<std::int64_t>(entry.unpacked_bytes)) +
                  ") it is larger than " + format_bytes(static_cast<std::int64_t>(bytes_max_)) +
                  ", which x-keepwell.image.max_size or --max-size allows");
  }
  bytes_ += entry.unpacked_bytes;
  return {};
}

Status check_layer(const std::string& path, LayerCheck& check) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail_errno("cannot open " + path);
  TarReader reader({.on_entry = [&check](const TarEntry& entry) { return check.take(entry); },
                    .on_bytes = [](std::string_view) { return Status(); },
                    .on_file_end = [] { return Status(); }});
  std::vector<char> buffer(1 << 20);
  for (;;) {
    ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot read " + path);
    if (n == 0) return reader.end();
    if (Status fed = reader.feed({buffer.data(), static_cast<std::size_t>(n)}); !fed) return fed;
  }
}

}  // namespace keepwell
