// The part of Networks that takes down: netavark's teardown, what is done where that fails, and the
// chains that it leaves.
#include <unistd.h>

#include <algorithm>

#include "runtime/memory_file.h"
#include "runtime/network/networks.h"
#include "runtime/state_file.h"

namespace keepwell {
namespace {

// A service alone on its network that is restarted needs the chains again at once.
constexpr Duration kTidyDelay = std::chrono::seconds(3);
constexpr std::size_t kRulesMax = 64u << 20;

}  // namespace

void Networks::tear_down(const std::string& id, std::function<void()> on_done) {
  add_job([this, id, on_done = std::move(on_done)] {
    take_down(id, [this, on_done] {
      on_done();
      job_done();
    });
  });
}

void Networks::take_down(const std::string& id, Step then) {
  unserved_.erase(id);
  forwards_.end(id, [this, id, then = std::move(then)] {
    auto found = records_.find(id);
    if (found == records_.end() || found->second.endpoints.empty() || !find_tools()) {
      return taken_down(id, then);
    }
    netavark("teardown", found->second, [this, id, then](const HostCommandResult& result) {
      if (result.ok()) return taken_down(id, then);
      take_down_again(id, netavark_complaint(result.output), then);
    });
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
    tidy_soon();
  }
  then();
}

void Networks::read_rules(bool v6, std::function<void(std::optional<std::string>)> on_done) {
  Result<UniqueFd> made = memory_file();
  if (!made) return on_done(std::nullopt);
  const int out = made->get();
  auto saved = std::make_shared<UniqueFd>(std::move(*made));
  run(
      {v6 ? "ip6tables-save" : "iptables-save"},
      [saved, on_done = std::move(on_done)](const HostCommandResult& result) {
        if (!result.ok()) return on_done(std::nullopt);
        on_done(memory_file_text(saved->get(), kRulesMax));
      },
      -1, out);
}

// iptables-save | rules_to_remove() | iptables-restore.
void Networks::remove_rules(bool v6, GoneNetworks gone, Step then) {
  read_rules(v6, [this, v6, gone = std::move(gone),
                  then = std::move(then)](const std::optional<std::string>& saved) {
    const std::string script = saved ? rules_to_remove(*saved, gone) : std::string();
    Result<UniqueFd> input = memory_file(script);
    if (script.empty() || !input) return then();
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
  });
}

void Networks::tidy_soon() {
  tidy_due_ = true;
  tidy_timer_.start_after(finishing_ ? Duration{0} : kTidyDelay, [this] { tidy(); });
}

void Networks::tidy() {
  tidy_timer_.stop();
  add_job([this] {
    if (!tidy_due_) return job_done();
    remove_rules(false, {}, [this] {
      remove_rules(true, {}, [this] {
        tidy_due_ = false;
        ::unlink((dir_ + "/chains").c_str());
        if (options_.rootless && finishing_) {
          return pasta_.end([this] {
            ::unlink(pasta_pid().c_str());
            remove_namespace("host");
            job_done();
          });
        }
        job_done();
      });
    });
  });
}

void Networks::finish() {
  finishing_ = true;
  dns_.forget();
  for (Timer* timer : {&dns_timer_, &pasta_timer_, &forward_timer_}) timer->stop();
  if (tidy_due_ && tidy_timer_.armed()) tidy();
}

}  // namespace keepwell
