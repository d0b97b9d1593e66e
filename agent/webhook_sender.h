// Delivers webhooks: takes what the WebhookQueue says is due, and posts it with the HTTP client of
// the probes, in our own network. A host that is a name is looked up by getent, as a child: the
// agent has no resolver and must not wait for one. What is queued does not outlive the agent.
//
// A signed request has the header X-Keepwell-Signature: sha256=HEX, the HMAC of the body under the
// text of secret_file (without a newline at its end).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "agent/webhook_queue.h"
#include "runtime/host_command.h"
#include "runtime/timer.h"

namespace keepwell {

class KeeperClient;
class Loop;
class NetProbe;
struct AgentStats;
struct NetVerdict;

class WebhookSender {
 public:
  // All outlive the sender.
  WebhookSender(Loop& loop, KeeperClient& keeper, AgentStats& stats);
  ~WebhookSender();
  WebhookSender(const WebhookSender&) = delete;
  WebhookSender& operator=(const WebhookSender&) = delete;

  // REQUIRES: ACTION is a webhook.
  void send(const ActionSpec& action, const std::string& body);

 private:
  struct Flight;
  void go_on();
  void begin(WebhookQueue::Attempt attempt);
  void look_up(Flight& flight);
  void post(Flight& flight);
  void end(Flight& flight, WebhookQueue::Outcome outcome, const std::string& text);

  Loop* loop_;
  HostCommands commands_;
  WebhookQueue queue_;
  Timer timer_;
  std::map<std::uint64_t, std::unique_ptr<Flight>> flights_;
};

}  // namespace keepwell
