// One http, tcp or grpc probe, run on the loop without a process: a socket made in the container's
// network namespace, one exchange, one verdict. Only IP literals and localhost are dialled, so no
// resolver is needed and nothing outside is asked. The socket is closed with a reset, so that
// thousands of probes leave no TIME_WAIT behind.
//
// Bounded by construction: kNetBodyBytesMax of an answer, 1 MiB received in all, one connection per
// address of localhost and per redirect (at most HttpCheck::redirects_max); time is the owner's
// (the Supervisor's timeout destroys the probe).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/result.h"
#include "config/spec.h"
#include "runtime/fd_watch.h"
#include "runtime/net_probe/net_verdict.h"
#include "runtime/timer.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class GrpcExchange;
class HttpExchange;
class Loop;
class TlsChannel;

class NetProbe {
 public:
  // Called once, from the loop, never from inside start(); may destroy the probe.
  using OnEnded = std::function<void(NetVerdict)>;

  // Begins a probe of CHECK in the network of the process behind PIDFD (-1: our own). Destroying it
  // ends it without a call. Fails for faults of ours and for a container that is gone
  // (Errc::not_found). REQUIRES: CHECK's kind is http, tcp or grpc; it outlives the probe.
  static Result<std::unique_ptr<NetProbe>> start(Loop& loop, int pidfd, const CheckSpec& check,
                                                 OnEnded on_ended);
  ~NetProbe();
  NetProbe(const NetProbe&) = delete;
  NetProbe& operator=(const NetProbe&) = delete;

  // Bytes received so far, for the check's accounts.
  std::uint64_t received() const { return received_; }

 private:
  NetProbe(Loop& loop, int pidfd, const CheckSpec& check, OnEnded on_ended);
  Status connect();
  void ready(Ready ready);
  void connected();
  void read_some();
  void flush();
  std::optional<NetVerdict> take(std::string_view bytes);
  std::optional<NetVerdict> take_plain(std::string_view bytes);
  NetVerdict closed_by_peer() const;
  void refused(int error_number);
  void follow(const NetVerdict& verdict);
  void end(NetVerdict verdict);

  int pidfd_;
  const CheckSpec* check_;
  OnEnded on_ended_;
  UniqueFd fd_;
  FdWatch watch_;
  Timer later_;  // a verdict known inside start() is told from the loop
  bool connected_ = false;
  bool second_address_ = false;  // localhost: ::1 after 127.0.0.1
  std::string unsent_;
  std::string greeting_;  // tcp
  std::uint64_t received_ = 0;
  std::unique_ptr<const CheckSpec> hop_;  // after a redirect; check_ is then this
  std::unique_ptr<TlsChannel> tls_;
  std::unique_ptr<HttpExchange> http_;
  std::unique_ptr<GrpcExchange> grpc_;
};

}  // namespace keepwell
