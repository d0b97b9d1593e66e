// GET /containers/{id}/logs, from the files that the logger writes.
#include <array>
#include <charconv>

#include "agent/api/router.h"
#include "agent/event_bus.h"
#include "agent/log_reader.h"
#include "exporters/agent_stats.h"
#include "exporters/time_text.h"
#include "runtime/loop.h"
#include "runtime/timer.h"

namespace keepwell {
namespace {

// One client's reading of one log.
class LogFollower {
 public:
  LogFollower(const ApiCall& call, const ContainerStatus& container, LogReader::Options options)
      : call_(call),
        id_(container.id),
        follow_(options.follow),
        until_(*call.api->loop),
        reader_(*call.api->loop, std::move(options), handlers()) {
    if (follow_ && call_.api->stats) ++call_.api->stats->log_followers;
  }
  ~LogFollower() {
    if (follow_ && call_.api->stats) --call_.api->stats->log_followers;
  }
  LogFollower(const LogFollower&) = delete;
  LogFollower& operator=(const LogFollower&) = delete;

  // SELF is kept by the exchange's handlers.
  void start(const std::shared_ptr<LogFollower>& self, std::optional<WallTime> until) {
    Exchange::Handlers handlers;
    handlers.on_closed = [self] { self->closed_ = true; };
    handlers.on_drained = [self] { self->reader_.resume(); };
    call_.exchange->set_handlers(std::move(handlers));
    reader_.start();
    if (!follow_) return;
    subscription_ = call_.api->events->subscribe([weak = std::weak_ptr<LogFollower>(self)](
                                                     const Event& event) {
      const std::shared_ptr<LogFollower> alive = weak.lock();
      if (alive && event.id == alive->id_ && (event.action == "die" || event.action == "destroy"))
        alive->reader_.finish();
    });
    const Now now = Loop::now();
    if (until) until_.start_at(now.mono + (*until - now.wall), [this] { reader_.finish(); });
  }

 private:
  LogReader::Handlers handlers() {
    LogReader::Handlers handlers;
    handlers.on_bytes = [this](std::string_view bytes) {
      return call_.exchange->write(bytes) && !closed_;
    };
    handlers.on_end = [this] {
      subscription_ = {};
      call_.exchange->end();
    };
    handlers.on_lost = [this] {
      if (call_.api->stats) ++call_.api->stats->log_followers_dropped_total;
    };
    return handlers;
  }

  ApiCall call_;
  std::string id_;
  bool follow_;
  bool closed_ = false;
  EventBus::Subscription subscription_;
  Timer until_;
  LogReader reader_;
};

// false if the call was answered.
bool read_log_time(const ApiCall& call, const char* name, std::optional<WallTime>& time) {
  const std::string text = call.query.text(name);
  if (text.empty() || text == "0") return true;
  const Result<WallTime> parsed = parse_unix_time(text);
  if (!parsed) {
    call.exchange->fail(400, "invalid value for \"" + std::string(name) + "\": " + text);
    return false;
  }
  time = *parsed;
  return true;
}

// Anything that is no whole number asks for everything, as "all" does.
std::optional<std::uint64_t> read_tail(const std::string& text) {
  std::uint64_t lines = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, lines);
  if (error != std::errc() || stop != end || text.empty()) return std::nullopt;
  return lines;
}

void get_logs(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  if (!call.api->log_path || container->spec->logging.driver == "none") {
    call.exchange->fail(501, "configured logging driver does not support reading");
    return;
  }
  LogReader::Options options;
  options.query.want_stdout = call.query.flag("stdout");
  options.query.want_stderr = call.query.flag("stderr");
  if (!options.query.want_stdout && !options.query.want_stderr) {
    call.exchange->fail(400, "Bad parameters: you must choose at least one stream");
    return;
  }
  if (!read_log_time(call, "since", options.query.since) ||
      !read_log_time(call, "until", options.query.until))
    return;
  options.path = call.api->log_path(*container);
  options.tail = read_tail(call.query.text("tail"));
  options.query.timestamps = call.query.flag("timestamps");
  options.query.framed = !container->spec->tty;
  const bool runs = is_running(*container) || container->state == ServiceState::starting;
  options.follow = call.query.flag("follow") && runs;

  const bool multiplexed = options.query.framed && call.minor >= 42;
  call.exchange->begin({200, multiplexed ? kMultiplexedStream : kRawStream, {}});
  const std::optional<WallTime> until = options.query.until;
  auto follower = std::make_shared<LogFollower>(call, *container, std::move(options));
  follower->start(follower, until);
}

constexpr std::array kRoutes{Route{"GET", "/containers/{id}/logs", get_logs}};

}  // namespace

std::span<const Route> log_routes() { return kRoutes; }

}  // namespace keepwell
