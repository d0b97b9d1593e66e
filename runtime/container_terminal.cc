#include "runtime/container_terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "runtime/passed_fd.h"

namespace keepwell {

namespace {

constexpr const char* kSocketName = "console.sock";
constexpr std::size_t kReadBytes = 16 * 1024;

}  // namespace

Status ContainerTerminal::start(UniqueFd master, const std::string& log_fifo) {
  master_ = std::move(master);
  if (!log_fifo.empty()) {
    log_.reset(::open(log_fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    if (!log_) return fail_errno("cannot open the log pipe " + log_fifo);
  }
  return master_watch_.start(master_.get(), {.readable = true}, [this](Ready) { move(); });
}

void ContainerTerminal::move() {
  char buffer[kReadBytes];
  ssize_t got = read(master_.get(), buffer, sizeof buffer);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return master_watch_.stop();  // EIO: nobody has the other side open
  if (!log_) return;
  pending_.assign(buffer, static_cast<std::size_t>(got));
  if (flush()) return;
  master_watch_.stop();
  Status watched = log_watch_.start(log_.get(), {.writable = true}, [this](Ready) {
    if (!flush()) return;
    log_watch_.stop();
    (void)master_watch_.start(master_.get(), {.readable = true}, [this](Ready) { move(); });
  });
  if (!watched) pending_.clear();
}

// Whether all is in the FIFO, or can never be.
bool ContainerTerminal::flush() {
  while (!pending_.empty()) {
    ssize_t put = write(log_.get(), pending_.data(), pending_.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return false;
    if (put < 0) pending_.clear();
    if (put > 0) pending_.erase(0, static_cast<std::size_t>(put));
  }
  return true;
}

void ContainerTerminal::finish() {
  if (!master_) return;
  master_watch_.stop();
  log_watch_.stop();
  char buffer[kReadBytes];
  while (log_ && flush()) {
    ssize_t got = read(master_.get(), buffer, sizeof buffer);
    if (got <= 0) break;
    pending_.assign(buffer, static_cast<std::size_t>(got));
  }
  pending_.clear();
  log_.reset();
  master_.reset();
}

Status ContainerTerminal::resize(int rows, int columns) {
  winsize size{};
  size.ws_row = static_cast<unsigned short>(std::clamp(rows, 0, 0xffff));
  size.ws_col = static_cast<unsigned short>(std::clamp(columns, 0, 0xffff));
  if (ioctl(master_.get(), TIOCSWINSZ, &size) != 0) return fail_errno("cannot resize the terminal");
  return {};
}

Result<ConsoleSocket> ConsoleSocket::open(const std::string& dir) {
  ConsoleSocket made;
  made.dir_.reset(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!made.dir_) return fail_errno("cannot open " + dir);
  unlinkat(made.dir_.get(), kSocketName, 0);
  made.listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = made.path();
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (!made.listener_ ||
      bind(made.listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(made.listener_.get(), 1) != 0)
    return fail_errno("cannot make a console socket in " + dir);
  return made;
}

std::string ConsoleSocket::path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(dir_.get()) + "/" +
         kSocketName;
}

Result<UniqueFd> ConsoleSocket::take() {
  UniqueFd peer(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  UniqueFd master = peer ? receive_descriptor(peer.get()) : UniqueFd();
  unlinkat(dir_.get(), kSocketName, 0);
  if (!master) return fail(Errc::os, "cannot get the container's terminal: the runtime sent none");
  return master;
}

UniqueFd receive_descriptor(int socket) {
  char name[4096];  // of the terminal: runc sends it along
  UniqueFd fd;
  (void)receive_with_fd(socket, name, sizeof name, fd, MSG_DONTWAIT);
  return fd;
}

}  // namespace keepwell
