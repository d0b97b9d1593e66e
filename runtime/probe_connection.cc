#include "runtime/probe_connection.h"

namespace keepwell {

ProbeConnection::ProbeConnection(EngineContext& context, Container& container, ProbeOrder order)
    : context_(&context),
      container_(&container),
      order_(std::move(order)),
      alive_(std::make_shared<bool>(true)) {}

ProbeConnection::~ProbeConnection() { *alive_ = false; }

void ProbeConnection::start(std::function<void(ProbeEnded)> on_ended) {
  on_ended_ = std::move(on_ended);
  Result<std::unique_ptr<NetProbe>> probe =
      NetProbe::start(context_->loop, container_->target_pidfd(), *order_.check,
                      [this](const NetVerdict& verdict) { finish(verdict.how, verdict.text); });
  if (!probe) {
    over_ = true;
    ProbeEnded::How how = probe.error().code == Errc::not_found ? ProbeEnded::How::container_gone
                                                                : ProbeEnded::How::our_fault;
    context_->later([this, alive = alive_, how, text = probe.error().text] {
      if (!*alive) return;
      over_ = false;
      finish(how, text);
    });
    return;
  }
  probe_ = std::move(*probe);
  context_->later([this, alive = alive_] {
    if (!*alive || over_) return;
    Now now = Loop::now();
    context_->emit(ProbeStarted{order_.id, now.mono, now.wall});
  });
}

void ProbeConnection::end(ProbeEnded::How how) {
  if (over_) return;
  over_ = true;
  probe_.reset();
  context_->later([this, alive = alive_, how] {
    if (!*alive) return;
    over_ = false;
    finish(how, "");
  });
}

void ProbeConnection::finish(ProbeEnded::How how, std::string text) {
  if (over_) return;
  over_ = true;
  ProbeEnded ended;
  ended.probe = order_.id;
  ended.how = how;
  bool passed = how == ProbeEnded::How::exited;
  ended.code = passed ? 0 : 1;
  if (passed)
    ended.output = std::move(text);
  else
    ended.error = std::move(text);
  ended.output_bytes = ended.output.size();
  Now now = Loop::now();
  ended.at = now.mono;
  ended.at_wall = now.wall;
  std::exchange(on_ended_, nullptr)(std::move(ended));
}

}  // namespace keepwell
