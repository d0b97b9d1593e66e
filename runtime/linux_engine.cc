#include "runtime/linux_engine.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "config/check.h"
#include "runtime/container.h"
#include "runtime/container_files.h"
#include "runtime/engine_context.h"
#include "runtime/exec_session.h"
#include "runtime/host_hooks.h"
#include "runtime/log_counters.h"
#include "runtime/network/interface_counters.h"
#include "runtime/oci/rootfs.h"
#include "runtime/probe_connection.h"
#include "runtime/probe_process.h"
#include "runtime/proc_info.h"
#include "runtime/state_file.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

constexpr Duration kSettlePoll = std::chrono::milliseconds(2);
constexpr Duration kSettleTimeout = std::chrono::seconds(5);

bool is_id(const std::string& name) {
  return name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::vector<std::string> ids_in(const std::string& dir) {
  std::vector<std::string> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end;
       it.increment(error))
    if (std::string name = it->path().filename(); is_id(name)) ids.push_back(name);
  return ids;
}

// Of container_key().
std::string id_of_key(const std::string& key) {
  return key.substr(std::string("container ").size(), 64);
}

}  // namespace

LinuxEngine::LinuxEngine(std::unique_ptr<EngineContext> context)
    : context_(std::move(context)),
      settle_timer_(context_->loop),
      hooks_(std::make_unique<HostHooks>(*context_)) {}

LinuxEngine::~LinuxEngine() = default;

Result<std::unique_ptr<LinuxEngine>> LinuxEngine::open(Loop& loop, KeeperClient& keeper,
                                                       LinuxEngineOptions options) {
  auto context = std::make_unique<EngineContext>(loop, keeper, std::move(options));
  if (Status opened = context->open(); !opened) return fail(opened.error());
  std::unique_ptr<LinuxEngine> engine(new LinuxEngine(std::move(context)));
  engine->context_->on_container_exit = [self = engine.get()](const ContainerRef& ref) {
    self->end_probes_of(ref);
  };
  engine->context_->find_running = [self = engine.get()](const std::string& project,
                                                         const std::string& service) {
    for (const auto& [id, container] : self->containers_) {
      if (!container->running() || container->order().project != project) continue;
      if (container->order().spec->name == service)
        return EngineContext::Running{id, container->pid(), container->pidfd()};
    }
    return EngineContext::Running{};
  };
  return engine;
}

Container& LinuxEngine::container(const std::string& id) {
  std::unique_ptr<Container>& found = containers_[id];
  if (!found) found = std::make_unique<Container>(*context_, id);
  return *found;
}

Container* LinuxEngine::find(const ContainerRef& ref) const {
  auto found = containers_.find(ref.id);
  return found == containers_.end() || !found->second->is(ref) ? nullptr : found->second.get();
}

void LinuxEngine::start(const StartOrder& order) { container(order.container.id).start(order); }

void LinuxEngine::adopt(const AdoptOrder& order) {
  container(order.start.container.id).adopt(order);
}

Status LinuxEngine::signal(const ContainerRef& ref, int signal) {
  Container* found = find(ref);
  if (!found)
    return fail(Errc::conflict, "cannot signal container " + ref.id + ": it is not running");
  return found->signal(signal);
}

void LinuxEngine::kill(const ContainerRef& ref) {
  if (Container* found = find(ref)) found->kill();
}

void LinuxEngine::pause(const ContainerRef& ref) { container(ref.id).freeze(ref, true); }

void LinuxEngine::resume(const ContainerRef& ref) { container(ref.id).freeze(ref, false); }

void LinuxEngine::remove(const std::string& id) {
  container(id).remove([this, id] {
    auto found = containers_.find(id);
    if (found != containers_.end() && found->second->idle()) containers_.erase(found);
  });
}

void LinuxEngine::start_probe(const ProbeOrder& order) {
  Container* found = find(order.container);
  if (!found || !found->running() || !found->plan_base()) {
    context_->later([this, id = order.id] {
      Now now = Loop::now();
      ProbeEnded ended;
      ended.probe = id;
      ended.how = ProbeEnded::How::container_gone;
      ended.error = "the container is not running";
      ended.at = now.mono;
      ended.at_wall = now.wall;
      context_->emit(std::move(ended));
    });
    return;
  }
  if (order.check->kind == ProbeKind::exec)
    begin_probe(probes_, *found, order);
  else
    begin_probe(connections_, *found, order);
}

template <class Probe>
void LinuxEngine::begin_probe(std::map<ProbeId, std::unique_ptr<Probe>>& probes, Container& in,
                              const ProbeOrder& order) {
  auto made = probes.emplace(order.id, std::make_unique<Probe>(*context_, in, order));
  KW_CHECK(made.second);
  std::optional<PressureMark> mark;
  if (order.measure_pressure) mark = mark_pressure(order.container.id);
  made.first->second->start([this, &probes, order, mark, pid = in.pid()](ProbeEnded ended) {
    const ProbeId id = order.id;
    const bool passed = ended.how == ProbeEnded::How::exited && ended.code == 0;
    if (!passed || order.look_for_tracer) ended.traced = is_traced(pid);
    if (mark && ended.how == ProbeEnded::How::killed) {
      ended.pressure = mark->until(mark_pressure(order.container.id));
    }
    std::shared_ptr<Probe> over = std::move(probes.at(id));
    probes.erase(id);
    context_->later([over] {});  // it is in the middle of calling us
    context_->emit(std::move(ended));
  });
}

