// The part of Networks that has to do with namespaces, and with the two programs that stay: pasta
// and aardvark-dns.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "runtime/network/networks.h"
#include "runtime/oci/runtime_finder.h"
#include "runtime/state_file.h"

namespace keepwell {
namespace {

constexpr Duration kPastaTimeout = std::chrono::seconds(30);

}  // namespace

void Networks::make_host_namespace(std::function<void(Status)> on_done) {
  make_namespace("host", [this, on_done = std::move(on_done)](Status made) {
    if (!made) return on_done(made);
    run({"ip", "link", "set", "lo", "up"}, [this, on_done](const HostCommandResult&) {
      const std::string pasta = find_program("pasta");
      if (pasta.empty() || access("/dev/net/tun", R_OK | W_OK) != 0) {
        warn(std::string("containers reach each other and nothing else: ") +
             (pasta.empty() ? "pasta is not installed" : "this user may not open /dev/net/tun") +
             "; keepwell doctor says more");
        return on_done({});
      }
      // It is to be where we are, and to reach in there.
      HostCommand command;
      command.argv = {
          pasta,         "--quiet", "--config-net",      "--tcp-ports", "none",
          "--udp-ports", "none",    "--tcp-ns",          "none",        "--udp-ns",
          "none",        "--pid",   dir_ + "/pasta.pid", "--netns",     namespace_path("host")};
      command.timeout = kPastaTimeout;
      commands_->run(command, [this, on_done, alive = alive_](const HostCommandResult& result) {
        if (!*alive) return;
        if (!result.ok()) {
          warn("containers reach each other and nothing else: pasta: " + result.output);
        }
        on_done({});
      });
    });
  });
}

// It is nobody's child, and would stay for ever.
void Networks::end_pasta() {
  Result<std::string> text = read_small_file(dir_ + "/pasta.pid", 32);
  const pid_t pid = text ? std::atoi(text->c_str()) : 0;
  UniqueFd pidfd(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
  Result<std::string> name = read_small_file("/proc/" + std::to_string(pid) + "/comm", 64);
  if (pidfd && name && name->starts_with("pasta")) {
    syscall(SYS_pidfd_send_signal, pidfd.get(), SIGTERM, nullptr, 0);
  }
  ::unlink((dir_ + "/pasta.pid").c_str());
}

void Networks::make_namespace(const std::string& id, std::function<void(Status)> on_done) {
  remove_namespace(id);
  const std::string at = namespace_path(id);
  UniqueFd file(::open(at.c_str(), O_CREAT | O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return on_done(fail_errno("cannot make " + at));
  // A child makes it, so that no process of ours has to come back from there.
  run({"unshare", "--net=" + at, "--", "true"},
      [at, on_done = std::move(on_done)](const HostCommandResult& result) {
        if (result.ok()) return on_done({});
        on_done(fail(Errc::os, "cannot make a network namespace at " + at + ": " + result.output));
      });
}

void Networks::remove_namespace(const std::string& id) {
  const std::string at = namespace_path(id);
  while (::umount2(at.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
  }
  ::unlink(at.c_str());
}

// ---- names

// aardvark-dns is nobody's child; if it dies, names are not resolved until it is started again.
void Networks::watch_dns() {
  const bool wanted = std::any_of(records_.begin(), records_.end(),
                                  [](const auto& each) { return !each.second.endpoints.empty(); });
  if (!wanted || !find_tools() || tools_.aardvark.empty()) return;
  Result<std::string> text = read_small_file(tools_.config_dir + "/aardvark-dns/aardvark.pid", 32);
  const pid_t pid = text ? std::atoi(text->c_str()) : 0;
  UniqueFd pidfd(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
  if (!pidfd) {
    dns_timer_.start_after(std::chrono::seconds(1 << std::min(dns_failures_, 6)),
                           [this] { restart_dns(); });
    return;
  }
  dns_failures_ = 0;
  dns_watch_.stop();
  dns_pidfd_ = std::move(pidfd);
  (void)dns_watch_.start(dns_pidfd_.get(), {.readable = true}, [this](Ready) {
    dns_watch_.stop();
    dns_pidfd_.reset();
    // The last container's teardown ends it too.
    dns_timer_.start_after(std::chrono::seconds(1), [this] { watch_dns(); });
  });
}

void Networks::restart_dns() {
  add_job([this] {
    const std::string config = tools_.config_dir + "/aardvark-dns";
    std::vector<std::string> argv = {tools_.aardvark, "--config", config, "-p", "53", "run"};
    const bool wanted = std::any_of(records_.begin(), records_.end(), [](const auto& each) {
      return !each.second.endpoints.empty();
    });
    if (!wanted || dns_watch_.watching()) return job_done();
    run(std::move(argv), [this](const HostCommandResult& result) {
      dns_failures_ = result.ok() ? 0 : dns_failures_ + 1;
      if (!result.ok()) {
        warn("names are not resolved: cannot start aardvark-dns: " + result.output);
      }
      watch_dns();
      job_done();
    });
  });
}

}  // namespace keepwell
