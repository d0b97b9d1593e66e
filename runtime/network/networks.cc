#include "runtime/network/networks.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/memory_file.h"
#include "runtime/oci/rootfs.h"
#include "runtime/oci/runtime_finder.h"
#include "runtime/state_file.h"

namespace keepwell {
namespace {

constexpr Duration kCommandTimeout = std::chrono::seconds(30);
// A service alone on its network that is restarted needs the chains again at once.
constexpr Duration kTidyDelay = std::chrono::seconds(3);
constexpr std::size_t kAnswerMax = 1u << 20;
constexpr std::size_t kRulesMax = 64u << 20;

}  // namespace

struct Networks::SetUpJob {
  NetworkOrder order;
  SetUp on_done;
  NetworkRecord record;
};

Networks::Networks(Loop& loop, HostCommands& commands, Options options)
    : options_(std::move(options)),
      commands_(&commands),
      dir_(options_.run_dir + "/networks"),
      next_timer_(loop),
      tidy_timer_(loop),
      dns_timer_(loop),
      dns_watch_(loop),
      alive_(std::make_shared<bool>(true)) {
  tools_.config_dir = dir_ + "/netavark";
}

Networks::~Networks() { *alive_ = false; }

Status Networks::open() {
  for (const std::string& id : list_state_files(dir_, ".json")) {
    StateFileRead read = read_state_file(path(id, ".json"));
    for (const std::string& problem : read.problems) warn(problem);
    Result<NetworkRecord> record =
        read.body ? parse_record(*read.body) : fail(Errc::invalid, "it is not whole");
    if (!record || record->id != id) {
      warn("what container " + id.substr(0, 12) +
           " had of networks cannot be read; its namespace " + "goes, its rules may stay");
      remove_namespace(id);
      remove_state_file(path(id, ".json"));
      continue;
    }
    ports_.hold(id, record->ports);
    records_[id] = std::move(*record);
  }
  // Of a start that was cut short between the two files.
  for (const std::string& id : list_state_files(dir_, ".ns")) {
    if (!records_.contains(id)) remove_namespace(id);
  }
  if (access((dir_ + "/chains").c_str(), F_OK) == 0 && records_.empty()) {
    tidy_due_ = true;
    tidy_timer_.start_after(kTidyDelay, [this] { tidy(); });
  }
  watch_dns();
  return {};
}

// ---- one thing after the other

void Networks::add_job(Step job) {
  jobs_.push_back(std::move(job));
  if (!busy_ && !next_timer_.armed()) next_timer_.start_after(Duration{0}, [this] { next_job(); });
}

void Networks::next_job() {
  if (busy_ || jobs_.empty()) return;
  busy_ = true;
  Step job = std::move(jobs_.front());
  jobs_.pop_front();
  job();
}

void Networks::job_done() {
  busy_ = false;
  if (!jobs_.empty()) next_timer_.start_after(Duration{0}, [this] { next_job(); });
}

void Networks::run(std::vector<std::string> argv, HostCommands::Done on_done, int stdin_fd,
                   int stdout_fd) {
  HostCommand command;
  command.argv = std::move(argv);
  command.stdin_fd = stdin_fd;
  command.stdout_fd = stdout_fd;
  command.timeout = kCommandTimeout;
  commands_->run(command,
                 [alive = alive_, on_done = std::move(on_done)](const HostCommandResult& result) {
                   if (*alive) on_done(result);
                 });
}

bool Networks::find_tools() {
  if (tools_.netavark.empty()) {
    tools_.netavark = find_podman_helper("netavark");
    tools_.aardvark = find_podman_helper("aardvark-dns");
  }
  return !tools_.netavark.empty();
}

// ---- set-up

void Networks::set_up(NetworkOrder order, SetUp on_done) {
  auto job = std::make_shared<SetUpJob>();
  job->order = std::move(order);
  job->on_done = std::move(on_done);
  add_job([this, job] { begin_set_up(job); });
}

void Networks::begin_set_up(const std::shared_ptr<SetUpJob>& job) {
  const std::string& id = job->order.client.id;
  if (records_.contains(id)) return take_down(id, [this, job] { plan(job); });
  remove_namespace(id);
  plan(job);
}

void Networks::plan(const std::shared_ptr<SetUpJob>& job) {
  const NetworkOrder& order = job->order;
  if (!find_tools() && order.implicit) {
    warn(
        order.client.name +
        " has no network but its own loopback: netavark is not installed; install netavark and "
        "aardvark-dns, or set network_mode: none (or x-keepwell.defaults.network_mode) to say that "
        "it needs none");
    job->on_done(nullptr);
    return job_done();
  }
  if (tools_.netavark.empty()) {
    return give_up(job, {Errc::not_found, "cannot connect " + order.client.name +
                                              " to its networks: netavark is not installed; "
                                              "install netavark and aardvark-dns, or set "
                                              "network_mode: host or none"});
  }
  Status directory = make_private_dir(tools_.config_dir, 0700);
  if (!directory) return give_up(job, directory.error());
  const NetworksInUse now = in_use(order.client.id);
  Result<NetworkRecord> record = plan_networks(options_.run_dir, order.client, order.uses, now);
  if (!record) return give_up(job, record.error());
  const bool reached = std::any_of(record->endpoints.begin(), record->endpoints.end(),
                                   [](const Endpoint& e) { return !e.internal; });
  Result<std::vector<PublishedPort>> ports =
      ports_.take(order.client.id, reached ? order.ports : std::vector<PortSpec>{},
                  now.before ? now.before->ports : std::vector<PublishedPort>{});
  if (!ports) return give_up(job, ports.error());
  record->ports = std::move(*ports);
  job->record = std::move(*record);
  if (Status stored = store(job->record); !stored) return give_up(job, stored.error());
  make_namespace(order.client.id, [this, job](Status done) {
    if (!done) return give_up(job, done.error());
    netavark("setup", job->record,
             [this, job](const HostCommandResult& result) { made(job, result); });
  });
}

void Networks::made(const std::shared_ptr<SetUpJob>& job, const HostCommandResult& result) {
  if (!result.ok()) {
    const std::string why =
        result.timed_out ? "it took too long" : netavark_complaint(result.output);
    return give_up(job, {Errc::unavailable, "cannot connect " + job->record.name +
                                                " to its networks: netavark: " + why +
                                                "; keepwell doctor says what this host lacks"});
  }
  tidy_due_ = false;
  tidy_timer_.stop();
  watch_dns();
  last_[job->record.id] = job->record;
  job->on_done(find(job->record.id));
  job_done();
}

// Nothing half-made is left before it is told.
void Networks::give_up(const std::shared_ptr<SetUpJob>& job, Error why) {
  auto tell = [this, job, why = std::move(why)] {
    job->on_done(fail(why));
    job_done();
  };
  ports_.release(job->order.client.id);
  if (!records_.contains(job->order.client.id)) return tell();
  take_down(job->order.client.id, tell);
}

Status Networks::share(const std::string& id, const std::string& name, const std::string& target_id,
                       int target_pid, int target_pidfd) {
  if (Status made = make_private_dir(dir_, 0700); !made) return made;
  remove_namespace(id);
  const std::string at = namespace_path(id);
  UniqueFd file(::open(at.c_str(), O_CREAT | O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0600));
  const std::string source = "/proc/" + std::to_string(target_pid) + "/ns/net";
  if (!file || ::mount(source.c_str(), at.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    Error error = Error::os(errno, "cannot join the network of " + target_id.substr(0, 12));
    remove_namespace(id);
    return fail(error);
  }
  // Alive after it, so the number was not somebody else's.
  if (syscall(SYS_pidfd_send_signal, target_pidfd, 0, nullptr, 0) != 0) {
    remove_namespace(id);
    return fail(Errc::not_found,
                "cannot join the network of " + target_id.substr(0, 12) + ": it has ended");
  }
  NetworkRecord record;
  record.id = id;
  record.name = name;
  record.shared_with = target_id;
  return store(record);
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

void Networks::netavark(const char* verb, const NetworkRecord& record,
                        std::function<void(const HostCommandResult&)> on_done) {
  Result<UniqueFd> input = memory_file(netavark_input(record));
  Result<UniqueFd> answer = memory_file();
  if (!input || !answer) {
    HostCommandResult failed;
    failed.output = (input ? answer : input).error().text;
    return on_done(failed);
  }
  const int in = input->get(), out = answer->get();
  auto kept =
      std::make_shared<std::pair<UniqueFd, UniqueFd>>(std::move(*input), std::move(*answer));
  run(
      netavark_argv(tools_, verb, namespace_path(record.id)),
      [kept, on_done = std::move(on_done)](const HostCommandResult& result) {
        HostCommandResult whole = result;
        whole.output += "\n" + memory_file_text(kept->second.get(), kAnswerMax);
        on_done(whole);
      },
      in, out);
}

// ---- teardown

void Networks::tear_down(const std::string& id, std::function<void()> on_done) {
  add_job([this, id, on_done = std::move(on_done)] {
    take_down(id, [this, on_done] {
      on_done();
      job_done();
    });
  });
}

void Networks::take_down(const std::string& id, Step then) {
  auto found = records_.find(id);
  if (found == records_.end() || found->second.endpoints.empty() || !find_tools()) {
    return taken_down(id, then);
  }
  netavark("teardown", found->second,
           [this, id, then = std::move(then)](const HostCommandResult& result) {
             if (result.ok()) return taken_down(id, then);
             take_down_again(id, netavark_complaint(result.output), then);
           });
}

void Networks::take_down_again(const std::string& id, const std::string& complaint, Step then) {
  const NetworkRecord record = records_.at(id);
  make_namespace(id, [this, record, complaint, then = std::move(then)](Status made) {
    auto by_hand = [this, record, then, complaint](const std::string& more) {
      warn("netavark cannot take down the networks of " + record.name + ": " + complaint +
           (more.empty() ? "" : "; " + more) + "; what is left of them is removed by hand");
      take_down_by_hand(record, [this, id = record.id, then] { taken_down(id, then); });
    };
    if (!made) return by_hand(made.error().text);
    netavark("setup", record, [this, record, then, by_hand](const HostCommandResult& result) {
      if (!result.ok()) return by_hand(netavark_complaint(result.output));
      netavark("teardown", record, [this, record, then, by_hand](const HostCommandResult& again) {
        if (!again.ok()) return by_hand(netavark_complaint(again.output));
        taken_down(record.id, then);
      });
    });
  });
}

// What of RECORD nobody else has.
GoneNetworks Networks::gone(const NetworkRecord& record) const {
  GoneNetworks gone;
  gone.containers.insert(record.id);
  for (const Endpoint& e : record.endpoints) {
    gone.bridges.insert(e.bridge);
    for (const EndpointSubnet& s : e.subnets) gone.subnets.insert(to_string(s.subnet));
  }
  for (const auto& [id, other] : records_) {
    if (id == record.id) continue;
    for (const Endpoint& e : other.endpoints) {
      gone.bridges.erase(e.bridge);
      for (const EndpointSubnet& s : e.subnets) gone.subnets.erase(to_string(s.subnet));
    }
  }
  return gone;
}

void Networks::take_down_by_hand(const NetworkRecord& record, Step then) {
  remove_namespace(record.id);  // and with it the interfaces in it, and their other ends
  GoneNetworks left = gone(record);
  auto bridges =
      std::make_shared<std::vector<std::string>>(left.bridges.begin(), left.bridges.end());
  auto next = std::make_shared<Step>();
  *next = [this, bridges, left, then = std::move(then), weak = std::weak_ptr<Step>(next)] {
    if (bridges->empty()) {
      return remove_rules(false, left, [this, left, then] { remove_rules(true, left, then); });
    }
    const std::string bridge = bridges->back();
    bridges->pop_back();
    run({"ip", "link", "delete", bridge, "type", "bridge"},
        [again = weak.lock()](const HostCommandResult&) { (*again)(); });
  };
  (*next)();
}

void Networks::taken_down(const std::string& id, const Step& then) {
  remove_namespace(id);
  ports_.release(id);
  const bool networked = records_.contains(id) && !records_.at(id).endpoints.empty();
  records_.erase(id);
  remove_state_file(path(id, ".json"));
  const bool last = std::none_of(records_.begin(), records_.end(),
                                 [](const auto& each) { return !each.second.endpoints.empty(); });
  if (networked && last) {
    tidy_due_ = true;
    tidy_timer_.start_after(finishing_ ? Duration{0} : kTidyDelay, [this] { tidy(); });
  }
  then();
}

// iptables-save | rules_to_remove() | iptables-restore.
void Networks::remove_rules(bool v6, GoneNetworks gone, Step then) {
  Result<UniqueFd> made = memory_file();
  if (!made) return then();
  const int out = made->get();
  auto saved = std::make_shared<UniqueFd>(std::move(*made));
  run(
      {v6 ? "ip6tables-save" : "iptables-save"},
      [this, v6, saved, gone = std::move(gone),
       then = std::move(then)](const HostCommandResult& result) {
        const std::string script = rules_to_remove(memory_file_text(saved->get(), kRulesMax), gone);
        Result<UniqueFd> input = memory_file(script);
        if (!result.ok() || script.empty() || !input) return then();
        const int in = input->get();
        auto kept = std::make_shared<UniqueFd>(std::move(*input));
        run(
            {v6 ? "ip6tables-restore" : "iptables-restore", "--noflush", "--wait"},
            [this, kept, then](const HostCommandResult& restored) {
              if (!restored.ok()) {
                warn("cannot remove netavark's chains from the firewall: " + restored.output);
              }
              then();
            },
            in);
      },
      -1, out);
}

void Networks::tidy() {
  tidy_timer_.stop();
  add_job([this] {
    if (!tidy_due_) return job_done();
    remove_rules(false, {}, [this] {
      remove_rules(true, {}, [this] {
        tidy_due_ = false;
        ::unlink((dir_ + "/chains").c_str());
        job_done();
      });
    });
  });
}

void Networks::finish() {
  finishing_ = true;
  dns_watch_.stop();
  dns_timer_.stop();
  if (tidy_due_ && tidy_timer_.armed()) tidy();
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

// ---- records

const NetworkRecord* Networks::find(const std::string& id) const {
  auto found = records_.find(id);
  if (found == records_.end()) return nullptr;
  if (found->second.shared_with.empty()) return &found->second;
  auto shared = records_.find(found->second.shared_with);
  return shared == records_.end() || !shared->second.shared_with.empty() ? nullptr
                                                                         : &shared->second;
}

std::string Networks::shared_with(const std::string& id) const {
  auto found = records_.find(id);
  return found == records_.end() ? std::string() : found->second.shared_with;
}

std::vector<std::string> Networks::ids() const {
  std::vector<std::string> all;
  for (const auto& [id, record] : records_) all.push_back(id);
  return all;
}

Status Networks::store(const NetworkRecord& record) {
  Status written = write_state_file(path(record.id, ".json"), record_text(record));
  if (!written) return written;
  records_[record.id] = record;
  if (!record.endpoints.empty()) {
    UniqueFd mark(::open((dir_ + "/chains").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  }
  return {};
}

NetworksInUse Networks::in_use(const std::string& id) const {
  NetworksInUse now;
  now.records = records_;
  now.reserved = reserved_;
  auto before = last_.find(id);
  if (before != last_.end()) now.before = &before->second;
  Result<std::string> four = read_small_file("/proc/self/net/route", 4u << 20);
  Result<std::string> six = read_small_file("/proc/self/net/ipv6_route", 4u << 20);
  now.routes = parse_routes(four ? *four : std::string(), six ? *six : std::string());
  return now;
}

}  // namespace keepwell
