#include "agent/http/stream_frames.h"

#include <algorithm>

namespace keepwell {
namespace {

constexpr std::size_t kHeadBytes = 8;

std::uint32_t byte_at(const std::string& text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

}  // namespace

std::string frame_head(FrameStream stream, std::size_t size) {
  std::string head(kHeadBytes, '\0');
  head[0] = static_cast<char>(stream);
  for (std::size_t i = 4; i < kHeadBytes; ++i)
    head[i] = static_cast<char>(static_cast<unsigned char>(size >> (8 * (kHeadBytes - 1 - i))));
  return head;
}

std::string frame_bytes(FrameStream stream, std::string_view bytes) {
  std::string framed;
  framed.reserve(bytes.size() + kHeadBytes * (bytes.size() / kFrameBytesMax + 1));
  while (!bytes.empty()) {
    const std::string_view payload = bytes.substr(0, kFrameBytesMax);
    bytes.remove_prefix(payload.size());
    framed += frame_head(stream, payload.size());
    framed += payload;
  }
  return framed;
}

bool FrameSplitter::feed(std::string_view bytes, const Sink& sink) {
  if (bad_) return false;
  if (raw_) return bytes.empty() || sink(1, bytes);
  while (!bytes.empty()) {
    if (left_ == 0) {
      const std::size_t take = std::min(kHeadBytes - head_.size(), bytes.size());
      head_.append(bytes.substr(0, take));
      bytes.remove_prefix(take);
      if (head_.size() < kHeadBytes) return true;
      stream_ = static_cast<std::uint8_t>(head_[0]);
      bad_ = stream_ > 3 || head_[1] != 0 || head_[2] != 0 || head_[3] != 0;
      left_ = byte_at(head_, 4) << 24 | byte_at(head_, 5) << 16 | byte_at(head_, 6) << 8 |
              byte_at(head_, 7);
      head_.clear();
      if (bad_) return false;
      continue;
    }
    const std::string_view payload = bytes.substr(0, left_);
    bytes.remove_prefix(payload.size());
    left_ -= static_cast<std::uint32_t>(payload.size());
    if (!sink(stream_, payload)) return false;
  }
  return true;
}

}  // namespace keepwell
