#include "runtime/keeper/say.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstdio>

namespace keepwell {

void say(const char* format, ...) {
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) return;
  std::array<char, 1024> line{};
  int prefix = std::snprintf(line.data(), line.size() - 1, "keepwell-keeper: ");
  va_list arguments;
  va_start(arguments, format);
  auto at = static_cast<std::size_t>(prefix);
  int n = std::vsnprintf(line.data() + at, line.size() - 1 - at, format, arguments);
  va_end(arguments);
  if (n < 0) return;
  std::size_t size = std::min(at + static_cast<std::size_t>(n), line.size() - 2);
  line[size] = '\n';
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, line.data(), size + 1);
}

}  // namespace keepwell
