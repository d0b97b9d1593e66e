// Docker's framing of two output streams in one connection: 8 bytes {stream, 0, 0, 0, length as
// big-endian 32 bits}, then so many bytes. Both directions of it, pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace keepwell {

inline constexpr std::size_t kFrameBytesMax = 32 * 1024;  // of the frames that we write

enum class FrameStream : std::uint8_t { in = 0, out = 1, err = 2, system = 3 };

// What stands before SIZE bytes of a frame. REQUIRES: SIZE < 2^32.
std::string frame_head(FrameStream stream, std::size_t size);

// BYTES as frames of at most kFrameBytesMax; nothing for no bytes.
std::string frame_bytes(FrameStream stream, std::string_view bytes);

// Takes frames apart, however they were split.
class FrameSplitter {
 public:
  // RAW: a stream without frames (of a terminal): everything is stream 1.
  explicit FrameSplitter(bool raw = false) : raw_(raw) {}

  using Sink = std::function<bool(std::uint8_t stream, std::string_view payload)>;

  // Hands the payload in BYTES to SINK, in pieces as they come. False: SINK said so, or the bytes
  // are no frames (then bad() is set, and nothing more is taken).
  bool feed(std::string_view bytes, const Sink& sink);

  bool bad() const { return bad_; }
  // Whether a frame has begun and not ended.
  bool inside() const { return !head_.empty() || left_ > 0; }

 private:
  bool raw_;
  bool bad_ = false;
  std::string head_;
  std::uint8_t stream_ = 1;
  std::uint32_t left_ = 0;
};

}  // namespace keepwell
