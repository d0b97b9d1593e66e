#include "runtime/net_probe/net_probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "config/check.h"
#include "runtime/loop.h"
#include "runtime/net_probe/grpc_exchange.h"
#include "runtime/net_probe/http_exchange.h"
#include "runtime/net_probe/redirect.h"
#include "runtime/net_probe/tls_channel.h"
#include "runtime/netns_socket.h"

namespace keepwell {

namespace {

struct Target {
  const std::string* host = nullptr;
  std::uint16_t port = 0;
  bool tls = false;
  TlsOptions options{};
};

const std::string& either(const std::string& first, const std::string& second) {
  return first.empty() ? second : first;
}

Target target_of(const CheckSpec& check) {
  switch (check.kind) {
    case ProbeKind::http: {
      const HttpCheck& http = check.http;
      return {&http.host,
              http.port,
              http.scheme == "https",
              {either(http.tls_server_name, http.host), http.tls_verify, http.tls_ca, "http/1.1"}};
    }
    case ProbeKind::grpc: {
      const GrpcCheck& grpc = check.grpc;
      return {&grpc.host,
              grpc.port,
              grpc.tls,
              {either(grpc.tls_server_name, grpc.host), grpc.tls_verify, grpc.tls_ca, "h2"}};
    }
    case ProbeKind::tcp:
      return {&check.tcp.host, check.tcp.port};
    case ProbeKind::exec:
      break;
  }
  KW_CHECK(false && "an exec check is no NetProbe");
  return {};
}

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

std::optional<Address> address_of(std::string host, std::uint16_t port, bool second) {
  if (host == "localhost") host = second ? "::1" : "127.0.0.1";
  Address address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.length = sizeof *v4;
    return address;
  }
  if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.length = sizeof *v6;
    return address;
  }
  return std::nullopt;
}

// What a peer may send, or make us send, before it has answered. Far above any honest answer; it
// bounds the work of one that floods us until the timeout.
constexpr std::uint64_t kReceivedBytesMax = 1 << 20;
constexpr std::size_t kUnsentBytesMax = 256 * 1024;

bool says_nobody_listens(int error_number) {
  return error_number == ECONNREFUSED || error_number == EHOSTUNREACH ||
         error_number == ENETUNREACH || error_number == EADDRNOTAVAIL;
}

}  // namespace

NetProbe::NetProbe(Loop& loop, int pidfd, const CheckSpec& check, OnEnded on_ended)
    : pidfd_(pidfd), check_(&check), on_ended_(std::move(on_ended)), watch_(loop), later_(loop) {}
NetProbe::~NetProbe() = default;

Result<std::unique_ptr<NetProbe>> NetProbe::start(Loop& loop, int pidfd, const CheckSpec& check,
                                                  OnEnded on_ended) {
  std::unique_ptr<NetProbe> probe(new NetProbe(loop, pidfd, check, std::move(on_ended)));
  if (Status begun = probe->connect(); !begun) return fail(begun.error());
  return probe;
}

Status NetProbe::connect() {
  Target target = target_of(*check_);
  auto address = address_of(*target.host, target.port, second_address_);
  if (!address) {
    end({ProbeEnded::How::dns,
         "cannot use host " + *target.host + ": only IP addresses and localhost are dialled"});
    return {};
  }
  int type = SOCK_STREAM | SOCK_NONBLOCK;
  Result<UniqueFd> fd = pidfd_ >= 0 ? socket_in_network_of(pidfd_, address->storage.ss_family, type)
                                    : Result<UniqueFd>(UniqueFd(::socket(address->storage.ss_family,
                                                                         type | SOCK_CLOEXEC, 0)));
  if (!fd) return fail(fd.error());
  if (!*fd) return fail_errno("cannot make a socket for a probe");
  fd_ = std::move(*fd);
  linger reset{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  int rc =
      ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->length);
  if (rc != 0 && errno != EINPROGRESS) {
    refused(errno);
    return {};
  }
  return watch_.start(fd_.get(), {.writable = true}, [this](Ready state) { ready(state); });
}

void NetProbe::refused(int error_number) {
  watch_.stop();
  fd_.reset();
  bool localhost = *target_of(*check_).host == "localhost";
  if (localhost && !second_address_ && says_nobody_listens(error_number)) {
    second_address_ = true;
    if (connect()) return;
  }
  end({says_nobody_listens(error_number) ? ProbeEnded::How::refused : ProbeEnded::How::reset,
       std::string("cannot connect to ") + *target_of(*check_).host + " port " +
           std::to_string(target_of(*check_).port) + ": " + std::strerror(error_number)});
}

void NetProbe::ready(Ready state) {
  if (!connected_) {
    int error_number = 0;
    socklen_t length = sizeof error_number;
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error_number, &length);
    if (error_number != 0) return refused(error_number);
    connected_ = true;
    return connected();
  }
  if (state.writable && !unsent_.empty()) return flush();
  if (state.readable || state.hangup || state.error) read_some();
}