PressureMark LinuxEngine::mark_pressure(const std::string& id) const {
  return PressureMark::take(cgroup_dir(id), Loop::now().mono);
}

void LinuxEngine::kill_probe(ProbeId probe) {
  if (auto found = probes_.find(probe); found != probes_.end()) return found->second->kill();
  if (auto found = connections_.find(probe); found != connections_.end())
    found->second->end(ProbeEnded::How::killed);
}

void LinuxEngine::run_hook(const HookOrder& order) { hooks_->run(order); }

void LinuxEngine::end_probes_of(const ContainerRef& ref) {
  for (auto& [id, probe] : probes_)
    if (probe->container() == ref) probe->container_ended();
  for (auto& [id, connection] : connections_)
    if (connection->container() == ref) connection->end(ProbeEnded::How::container_gone);
}

// Whether an adoption waits for the process that the keeper knows by KEY.
bool LinuxEngine::adopting(const std::string& key) const {
  auto found = containers_.find(id_of_key(key));
  return found != containers_.end() && found->second->starting() &&
         container_key(found->second->order().container) == key;
}

// Of what the keeper held for the agents before: exits that nobody asks for are forgotten, and
// processes that nobody adopts are killed. Returns whose they were.
std::set<std::string> LinuxEngine::end_unwanted_children() {
  std::set<std::string> ids;
  auto& exits = context_->inherited_exits;
  for (auto it = exits.begin(); it != exits.end();) {
    if (adopting(it->first)) {
      ++it;
      continue;
    }
    ids.insert(id_of_key(it->first));
    context_->keeper.ack(it->second.id);
    it = exits.erase(it);
  }
  auto& children = context_->inherited_children;
  for (auto it = children.begin(); it != children.end();) {
    if (adopting(it->first)) {
      ++it;
      continue;
    }
    ids.insert(id_of_key(it->first));
    context_->keeper.watch(it->second.id, [context = context_.get()](const ExitRecord& record) {
      context->keeper.ack(record.id);
    });
    if (it->second.pidfd) {
      syscall(SYS_pidfd_send_signal, it->second.pidfd.get(), SIGKILL, nullptr, 0);
    }
    it = children.erase(it);
  }
  return ids;
}

void LinuxEngine::clean_leftovers(const std::set<std::string>& known) {
  std::set<std::string> left = end_unwanted_children();
  if (context_->cgroups)
    for (const std::string& id : list_container_cgroups(*context_->cgroups))
      if (is_id(id)) left.insert(id);
  for (const std::string& id : context_->networks.ids()) left.insert(id);
  std::set<std::string> unknown;
  for (const std::string& dir :
       {context_->options.run_dir, context_->options.data_dir + "/containers"})
    for (const std::string& id : ids_in(dir)) unknown.insert(id);
  unknown.insert(left.begin(), left.end());
  std::erase_if(unknown, [&](const std::string& id) { return known.contains(id); });
  for (const std::string& id : unknown) {
    context_->warn("container " + id.substr(0, 12) +
                   " is in no record: what is left of it is killed and removed");
    container(id).discard();
    remove(id);
  }
  // Of one that has ended, by its record: an agent that died while it cleaned up after it, or a
  // record that is behind the times.
  for (const std::string& id : left)
    if (known.contains(id) && container(id).idle()) container(id).discard();
}

void LinuxEngine::settle(std::function<void()> on_settled) {
  if (settle_until_ == Instant{}) {
    settle_until_ = Loop::now().mono + kSettleTimeout;
    context_->networks.finish();
  }
  settle_timer_.start_after(kSettlePoll, [this, on_settled = std::move(on_settled)] {
    const bool busy = std::any_of(containers_.begin(), containers_.end(), [](const auto& each) {
      return !each.second->idle() && !each.second->running();
    });
    // What is under way with networks ends by itself; each command has a deadline of its own.
    const bool networks_busy = !context_->networks.quiet();
    if (networks_busy || (busy && Loop::now().mono < settle_until_)) return settle(on_settled);
    settle_until_ = {};
    on_settled();
  });
}

void LinuxEngine::leave_nothing() {
  for (const std::string& id : ids_in(context_->options.run_dir)) {
    auto found = containers_.find(id);
    if (found != containers_.end() && found->second->running()) continue;
    Status done = unmount_rootfs(context_->bundle_dir(id) + "/rootfs");
    if (!done) context_->warn(done.error().text);
  }
  if (context_->cgroups) remove_cgroup_root(*context_->cgroups);
  const bool any = std::any_of(containers_.begin(), containers_.end(),
                               [](const auto& each) { return each.second->running(); });
  if (!any && in_own_user_namespace()) release_user_namespace(context_->options.run_dir);
}

