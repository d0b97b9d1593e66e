#include "agent/log_reader.h"

#include <algorithm>

#include "runtime/loop.h"

namespace keepwell {
namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr int kPiecesPerTurn = 4;
// How long nothing must come after the writer's end.
constexpr Duration kQuiet = std::chrono::milliseconds(100);
// Looked at without being called, for what the watch misses; more often while there is no file yet.
constexpr Duration kLookAgain = std::chrono::seconds(1);
constexpr Duration kLookForFile = std::chrono::milliseconds(20);

}  // namespace

LogReader::LogReader(Loop& loop, Options options, Handlers handlers)
    : options_(std::move(options)),
      handlers_(std::move(handlers)),
      selector_(options_.query),
      watch_(loop),
      timer_(loop),
      quiet_(loop) {}

LogReader::~LogReader() = default;

void LogReader::start() {
  buffer_.resize(kPieceBytes);
  find_start();
  timer_.start_after(Duration(0), [this] { pump(); });
}

void LogReader::find_start() {
  files_ = open_log_files(options_.path);
  if (files_.empty() || !options_.tail) return;
  if (*options_.tail == 0) {
    files_.erase(files_.begin(), files_.end() - 1);
    offset_ = log_bytes(files_.front());
  } else {
    skip_to_tail(*options_.tail);
  }
}

// From the newest file's end backwards, until the last LINES lines are passed.
void LogReader::skip_to_tail(std::uint64_t lines) {
  TailFinder finder(lines);
  std::vector<std::uint64_t> sizes;
  for (const LogFile& file : files_) sizes.push_back(log_bytes(file));
  bool found = false;
  for (std::size_t i = files_.size(); i-- > 0 && !found;) {
    std::uint64_t end = sizes[i];
    while (end > 0 && !found) {
      const std::uint64_t begin = end - std::min<std::uint64_t>(end, kPieceBytes);
      std::string piece(end - begin, '\0');
      const Result<std::string_view> bytes = read_log(files_[i], begin, piece);
      if (!bytes || bytes->size() != piece.size()) return;
      found = finder.feed_backwards(*bytes);
      end = begin;
    }
  }
  // The log's first line has no newline before it; the finder judges a line by one.
  if (!found && !finder.feed_backwards("\n")) return;
  std::uint64_t from_end = finder.bytes_from_end();
  std::size_t first = files_.size() - 1;
  while (first > 0 && from_end > sizes[first]) from_end -= sizes[first--];
  offset_ = sizes[first] - std::min(from_end, sizes[first]);
  files_.erase(files_.begin(), files_.begin() + static_cast<std::ptrdiff_t>(first));
}

void LogReader::resume() {
  if (!blocked_ || ended_) return;
  blocked_ = false;
  timer_.start_after(Duration(0), [this] { pump(); });
}

void LogReader::finish() {
  if (finishing_ || ended_) return;
  finishing_ = true;
  quiet_.start_after(kQuiet, [this] { end(); });
  if (!blocked_) timer_.start_after(Duration(0), [this] { pump(); });
}

void LogReader::deliver(std::string_view bytes) {
  if (bytes.empty()) return;
  if (!handlers_.on_bytes(bytes)) blocked_ = true;
}

void LogReader::pump() {
  for (int piece = 0; piece < kPiecesPerTurn && !blocked_ && !ended_; ++piece) {
    if (files_.empty() && !open_next()) {
      wait_for_more();
      return;
    }
    const Result<std::string_view> bytes = read_log(files_.front(), offset_, buffer_);
    if (!bytes || bytes->empty()) {
      if (at_end_of_file()) continue;
      wait_for_more();
      return;
    }
    offset_ += bytes->size();
    std::string out;
    selector_.feed(*bytes, out);
    if (finishing_) quiet_.start_after(kQuiet, [this] { end(); });
    deliver(out);
    if (selector_.past_until()) {
      end();
      return;
    }
  }
  if (!blocked_ && !ended_) timer_.start_after(Duration(0), [this] { pump(); });
}

// True if there is another file to go on with.
bool LogReader::at_end_of_file() {
  if (files_.size() > 1) {
    selector_.end_of_file();
    files_.erase(files_.begin());
    offset_ = 0;
    watching_ = false;
    return true;
  }
  if (!options_.follow) return false;
  if (log_bytes(files_.front()) < offset_) {  // truncated
    offset_ = 0;
    return true;
  }
  if (!was_rotated(options_.path, files_.front())) return false;
  // What was written between our last read and the rotation is still to be read.
  if (log_bytes(files_.front()) > offset_) return true;
  return open_next();
}

// Our file was deleted, and those after it may have been too.
void LogReader::tell_lost() {
  constexpr std::string_view kText = "keepwell: log lines may be lost: reading was too slow\r\n";
  std::string out;
  if (options_.query.framed) {
    append_frame(out, 2, kText);
  } else {
    out = kText;
  }
  deliver(out);
  if (handlers_.on_lost) handlers_.on_lost();
}

// The files that came after the one being read; false if there are none yet.
bool LogReader::open_next() {
  std::vector<LogFile> files = open_log_files(options_.path);
  if (files.empty()) return false;
  if (files_.empty()) {
    files_ = std::move(files);
    offset_ = 0;
    return true;
  }
  const auto ours = std::find_if(files.begin(), files.end(), [this](const LogFile& file) {
    return file.same_as(files_.front());
  });
  if (ours == files.end()) {
    if (files.size() > 1) tell_lost();
  } else {
    files.erase(files.begin(), ours + 1);
    if (files.empty()) return false;
  }
  selector_.end_of_file();
  files_ = std::move(files);
  offset_ = 0;
  watching_ = false;
  return true;
}

void LogReader::wait_for_more() {
  if (!options_.follow) {
    end();
    return;
  }
  if (!files_.empty() && !watching_) {
    watching_ = watch_.start(options_.path, [this] { look(); }).has_value();
    // Something may have come between the read and the watch.
    if (watching_) {
      look();
      return;
    }
  }
  timer_.start_after(watching_ ? kLookAgain : kLookForFile, [this] { pump(); });
}

void LogReader::look() {
  if (!blocked_ && !ended_) timer_.start_after(Duration(0), [this] { pump(); });
}

void LogReader::end() {
  if (ended_) return;
  // A reader that is merely slow gets the rest first.
  if (blocked_ && !selector_.past_until()) {
    quiet_.start_after(kQuiet, [this] { end(); });
    return;
  }
  ended_ = true;
  watch_.stop();
  timer_.stop();
  quiet_.stop();
  const std::function<void()> on_end = handlers_.on_end;
  if (on_end) on_end();
}

}  // namespace keepwell
