#include "exporters/readiness.h"

namespace keepwell {
namespace {

std::string failure(const ContainerStatus& c) {
  if (c.state != ServiceState::failed) return {};
  return c.error.empty() ? "failed with exit code " + std::to_string(c.exit_code)
                         : "failed: " + c.error;
}

bool has_done_its_work(const ContainerStatus& c) {
  const RestartPolicy policy = c.spec->restart.policy;
  return c.state == ServiceState::exited && c.exit_known && c.exit_code == 0 &&
         !c.stopped_by_hand && (policy == RestartPolicy::no || policy == RestartPolicy::on_failure);
}

std::string unreadiness(const ContainerStatus& c) {
  if (std::string failed = failure(c); !failed.empty()) return failed;
  if (c.checks.empty() || has_done_its_work(c)) return {};
  if (c.state != ServiceState::running) return to_string(c.state);
  if (c.health == Health::none || c.health == Health::healthy) return {};
  return c.health == Health::starting ? "its checks have not passed yet" : to_string(c.health);
}

std::string lines(std::span<const ContainerStatus* const> containers,
                  std::string (*why)(const ContainerStatus&)) {
  std::string text;
  for (const ContainerStatus* c : containers)
    if (const std::string reason = why(*c); !reason.empty())
      text += (text.empty() ? "" : "\n") + c->name + ": " + reason;
  return text;
}

}  // namespace

std::string why_not_live(std::span<const ContainerStatus* const> containers) {
  return lines(containers, failure);
}

std::string why_not_ready(std::span<const ContainerStatus* const> containers) {
  return lines(containers, unreadiness);
}

}  // namespace keepwell
