#include "runtime/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>

#include <csignal>
#include <ctime>

namespace keepwell {

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

std::optional<TerminalSize> terminal_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return std::nullopt;
  return TerminalSize{size.ws_row, size.ws_col};
}

// ---- RawTerminal

struct RawTerminal::Saved {
  termios settings{};
};

Result<RawTerminal> RawTerminal::enter(int fd) {
  auto saved = std::make_unique<Saved>();
  if (::tcgetattr(fd, &saved->settings) != 0) return fail_errno("cannot read terminal settings");
  termios raw = saved->settings;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) != 0) return fail_errno("cannot set terminal to raw mode");
  return RawTerminal(fd, std::move(saved));
}

RawTerminal::RawTerminal(int fd, std::unique_ptr<Saved> saved)
    : fd_(fd), saved_(std::move(saved)) {}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : fd_(other.fd_), saved_(std::move(other.saved_)) {}

RawTerminal::~RawTerminal() {
  if (saved_) ::tcsetattr(fd_, TCSADRAIN, &saved_->settings);
}

// ---- SignalQueue

Result<SignalQueue> SignalQueue::open(const std::vector<int>& signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return fail_errno("cannot block signals");
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno("cannot wait for signals");
  return SignalQueue(std::move(fd));
}

std::optional<int> SignalQueue::take() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

// ---- descriptors

Status wait_for_io(std::vector<Waiting>& items) {
  std::vector<pollfd> polls;
  for (const Waiting& item : items) {
    const int events = (item.want_read ? POLLIN : 0) | (item.want_write ? POLLOUT : 0);
    polls.push_back({events == 0 ? -1 : item.fd, static_cast<short>(events), 0});
  }
  while (::poll(polls.data(), polls.size(), -1) < 0)
    if (errno != EINTR) return fail_errno("cannot wait for input");
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i].readable = items[i].want_read && (polls[i].revents & ~POLLOUT) != 0;
    items[i].writable = items[i].want_write && (polls[i].revents & ~POLLIN) != 0;
  }
  return {};
}

Result<std::size_t> send_some(int fd, std::string_view bytes) {
  const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n >= 0) return static_cast<std::size_t>(n);
  if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
  return fail_errno("cannot send to the agent");
}

Status write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pollfd poll{fd, POLLOUT, 0};
      ::poll(&poll, 1, -1);
      continue;
    }
    if (n < 0) return fail_errno("cannot write");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<std::string_view> read_some(int fd, std::string& buffer) {
  while (true) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n >= 0) return std::string_view(buffer.data(), static_cast<std::size_t>(n));
    if (errno == EAGAIN) {
      pollfd poll{fd, POLLIN, 0};
      ::poll(&poll, 1, -1);
    } else if (errno == EIO) {
      return std::string_view();  // the other side of a terminal is gone
    } else if (errno != EINTR) {
      return fail_errno("cannot read");
    }
  }
}

void shutdown_sending(int fd) { ::shutdown(fd, SHUT_WR); }

void ignore_sigpipe() { std::signal(SIGPIPE, SIG_IGN); }

LocalZone local_zone(WallTime at) {
  const std::time_t seconds = static_cast<std::time_t>(
      std::chrono::floor<std::chrono::seconds>(at.time_since_epoch()).count());
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return {static_cast<int>(local.tm_gmtoff), local.tm_zone ? local.tm_zone : "UTC"};
}

}  // namespace keepwell
