// Saves the evidence of an incident before a restart destroys it: the last log lines, the probes
// with their outputs, the processes with what they wait in, descriptors and sockets, the cgroup's
// pressure and memory, and a command of the service's own choice in the container. One small step
// at each turn of the loop, so that nothing else waits; after `capture.timeout` it ends with what
// it has. A command that hangs is killed then.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent/supervisor_io.h"
#include "exporters/container_status.h"
#include "runtime/incident_store.h"

namespace keepwell {

class LinuxEngine;
class Loop;

class EvidenceCollector {
 public:
  // ON_CAPTURED is called once for each capture(), from the loop and never from inside. All outlive
  // the collector.
  EvidenceCollector(Loop& loop, LinuxEngine& engine, IncidentStore& store,
                    std::function<void(Captured)> on_captured);
  ~EvidenceCollector();

  // REQUIRES: STATUS is of ORDER's container.
  void capture(const Capture& order, const ContainerStatus& status);

  std::uint64_t captures_total() const { return captures_total_; }
  std::uint64_t failures_total() const { return failures_total_; }  // a file, or all, is missing

 private:
  class Run;
  void finish(std::uint64_t number, Captured captured, bool whole);

  Loop* loop_;
  LinuxEngine* engine_;
  IncidentStore* store_;
  std::function<void(Captured)> on_captured_;
  std::map<std::uint64_t, std::unique_ptr<Run>> runs_;
  std::uint64_t last_number_ = 0;
  std::uint64_t captures_total_ = 0;
  std::uint64_t failures_total_ = 0;
};

}  // namespace keepwell
