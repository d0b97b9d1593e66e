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
constexpr std::size_t kAnswerMax = 1u << 20;

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
      ports_(options_.rootless),
      forwards_(
          loop, dir_,
          [this](std::vector<std::string> argv, HostCommands::Done done, int stdin_fd) {
            run(std::move(argv), std::move(done), stdin_fd);
          },
          [this](const std::string& id) {
            unserved_.insert(id);
            forward_again();
          }),
      next_timer_(loop),
      tidy_timer_(loop),
      dns_timer_(loop),
      pasta_timer_(loop),
      forward_timer_(loop),
      dns_(loop),
      pasta_(loop),
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
    if (options_.rootless && !record->ports.empty() && !forwards_.find(id)) unserved_.insert(id);
    last_[id] = *record;
    records_[id] = std::move(*record);
  }
  if (options_.rootless) {
    forwards_.end_others([this](const std::string& id) { return records_.contains(id); });
    if (!unserved_.empty()) forward_again();
    if (is_mount_point(namespace_path("host")) && !watch_pasta()) pasta_lost();
  }
  // Of a start that was cut short between the two files.
  for (const std::string& id : list_state_files(dir_, ".ns")) {
    if (!records_.contains(id) && id != "host") remove_namespace(id);
  }
  if (access((dir_ + "/chains").c_str(), F_OK) == 0 && records_.empty()) {
    tidy_soon();
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
  const std::string host = namespace_path("host");
  if (options_.rootless && is_mount_point(host)) {
    command.argv.insert(command.argv.begin(), {"nsenter", "--net=" + host, "--"});
  }
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
    // netavark makes its rules through it.
    if (find_program("iptables").empty()) return false;
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
        " has no network but its own loopback: netavark or iptables is missing; install netavark "
        "and "
        "aardvark-dns, or set network_mode: none (or x-keepwell.defaults.network_mode) to say that "
        "it needs none");
    job->on_done(nullptr);
    return job_done();
  }
  if (tools_.netavark.empty()) {
    return give_up(job, {Errc::not_found, "cannot connect " + order.client.name +
                                              " to its networks: netavark or iptables is missing; "
                                              "install netavark and aardvark-dns, or set "
                                              "network_mode: host or none"});
  }
  Status directory = make_private_dir(tools_.config_dir, 0700);
  if (!directory) return give_up(job, directory.error());
  if (options_.rootless && !is_mount_point(namespace_path("host"))) {
    return make_host_namespace([this, job](Status made) {
      if (!made) return give_up(job, made.error());
      plan(job);
    });
  }
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
  forward(job->record.id, [this, job](Status served) {
    if (!served) return give_up(job, served.error());
    job->on_done(find(job->record.id));
    job_done();
  });
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

void Networks::netavark(const char* verb, const NetworkRecord& record,
                        std::function<void(const HostCommandResult&)> on_done) {
  netavark(netavark_argv(tools_, verb, namespace_path(record.id)), record, std::move(on_done));
}

void Networks::netavark(std::vector<std::string> argv, const NetworkRecord& record,
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
      std::move(argv),
      [kept, on_done = std::move(on_done)](const HostCommandResult& result) {
        HostCommandResult whole = result;
        whole.output += "\n" + memory_file_text(kept->second.get(), kAnswerMax);
        on_done(whole);
      },
      in, out);
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
