// systemd-journald's native protocol: one datagram with fields to its socket, without its library.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

using JournaldFields = std::vector<std::pair<std::string_view, std::string_view>>;

// The datagram for FIELDS; a value may hold any bytes.
std::string journald_message(const JournaldFields& fields);

class JournaldSocket {
 public:
  // $KEEPWELL_JOURNALD_SOCKET, or where journald listens. Fails where nobody does.
  static Result<JournaldSocket> connect();

  // Never waits: what journald has no room for is an Error.
  Status send(const JournaldFields& fields);

 private:
  explicit JournaldSocket(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace keepwell
