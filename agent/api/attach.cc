// Attach: what a container writes, as it writes it, and (where it keeps its input open) what the
// client types. The output is read from the stored log, from its end on, so that any number of
// clients can attach, and none can hold the container up. Also the size of a container's own
// terminal.
#include <array>

#include "agent/api/detach_keys.h"
#include "agent/api/router.h"
#include "agent/event_bus.h"
#include "agent/log_reader.h"
#include "runtime/stream.h"

namespace keepwell {
namespace {

constexpr std::size_t kQueuedBytesMax = 1 << 20;

// Errors of attach are no JSON: clients print what follows the head.
void refuse(const ApiCall& call, int status, const std::string& text) {
  call.exchange->respond({status, kRawStream, text + "\r\n", {}});
}

class Attachment {
 public:
  Attachment(const ApiCall& call, const ContainerStatus& container, LogReader::Options options,
             std::string detach_sequence)
      : call_(call),
        id_(container.id),
        reader_(*call.api->loop, std::move(options), handlers()),
        scanner_(std::move(detach_sequence)) {}

  void open_input(UniqueFd fd) {
    Stream::Handlers handlers;
    handlers.on_drained = [this] { call_.exchange->resume_reading(); };
    handlers.on_broken = [this](const Error&) { input_.reset(); };
    Result<std::unique_ptr<Stream>> stream =
        Stream::open(*call_.api->loop, std::move(fd), std::move(handlers));
    if (stream) input_ = std::move(*stream);
  }

  // SELF is kept by the exchange's handlers.
  void start(const std::shared_ptr<Attachment>& self) {
    Exchange::Handlers handlers;
    handlers.on_closed = [self] { self->leave(); };
    handlers.on_drained = [self] { self->reader_.resume(); };
    handlers.on_data = [self](std::string_view bytes) { self->typed(bytes); };
    // An end of the input is only the client's: the container keeps running and its output flows.
    handlers.on_end = [self] { self->input_.reset(); };
    call_.exchange->set_handlers(std::move(handlers));
    subscription_ = call_.api->events->subscribe([weak = std::weak_ptr<Attachment>(self)](
                                                     const Event& event) {
      const std::shared_ptr<Attachment> alive = weak.lock();
      if (alive && event.id == alive->id_ && (event.action == "die" || event.action == "destroy"))
        alive->reader_.finish();
    });
    reader_.start();
  }

 private:
  LogReader::Handlers handlers() {
    LogReader::Handlers handlers;
    handlers.on_bytes = [this](std::string_view bytes) {
      call_.exchange->write(bytes);
      return call_.exchange->queued() < kQueuedBytesMax;
    };
    handlers.on_end = [this] {
      subscription_ = {};
      call_.exchange->end();
    };
    return handlers;
  }

  void typed(std::string_view bytes) {
    std::string forward;
    const bool leaves = scanner_.feed(bytes, forward);
    if (input_ && !forward.empty() && !input_->write(forward)) call_.exchange->pause_reading();
    if (!leaves) return;
    leave();
    call_.exchange->end();
  }

  void leave() {
    subscription_ = {};
    input_.reset();
    publish_event(*call_.api, id_, "detach");
  }

  ApiCall call_;
  std::string id_;
  EventBus::Subscription subscription_;
  LogReader reader_;
  DetachScanner scanner_;
  std::unique_ptr<Stream> input_;
};

void post_attach(const ApiCall& call) {
  const Result<std::string> keys = parse_detach_keys(call.query.text("detachKeys"));
  if (!keys) {
    refuse(call, 400, keys.error().text);
    return;
  }
  const Result<const ContainerStatus*> found = find_container(*call.api, call.params.front());
  if (!found) {
    refuse(call, http_status(found.error()), found.error().text);
    return;
  }
  const ContainerStatus& container = **found;
  if (container.state == ServiceState::paused) {
    refuse(call, 409,
           "container " + call.params.front() + " is paused, unpause the container before attach");
    return;
  }
  if (is_restarting(container)) {
    refuse(
        call, 409,
        "container " + call.params.front() + " is restarting, wait until the container is running");
    return;
  }
  if (!call.api->log_path || container.spec->logging.driver == "none") {
    refuse(call, 501, "keepwell attaches to the log of a container, and this one keeps none");
    return;
  }
  LogReader::Options options;
  options.path = call.api->log_path(container);
  options.query.want_stdout = call.query.flag("stdout");
  options.query.want_stderr = call.query.flag("stderr");
  options.query.framed = !container.spec->tty;
  options.follow = call.query.flag("stream");
  if (!call.query.flag("logs")) options.tail = 0;

  hijack_stream(call, options.query.framed);
  auto attachment = std::make_shared<Attachment>(call, container, std::move(options),
                                                 container.spec->tty ? *keys : std::string());
  if (call.query.flag("stdin") && call.query.flag("stream") && call.api->open_stdin) {
    Result<UniqueFd> input = call.api->open_stdin(container);
    if (input) attachment->open_input(std::move(*input));
  }
  attachment->start(attachment);
  publish_event(*call.api, container.id, "attach");
}

void post_resize(const ApiCall& call) {
  const std::optional<std::pair<int, int>> size = read_resize(call);
  if (!size) return;
  const ContainerStatus* container = container_of(call);
  if (!container) return;
  if (!is_running(*container)) {
    call.exchange->fail(409, "container " + container->id + " is not running");
    return;
  }
  if (!container->spec->tty || !call.api->resize) {
    call.exchange->fail(409, "container " + container->id + " has no terminal to resize");
    return;
  }
  const Status resized = call.api->resize(*container, size->first, size->second);
  if (!resized) {
    fail_call(call, resized.error());
    return;
  }
  publish_event(*call.api, container->id, "resize",
                {{"height", std::to_string(size->first)}, {"width", std::to_string(size->second)}});
  call.exchange->respond({200, "", "", {}});
}

constexpr std::array kRoutes{
    Route{"POST", "/containers/{id}/attach", post_attach},
    Route{"POST", "/containers/{id}/resize", post_resize},
};

}  // namespace

std::span<const Route> attach_routes() { return kRoutes; }

}  // namespace keepwell
