#include "agent/webhook_sender.h"

#include <arpa/inet.h>

#include <utility>

#include "agent/log.h"
#include "config/load.h"
#include "runtime/hmac.h"
#include "runtime/loop.h"
#include "runtime/net_probe/net_probe.h"

namespace keepwell {
namespace {

constexpr std::size_t kSecretBytesMax = 4096;
constexpr Duration kLookUpTimeout = std::chrono::seconds(10);

bool is_address(const std::string& host) {
  unsigned char bytes[16];
  return host == "localhost" || inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

// Whether trying again is of no use: the target has understood and will not have it.
bool is_refusal(const NetVerdict& verdict) {
  if (verdict.how != ProbeEnded::How::http_status) return false;
  const bool four = verdict.text.starts_with("HTTP 4");
  return four && !verdict.text.starts_with("HTTP 408") && !verdict.text.starts_with("HTTP 429");
}

Result<std::string> read_secret(const std::string& path) {
  Result<std::string> secret = read_config_file(path, kSecretBytesMax);
  if (!secret) return secret;
  while (!secret->empty() && (secret->back() == '\n' || secret->back() == '\r')) secret->pop_back();
  if (secret->empty()) return fail(Errc::invalid, "cannot sign with " + path + ": it is empty");
  return secret;
}

}  // namespace

struct WebhookSender::Flight {
  explicit Flight(Loop& loop) : deadline(loop) {}

  WebhookQueue::Attempt attempt;
  CheckSpec check;  // what NetProbe is to ask
  Timer deadline;
  std::unique_ptr<NetProbe> probe;
};

WebhookSender::WebhookSender(Loop& loop, KeeperClient& keeper, AgentStats& stats)
    : loop_(&loop), commands_(loop, keeper), queue_(stats.webhooks), timer_(loop) {}

WebhookSender::~WebhookSender() = default;

void WebhookSender::send(const ActionSpec& action, const std::string& body) {
  queue_.push(action, body, Loop::now().mono);
  go_on();
}

// What is due is begun, from the loop.
void WebhookSender::go_on() {
  const std::optional<Instant> next = queue_.next();
  if (!next) return timer_.stop();
  timer_.start_at(*next, [this] {
    for (WebhookQueue::Attempt& attempt : queue_.take(Loop::now().mono)) begin(std::move(attempt));
    go_on();
  });
}

void WebhookSender::begin(WebhookQueue::Attempt attempt) {
  const std::uint64_t number = attempt.number;
  Flight& flight = *flights_.emplace(number, std::make_unique<Flight>(*loop_)).first->second;
  flight.attempt = std::move(attempt);
  const WebhookSpec& webhook = flight.attempt.webhook;
  flight.check.kind = ProbeKind::http;
  flight.check.http = webhook.request;
  flight.check.http.content = flight.attempt.body;
  if (!webhook.secret_file.empty()) {
    Result<std::string> secret = read_secret(webhook.secret_file);
    if (!secret) return end(flight, WebhookQueue::Outcome::failed, secret.error().text);
    flight.check.http.headers.emplace_back("X-Keepwell-Signature",
                                           "sha256=" + hmac_sha256(*secret, flight.attempt.body));
  }
  is_address(webhook.request.host) ? post(flight) : look_up(flight);
}

void WebhookSender::look_up(Flight& flight) {
  HostCommand command;
  command.argv = {"getent", "ahosts", flight.check.http.host};
  command.timeout = kLookUpTimeout;
  commands_.run(command, [this, &flight](const HostCommandResult& result) {
    const std::string& host = flight.attempt.webhook.request.host;
    const std::string address = result.output.substr(0, result.output.find_first_of(" \t\n"));
    if (!result.ok() || !is_address(address)) {
      return end(flight, WebhookQueue::Outcome::failed, "cannot look up " + host);
    }
    HttpCheck& http = flight.check.http;
    if (http.tls_server_name.empty()) http.tls_server_name = host;  // and the Host header
    http.host = address;
    post(flight);
  });
}

void WebhookSender::post(Flight& flight) {
  using Outcome = WebhookQueue::Outcome;
  auto probe = NetProbe::start(*loop_, -1, flight.check, [this, &flight](const NetVerdict& found) {
    end(flight,
        found.passed()      ? Outcome::taken
        : is_refusal(found) ? Outcome::refused
                            : Outcome::failed,
        found.text.substr(0, found.text.find('\n')));
  });
  if (!probe) return end(flight, Outcome::failed, probe.error().text);
  flight.probe = std::move(*probe);
  flight.deadline.start_after(flight.attempt.webhook.timeout, [this, &flight] {
    end(flight, Outcome::failed, "no answer within its timeout");
  });
}

// FLIGHT is gone afterwards.
void WebhookSender::end(Flight& flight, WebhookQueue::Outcome outcome, const std::string& text) {
  const WebhookQueue::Attempt& attempt = flight.attempt;
  if (outcome == WebhookQueue::Outcome::refused) {
    log_warning("webhook " + attempt.name + " was refused and is dropped: " + text);
  } else if (outcome == WebhookQueue::Outcome::failed && attempt.tries == 0) {
    log_warning("webhook " + attempt.name + " is not delivered yet: " + text +
                "; it is tried again for a day");
  } else if (outcome == WebhookQueue::Outcome::taken && attempt.tries > 0) {
    log_info("webhook " + attempt.name + " is delivered after " +
             std::to_string(attempt.tries + 1) + " tries");
  }
  queue_.done(attempt.number, outcome, Loop::now().mono);
  flights_.erase(attempt.number);
  go_on();
}

}  // namespace keepwell
