// The part of Networks that has to do with namespaces, and with the two programs that stay: pasta,
// aardvark-dns and what forwards ports.
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "runtime/network/networks.h"
#include "runtime/oci/rootfs.h"
#include "runtime/oci/runtime_finder.h"
#include "runtime/state_file.h"

namespace keepwell {
namespace {

constexpr Duration kPastaTimeout = std::chrono::seconds(30);

// Before the next try of something that has failed so often in a row.
Duration retry_delay(int failures) { return std::chrono::seconds(1 << std::min(failures, 6)); }

}  // namespace

void Networks::make_host_namespace(std::function<void(Status)> on_done) {
  make_namespace("host", [this, on_done = std::move(on_done)](Status made) {
    if (!made) return on_done(made);
    run({"ip", "link", "set", "lo", "up"}, [this, on_done](const HostCommandResult&) {
      start_pasta([this, on_done](const Status& started) {
        if (!started) {
          warn("containers reach each other and nothing else: " + started.error().text +
               "; keepwell doctor says more");
        }
        on_done({});
      });
    });
  });
}

// ---- the way out

void Networks::start_pasta(std::function<void(Status)> on_done) {
  const std::string pasta = find_program("pasta");
  if (pasta.empty()) return on_done(fail(Errc::not_found, "pasta is not installed"));
  if (access("/dev/net/tun", R_OK | W_OK) != 0)
    return on_done(fail(Errc::denied, "this user may not open /dev/net/tun"));
  // It is to be where we are, and to reach in there. What listens on this host's loopback is not
  // the containers' business.
  HostCommand command;
  command.argv = {pasta,         "--quiet",   "--config-net", "--no-map-gw",
                  "--tcp-ports", "none",      "--udp-ports",  "none",
                  "--tcp-ns",    "none",      "--udp-ns",     "none",
                  "--pid",       pasta_pid(), "--netns",      namespace_path("host")};
  command.timeout = kPastaTimeout;
  commands_->run(command, [this, on_done = std::move(on_done),
                           alive = alive_](const HostCommandResult& result) {
    if (!*alive) return;
    if (!result.ok()) return on_done(fail(Errc::os, "pasta: " + result.output));
    if (!watch_pasta()) return on_done(fail(Errc::os, "pasta has ended at once"));
    on_done({});
  });
}

bool Networks::watch_pasta() {
  return pasta_.find(pasta_pid(), pasta_pid(), [this] { pasta_lost(); });
}

// Without it containers have no way out; what they have among each other, and their published
// ports, go on.
void Networks::pasta_lost() {
  if (finishing_) return;
  pasta_timer_.start_after(retry_delay(pasta_failures_), [this] {
    add_job([this] {
      if (finishing_ || pasta_.alive() || !is_mount_point(namespace_path("host")))
        return job_done();
      start_pasta([this](const Status& started) {
        if (started) warn("pasta had ended, and was started again: containers have a way out");
        if (!started && pasta_failures_ == 0)
          warn("containers have no way out any more: " + started.error().text);
        pasta_failures_ = started ? 0 : pasta_failures_ + 1;
        if (!started) pasta_lost();
        job_done();
      });
    });
  });
}

// ---- published ports of an ordinary user

void Networks::forward(const std::string& id, std::function<void(Status)> on_done) {
  const NetworkRecord& record = records_.at(id);
  if (!options_.rootless || record.ports.empty()) return on_done({});
  if (ports_.sockets(id).size() != record.ports.size()) ports_.hold(id, record.ports);
  forwards_.start(record, ports_.sockets(id),
                  [name = record.name, on_done = std::move(on_done)](const Status& started) {
                    if (started) return on_done({});
                    on_done(fail(started.error().with("cannot publish the ports of " + name)));
                  });
}

void Networks::forward_again() {
  if (finishing_) return;
  forward_timer_.start_after(retry_delay(forward_failures_), [this] {
    for (const std::string& id : std::exchange(unserved_, {})) {
      add_job([this, id] {
        if (finishing_ || !records_.contains(id) || forwards_.find(id)) return job_done();
        forward(id, [this, id](const Status& served) {
          if (!served && forward_failures_ == 0) warn(served.error().text);
          if (served)
            warn("what served the ports of " + records_.at(id).name +
                 " had ended, and was started again");
          forward_failures_ = served ? 0 : forward_failures_ + 1;
          if (!served) {
            unserved_.insert(id);
            forward_again();
          }
          job_done();
        });
      });
    }
  });
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
  const std::string config = tools_.config_dir + "/aardvark-dns";
  const bool found = dns_.find(config + "/aardvark.pid", config, [this] {
    // The last container's teardown ends it too.
    dns_timer_.start_after(std::chrono::seconds(1), [this] { watch_dns(); });
  });
  if (found) {
    dns_failures_ = 0;
    return;
  }
  dns_timer_.start_after(retry_delay(dns_failures_), [this] { restart_dns(); });
}

void Networks::restart_dns() {
  add_job([this] {
    const std::string config = tools_.config_dir + "/aardvark-dns";
    std::vector<std::string> argv = {tools_.aardvark, "--config", config, "-p", "53", "run"};
    const bool wanted = std::any_of(records_.begin(), records_.end(), [](const auto& each) {
      return !each.second.endpoints.empty();
    });
    if (!wanted || dns_.alive()) return job_done();
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
