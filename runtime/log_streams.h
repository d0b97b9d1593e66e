// stdout and stderr of one container as FIFOs in its bundle directory. The container's side is open
// for reading and writing, so a writer never meets SIGPIPE or blocks on opening, whoever of ours
// has died; the reading side is with the keeper, which gives it to every logger.
#pragma once

#include <cstdint>
#include <string>

#include "config/result.h"
#include "config/spec.h"
#include "runtime/keeper_client.h"
#include "runtime/unique_fd.h"

namespace keepwell {

struct LogStreamPlace {
  std::string id;
  std::uint64_t run =
      0;  // each run has pipes of its own, so that a new one need not wait for the log of the last
  std::string bundle_dir;  // exists
  std::string log_path;    // its directory is made
};

struct LogStreamFds {  // the container's ends
  UniqueFd out, err;
};

// Makes the FIFOs anew and hands their reading ends to KEEPER. Failure leaves nothing kept.
Result<LogStreamFds> open_log_streams(KeeperClient& keeper, const LogStreamPlace& place,
                                      const LoggingSpec& logging);

// The container's end of a new FIFO for its standard input, BUNDLE_DIR/stdin: open for reading and
// writing, so that it never sees an end of file, whoever writes to it comes and goes.
Result<UniqueFd> open_stdin_stream(const std::string& bundle_dir);

// For a container that has been running all along under another keeper: gives its FIFOs to this
// one. Those that this keeper has already are left alone.
Status adopt_log_streams(KeeperClient& keeper, const LogStreamPlace& place,
                         const LoggingSpec& logging);

// Ends both streams of a run. The logger reads what is still in them before it forgets them, and
// before it reads streams that are opened after this.
void drop_log_streams(KeeperClient& keeper, const std::string& id, std::uint64_t run);

// The same for whatever an earlier agent left of container ID.
void drop_all_log_streams(KeeperClient& keeper, const std::string& id);

}  // namespace keepwell
