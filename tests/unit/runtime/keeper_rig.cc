#include "tests/unit/runtime/keeper_rig.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "runtime/listener.h"
#include "runtime/timer.h"
#include "tests/catch.h"

namespace keepwell::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);

// Receives the relay's message: its pid and its control socket.
UniqueFd receive_control(int from, pid_t& pid) {
  iovec part{&pid, sizeof(pid)};
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    cmsghdr align;
  } control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) != sizeof(pid)) return {};
  cmsghdr* entry = CMSG_FIRSTHDR(&message);
  if (entry == nullptr) return {};
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(entry), sizeof(fd));
  return UniqueFd(fd);
}

}  // namespace

TempDir::TempDir() {
  char pattern[] = "/tmp/keepwell-test-XXXXXX";
  path = mkdtemp(pattern);
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

KeeperRig::KeeperRig(std::string logger) : loop_(std::move(*Loop::open())) {
  std::string socket = dir_.path + "/relay.sock";
  listener_ = std::move(*listen_unix({socket, "", 0600}));
  if (logger.empty()) logger = KEEPWELL_TEST_RELAY;
  keeper_ = fork();
  if (keeper_ == 0) {
    execl(KEEPWELL_TEST_KEEPER, "keepwell-keeper", "--logger", logger.c_str(), "--enter",
          KEEPWELL_TEST_ENTER, "--", KEEPWELL_TEST_RELAY, socket.c_str(), nullptr);
    _exit(126);
  }
}

KeeperRig::~KeeperRig() {
  client_.reset();
  if (keeper_ > 0) {
    kill(keeper_, SIGKILL);
    waitpid(keeper_, nullptr, 0);
  }
  for (pid_t pid : spawned) kill(pid, SIGKILL);
  loop_->close();
}

UniqueFd KeeperRig::become_raw_agent() {
  client_.reset();
  pollfd waiting{listener_.get(), POLLIN, 0};
  REQUIRE(poll(&waiting, 1, 20'000) == 1);
  to_relay_.reset(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(to_relay_);
  UniqueFd control = receive_control(to_relay_.get(), agent_);
  REQUIRE(control);
  return control;
}

KeeperClient& KeeperRig::become_agent(KeeperClient::Handlers handlers) {
  UniqueFd control = become_raw_agent();
  auto client = KeeperClient::open(*loop_, std::move(control), std::move(handlers));
  if (!client) FAIL(client.error().text);
  client_ = std::move(*client);
  return *client_;
}

void KeeperRig::kill_agent() {
  kill(agent_, SIGKILL);
  client_.reset();
}

void KeeperRig::exit_agent(unsigned char code) {
  REQUIRE(write(to_relay_.get(), &code, 1) == 1);
  client_.reset();
}

SpawnId KeeperRig::sh(const std::string& script, bool durable, SpawnHandlers handlers,
                      const std::string& key, const std::string& fake_enter_order) {
  UniqueFd in = text_fd(script);
  UniqueFd out(::open("/dev/null", O_RDWR | O_CLOEXEC));
  UniqueFd order = text_fd(fake_enter_order);
  auto on_started = std::move(handlers.on_started);
  handlers.on_started = [this, on_started](pid_t pid, UniqueFd pidfd) {
    spawned.push_back(pid);
    if (on_started) on_started(pid, std::move(pidfd));
  };
  auto on_exited = std::move(handlers.on_exited);
  handlers.on_exited = [this, on_exited](const ExitRecord& exit) {
    std::erase(spawned, exit.pid);
    if (on_exited) on_exited(exit);
  };
  return client_->spawn({.fds = {in.get(), out.get(), order.get()},
                         .durable = durable,
                         .kill_cgroup = "",
                         .key = key},
                        std::move(handlers));
}

bool KeeperRig::run_until(const std::function<bool()>& done) {
  Instant deadline = Loop::now().mono + kPatience;
  Timer look_again(*loop_);  // DONE may depend on more than the loop
  while (!done()) {
    if (Loop::now().mono > deadline) return false;
    look_again.start_after(std::chrono::milliseconds(5), [] {});
    loop_->run_once();
  }
  return true;
}

int KeeperRig::wait_keeper() {
  int status = -1;
  if (!run_until([&] { return waitpid(keeper_, &status, WNOHANG) == keeper_; })) return -1;
  keeper_ = 0;
  return status;
}

UniqueFd text_fd(const std::string& text) {
  UniqueFd fd(memfd_create("text", MFD_CLOEXEC));
  REQUIRE(write(fd.get(), text.data(), text.size()) == std::ssize(text));
  REQUIRE(lseek(fd.get(), 0, SEEK_SET) == 0);
  return fd;
}

std::size_t open_descriptors(pid_t pid) {
  auto all = std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace keepwell::test
