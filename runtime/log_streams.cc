#include "runtime/log_streams.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>

namespace keepwell {

namespace {

constexpr const char* kStreams[] = {"stdout", "stderr"};

std::string kept_name(const std::string& id, const char* stream) {
  return "log " + id + " " + stream;
}

Status make_fifo(const std::string& path) {
  if (mkfifo(path.c_str(), 0600) == 0) return {};
  struct stat found {};
  if (errno == EEXIST && lstat(path.c_str(), &found) == 0 && S_ISFIFO(found.st_mode)) return {};
  return fail_errno("cannot make the log pipe " + path);
}

std::string stream_blob(const LogStreamPlace&, const char*, const LoggingSpec&) { return {}; }

// The reading end goes to the keeper. Opened before any writer, so that the pipe always has a
// reader.
Status keep_reading_end(KeeperClient& keeper, const LogStreamPlace& place, const char* stream,
                        const LoggingSpec& logging) {
  std::string path = place.bundle_dir + "/" + stream;
  UniqueFd read_end(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!read_end) return fail_errno("cannot open the log pipe " + path);
  keeper.keep_fd(kept_name(place.id, stream), read_end.get(), stream_blob(place, stream, logging),
                 true);
  return {};
}

Status make_log_dir(const LogStreamPlace& place) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(place.log_path).parent_path(), error);
  if (error)
    return fail(Errc::os,
                "cannot make the directory of " + place.log_path + ": " + error.message());
  return {};
}

}  // namespace

Result<LogStreamFds> open_log_streams(KeeperClient& keeper, const LogStreamPlace& place,
                                      const LoggingSpec& logging) {
  LogStreamFds fds;
  if (logging.driver == "none") {
    for (UniqueFd* fd : {&fds.out, &fds.err}) {
      fd->reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
      if (!*fd) return fail_errno("cannot open /dev/null");
    }
    return fds;
  }
  if (Status made = make_log_dir(place); !made) return fail(made.error());
  for (const char* stream : kStreams) {
    std::string path = place.bundle_dir + "/" + stream;
    if (Status made = make_fifo(path); !made) return fail(made.error());
    // For reading too: opening never waits, and the pipe never loses its last reader.
    UniqueFd both(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!both) return fail_errno("cannot open the log pipe " + path);
    (stream == kStreams[0] ? fds.out : fds.err) = std::move(both);
  }
  for (const char* stream : kStreams)
    if (Status kept = keep_reading_end(keeper, place, stream, logging); !kept) {
      drop_log_streams(keeper, place.id, [] {});
      return fail(kept.error());
    }
  return fds;
}

Status adopt_log_streams(KeeperClient& keeper, const LogStreamPlace& place,
                         const LoggingSpec& logging) {
  if (logging.driver == "none") return {};
  if (Status made = make_log_dir(place); !made) return made;
  for (const char* stream : kStreams) {
    bool kept = false;
    for (const KeptFd& fd : keeper.inherited().kept)
      kept = kept || fd.name == kept_name(place.id, stream);
    if (kept) continue;
    if (Status done = keep_reading_end(keeper, place, stream, logging); !done) return done;
  }
  return {};
}

void drop_log_streams(KeeperClient& keeper, const std::string& id,
                      std::function<void()> on_dropped) {
  auto left = std::make_shared<int>(2);
  auto one = [left, on_dropped = std::move(on_dropped)](const Status&) {
    if (--*left == 0) on_dropped();
  };
  for (const char* stream : kStreams) keeper.drop_fd(kept_name(id, stream), one);
}

}  // namespace keepwell
