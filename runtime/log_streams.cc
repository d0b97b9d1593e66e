#include "runtime/log_streams.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/logger/stream_blob.h"

namespace keepwell {

namespace {

constexpr const char* kStreams[] = {"stdout", "stderr"};

std::string kept_name(const std::string& id, std::uint64_t run, const char* stream) {
  return "log " + id + " " + std::to_string(run) + " " + stream;
}

Status make_fifo(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail_errno("cannot replace the log pipe " + path);
  if (mkfifo(path.c_str(), 0600) != 0) return fail_errno("cannot make the log pipe " + path);
  return {};
}

std::string stream_blob(const LogStreamPlace& place, const char* stream,
                        const LoggingSpec& logging) {
  return encode_stream_blob({.log_path = place.log_path,
                             .stream = stream,
                             .record_path = place.bundle_dir + "/log.record",
                             .file_bytes_max = logging.file_bytes_max,
                             .files_max = logging.files_max});
}

// The reading end goes to the keeper. Opened before any writer, so that the pipe always has a
// reader.
Status keep_reading_end(KeeperClient& keeper, const LogStreamPlace& place, const char* stream,
                        const LoggingSpec& logging) {
  std::string path = place.bundle_dir + "/" + stream;
  UniqueFd read_end(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!read_end) return fail_errno("cannot open the log pipe " + path);
  keeper.keep_fd(kept_name(place.id, place.run, stream), read_end.get(),
                 stream_blob(place, stream, logging), true);
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
      drop_log_streams(keeper, place.id, place.run);
      return fail(kept.error());
    }
  return fds;
}

Result<UniqueFd> open_stdin_stream(const std::string& bundle_dir) {
  std::string path = bundle_dir + "/stdin";
  if (Status made = make_fifo(path); !made) return fail(made.error());
  UniqueFd both(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!both) return fail_errno("cannot open " + path);
  return both;
}

Status adopt_log_streams(KeeperClient& keeper, const LogStreamPlace& place,
                         const LoggingSpec& logging) {
  if (logging.driver == "none") return {};
  if (Status made = make_log_dir(place); !made) return made;
  for (const char* stream : kStreams) {
    bool kept = false;
    for (const KeptFd& fd : keeper.inherited().kept)
      kept = kept || fd.name == kept_name(place.id, place.run, stream);
    if (kept) continue;
    if (Status done = keep_reading_end(keeper, place, stream, logging); !done) return done;
  }
  return {};
}

void drop_log_streams(KeeperClient& keeper, const std::string& id, std::uint64_t run) {
  for (const char* stream : kStreams) keeper.drop_fd(kept_name(id, run, stream));
}

void drop_all_log_streams(KeeperClient& keeper, const std::string& id) {
  for (const KeptFd& fd : keeper.inherited().kept)
    if (fd.name.starts_with("log " + id + " ")) keeper.drop_fd(fd.name);
}

}  // namespace keepwell
