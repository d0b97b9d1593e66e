// What one http, tcp or grpc probe found, before it becomes a ProbeEnded.
#pragma once

#include <string>

#include "runtime/engine.h"

namespace keepwell {

struct NetVerdict {
  ProbeEnded::How how = ProbeEnded::How::exited;  // exited: it passed
  std::string text;                               // why it failed, or what was seen
  std::string location{};  // where a redirect leads that the check may follow; empty: a verdict

  bool passed() const { return how == ProbeEnded::How::exited; }
};

// Of a response or a tcp greeting, at most this much is read and looked at (the kubelet's figure).
inline constexpr std::size_t kNetBodyBytesMax = 10 * 1024;

}  // namespace keepwell
