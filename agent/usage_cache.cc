#include "agent/usage_cache.h"

#include <set>

namespace keepwell {

void UsageCache::refresh(std::span<const ContainerStatus* const> containers,
                         const std::function<Result<ServiceUsage>(const ContainerStatus&)>& measure,
                         const std::function<void(const ContainerStatus&)>& look,
                         const std::function<Instant()>& mono) {
  std::set<std::string> present;
  for (const ContainerStatus* container : containers) present.insert(container->id);
  std::erase_if(entries_, [&](const auto& entry) { return !present.contains(entry.first); });

  const Instant end = mono() + kUsageBudget;
  for (std::size_t done = 0; done < containers.size(); ++done) {
    if (next_ >= containers.size()) next_ = 0;
    const ContainerStatus& container = *containers[next_++];
    look(container);
    if (container.pid != 0) {
      Result<ServiceUsage> usage = measure(container);
      if (usage) {
        entries_[container.id] = {container.run, *usage};
      } else {
        entries_.erase(container.id);
      }
    }
    if (mono() >= end) return;
  }
}

const ServiceUsage* UsageCache::find(const ContainerStatus& container) const {
  auto found = entries_.find(container.id);
  bool known = found != entries_.end() && found->second.run == container.run;
  return known ? &found->second.usage : nullptr;
}

}  // namespace keepwell
