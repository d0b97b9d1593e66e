#include "runtime/container_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "runtime/proc_info.h"

namespace keepwell {
namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr std::size_t kDepthMax = 256;

Error error_of(const std::string& path, const char* doing) {
  const std::string context = std::string("cannot ") + doing + " " + path + " of the container";
  if (errno == EXDEV)
    return {Errc::unsupported, context +
                                   ": it lies on a mount of its own (a volume, a tmpfs, /proc); "
                                   "use an exec, or the mount's source on the host"};
  if (errno == ENOTDIR) return {Errc::not_found, context + ": Not a directory"};
  return Error::os(errno, context);
}

// PATH within ROOT, never out of it and never into another mount.
UniqueFd open_within(int root, const std::string& path, std::uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const std::string name = path.empty() ? "." : path;
  long fd = -1;
  for (int attempt = 0; attempt < 16; ++attempt) {  // EAGAIN: something was renamed on the way
    fd = ::syscall(SYS_openat2, root, name.c_str(), &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return UniqueFd(static_cast<int>(fd));
}

FileFacts facts_of(const struct stat& info) {
  FileFacts facts;
  facts.kind = S_ISREG(info.st_mode)   ? FileKind::regular
               : S_ISDIR(info.st_mode) ? FileKind::directory
               : S_ISLNK(info.st_mode) ? FileKind::link
                                       : FileKind::other;
  facts.mode = info.st_mode;
  facts.uid = info.st_uid;
  facts.gid = info.st_gid;
  facts.bytes = facts.kind == FileKind::regular ? static_cast<std::uint64_t>(info.st_size) : 0;
  facts.changed = WallTime(std::chrono::seconds(info.st_mtim.tv_sec) +
                           std::chrono::nanoseconds(info.st_mtim.tv_nsec));
  return facts;
}

// FD is an O_PATH one of the file itself.
Result<FileFacts> facts_of(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return fail(error_of(path, "look at"));
  FileFacts facts = facts_of(info);
  if (facts.kind == FileKind::link) {
    std::array<char, 4096> target{};
    const ssize_t n = ::readlinkat(fd, "", target.data(), target.size());
    if (n < 0) return fail(error_of(path, "look at"));
    facts.target.assign(target.data(), static_cast<std::size_t>(n));
  }
  return facts;
}

// FD is an O_PATH one of a regular file.
UniqueFd open_regular(int fd) {
  const std::string self = "/proc/self/fd/" + std::to_string(fd);
  return UniqueFd(::open(self.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

std::vector<std::string> names_in(int directory) {
  std::vector<std::string> names;
  UniqueFd fd(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* stream = fd ? ::fdopendir(fd.get()) : nullptr;
  if (!stream) return names;
  static_cast<void>(fd.release());  // the stream's now
  while (const dirent* entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(stream);
  std::sort(names.begin(), names.end(), std::greater<>());  // taken from the back
  return names;
}

timespec to_timespec(WallTime time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time.time_since_epoch());
  timespec spec{};
  spec.tv_sec = static_cast<time_t>(seconds.count());
  spec.tv_nsec = static_cast<long>((time.time_since_epoch() - seconds).count());
  return spec;
}

}  // namespace

Result<ContainerFiles> ContainerFiles::open(int pid, std::uint64_t start_ticks) {
  const std::string path = "/proc/" + std::to_string(pid) + "/root";
  UniqueFd root(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_errno("cannot open the container's root");
  const std::optional<ProcStat> stat = read_proc_stat(pid);
  if (!stat || stat->start_ticks != start_ticks)
    return fail(Errc::conflict, "cannot open the container's root: it has ended");
  return ContainerFiles(std::move(root));
}

Result<ContainerFiles> ContainerFiles::open(const std::string& directory) {
  UniqueFd root(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) return fail_errno("cannot open the container's root " + directory);
  return ContainerFiles(std::move(root));
}

Result<FileFacts> ContainerFiles::look(const std::string& path) const {
  const UniqueFd fd = open_within(root_.get(), path, O_PATH | O_NOFOLLOW);
  if (!fd) return fail(error_of(path, "look at"));
  return facts_of(fd.get(), path);
}

Result<std::string> ContainerFiles::read(const std::string& path, std::uint64_t bytes_max) const {
  // As walk() would, but through links.
  const UniqueFd fd = open_within(root_.get(), path, O_PATH);
  if (!fd) return fail(error_of(path, "read"));
  const Result<FileFacts> facts = facts_of(fd.get(), path);
  if (!facts) return fail(facts.error());
  if (facts->kind != FileKind::regular || facts->bytes > bytes_max)
    return fail(Errc::invalid, "cannot read " + path + ": it is no regular file, or too large");
  const UniqueFd file = open_regular(fd.get());
  std::string text(facts->bytes, '\0');
  const ssize_t n = file ? ::pread(file.get(), text.data(), text.size(), 0) : -1;
  if (n < 0) return fail(error_of(path, "read"));
  text.resize(static_cast<std::size_t>(n));
  return text;
}

// ---- reading

struct ContainerFiles::Walk::State {
  struct Level {
    UniqueFd directory;
    std::string prefix;  // "" or "a/b/"
    std::vector<std::string> names;
  };
  UniqueFd start;  // O_PATH; until the first step
  std::vector<Level> levels;
  UniqueFd file;
  std::uint64_t left = 0;  // of the file
  std::string buffer;

  // The entry behind FD, which is O_PATH. None: to be left out.
  std::optional<Step> enter(UniqueFd fd, const std::string& name) {
    Result<FileFacts> facts = facts_of(fd.get(), name);
    if (!facts || facts->kind == FileKind::other) return std::nullopt;
    if (facts->kind == FileKind::directory && levels.size() < kDepthMax) {
      const std::string prefix = name.empty() ? "" : name + "/";
      std::vector<std::string> names = names_in(fd.get());
      levels.push_back({std::move(fd), prefix, std::move(names)});
    } else if (facts->kind == FileKind::regular) {
      file = open_regular(fd.get());
      if (!file) return std::nullopt;
      left = facts->bytes;
    }
    return Step{name, std::move(*facts), {}, false};
  }

  Step file_piece() {
    if (buffer.empty()) buffer.resize(kPieceBytes);
    const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer.size()));
    ssize_t n = ::read(file.get(), buffer.data(), want);
    if (n <= 0) {  // it became shorter: zeros for what was promised
      n = static_cast<ssize_t>(want);
      std::fill_n(buffer.begin(), want, '\0');
    }
    left -= static_cast<std::uint64_t>(n);
    return Step{
        {}, std::nullopt, std::string_view(buffer.data(), static_cast<std::size_t>(n)), false};
  }
};

ContainerFiles::Walk::Walk(std::unique_ptr<State> state) : state_(std::move(state)) {}
ContainerFiles::Walk::Walk(Walk&&) noexcept = default;
ContainerFiles::Walk::~Walk() = default;

Result<ContainerFiles::Walk> ContainerFiles::walk(const std::string& path) const {
  auto state = std::make_unique<Walk::State>();
  state->start = open_within(root_.get(), path, O_PATH | O_NOFOLLOW);
  if (!state->start) return fail(error_of(path, "read"));
  return Walk(std::move(state));
}

Result<ContainerFiles::Step> ContainerFiles::Walk::next() {
  State& state = *state_;
  if (state.file && state.left > 0) return state.file_piece();
  state.file.reset();
  if (state.start) {
    std::optional<Step> step = state.enter(std::move(state.start), "");
    if (!step) return fail(Errc::invalid, "cannot read it: not a file, directory or link");
    return std::move(*step);
  }
  while (!state.levels.empty()) {
    State::Level& level = state.levels.back();
    if (level.names.empty()) {
      state.levels.pop_back();
      continue;
    }
    const std::string name = std::move(level.names.back());
    level.names.pop_back();
    const std::string path = level.prefix + name;
    UniqueFd fd = open_within(level.directory.get(), name, O_PATH | O_NOFOLLOW);
    if (!fd) continue;
    if (std::optional<Step> step = state.enter(std::move(fd), path)) return std::move(*step);
  }
  Step end;
  end.done = true;
  return end;
}

// ---- writing

ContainerFiles::Writer::Writer(UniqueFd directory) : directory_(std::move(directory)) {}
ContainerFiles::Writer::Writer(Writer&&) noexcept = default;
ContainerFiles::Writer::~Writer() = default;

Result<ContainerFiles::Writer> ContainerFiles::writer(const std::string& directory) const {
  UniqueFd fd = open_within(root_.get(), directory, O_PATH);
  if (!fd) return fail(error_of(directory, "write to"));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISDIR(info.st_mode))
    return fail(Errc::invalid, "extraction point is not a directory");
  // Not with O_PATH any more: "." of it is to be looked up and made in.
  fd = open_within(fd.get(), ".", O_RDONLY | O_DIRECTORY);
  if (!fd) return fail(error_of(directory, "write to"));
  return Writer(std::move(fd));
}

// The directory that PATH lies in, made where it is missing, and PATH's last NAME. Links on the way
// are followed within the extraction point only.
Result<UniqueFd> ContainerFiles::Writer::parent_of(const std::string& path, std::string& name) {
  const std::size_t slash = path.rfind('/');
  name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  if (name.empty() || name == "." || name == "..")
    return fail(Errc::invalid, "cannot write \"" + path + "\": not a file name");
  const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
  UniqueFd fd = open_within(directory_.get(), parent, O_RDONLY | O_DIRECTORY);
  if (!fd && errno == ENOENT) {
    NewFile directory;
    directory.path = parent;
    directory.permissions = 0755;
    directory.changed = writing_.changed;
    if (std::count(path.begin(), path.end(), '/') > static_cast<std::ptrdiff_t>(kDepthMax))
      return fail(Errc::invalid, "cannot write a path so deep: " + path);
    Status made = make_directory(directory);
    if (!made) return fail(made.error());
    fd = open_within(directory_.get(), parent, O_RDONLY | O_DIRECTORY);
  }
  if (!fd) return fail(error_of(path, "write"));
  return fd;
}

// Removes what stands at NAME, unless it is what is wanted (a directory for a directory).
Status ContainerFiles::Writer::clear_way(int parent, const std::string& name, bool for_directory,
                                         const std::string& path) {
  struct stat info {};
  if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return {};
  const bool is_directory = S_ISDIR(info.st_mode);
  if (is_directory && for_directory) return {};
  if (is_directory != for_directory && keep_kinds_)
    return fail(Errc::invalid,
                is_directory ? "cannot overwrite directory \"" + path + "\" with non-directory"
                             : "cannot overwrite non-directory \"" + path + "\" with directory");
  if (::unlinkat(parent, name.c_str(), is_directory ? AT_REMOVEDIR : 0) != 0)
    return fail(error_of(path, "replace"));
  return {};
}

Status ContainerFiles::Writer::make_directory(const NewFile& file) {
  std::string name;
  const Result<UniqueFd> parent = parent_of(file.path, name);
  if (!parent) return fail(parent.error());
  Status clear = clear_way(parent->get(), name, true, file.path);
  if (!clear) return clear;
  if (::mkdirat(parent->get(), name.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(error_of(file.path, "make"));
  const UniqueFd made = open_within(parent->get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!made) return fail(error_of(file.path, "make"));
  if (::fchown(made.get(), file.uid, file.gid) != 0 ||
      ::fchmod(made.get(), file.permissions & 07777) != 0)
    return fail(error_of(file.path, "make"));
  return {};
}

Status ContainerFiles::Writer::make_link(const NewFile& file, const std::string& target) {
  std::string name;
  const Result<UniqueFd> parent = parent_of(file.path, name);
  if (!parent) return fail(parent.error());
  Status clear = clear_way(parent->get(), name, false, file.path);
  if (!clear) return clear;
  if (::symlinkat(target.c_str(), parent->get(), name.c_str()) != 0 ||
      ::fchownat(parent->get(), name.c_str(), file.uid, file.gid, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(error_of(file.path, "make"));
  return {};
}

Status ContainerFiles::Writer::make_hard_link(const NewFile& file, const std::string& existing) {
  std::string name;
  std::string existing_name;
  const Result<UniqueFd> parent = parent_of(file.path, name);
  if (!parent) return fail(parent.error());
  const Result<UniqueFd> from = parent_of(existing, existing_name);
  if (!from) return fail(from.error());
  Status clear = clear_way(parent->get(), name, false, file.path);
  if (!clear) return clear;
  if (::linkat(from->get(), existing_name.c_str(), parent->get(), name.c_str(), 0) != 0)
    return fail(error_of(file.path, "link"));
  return {};
}

Status ContainerFiles::Writer::begin_file(const NewFile& file) {
  file_.reset();
  writing_ = file;
  std::string name;
  const Result<UniqueFd> parent = parent_of(file.path, name);
  if (!parent) return fail(parent.error());
  Status clear = clear_way(parent->get(), name, false, file.path);
  if (!clear) return clear;
  file_.reset(::openat(parent->get(), name.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file_) return fail(error_of(file.path, "make"));
  return {};
}

Status ContainerFiles::Writer::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(error_of(writing_.path, "write"));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Status ContainerFiles::Writer::end_file() {
  const std::array<timespec, 2> times{to_timespec(writing_.changed), to_timespec(writing_.changed)};
  // The owner first: a change of it takes set-user-id bits away.
  if (::fchown(file_.get(), writing_.uid, writing_.gid) != 0 ||
      ::fchmod(file_.get(), writing_.permissions & 07777) != 0 ||
      ::futimens(file_.get(), times.data()) != 0)
    return fail(error_of(writing_.path, "finish"));
  file_.reset();
  return {};
}

}  // namespace keepwell
