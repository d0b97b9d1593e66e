#include "exporters/log_line.h"

#include <algorithm>
#include <array>

#include "exporters/time_text.h"

namespace keepwell {
namespace {

constexpr std::size_t kStoredLineMax = 65536;
constexpr std::size_t kHeadMax = 64;  // time, stream and tag of a stored line

// Takes the text up to the next space, and the space.
std::string_view take_word(std::string_view& text) {
  const std::size_t space = text.find(' ');
  const std::string_view word = text.substr(0, space);
  text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  return word;
}

}  // namespace

std::optional<LogRecord> parse_log_line(std::string_view line) {
  LogRecord record;
  const Result<WallTime> at = parse_rfc3339(take_word(line));
  if (!at) return std::nullopt;
  record.at = *at;
  const std::string_view stream = take_word(line);
  if (stream != "stdout" && stream != "stderr") return std::nullopt;
  record.stream = stream == "stdout" ? LogStream::out : LogStream::err;
  const std::string_view tag = take_word(line);
  if (tag != "F" && tag != "P") return std::nullopt;
  record.partial = tag == "P";
  record.text = line;
  return record;
}

void append_frame(std::string& out, std::uint8_t stream, std::string_view payload) {
  const auto size = static_cast<std::uint32_t>(payload.size());
  const std::array<char, 8> head{static_cast<char>(stream),
                                 0,
                                 0,
                                 0,
                                 static_cast<char>(size >> 24),
                                 static_cast<char>(size >> 16),
                                 static_cast<char>(size >> 8),
                                 static_cast<char>(size)};
  out.append(head.data(), head.size());
  out += payload;
}

LogSelector::LogSelector(LogQuery query) : query_(std::move(query)) {}

void LogSelector::feed(std::string_view chunk, std::string& out) {
  while (!chunk.empty() && !past_until_) {
    const std::size_t end = chunk.find('\n');
    const bool whole = end != std::string_view::npos;
    const std::string_view piece = chunk.substr(0, end);
    chunk.remove_prefix(whole ? end + 1 : chunk.size());
    if (rest_.size() + piece.size() > kStoredLineMax) {
      rest_.clear();
      skipping_ = true;
    }
    if (!whole) {
      if (!skipping_) rest_ += piece;
      return;
    }
    if (skipping_) {
      ++torn_;
    } else if (rest_.empty()) {
      take(piece, out);
    } else {
      rest_ += piece;
      take(rest_, out);
    }
    rest_.clear();
    skipping_ = false;
  }
}

void LogSelector::end_of_file() {
  if (!rest_.empty() || skipping_) ++torn_;
  rest_.clear();
  skipping_ = false;
}

void LogSelector::take(std::string_view line, std::string& out) {
  const std::optional<LogRecord> record = parse_log_line(line);
  if (!record) {
    ++torn_;
    return;
  }
  if (query_.until && record->at > *query_.until) {
    past_until_ = true;
    return;
  }
  if (query_.since && record->at < *query_.since) return;
  if (!(record->stream == LogStream::out ? query_.want_stdout : query_.want_stderr)) return;

  const auto stream = static_cast<std::uint8_t>(record->stream);
  const std::size_t head_at = out.size();
  if (query_.framed) append_frame(out, stream, {});
  const std::size_t payload_at = out.size();
  // The rest of a line that was begun before takes no prefix: it would stand in its middle.
  if (!inside_[stream] && query_.timestamps) out += rfc3339_nano_fixed(record->at) + " ";
  out += record->text;
  if (!record->partial) out += '\n';
  inside_[stream] = record->partial;
  ++records_;
  if (query_.framed) {
    const auto size = static_cast<std::uint32_t>(out.size() - payload_at);
    for (std::size_t i = 0; i < 4; ++i) {
      out[head_at + 4 + i] = static_cast<char>(size >> (24 - 8 * i));
    }
  }
}

TailFinder::TailFinder(std::uint64_t lines) : wanted_(lines), found_(lines == 0) {}

bool TailFinder::feed_backwards(std::string_view chunk) {
  std::size_t end = chunk.size();
  while (!found_ && end > 0) {
    const std::size_t newline = chunk.rfind('\n', end - 1);
    if (newline == std::string_view::npos) break;
    const std::size_t start = newline + 1;
    std::string head(chunk.substr(start, kHeadMax));
    if (start + kHeadMax > chunk.size()) head += next_;
    head.resize(std::min({head.size(), head.find('\n'), kHeadMax}));
    take_line(head, fed_ + (chunk.size() - start));
    end = newline;
  }
  fed_ += chunk.size();
  next_ = (std::string(chunk.substr(0, kHeadMax)) + next_).substr(0, kHeadMax);
  return found_;
}

void TailFinder::take_line(std::string_view head, std::uint64_t start_from_end) {
  const std::optional<LogRecord> record = parse_log_line(head);
  if (!record) return;
  // An unfinished line at the very end is a line too; other partial records belong to the whole
  // one behind them.
  const bool counts = !record->partial || seen_ == 0;
  if (counts && seen_ == wanted_) {
    found_ = true;
    return;
  }
  if (counts) ++seen_;
  bytes_from_end_ = start_from_end;
}

}  // namespace keepwell
