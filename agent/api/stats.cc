// GET /containers/{id}/stats: one sample, the difference of two, or one a second.
#include <array>

#include "agent/api/router.h"
#include "exporters/stats_json.h"
#include "runtime/loop.h"
#include "runtime/timer.h"

namespace keepwell {
namespace {

constexpr Duration kPeriod = std::chrono::seconds(1);
constexpr std::size_t kQueuedBytesMax = 64 * 1024;

class StatsFollower {
 public:
  StatsFollower(const ApiCall& call, std::string id, bool stream)
      : call_(call), id_(std::move(id)), stream_(stream), timer_(*call.api->loop) {}

  void start(const std::shared_ptr<StatsFollower>& self) {
    Exchange::Handlers handlers;
    handlers.on_closed = [self] { self->timer_.stop(); };
    call_.exchange->set_handlers(std::move(handlers));
    if (stream_) call_.exchange->begin({200, "application/json", {}});
    tick();
  }

 private:
  // Takes a sample and sends what is to be sent; a slow client misses samples and no more.
  void tick() {
    const Result<const ContainerStatus*> container = find_container(*call_.api, id_);
    if (!container) {
      finish(container.error());
      return;
    }
    std::optional<ContainerStats> now;
    if (is_running(**container)) {
      Result<ContainerStats> sample = call_.api->sample(**container);
      if (sample) now = std::move(*sample);
    }
    const std::string& name = (*container)->name;
    if (!stream_) {
      if (now && !previous_) {
        previous_ = std::move(now);
        timer_.start_after(kPeriod, [this] { tick(); });
        return;
      }
      respond_json(call_, stats_json(id_, name, now, previous_));
      return;
    }
    if (now && call_.exchange->queued() < kQueuedBytesMax)
      call_.exchange->write(stats_json(id_, name, now, previous_) + "\n");
    previous_ = std::move(now);
    timer_.start_after(kPeriod, [this] { tick(); });
  }

  void finish(const Error& error) {
    if (stream_) {
      call_.exchange->end();
    } else {
      fail_call(call_, error);
    }
  }

  ApiCall call_;
  std::string id_;
  bool stream_;
  std::optional<ContainerStats> previous_;
  Timer timer_;
};

void get_stats(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  if (!call.api->sample) {
    call.exchange->fail(501, "this agent cannot measure containers");
    return;
  }
  const bool stream = !call.query.find("stream") || call.query.flag("stream");
  if (!stream && (call.query.flag("one-shot") || !is_running(*container))) {
    std::optional<ContainerStats> now;
    if (is_running(*container)) {
      Result<ContainerStats> sample = call.api->sample(*container);
      if (sample) now = std::move(*sample);
    }
    respond_json(call, stats_json(container->id, container->name, now, std::nullopt));
    return;
  }
  auto follower = std::make_shared<StatsFollower>(call, container->id, stream);
  follower->start(follower);
}

constexpr std::array kRoutes{Route{"GET", "/containers/{id}/stats", get_stats}};

}  // namespace

std::span<const Route> stats_routes() { return kRoutes; }

}  // namespace keepwell
