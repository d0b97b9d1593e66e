#include "agent/journal_reader.h"

#include <utility>

#include "exporters/journal.h"

namespace keepwell {
namespace {

constexpr std::size_t kPieceBytes = 128 * 1024;

}  // namespace

JournalReader::JournalReader(Loop& loop, std::string path, std::optional<WallTime> since,
                             Handlers handlers)
    : path_(std::move(path)), since_(since), handlers_(std::move(handlers)), timer_(loop) {}

void JournalReader::start() {
  buffer_.resize(kPieceBytes);
  files_ = open_log_files(path_);
  timer_.start_after(Duration(0), [this] { pump(); });
}

void JournalReader::resume() {
  if (!std::exchange(blocked_, false)) return;
  timer_.start_after(Duration(0), [this] { pump(); });
}

void JournalReader::pump() {
  while (!files_.empty()) {
    const Result<std::string_view> bytes = read_log(files_.front(), offset_, buffer_);
    if (bytes && !bytes->empty()) {
      offset_ += bytes->size();
      take(*bytes);
      if (!blocked_) timer_.start_after(Duration(0), [this] { pump(); });
      return;
    }
    // The newest was rotated while we read: go on with what came behind it.
    if (files_.size() == 1 && was_rotated(path_, files_.front())) {
      std::vector<LogFile> now = open_log_files(path_);
      std::size_t next = 0;
      for (std::size_t i = 0; i < now.size(); ++i) {
        if (now[i].same_as(files_.front())) next = i + 1;
      }
      for (; next < now.size(); ++next) files_.push_back(std::move(now[next]));
    }
    files_.erase(files_.begin());
    offset_ = 0;
    rest_.clear();
  }
  const std::function<void()> on_end = handlers_.on_end;
  if (on_end) on_end();
}

void JournalReader::take(std::string_view bytes) {
  while (true) {
    const std::size_t end = bytes.find('\n');
    if (end == std::string_view::npos) break;
    std::string_view line = bytes.substr(0, end);
    if (!rest_.empty()) {
      rest_.append(line);
      line = rest_;
    }
    const std::optional<WallTime> at = since_ ? journal_line_time(line) : std::nullopt;
    if (!at || *at >= *since_) {
      if (!handlers_.on_line(line)) blocked_ = true;  // what is left of the piece still comes
    }
    rest_.clear();
    bytes.remove_prefix(end + 1);
  }
  rest_.append(bytes);
  if (rest_.size() > 2 * kJournalLineMax) rest_.clear();  // no record is that long
}

}  // namespace keepwell
