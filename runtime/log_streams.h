// stdout and stderr of one container as FIFOs in its bundle directory. The container's side is open
// for reading and writing, so a writer never meets SIGPIPE or blocks on opening, whoever of ours
// has died; the reading side is with the keeper, which gives it to every logger.
#pragma once

#include <functional>
#include <string>

#include "config/result.h"
#include "config/spec.h"
#include "runtime/keeper_client.h"
#include "runtime/unique_fd.h"

namespace keepwell {

struct LogStreamPlace {
  std::string id;
  std::string bundle_dir;  // exists
  std::string log_path;    // its directory is made
};

struct LogStreamFds {  // the container's ends
  UniqueFd out, err;
};

// Makes the FIFOs (existing ones are taken over) and hands their reading ends to KEEPER. Failure
// leaves nothing kept.
Result<LogStreamFds> open_log_streams(KeeperClient& keeper, const LogStreamPlace& place,
                                      const LoggingSpec& logging);

// For a container that has been running all along under another keeper: gives its FIFOs to this
// one. Those that this keeper has already are left alone.
Status adopt_log_streams(KeeperClient& keeper, const LogStreamPlace& place,
                         const LoggingSpec& logging);

// Ends both; ON_DROPPED comes when every byte in them is in the log, at once where they were not
// kept.
void drop_log_streams(KeeperClient& keeper, const std::string& id,
                      std::function<void()> on_dropped);

}  // namespace keepwell