void NetProbe::connected() {
  Target target = target_of(*check_);
  if (target.tls) {
    auto channel = TlsChannel::open(target.options);
    if (!channel) return end({ProbeEnded::How::tls, channel.error().text, {}});
    tls_ = std::move(*channel);
  }
  std::string first;
  switch (check_->kind) {
    case ProbeKind::http:
      http_ = std::make_unique<HttpExchange>(check_->http);
      first = http_->request();
      break;
    case ProbeKind::grpc:
      grpc_ = std::make_unique<GrpcExchange>(check_->grpc);
      first = grpc_->output();
      break;
    case ProbeKind::tcp:
      if (check_->tcp.send.empty() && check_->tcp.expect.empty())
        return end({ProbeEnded::How::exited, "connected"});
      first = check_->tcp.send;
      break;
    case ProbeKind::exec:
      break;
  }
  if (tls_) {
    if (Status sent = tls_->send(first); !sent)
      return end({ProbeEnded::How::tls, sent.error().text});
    first = tls_->take_output();
  }
  unsent_ = std::move(first);
  flush();
}

void NetProbe::flush() {
  while (!unsent_.empty()) {
    ssize_t sent = ::send(fd_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      unsent_.erase(0, static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    // A server that answers and closes without reading all we say has still answered.
    if (errno != EAGAIN) unsent_.clear();
    break;
  }
  bool all_said = unsent_.empty() && check_->kind == ProbeKind::tcp && check_->tcp.expect.empty();
  if (all_said) return end({ProbeEnded::How::exited, "sent"});
  watch_.change({.readable = true, .writable = !unsent_.empty()});
}

void NetProbe::read_some() {
  char buffer[8192];
  ssize_t count = ::recv(fd_.get(), buffer, sizeof buffer, 0);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return end(
        {ProbeEnded::How::reset, std::string("the connection broke: ") + std::strerror(errno)});
  }
  if (count == 0) return end(closed_by_peer());
  received_ += static_cast<std::uint64_t>(count);
  auto verdict = take({buffer, static_cast<std::size_t>(count)});
  if (verdict) return end(std::move(*verdict));
  if (received_ > kReceivedBytesMax || unsent_.size() > kUnsentBytesMax)
    return end({ProbeEnded::How::reset, "the peer sends without end and never answers", {}});
  if (!unsent_.empty()) flush();
}

std::optional<NetVerdict> NetProbe::take(std::string_view bytes) {
  if (!tls_) return take_plain(bytes);
  auto plain = tls_->receive(bytes);
  if (!plain) return NetVerdict{ProbeEnded::How::tls, plain.error().text};
  std::optional<NetVerdict> verdict;
  if (!plain->empty()) verdict = take_plain(*plain);
  unsent_ += tls_->take_output();
  return verdict;
}

std::optional<NetVerdict> NetProbe::take_plain(std::string_view bytes) {
  if (http_) return http_->receive(bytes);
  if (grpc_) {
    auto verdict = grpc_->receive(bytes);
    std::string answer = grpc_->output();
    if (verdict || answer.empty()) return verdict;
    if (!tls_) {
      unsent_ += answer;
    } else if (Status sent = tls_->send(answer); !sent) {
      return NetVerdict{ProbeEnded::How::tls, sent.error().text};
    }
    return std::nullopt;
  }
  greeting_.append(bytes.substr(0, kNetBodyBytesMax - greeting_.size()));
  if (greeting_.find(check_->tcp.expect) != std::string::npos)
    return NetVerdict{ProbeEnded::How::exited, greeting_};
  if (greeting_.size() == kNetBodyBytesMax)
    return NetVerdict{ProbeEnded::How::body, "the expected text was not in the first " +
                                                 std::to_string(kNetBodyBytesMax) + " bytes"};
  return std::nullopt;
}

NetVerdict NetProbe::closed_by_peer() const {
  if (tls_ && !tls_->established())
    return {ProbeEnded::How::tls, "the connection was closed during the TLS handshake"};
  if (http_) return http_->end();
  if (grpc_) return grpc_->end();
  return {ProbeEnded::How::body,
          "the connection was closed before the expected text came; received: " + greeting_};
}

// To where a redirect leads, if the check allows it; the last answer is the one that is judged.
void NetProbe::follow(const NetVerdict& verdict) {
  Result<HttpCheck> next = redirected(check_->http, verdict.location);
  if (!next)
    return end({ProbeEnded::How::http_status, next.error().text + "; " + verdict.text, {}});
  auto hop = std::make_unique<CheckSpec>(*check_);
  hop->http = std::move(*next);
  http_.reset();  // it refers to the check
  tls_.reset();
  hop_ = std::move(hop);
  check_ = hop_.get();
  connected_ = second_address_ = false;
  unsent_.clear();
  if (Status begun = connect(); !begun) end({ProbeEnded::How::our_fault, begun.error().text, {}});
}

void NetProbe::end(NetVerdict verdict) {
  watch_.stop();
  fd_.reset();
  if (!verdict.location.empty()) return follow(verdict);
  later_.start_after(Duration(0), [this, verdict = std::move(verdict)]() mutable {
    OnEnded on_ended = std::move(on_ended_);
    on_ended(std::move(verdict));
  });
}

}  // namespace keepwell