std::vector<int> LinuxEngine::pids(const std::string& id) const {
  auto found = containers_.find(id);
  if (found == containers_.end() || !found->second->running()) return {};
  if (context_->cgroups)
    if (Result<std::vector<int>> inside = container_pids(*context_->cgroups, id);
        inside && !inside->empty())
      return *inside;
  return {found->second->pid()};
}

Result<CgroupStats> LinuxEngine::stats(const std::string& id) const {
  if (!context_->cgroups)
    return fail(Errc::not_found,
                "cannot tell what " + id + " uses: this host lets keepwell make no cgroups");
  return read_cgroup_stats(*context_->cgroups, id);
}

std::string LinuxEngine::cgroup_dir(const std::string& id) const {
  return context_->cgroups ? pressure_cgroup(*context_->cgroups, id) : std::string();
}

std::string LinuxEngine::log_path(const std::string& id) const {
  return context_->container_dir(id) + "/log/container.log";
}

Result<std::unique_ptr<ExecSession>> LinuxEngine::exec(const ExecSessionOrder& order,
                                                       ExecSessionHandlers handlers) {
  Container* found = find(order.container);
  if (!found || !found->running() || !found->plan_base())
    return fail(Errc::conflict, "cannot exec: container " + order.container.id + " is not running");
  const ServiceSpec& spec = *found->order().spec;
  if (spec.exec == ExecMode::runtime && spec.runtime == RuntimeKind::oci)
    return fail(Errc::unsupported, "cannot exec in " + found->order().name +
                                       ": with x-keepwell.exec: runtime only probes are run in it");
  if (found->frozen())
    return fail(Errc::conflict, "cannot exec: container " + order.container.id + " is paused");
  return ExecSession::start(*context_, *found, order, std::move(handlers));
}

Result<ContainerFiles> LinuxEngine::files_at_rest(const std::string& id,
                                                  const std::string& rootfs) {
  const RootfsPlace place{rootfs, context_->container_dir(id),
                          context_->bundle_dir(id) + "/rootfs"};
  if (rootfs_copied(place)) return ContainerFiles::open(place.copy());
  if (!is_mount_point(place.mount_point)) {
    const std::string problem = "cannot reach the files of container " + id;
    if (rootfs.empty())
      return fail(Errc::conflict, problem + ": they are not mounted before its first start");
    for (const std::string& directory : {context_->bundle_dir(id), place.layer_dir})
      if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
        return fail_errno("cannot make " + directory);
    if (Status mounted = mount_rootfs(place); !mounted)
      return fail(Errc::conflict, problem + " before its first start: " + mounted.error().text);
  }
  return ContainerFiles::open(place.mount_point);
}

Result<UniqueFd> LinuxEngine::open_stdin(const std::string& id) {
  auto found = containers_.find(id);
  if (found == containers_.end())
    return fail(Errc::conflict, "cannot write to container " + id + ": it is not running");
  return found->second->open_stdin();
}

Status LinuxEngine::resize(const std::string& id, int rows, int columns) {
  auto found = containers_.find(id);
  if (found == containers_.end())
    return fail(Errc::unsupported, "cannot resize: container " + id + " has no terminal");
  return found->second->resize(rows, columns);
}

const NetworkRecord* LinuxEngine::networks(const std::string& id) const {
  return context_->networks.find(id);
}

std::string LinuxEngine::network_namespace(const std::string& id) const {
  const std::string path = context_->networks.namespace_path(id);
  return context_->networks.find(id) != nullptr ? path : std::string();
}

std::string LinuxEngine::network_shared_with(const std::string& id) const {
  return context_->networks.shared_with(id);
}

std::map<std::string, InterfaceCounters> LinuxEngine::network_counters(
    const std::string& id) const {
  auto found = containers_.find(id);
  if (found == containers_.end() || !found->second->running() ||
      context_->networks.find(id) == nullptr)
    return {};
  const Container& container = *found->second;
  Result<std::string> text =
      read_small_file("/proc/" + std::to_string(container.pid()) + "/net/dev", 1u << 20);
  // Alive after it, so the number was not somebody else's.
  const bool alive = syscall(SYS_pidfd_send_signal, container.pidfd(), 0, nullptr, 0) == 0;
  if (!text || !alive) return {};
  return parse_interface_counters(*text);
}

void LinuxEngine::reserve_addresses(std::map<std::string, std::set<std::string>> addresses) {
  context_->networks.reserve(std::move(addresses));
}

void LinuxEngine::put_firewall_rules_back() { context_->networks.put_rules_back(); }

std::optional<LogCounters> LinuxEngine::log_counters(const std::string& id) const {
  return read_log_counters(context_->bundle_dir(id) + "/log.record");
}

std::string LinuxEngine::runtime_name() const {
  return context_->runtime ? context_->runtime->version + " (" + context_->runtime->path + ")"
                           : std::string();
}

}  // namespace keepwell
