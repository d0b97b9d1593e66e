// The checkers of what the world is told: over all deaths of agents and keepers each thing once,
// and in an order that makes sense.
#include <algorithm>
#include <utility>

#include "tests/sim/checkers.h"

namespace keepwell {
namespace {

constexpr std::size_t kRemembered =
    64;  // events of a container that an agent may come to tell again

}  // namespace

void Checkers::asked(std::uint64_t request, const Command& command) {
  open_[request] = command;
  if (command.kind == Command::Kind::kill && command.signal == 9) {
    told_[command.container].asked_sigkills++;
  }
}

void Checkers::told(const Event& event) {
  Told& told = told_[event.id];
  told.by_ordinal[event.ordinal] = event.action;
  if (told.by_ordinal.size() > kRemembered) told.by_ordinal.erase(told.by_ordinal.begin());
  const auto odd = [&](bool condition, const std::string& text) {
    if (condition && !told.unsure)
      complain(event.name + " (" + event.id.substr(0, 6) + "): " + text);
  };
  if (event.action == "create") {
    odd(told.created, "was told twice to be created");
    told.created = true;
  } else if (event.action == "start") {
    odd(told.alive, "was told to start twice");
    Told born;
    born.created = born.alive = true;
    born.by_ordinal = std::move(told.by_ordinal);
    told = std::move(born);
  } else if (event.action == "die") {
    odd(!told.alive, "was told to end and had not begun");
    told.alive = false;
  } else if (event.action == "oom") {
    odd(std::exchange(told.oom_told, true), "was told twice to be out of memory");
  } else if (event.action == "kill") {
    told.kill_told = true;
    const bool sigkill = !event.attributes.empty() && event.attributes[0].second == "9";
    if (sigkill) odd(++told.sigkills > 1 + told.asked_sigkills, "its SIGKILL was told twice");
  } else if (event.action.starts_with("health_status")) {
    odd(told.health == event.action, "was told twice: " + event.action);
    told.health = event.action;
  } else if (event.action == "destroy") {
    odd(told.alive, "was told to be gone while it lived");
    told_.erase(event.id);
  }
}

void Checkers::agent_died() {
  open_.clear();
  for (auto& [id, told] : told_) told.sigkills = std::min(told.sigkills, told.sent_sigkills);
}

void Checkers::ordered(const ContainerRef& container, bool sigkill) {
  Told& told = told_[container.id];
  if (sigkill) told.sent_sigkills = told.sigkills;
  if (!told.kill_told && !told.unsure) {
    complain(container.id.substr(0, 6) + " is signalled, and nobody was told");
  }
}

void Checkers::restored(const std::set<std::string>& torn) {
  for (const std::string& id : torn) {
    told_[id].unsure = true;
    ledgers_[id].follow_unsure = true;  // it may have been to go, and not have had to follow
  }
}

// How many events of ACTION belong to this step: told in it, or already told by an agent that died
// before it could save.
int Checkers::told_in(const Step& step, const ContainerStatus& after, const Seen* before,
                      const std::string& action) {
  const std::uint64_t from = before == nullptr ? 0 : before->events_told;
  if (from == after.events_told) return 0;
  std::map<std::uint64_t, std::string> now;
  for (const Action& each : step.actions) {
    const auto* emit = std::get_if<Emit>(&each);
    if (emit == nullptr || emit->event.probe || emit->event.id != after.id) continue;
    now[emit->event.ordinal] = emit->event.action;
  }
  int count = 0;
  const auto& earlier = told_[after.id].by_ordinal;
  for (std::uint64_t ordinal = from + 1; ordinal <= after.events_told; ++ordinal) {
    const auto& source = now.contains(ordinal) ? now : earlier;
    const auto found = source.find(ordinal);
    if (found == source.end()) {
      complain(after, "event " + std::to_string(ordinal) + " was never told");
    } else if (found->second == action) {
      count++;
    }
  }
  return count;
}

void Checkers::check_told_all(const ContainerStatus& container) {
  const Told& told = told_[container.id];
  const bool alive = container.pid != 0;
  if (!told.unsure && told.alive != alive) {
    complain(container, alive ? "lives, and its start was never told" : "its end was never told");
  }
}

// A stop whose signal could not be delivered does not wait its whole grace for nothing.
void Checkers::check_undelivered(const Step& step, const ContainerStatus& after) {
  // Back to starting (which is not told) by a reload, or by another check.
  if (std::holds_alternative<Configure>(step.input) || after.health == Health::starting) {
    told_[after.id].health.clear();
  }
  if (step.failed == nullptr || step.failed->container != ContainerRef{after.id, after.run}) return;
  if (step.failed->signal != 15) return;  // one that somebody sent by hand; the stop's own went out
  const bool stopping =
      after.state == ServiceState::stopping || after.state == ServiceState::restarting;
  if (!stopping || unanswered_.contains(after.id)) return;
  if (!after.stop_deadline || *after.stop_deadline - step.now.mono > std::chrono::seconds(2)) {
    complain(after, "waits for a signal to take effect that was never delivered");
  }
}

}  // namespace keepwell
