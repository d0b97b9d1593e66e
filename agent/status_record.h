// A ContainerStatus as text, for the agent that comes after this one. Two parts: everything (JSON,
// written when a state changes) and the live part (what changes with every probe), which is in the
// first too. One list of fields serves both directions, so that what is written is what is read.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "config/result.h"
#include "exporters/container_status.h"

namespace keepwell {

// What identifies the process besides what ContainerStatus holds.
struct StatusRecord {
  ContainerStatus status;
  std::string boot_id;              // Instants and pids mean something within one boot only
  std::uint64_t live_sequence = 0;  // live records up to this one are older than the status
};

std::string encode_status(const StatusRecord& record);

// Errc::invalid for what is not such a text, or names things that this keepwell does not know.
// Fields that are absent keep their defaults, so that an older record can be read.
Result<StatusRecord> decode_status(std::string_view text);

// Only healths, streaks, probe logs, counters and restart windows; at most LIMIT bytes, for which
// the outputs of older probes are left out first.
std::string encode_live(const ContainerStatus& status, std::size_t limit);

// Applies a live part to STATUS. A check that STATUS does not have is ignored. After a failure
// STATUS is as it was. Errc::conflict: it is of another run.
Status decode_live(std::string_view text, ContainerStatus& status);

}  // namespace keepwell
