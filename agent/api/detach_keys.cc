#include "agent/api/detach_keys.h"

namespace keepwell {
namespace {

// The byte of one key; -1 for what is none.
int key_byte(std::string_view key) {
  if (key.size() == 1) return static_cast<unsigned char>(key[0]);
  if (key == "DEL") return 127;
  if (key.size() != 6 || !key.starts_with("ctrl-")) return -1;
  const char c = key[5];
  if (c >= 'a' && c <= 'z') return c - 'a' + 1;
  constexpr std::string_view kOthers = "@[\\]^_";
  constexpr int kBytes[] = {0, 27, 28, 29, 30, 31};
  const std::size_t at = kOthers.find(c);
  return at == std::string_view::npos ? -1 : kBytes[at];
}

}  // namespace

Result<std::string> parse_detach_keys(std::string_view keys) {
  if (keys.empty()) keys = kDetachKeysDefault;
  const std::string given(keys);
  std::string bytes;
  while (true) {
    const std::size_t comma = keys.find(',');
    const int byte = key_byte(keys.substr(0, comma));
    if (byte < 0) return fail(Errc::invalid, "Invalid detach keys (" + given + ") provided");
    bytes += static_cast<char>(byte);
    if (comma == std::string_view::npos) return bytes;
    keys.remove_prefix(comma + 1);
  }
}

bool DetachScanner::feed(std::string_view bytes, std::string& out) {
  if (sequence_.empty()) {
    out.append(bytes);
    return false;
  }
  for (const char c : bytes) {
    if (c == sequence_[matched_]) {
      if (++matched_ == sequence_.size()) return true;
      continue;
    }
    // What was held back is the program's after all; C may begin the sequence anew.
    out.append(sequence_, 0, matched_);
    matched_ = 0;
    if (c == sequence_[0] && sequence_.size() > 1) {
      matched_ = 1;
    } else {
      out += c;
    }
  }
  return false;
}

}  // namespace keepwell
