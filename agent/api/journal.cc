// GET /keepwell/journal?name=NAME&since=TIME: the journal's own lines about one service or
// container (no name: all of it), as `keepwell why` and `keepwell simulate` read them.
#include "exporters/journal.h"

#include <algorithm>
#include <array>
#include <memory>

#include "agent/api/router.h"
#include "agent/journal_reader.h"
#include "exporters/agent_stats.h"
#include "exporters/time_text.h"

namespace keepwell {
namespace {

// Whether EVENT is about what NAME names: a service, a container, or the start of an id.
bool is_about(const Event& event, const std::string& name) {
  if (name.empty() || event.name == name) return true;
  return (event.spec && event.spec->name == name) ||
         (name.size() >= 4 && event.id.starts_with(name));
}

class JournalSender {
 public:
  JournalSender(const ApiCall& call, std::string name, std::optional<WallTime> since)
      : call_(call), name_(std::move(name)) {
    if (name_.starts_with('/')) name_.erase(0, 1);
    reader_ = std::make_unique<JournalReader>(
        *call_.api->loop, call_.api->journal_path, since,
        JournalReader::Handlers{.on_line = [this](std::string_view line) { return take(line); },
                                .on_end = [this] { end(); }});
  }

  void start(const std::shared_ptr<JournalSender>& self) {
    Exchange::Handlers handlers;
    handlers.on_closed = [self] { self->reader_.reset(); };
    handlers.on_drained = [self] {
      if (self->reader_) self->reader_->resume();
    };
    call_.exchange->set_handlers(std::move(handlers));
    reader_->start();
  }

 private:
  bool take(std::string_view line) {
    // Most lines are about others: look before parsing.
    if (!name_.empty() && line.find(name_) == std::string_view::npos) return true;
    const Result<Event> event = parse_journal_line(line);
    if (!event && event.error().code == Errc::invalid && call_.api->stats) {
      ++call_.api->stats->journal.torn_read_total;
    }
    // What a newer version wrote is the client's to judge.
    if (event ? !is_about(*event, name_) : event.error().code != Errc::unsupported) return true;
    return call_.exchange->write(std::string(line) + "\n");
  }

  void end() {
    reader_.reset();
    call_.exchange->end();
  }

  ApiCall call_;
  std::string name_;
  std::unique_ptr<JournalReader> reader_;
};

void get_journal(const ApiCall& call) {
  if (call.api->journal_path.empty()) {
    call.exchange->fail(501, "this agent keeps no journal");
    return;
  }
  std::optional<WallTime> since;
  if (const std::string text = call.query.text("since"); !text.empty()) {
    const Result<WallTime> parsed = parse_unix_time(text);
    if (!parsed) {
      call.exchange->fail(400, "invalid since \"" + text + "\"");
      return;
    }
    since = *parsed;
  }
  call.exchange->begin({200, "application/x-ndjson", {}});
  auto sender = std::make_shared<JournalSender>(call, call.query.text("name"), since);
  sender->start(sender);
}

constexpr std::array kRoutes{Route{"GET", "/keepwell/journal", get_journal}};

}  // namespace

std::span<const Route> journal_routes() { return kRoutes; }

}  // namespace keepwell
