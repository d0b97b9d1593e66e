// GET /events: what happened (if since or until is given) and what happens, one JSON object a line.
// What happened is taken from memory where that reaches back far enough, else from the journal. A
// client that does not read gets no more than a megabyte queued: what came after that is left out,
// and told as one event of its own once it reads again.
#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>

#include "agent/api/router.h"
#include "agent/event_bus.h"
#include "agent/journal_reader.h"
#include "exporters/agent_stats.h"
#include "exporters/event_json.h"
#include "exporters/health_json.h"
#include "exporters/journal.h"
#include "exporters/time_text.h"
#include "runtime/loop.h"
#include "runtime/timer.h"

namespace keepwell {
namespace {

constexpr std::size_t kQueuedBytesMax = 1 << 20;

std::string lost_event(std::uint64_t count) {
  const WallTime now = Loop::now().wall;
  nlohmann::ordered_json event;
  event["Type"] = "daemon";
  event["Action"] = "lost";
  event["Actor"] = {{"ID", "keepwell"}, {"Attributes", {{"events", std::to_string(count)}}}};
  event["scope"] = "local";
  event["time"] = unix_seconds(now);
  event["timeNano"] = unix_nanos(now);
  return json_text(event);
}

class EventFollower {
 public:
  EventFollower(const ApiCall& call, Filters filters)
      : call_(call), filters_(std::move(filters)), until_(*call.api->loop) {
    if (call.api->stats) ++call.api->stats->event_subscribers;
  }
  ~EventFollower() {
    if (call_.api->stats) --call_.api->stats->event_subscribers;
  }
  EventFollower(const EventFollower&) = delete;
  EventFollower& operator=(const EventFollower&) = delete;

  // All that happened from SINCE to UNTIL, and then, where UNTIL is not over, what happens.
  void tell(const std::shared_ptr<EventFollower>& self, std::optional<WallTime> since,
            std::optional<WallTime> until) {
    since_ = since;
    until_time_ = until;
    const std::deque<Event>& history = call_.api->events->history();
    const bool in_memory = since && !history.empty() && history.front().at <= *since;
    if ((!since && !until) || in_memory || call_.api->journal_path.empty()) return go_on(self);
    JournalReader::Handlers handlers;
    handlers.on_line = [this](std::string_view line) { return send_stored(line); };
    handlers.on_end = [this, weak = std::weak_ptr<EventFollower>(self)] {
      if (const std::shared_ptr<EventFollower> alive = weak.lock()) go_on(alive);
    };
    reader_ = std::make_unique<JournalReader>(*call_.api->loop, call_.api->journal_path, since,
                                              std::move(handlers));
    Exchange::Handlers exchange;
    exchange.on_closed = [self] { self->reader_.reset(); };
    exchange.on_drained = [self] {
      if (self->reader_) self->reader_->resume();
    };
    call_.exchange->set_handlers(std::move(exchange));
    reader_->start();
  }

  void send(const Event& event) {
    if (!matches(filters_, event)) return;
    if (lost_ > 0 || call_.exchange->queued() > kQueuedBytesMax) {
      if (lost_++ == 0 && call_.api->stats) ++call_.api->stats->event_subscribers_dropped_total;
      return;
    }
    call_.exchange->write(event_json(event) + "\n");
  }

  void follow(const std::shared_ptr<EventFollower>& self, std::optional<WallTime> until) {
    subscription_ = call_.api->events->subscribe(
        [weak = std::weak_ptr<EventFollower>(self)](const Event& event) {
          if (const std::shared_ptr<EventFollower> alive = weak.lock()) alive->send(event);
        });
    const Now now = Loop::now();
    if (until) until_.start_at(now.mono + (*until - now.wall), [this] { finish(); });
    Exchange::Handlers handlers;
    handlers.on_closed = [self] { self->subscription_ = {}; };
    handlers.on_drained = [self] { self->drained(); };
    call_.exchange->set_handlers(std::move(handlers));
  }

 private:
  // False: the client has enough for now.
  bool send_stored(std::string_view line) {
    const Result<Event> event = parse_journal_line(line);
    if (!event && event.error().code == Errc::invalid && call_.api->stats) {
      ++call_.api->stats->journal.torn_read_total;
    }
    if (!event || event->kind != EventKind::event) return true;
    sequence_ = std::max(sequence_, event->sequence);
    if (!matches(filters_, *event) || !inside(*event)) return true;
    return call_.exchange->write(event_json(*event) + "\n");
  }

  bool inside(const Event& event) const {
    return (!since_ || event.at >= *since_) && (!until_time_ || event.at <= *until_time_);
  }

  // What the journal has not (memory is its younger end), then the present.
  void go_on(const std::shared_ptr<EventFollower>& self) {
    reader_.reset();
    if (since_ || until_time_) {
      for (const Event& event : call_.api->events->history()) {
        if (event.sequence > sequence_ && inside(event)) send(event);
      }
    }
    if (until_time_ && *until_time_ <= Loop::now().wall) {
      call_.exchange->end();
    } else {
      follow(self, until_time_);
    }
  }

  void drained() {
    if (lost_ == 0) return;
    call_.exchange->write(lost_event(lost_) + "\n");
    lost_ = 0;
  }

  void finish() {
    subscription_ = {};
    call_.exchange->end();
  }

  ApiCall call_;
  Filters filters_;
  EventBus::Subscription subscription_;
  Timer until_;
  std::optional<WallTime> since_, until_time_;
  std::unique_ptr<JournalReader> reader_;
  std::uint64_t sequence_ = 0;  // of the last event that the journal had
  std::uint64_t lost_ = 0;
};

// since and until; false if the call was answered.
bool read_time(const ApiCall& call, const char* name, std::optional<WallTime>& time) {
  const std::string text = call.query.text(name);
  if (text.empty()) return true;
  const Result<WallTime> parsed = parse_unix_time(text);
  if (!parsed) {
    call.exchange->fail(400, "invalid " + std::string(name) + " \"" + text + "\"");
    return false;
  }
  time = *parsed;
  return true;
}

void get_events(const ApiCall& call) {
  std::optional<WallTime> since;
  std::optional<WallTime> until;
  if (!read_time(call, "since", since) || !read_time(call, "until", until)) return;
  if (since && until && *since > *until) {
    call.exchange->fail(400, "`since` time cannot be after `until` time");
    return;
  }
  Result<Filters> filters = parse_filters(call.query.text("filters"));
  if (!filters) {
    fail_call(call, filters.error());
    return;
  }
  call.exchange->begin({200, "application/json", {}});
  auto follower = std::make_shared<EventFollower>(call, std::move(*filters));
  follower->tell(follower, since, until);
}

constexpr std::array kRoutes{Route{"GET", "/events", get_events}};

}  // namespace

std::span<const Route> event_routes() { return kRoutes; }

}  // namespace keepwell
