// What becoming unhealthy does beside the word of on_unhealthy, and when nothing is done at all:
//   - once for each time that a check becomes unhealthy, its actions in the order of the file; the
//     word waits for the hooks before it, and is dropped where the check has passed meanwhile
//   - nothing while a dependency that excuses failures is not well itself; when that is well again
//     the service gets `retries` more probes before it is judged
#include <algorithm>
#include <utility>

#include "agent/supervisor_state.h"
#include "exporters/action_json.h"
#include "probes/rollup.h"

namespace keepwell {
namespace {

// Fit to be depended on: nobody can blame it for what fails elsewhere.
bool is_well(const Dependency& dependency, const ContainerStatus& container) {
  if (dependency.condition == DependencyCondition::completed_successfully) {
    return container.state == ServiceState::exited && container.exit_known &&
           container.exit_code == 0 && container.error.empty();
  }
  return container.state == ServiceState::running &&
         (container.health == Health::none || container.health == Health::healthy);
}

}  // namespace

// Asked at every failure while unhealthy, not only at the first: an answer that was missed (the
// agent died, the policy changed) is then given by the next one.
void Supervisor::act_on_unhealthy(Container& container, std::size_t index, bool transition) {
  ContainerStatus& status = container.status;
  CheckStatus& check = status.checks[index];
  CheckRun& run = container.checks[index];
  if (!acts(check.spec->role) || run.acted || status.stopped_by_hand || shutting_down_ ||
      status.state != ServiceState::running || container.capturing) {
    return;
  }
  if (excused(container)) {
    if (run.excused_streak == 0) {
      status.suppressed_total[static_cast<std::size_t>(SuppressReason::dependency)]++;
    }
    run.excused_streak = check.failing_streak;
    return;
  }
  if (check.failing_streak < run.excused_streak) run.excused_streak = 0;
  if (run.excused_streak > 0 &&
      check.failing_streak - run.excused_streak < std::max(1, check.spec->retries)) {
    return;
  }
  if (check.spec->observe || check.actions_done || check.spec->actions.empty()) {
    return apply_unhealthy(container, index, transition);
  }
  if (held_by_hand(container)) return;
  if (run.hook != 0) return;  // the word waits for it
  run.next_action = 0;
  go_on_acting(container, index);
}

// Whether a dependency that excuses failures of CONTAINER has no container that is well.
bool Supervisor::excused(const Container& container) const {
  const auto& dependencies = container.spec().depends_on;
  return std::any_of(dependencies.begin(), dependencies.end(), [this](const Dependency& each) {
    const auto found = by_service_.find(each.service);
    if (!each.excuses || found == by_service_.end()) return false;
    return std::none_of(found->second.begin(), found->second.end(),
                        [&](const Container* other) { return is_well(each, other->status); });
  });
}

void Supervisor::go_on_acting(Container& container, std::size_t index) {
  CheckRun& run = container.checks[index];
  CheckStatus& check = container.status.checks[index];
  const std::shared_ptr<const CheckSpec> spec = check.spec;
  while (run.next_action < spec->actions.size() && spec->actions[run.next_action].first) {
    const std::size_t next = run.next_action++;
    run.hook = begin_action(container, index, spec->actions[next]);
    if (run.hook != 0) return;
  }
  check.actions_done = true;
  save(container);
  apply_unhealthy(container, index, true);
  for (const ActionSpec& action : spec->actions) {
    if (!action.first) begin_action(container, index, action);
  }
}

// Returns the hook to wait for; 0: there is nothing to wait for.
HookId Supervisor::begin_action(Container& container, std::size_t index, const ActionSpec& action) {
  const CheckStatus& check = container.status.checks[index];
  if (action.kind == ActionKind::capture) return begin_capture(container, index);
  const HookId id = ++last_hook_;
  const ActionFacts facts{.number = id, .at = now_.wall};
  std::string body = action_json(container.status, check, facts);
  const std::shared_ptr<const ActionSpec> shared(check.spec, &action);
  if (action.kind == ActionKind::webhook) {
    actions_->push_back(SendWebhook{.action = shared, .body = std::move(body)});
    return 0;
  }
  HookOrder order;
  order.id = id;
  order.name = action.name;
  order.command = action.hook.command;
  order.timeout = action.hook.timeout;
  order.env = action_environment(container.status, check);
  order.input = std::move(body);
  hooks_[id] = {.serial = container.serial,
                .slot = container.checks[index].slot,
                .run = container.status.run,
                .name = action.name,
                .capture = {}};
  actions_->push_back(RunHook{std::move(order)});
  return id;
}

void Supervisor::on(const HookEnded& event) {
  const auto found = hooks_.find(event.hook);
  if (found == hooks_.end()) return;
  const HookRun hook = std::move(found->second);
  hooks_.erase(found);
  const auto owner = by_serial_.find(hook.serial);
  if (owner == by_serial_.end()) return;
  Container& container = *owner->second;
  Event& told = emit(container, "hook");
  told.attributes = {{"hook", hook.name}, {"exitCode", std::to_string(event.code)}};
  if (!event.error.empty()) told.attributes.emplace_back("error", event.error);
  save(container);
  action_over(container, event.hook, hook);
}

// What waited for the hook, or for the evidence, that was begun as ID.
void Supervisor::action_over(Container& container, HookId id, const HookRun& hook) {
  const std::size_t index = container.check_of_slot(hook.slot);
  if (index == container.checks.size() || container.checks[index].hook != id) return;
  container.checks[index].hook = 0;
  const ContainerStatus& status = container.status;
  if (status.run != hook.run || status.state != ServiceState::running || status.stopped_by_hand ||
      shutting_down_ || status.checks[index].status != Health::unhealthy) {
    return;
  }
  go_on_acting(container, index);
}

// CHECK has passed, or its container begins anew: what it had set off is over.
void Supervisor::forget_actions(CheckStatus& check, CheckRun& run) {
  run.acted = false;
  run.excused_streak = 0;
  run.next_action = 0;
  run.hook = 0;
  check.actions_done = false;
}

}  // namespace keepwell
