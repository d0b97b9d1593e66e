#include "runtime/journald.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace keepwell {
namespace {

// Larger ones would have to travel in a file; a log line that long helps nobody.
constexpr std::size_t kValueBytesMax = 48 * 1024;

}  // namespace

std::string journald_message(const JournaldFields& fields) {
  std::string message;
  for (const auto& [name, whole] : fields) {
    const std::string_view value = whole.substr(0, kValueBytesMax);
    message += name;
    if (value.find('\n') == std::string_view::npos) {
      message += '=';
    } else {  // its length, little-endian, in place of the equals sign
      message += '\n';
      for (int shift = 0; shift < 64; shift += 8) {
        message += static_cast<char>((static_cast<std::uint64_t>(value.size()) >> shift) & 0xff);
      }
    }
    message += value;
    message += '\n';
  }
  return message;
}

Result<JournaldSocket> JournaldSocket::connect() {
  const char* given = std::getenv("KEEPWELL_JOURNALD_SOCKET");
  const std::string path = given != nullptr ? given : "/run/systemd/journal/socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail(Errc::invalid, "cannot log to journald: its socket's path is too long");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("cannot log to journald");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("cannot log to journald at " + path);
  }
  return JournaldSocket(std::move(fd));
}

Status JournaldSocket::send(const JournaldFields& fields) {
  const std::string message = journald_message(fields);
  if (::send(fd_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) {
    return fail_errno("cannot log to journald");
  }
  return {};
}

}  // namespace keepwell
