#include "agent/simulation/history.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "config/duration.h"

namespace keepwell {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How far a simulated course may be ahead of the recorded one and still be the same.
constexpr Duration kAhead = milliseconds(1500);
// For how long an agent was dead before the next one began to write, at most.
constexpr Duration kDeathMax = seconds(1);
// 2020: what is older was written before anybody had told the host the time.
constexpr WallTime kClockWasSet{seconds(1'577'836'800)};
constexpr WallTime kFarFuture{seconds(7'258'118'400)};  // 2200: such times can still be added to
constexpr Duration kLongest = std::chrono::hours(24 * 30);  // of anything that a record speaks of
// Successes that are put back, of one record and of all.
constexpr std::int64_t kPassesMax = 100'000;
constexpr std::int64_t kAllPassesMax = 20'000'000;

std::int64_t number_of(const std::string& text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Duration length_of(std::int64_t nanoseconds) {
  return std::clamp(Duration(nanoseconds), Duration{0}, kLongest);
}

bool kind_of(const std::string& word, Command::Kind& kind) {
  constexpr std::pair<const char*, Command::Kind> kKinds[] = {
      {"start", Command::Kind::start},
      {"stop", Command::Kind::stop},
      {"restart", Command::Kind::restart},
      {"kill", Command::Kind::kill},
      {"pause", Command::Kind::pause},
      {"unpause", Command::Kind::unpause},
      {"probe", Command::Kind::probe_now},
      {"pause-check", Command::Kind::pause_check},
      {"resume-check", Command::Kind::resume_check},
      {"hold", Command::Kind::hold},
      {"release", Command::Kind::release}};
  for (const auto& [name, each] : kKinds) {
    if (word != name) continue;
    kind = each;
    return true;
  }
  return false;
}

class HistoryReader {
 public:
  History read_all(const std::vector<Event>& records);

 private:
  using Check = History::Check;
  using Change = History::Change;
  using Order = History::Order;
  using Result = History::Result;
  void read(const Event& event);
  void read_result(const Event& event);
  void put_back_passes(Check& check, const Result& result, const Event& event);
  void read_fact(const Event& event);
  void read_command(const Event& event);
  void read_configure(const Event& event);

  History history_;
  std::map<std::string, WallTime> run_began_;  // of containers, their last
  WallTime agent_began_{};
  WallTime last_at_{};  // the record before
  bool configured_ = false;
  std::int64_t passes_ = 0;  // that were put back
};

History HistoryReader::read_all(const std::vector<Event>& records) {
  for (const Event& event : records) {
    if (event.at < kClockWasSet || event.at > kFarFuture) continue;
    if (history_.begin == WallTime{}) history_.begin = event.at;
    history_.end = std::max(history_.end, event.at);
    read(event);
    last_at_ = event.at;
  }
  std::sort(history_.budget_looks.begin(), history_.budget_looks.end());
  for (auto& [name, container] : history_.containers) {
    std::sort(container.releases.begin(), container.releases.end());
    std::stable_sort(container.changes.begin(), container.changes.end(),
                     [](const Change& a, const Change& b) { return a.at < b.at; });
    bool signalled = false;
    for (Change& change : container.changes) {
      if (change.kind == Change::Kind::started) signalled = false;
      if (change.kind == Change::Kind::signalled) signalled = true;
      if (change.kind == Change::Kind::ended) change.asked = std::exchange(signalled, false);
    }
  }
  return std::move(history_);
}

void HistoryReader::read(const Event& event) {
  if (event.kind == EventKind::result) return read_result(event);
  if (event.kind == EventKind::fact) return read_fact(event);
  std::vector<Change>& changes = history_.containers[event.name].changes;
  const auto add = [&](Change::Kind kind, const std::string& code) {
    Change change;
    change.at = event.at;
    change.kind = kind;
    change.code = static_cast<int>(number_of(code));
    change.detail = event.attribute("error");
    changes.push_back(change);
  };
  if (event.kind == EventKind::decision) {
    if (event.action == "captured") add(Change::Kind::captured, "");
    const bool refused = event.action == "suppressed" && event.attribute("reason") == "budget";
    if (event.action == "budget" || refused) history_.budget_looks.push_back(event.at);
    if (const std::string& drawn = event.attribute("drawn"); !drawn.empty()) {
      history_.containers[event.name].jitter.push_back(std::strtod(drawn.c_str(), nullptr));
    }
    return;
  }
  if (event.action == "release") history_.containers[event.name].releases.push_back(event.at);
  if (event.action == "start") {
    add(Change::Kind::started, "");
    run_began_[event.name] = event.at;
  }
  if (event.action == "start_failed") add(Change::Kind::start_failed, event.attribute("exitCode"));
  if (event.action == "kill") add(Change::Kind::signalled, event.attribute("signal"));
  if (event.action == "die") {
    // An oom is told just before the end that it caused.
    const bool oom = !changes.empty() && changes.back().oom;
    if (oom) changes.pop_back();
    add(Change::Kind::ended, event.attribute("exitCode"));
    changes.back().oom = oom;
  }
  if (event.action == "oom") {
    add(Change::Kind::ended, "");
    changes.back().oom = true;
  }
}

void HistoryReader::read_result(const Event& event) {
  Check& check = history_.containers[event.name].checks[event.attribute("check")];
  Result result;
  result.took = length_of(number_of(event.attribute("took")));
  result.started = event.at - result.took;
  result.outcome = event.attribute("outcome");
  result.reason = event.attribute("reason");
  result.code = static_cast<int>(number_of(event.attribute("exit")));
  result.output = event.attribute("output");
  result.pressure = event.attribute("pressure");
  result.traced = !event.attribute("traced").empty();
  put_back_passes(check, result, event);
  check.results.push_back(std::move(result));
}

// The successes before RESULT that nobody wrote down one by one: evenly in between. Where a new run
// lies in between (whose first result always has a record) they were of the old one, and follow the
// record before at their usual pace; where a new agent does, it has only counted its own.
void HistoryReader::put_back_passes(Check& check, const Result& result, const Event& event) {
  if (check.results.empty()) return;
  const WallTime before = check.results.back().started;
  const std::int64_t passes =
      std::min({number_of(event.attribute("passes")), kPassesMax, kAllPassesMax - passes_});
  const Duration even = (result.started - before) / (std::max<std::int64_t>(passes, 0) + 1);
  if (even <= Duration{0}) return;
  const bool new_run = run_began_[event.name] > before;
  const bool new_agent = agent_began_ > before;
  if (!new_run && !new_agent && (check.pace == Duration{0} || even < check.pace)) check.pace = even;
  if (passes <= 0) return;
  const Duration step = check.pace == Duration{0} ? even : std::min(even, check.pace);
  const Duration each = length_of(number_of(event.attribute("passes_took"))) / passes;
  passes_ += passes;
  for (std::int64_t i = 1; i <= passes; ++i) {
    Result pass;
    pass.started = before + even * i;
    if (new_agent) {
      pass.started = result.started - step * (passes + 1 - i);
    } else if (new_run) {
      pass.started = before + step * i;
    }
    pass.took = each;
    pass.outcome = "pass";
    check.results.push_back(std::move(pass));
  }
}

void HistoryReader::read_fact(const Event& event) {
  if (event.action == "command") return read_command(event);
  if (event.action == "configure") return read_configure(event);
  if (event.action != "shutdown") return;
  Order order;
  order.at = event.at;
  order.what = Order::What::shutdown;
  history_.orders.push_back(std::move(order));
}

void HistoryReader::read_configure(const Event& event) {
  const std::string& name = event.attribute("config");
  const std::string& first = event.attribute("first");  // not there: repeated in a new file
  if (!std::exchange(configured_, true)) {
    history_.first_config = name;
    return;
  }
  if (first.empty()) return;
  if (first == "yes") agent_began_ = event.at;
  Order order;
  order.at = event.at;
  order.what = first == "yes" ? Order::What::agent : Order::What::configure;
  order.died = std::max(last_at_ + milliseconds(1), event.at - kDeathMax);
  order.name = name;
  history_.orders.push_back(std::move(order));
}

void HistoryReader::read_command(const Event& event) {
  Order order;
  order.at = event.at;
  order.name = event.name;
  if (!kind_of(event.attribute("kind"), order.command.kind)) return;
  order.command.signal = static_cast<int>(number_of(event.attribute("signal")));
  order.command.check = event.attribute("check");
  order.command.reason = event.attribute("why");
  if (const auto grace = parse_duration(event.attribute("grace")))
    order.command.grace = std::min(*grace, kLongest);
  if (const auto length = parse_duration(event.attribute("for")))
    order.command.hold_for = std::min(*length, kLongest);
  history_.orders.push_back(std::move(order));
}

}  // namespace

History read_history(const std::vector<Event>& records) {
  return HistoryReader().read_all(records);
}

History::Change* History::find(const std::string& name, Change::Kind kind, WallTime at,
                               Duration span) {
  const auto container = containers.find(name);
  if (container == containers.end()) return nullptr;
  std::vector<Change>& changes = container->second.changes;
  for (auto change = std::lower_bound(
           changes.begin(), changes.end(), at - kAhead,
           [](const Change& each, WallTime earliest) { return each.at < earliest; });
       change != changes.end() && change->at <= at + span; ++change) {
    if (change->kind != kind || change->played) continue;
    // What ended by itself answers no order.
    if (kind == Change::Kind::ended && !change->asked) continue;
    return &*change;
  }
  return nullptr;
}

bool History::is_cut_off(const std::string& name, WallTime at, Duration span) const {
  const auto within = [&](WallTime ended) { return ended > at && ended <= at + span; };
  for (const Order& order : orders) {
    if (order.what == Order::What::agent && within(order.died)) return true;
  }
  const auto container = containers.find(name);
  if (container == containers.end()) return false;
  const std::vector<Change>& changes = container->second.changes;
  for (auto change = std::lower_bound(
           changes.begin(), changes.end(), at,
           [](const Change& each, WallTime earliest) { return each.at < earliest; });
       change != changes.end() && change->at <= at + span; ++change) {
    if (change->kind == Change::Kind::ended) return true;
  }
  return false;
}

}  // namespace keepwell
