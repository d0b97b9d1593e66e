// The networks of one run directory's containers, as they are on this host:
//
//   <run_dir>/networks/<id>.json   what a container has (network_record.h)
//   <run_dir>/networks/<id>.ns     its network namespace, bound to a file: it is there before the
//                                  container and outlives the agent; the OCI runtime joins it
//   <run_dir>/networks/host.ns     where the bridges are without root, with pasta for the way out
//   <run_dir>/networks/<id>.ports  without root: who serves its published ports (port_forwards.h)
//   <run_dir>/networks/netavark/   netavark's own, and aardvark-dns's
//
// A container gets a namespace with each start, with the addresses and published ports of the start
// before where they are free. One netavark runs at a time, since it makes bridges and chains on the
// way; each is a child of the keeper with a deadline. What a killed agent leaves is in its files,
// and is taken down by the next one.
//
// Where a teardown fails (the firewall was reloaded underneath, the namespace is gone), all of it
// is set up once more in a fresh namespace and then taken down; and where that fails too, what is
// ours is removed by hand.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/result.h"
#include "config/spec.h"
#include "runtime/host_command.h"
#include "runtime/network/firewall_rules.h"
#include "runtime/network/helper_process.h"
#include "runtime/network/netavark.h"
#include "runtime/network/network_plan.h"
#include "runtime/network/network_record.h"
#include "runtime/network/port_forwards.h"
#include "runtime/network/port_hold.h"
#include "runtime/timer.h"

namespace keepwell {

struct NetworkOrder {
  NetworkClient client;
  std::vector<NetworkUse> uses;
  std::vector<PortSpec> ports;
  bool implicit = false;  // without netavark it runs with loopback alone
};

class Networks {
 public:
  struct Options {
    std::string run_dir;
    bool rootless = false;  // the host's network is not ours: bridges are in a namespace between
    std::function<void(const std::string&)> on_warning;
  };
  // REQUIRES: LOOP and COMMANDS outlive it.
  Networks(Loop& loop, HostCommands& commands, Options options);
  ~Networks();

  // Reads what is there of an earlier agent, and holds its ports.
  Status open();

  // Makes namespace, interfaces and rules of a container, after taking down what is left of its
  // last run. ON_DONE is called once, later; null: it has loopback alone, in a namespace of the
  // runtime's. Errc::not_found without netavark, Errc::conflict where a port, an address or a
  // subnet is taken.
  using SetUp = std::function<void(Result<const NetworkRecord*>)>;
  void set_up(NetworkOrder order, SetUp on_done);

  // Gives container ID the namespace of the one whose process is behind PIDFD. Errc::not_found
  // where that has ended.
  Status share(const std::string& id, const std::string& name, const std::string& target_id,
               int target_pid, int target_pidfd);

  // Takes down what container ID has; ON_DONE is called once, later.
  void tear_down(const std::string& id, std::function<void()> on_done);

  // What a container has; null: nothing, or loopback alone.
  const NetworkRecord* find(const std::string& id) const;
  // Id of the container whose network it has; empty: nobody else's.
  std::string shared_with(const std::string& id) const;
  std::string namespace_path(const std::string& id) const { return path(id, ".ns"); }
  std::vector<std::string> ids() const;

  // Addresses that the file gives: nobody else gets them. By name of network.
  void reserve(std::map<std::string, std::set<std::string>> addresses) {
    reserved_ = std::move(addresses);
  }

  // Puts back the rules of containers that are missing (the firewall was reloaded underneath), as
  // soon as nothing else is under way. The containers' own interfaces are not touched.
  void put_rules_back();

  // Nothing is under way, nor anything left to remove. Before the program ends: finish(), then
  // wait.
  bool quiet() const { return !busy_ && jobs_.empty() && !tidy_due_; }
  void finish();

 private:
  struct SetUpJob;
  using Step = std::function<void()>;

  std::string path(const std::string& id, const char* suffix) const {
    return dir_ + "/" + id + suffix;
  }
  std::string pasta_pid() const { return dir_ + "/pasta.pid"; }
  void warn(const std::string& text) const {
    if (options_.on_warning) options_.on_warning(text);
  }
  void add_job(Step job);
  void next_job();
  void job_done();

  void begin_set_up(const std::shared_ptr<SetUpJob>& job);
  void plan(const std::shared_ptr<SetUpJob>& job);
  void give_up(const std::shared_ptr<SetUpJob>& job, Error why);
  void made(const std::shared_ptr<SetUpJob>& job, const HostCommandResult& result);

  void make_host_namespace(std::function<void(Status)> on_done);
  void start_pasta(std::function<void(Status)> on_done);
  bool watch_pasta();
  void pasta_lost();
  void forward(const std::string& id, std::function<void(Status)> on_done);
  void forward_again();
  void make_namespace(const std::string& id, std::function<void(Status)> on_done);
  void remove_namespace(const std::string& id);
  void netavark(const char* verb, const NetworkRecord& record,
                std::function<void(const HostCommandResult&)> on_done);
  void netavark(std::vector<std::string> argv, const NetworkRecord& record,
                std::function<void(const HostCommandResult&)> on_done);
  void put_back(std::vector<std::string> ids, Step then);
  void take_down(const std::string& id, Step then);
  void take_down_again(const std::string& id, const std::string& complaint, Step then);
  void take_down_by_hand(const NetworkRecord& record, Step then);
  void taken_down(const std::string& id, const Step& then);
  GoneNetworks gone(const NetworkRecord& record) const;
  void remove_rules(bool v6, GoneNetworks gone, Step then);
  // What iptables-save says; none: it failed.
  void read_rules(bool v6, std::function<void(std::optional<std::string>)> on_done);
  void run(std::vector<std::string> argv, HostCommands::Done on_done, int stdin_fd = -1,
           int stdout_fd = -1);

  void tidy_soon();
  void tidy();
  void watch_dns();
  void restart_dns();
  bool find_tools();
  Status store(const NetworkRecord& record);
  NetworksInUse in_use(const std::string& id) const;

  Options options_;
  HostCommands* commands_;
  std::string dir_;
  NetavarkPlace tools_;
  std::map<std::string, NetworkRecord> records_;
  std::map<std::string, NetworkRecord> last_;  // of earlier runs
  std::map<std::string, std::set<std::string>> reserved_;
  PortHold ports_;
  PortForwards forwards_;
  std::set<std::string> unserved_;  // whose forwarder has ended
  std::deque<Step> jobs_;
  bool busy_ = false;
  bool tidy_due_ = false;  // nobody is on a network any more, and chains may be left
  bool finishing_ = false;
  int dns_failures_ = 0, pasta_failures_ = 0, forward_failures_ = 0;  // in a row
  Timer next_timer_, tidy_timer_, dns_timer_, pasta_timer_, forward_timer_;
  HelperProcess dns_, pasta_;
  std::shared_ptr<bool> alive_;
};

}  // namespace keepwell
