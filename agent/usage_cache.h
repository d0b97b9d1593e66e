// What running containers use, as the last scrapes found it. Measuring one takes some ten reads of
// cgroup files and one of its log's record, and a scrape may ask for a thousand: each scrape
// measures as many as fit into kUsageBudget, going on where the one before ended, and shows for the
// rest what was found before.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>

#include "config/result.h"
#include "config/time.h"
#include "exporters/container_status.h"
#include "exporters/service_usage.h"

namespace keepwell {

inline constexpr Duration kUsageBudget = std::chrono::milliseconds(20);

class UsageCache {
 public:
  // Measures containers that have a process; what fails is left out. LOOK is called for all that
  // this scrape comes to, running or not. MONO says the time.
  void refresh(std::span<const ContainerStatus* const> containers,
               const std::function<Result<ServiceUsage>(const ContainerStatus&)>& measure,
               const std::function<void(const ContainerStatus&)>& look,
               const std::function<Instant()>& mono);

  // Of the container's present run; null where it was not measured yet.
  const ServiceUsage* find(const ContainerStatus& container) const;

 private:
  struct Entry {
    std::uint64_t run = 0;
    ServiceUsage usage;
  };
  std::map<std::string, Entry> entries_;  // by id
  std::size_t next_ = 0;
};

}  // namespace keepwell
