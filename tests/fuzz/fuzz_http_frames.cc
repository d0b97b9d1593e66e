// Any bytes as Docker's stream frames: taken apart alike however they were split (in two at each
// boundary up to 600 bytes, byte by byte, in equal pieces); and what is framed comes back whole.
// Links: agent
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/http/stream_frames.h"
#include "config/check.h"

using namespace keepwell;

namespace {

// The first piece has FIRST bytes, the others STEP.
std::string take_apart(std::string_view bytes, std::size_t first, std::size_t step) {
  FrameSplitter splitter;
  std::string streams[4];
  bool good = true;
  for (std::size_t at = 0, next = first; at < bytes.size() && good; at = next, next += step)
    good = splitter.feed(bytes.substr(at, next - at),
                         [&](std::uint8_t stream, std::string_view payload) {
                           KW_CHECK(stream <= 3 && !payload.empty());
                           streams[stream].append(payload);
                           return true;
                         });
  KW_CHECK(good != splitter.bad());
  return streams[0] + "|" + streams[1] + "|" + streams[2] + "|" + streams[3] +
         (splitter.bad()      ? "bad"
          : splitter.inside() ? "inside"
                              : "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = take_apart(bytes, size, size);
  KW_CHECK(take_apart(bytes, 1, 1) == whole);
  KW_CHECK(take_apart(bytes, 1u + data[0], 1u + data[0]) == whole);
  if (size <= 600)
    for (std::size_t at = 1; at < size; ++at) KW_CHECK(take_apart(bytes, at, size) == whole);
  const std::string framed = frame_bytes(FrameStream::err, bytes);
  KW_CHECK(take_apart(framed, 1u + data[0], 1u + data[0]) == "||" + std::string(bytes) + "|");
  return 0;
}
