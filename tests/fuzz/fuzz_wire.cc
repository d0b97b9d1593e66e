// A datagram of any bytes, as keeper, agent and logger receive it: it is refused, or body and text
// can be read within its bounds. The same bytes are also read as a log stream's description.
// Links: runtime
#include <sys/socket.h>

#include <cstdint>
#include <string_view>

#include "config/check.h"
#include "runtime/logger/stream_blob.h"
#include "runtime/wire_socket.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view all(reinterpret_cast<const char*>(data), size);
  if (auto blob = parse_stream_blob(all)) {
    KW_CHECK(!blob->log_path.empty() && !blob->record_path.empty() && blob->files_max >= 1);
    KW_CHECK(parse_stream_blob(encode_stream_blob(*blob))->log_path == blob->log_path);
  }
  static wire::SocketPair pair = wire::make_pair();
  // The header a reader would believe is put in front, so that more than its magic is tried.
  if (size >= 2) {
    wire::MessageHead head{
        wire::kMagic, data[0], data[1], static_cast<std::uint32_t>(data[0]) * 2, 0, 1};
    std::string message(reinterpret_cast<const char*>(&head), sizeof(head));
    message += all.substr(2, wire::kMessageBytesMax / 2);
    send(pair.ours.get(), message.data(), message.size(), 0);
  }
  if (size > 0)
    send(pair.ours.get(), all.data(), std::min<std::size_t>(size, wire::kMessageBytesMax), 0);
  wire::Datagram got;
  for (;;) {
    wire::Received received = wire::receive(pair.theirs.get(), got);
    if (received == wire::Received::nothing) return 0;
    KW_CHECK(received != wire::Received::closed);
    if (received != wire::Received::message) continue;
    auto spawn = got.body<wire::Spawn>();
    wire::Text text(got);
    std::string cgroup = text.take(spawn.kill_cgroup_bytes);
    std::string key = text.take(spawn.key_bytes);
    KW_CHECK(cgroup.size() + key.size() <= got.bytes.size());
    KW_CHECK(!text.ok() ||
             (cgroup.size() == spawn.kill_cgroup_bytes && key.size() == spawn.key_bytes));
    (void)got.body<wire::Exited>();
    (void)got.body<wire::Stats>();
  }
}
