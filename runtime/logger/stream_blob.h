// What travels with a log stream's descriptor from the agent through the keeper to the logger:
// where its lines go. A few "key=value" strings, each ended by NUL (paths may hold anything else);
// unknown keys are skipped, so either side may be newer.
//
//   log=/var/lib/keepwell/logs/ID/ID.log   the log file; rotated ones are ID.log.1 (newest), .2 ...
//   stream=stdout                          or stderr; both of a container share log and record
//   record=/run/keepwell/logs/ID.record    LogRecord (log_record.h): exactness, and counters
//   max_bytes=10485760                     size at which the log is rotated; 0: never
//   max_files=3                            files kept, the current one among them; at least 1
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

namespace keepwell {

// encode_stream_blob() and parse_stream_blob() are each other's inverse; numbers that cannot be
// read are 0, and files_max is then 1.
struct StreamBlob {
  std::string log_path;
  std::string stream = "stdout";
  std::string record_path;
  std::uint64_t file_bytes_max = 0;
  int files_max = 1;
};

inline std::string encode_stream_blob(const StreamBlob& blob) {
  std::string text;
  auto add = [&](std::string_view key, std::string_view value) {
    text.append(key).append("=").append(value).push_back('\0');
  };
  add("log", blob.log_path);
  add("stream", blob.stream);
  add("record", blob.record_path);
  add("max_bytes", std::to_string(blob.file_bytes_max));
  add("max_files", std::to_string(blob.files_max));
  return text;
}

// None if it names no log, no record, or an unknown stream.
inline std::optional<StreamBlob> parse_stream_blob(std::string_view text) {
  StreamBlob blob;
  while (!text.empty()) {
    std::size_t end = text.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    std::string_view entry = text.substr(0, end);
    text.remove_prefix(end + 1);
    std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    std::string_view key = entry.substr(0, equals);
    std::string value(entry.substr(equals + 1));
    if (key == "log") blob.log_path = value;
    if (key == "stream") blob.stream = value;
    if (key == "record") blob.record_path = value;
    if (key == "max_bytes") blob.file_bytes_max = std::strtoull(value.c_str(), nullptr, 10);
    if (key == "max_files") blob.files_max = std::atoi(value.c_str());
  }
  if (blob.files_max < 1) blob.files_max = 1;
  bool known = blob.stream == "stdout" || blob.stream == "stderr";
  if (!known || blob.log_path.empty() || blob.record_path.empty()) return std::nullopt;
  return blob;
}

}  // namespace keepwell
