#include "agent/simulation/script.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "config/duration.h"

namespace keepwell {
namespace {

// Long enough for anybody, and short enough to be added to a time.
constexpr Duration kTimeMax = std::chrono::hours(24 * 366);

Result<Duration> read_time(const std::string& text) {
  Result<Duration> time = parse_duration(text);
  if (time && *time > kTimeMax) {
    return fail(Errc::invalid, "\"" + text + "\" is too long; write at most 8784h");
  }
  return time;
}

using std::chrono::milliseconds;
using Virtual = VirtualEngine;

tl::unexpected<Error> bad(int number, const std::string& what) {
  return fail(Errc::invalid,
              "cannot read line " + std::to_string(number) + " of the script: " + what);
}

bool number_in(const std::string& text, int& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return !text.empty() && error == std::errc() && stop == end;
}

// "80%" or "0.8".
bool share_in(std::string text, double& share) {
  const bool percent = text.ends_with('%');
  if (percent) text.pop_back();
  char* stop = nullptr;
  share = std::strtod(text.c_str(), &stop);
  if (text.empty() || *stop != '\0') return false;
  if (percent) share /= 100;
  return share >= 0 && share <= 1;
}

// What is wrong with the words behind the name; empty: nothing.
std::string check_words(const std::vector<std::string>& words, bool host) {
  const std::string& what = words[0];
  const auto has = [&](std::size_t least, std::size_t most) {
    return words.size() >= least + 1 && words.size() <= most + 1;
  };
  int number = 0;
  double share = 0;
  if (host) {
    const bool known = has(2, 2) && what == "pressure" &&
                       (words[1] == "cpu" || words[1] == "memory" || words[1] == "io");
    return known && share_in(words[2], share) ? "" : "write host pressure cpu|memory|io 80%";
  }
  for (const char* plain : {"passes", "hangs", "starting", "crashes", "starts", "ignores-stop",
                            "release", "stop", "start", "restart", "pause", "unpause"}) {
    if (what == plain) return has(0, 0) ? "" : what + " takes nothing behind it";
  }
  if (what == "fails")
    return has(0, 1) && (words.size() == 1 || number_in(words[1], number)) ? ""
                                                                           : "write fails [CODE]";
  if (what == "exits") {
    return has(1, 1) && (words[1] == "oom" || number_in(words[1], number))
               ? ""
               : "write exits CODE, or exits oom";
  }
  if (what == "start-fails")
    return has(1, 1) && number_in(words[1], number) ? "" : "write start-fails CODE";
  if (what == "stop-takes")
    return has(1, 1) && read_time(words[1]) ? "" : "write stop-takes DURATION";
  if (what == "hold")
    return words.size() >= 2 && read_time(words[1]) ? "" : "write hold DURATION [REASON]";
  if (what == "debugger")
    return has(1, 1) && (words[1] == "on" || words[1] == "off") ? "" : "write debugger on or off";
  return "\"" + what + "\" is not known";
}

const ServiceSpec* find_service(const ProjectSpec& project, const std::string& name) {
  for (const ServiceSpec& service : project.services) {
    if (service.name == name) return &service;
  }
  return nullptr;
}

}  // namespace

Result<std::vector<ScriptLine>> parse_script(std::string_view text, const ProjectSpec& project) {
  std::vector<ScriptLine> lines;
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::istringstream in{std::string(text.substr(0, std::min(end, text.find('#'))))};
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ScriptLine line;
    line.number = ++number;
    std::string at;
    std::string name;
    if (!(in >> at)) continue;
    if (at == "at" && !(in >> at)) return bad(number, "it has no time");
    const Result<Duration> time = read_time(at);
    if (!time) return bad(number, time.error().text);
    line.at = *time;
    if (!(in >> name)) return bad(number, "it says nothing; write TIME SERVICE WHAT");
    for (std::string word; in >> word;) line.words.push_back(word);
    if (name == "end" && line.words.empty()) {
      lines.push_back(std::move(line));
      continue;
    }
    line.check = name.find('/') == std::string::npos ? "" : name.substr(name.find('/') + 1);
    line.service = name.substr(0, name.find('/'));
    if (line.words.empty()) return bad(number, "it does not say what " + name + " does");
    const ServiceSpec* service = find_service(project, line.service);
    if (service == nullptr && line.service != "host") {
      return bad(number, "the file has no service " + line.service);
    }
    if (!line.check.empty() && service != nullptr &&
        std::none_of(service->checks.begin(), service->checks.end(),
                     [&](const CheckSpec& check) { return check.name == line.check; })) {
      return bad(number, "service " + line.service + " has no check " + line.check);
    }
    const std::string wrong = check_words(line.words, line.service == "host");
    if (!wrong.empty()) return bad(number, wrong);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::optional<Duration> ScriptedWorld::end_of(const std::vector<ScriptLine>& lines) {
  for (const ScriptLine& line : lines) {
    if (line.service.empty()) return line.at;
  }
  return std::nullopt;
}

const ScriptedWorld::Check& ScriptedWorld::check_of(const std::string& service,
                                                    const std::string& check) {
  std::map<std::string, Check>& checks = services_[service].checks;
  const auto own = checks.find(check);
  return own != checks.end() ? own->second : checks[""];
}

VirtualEngine::World ScriptedWorld::world() {
  Virtual::World world;
  world.start = [this](const Virtual::Host& host) {
    Virtual::Start start;
    start.after = milliseconds(100);
    start.failed_with = services_[host.spec->name].start_fails;
    if (start.failed_with != 0) start.text = "as the script says";
    return start;
  };
  world.stop = [this](const Virtual::Host& host) -> std::optional<Virtual::End> {
    const Service& service = services_[host.spec->name];
    if (service.ignores_stop) return std::nullopt;
    return Virtual::End{.after = service.stop_takes, .code = 143, .signal = 15};
  };
  world.kill = [](const Virtual::Host&) { return milliseconds(10); };
  world.probe = [this](const Virtual::Probe& probe, const Virtual::Host& host, Instant) {
    Virtual::ProbeFate fate;
    const Check& check = check_of(host.spec->name, probe.check->name);
    fate.starts_after = milliseconds(1);
    if (check.kind == Check::Kind::hangs) return fate;
    fate.ends_after = milliseconds(6);
    if (check.kind == Check::Kind::fails) fate.end.code = check.code;
    if (check.kind == Check::Kind::starting) fate.end.code = 2;
    fate.end.traced = services_[host.spec->name].debugger;
    return fate;
  };
  world.probe_dies = [this](const Virtual::Probe&, const Virtual::Host& host, ProbeEnded& end) {
    for (const auto& [resource, share] : pressure_) end.pressure.push_back({resource, true, share});
    if (host.spec) end.traced = services_[host.spec->name].debugger;
    return milliseconds(1);
  };
  return world;
}

void ScriptedWorld::plan(Simulation& simulation, const std::vector<ScriptLine>& lines,
                         WallTime begin) {
  for (const ScriptLine& line : lines) {
    if (line.service.empty()) continue;
    simulation.plan(begin + line.at, [this, &simulation, line] { act(simulation, line); });
  }
}

// What only changes how things will be.
void ScriptedWorld::set(const ScriptLine& line) {
  const std::string& what = line.words[0];
  if (line.service == "host") {
    double share = 0;
    (void)share_in(line.words[2], share);
    pressure_[line.words[1]] = share;
    return;
  }
  Service& service = services_[line.service];
  Check check;
  if (what == "fails") {
    check.kind = Check::Kind::fails;
    if (line.words.size() > 1) (void)number_in(line.words[1], check.code);
  }
  if (what == "hangs") check.kind = Check::Kind::hangs;
  if (what == "starting") check.kind = Check::Kind::starting;
  if (what == "fails" || what == "hangs" || what == "starting" || what == "passes") {
    if (line.check.empty()) service.checks.clear();
    service.checks[line.check] = check;
  }
  if (what == "starts") service.start_fails = 0;
  if (what == "start-fails") (void)number_in(line.words[1], service.start_fails);
  if (what == "ignores-stop") service.ignores_stop = true;
  if (what == "stop-takes") {
    service.ignores_stop = false;
    service.stop_takes = *read_time(line.words[1]);
  }
  if (what == "debugger") service.debugger = line.words[1] == "on";
}

void ScriptedWorld::act(Simulation& simulation, const ScriptLine& line) {
  set(line);
  const std::string& what = line.words[0];
  std::vector<std::string> ids;
  for (const ContainerStatus* container : simulation.supervisor().containers()) {
    if (container->spec->name == line.service) ids.push_back(container->id);
  }
  constexpr std::pair<const char*, Command::Kind> kCommands[] = {
      {"stop", Command::Kind::stop},       {"start", Command::Kind::start},
      {"restart", Command::Kind::restart}, {"pause", Command::Kind::pause},
      {"unpause", Command::Kind::unpause}, {"hold", Command::Kind::hold},
      {"release", Command::Kind::release}};
  for (const std::string& id : ids) {
    if (what == "crashes") simulation.engine().end_now(id, {.code = 139, .signal = 11});
    if (what == "exits" && line.words[1] == "oom") {
      simulation.engine().end_now(id, {.code = 137, .signal = 9, .oom = true});
    } else if (what == "exits") {
      Virtual::End end;
      (void)number_in(line.words[1], end.code);
      simulation.engine().end_now(id, end);
    }
    for (const auto& [name, kind] : kCommands) {
      if (what != name) continue;
      Command command;
      command.kind = kind;
      command.container = id;
      if (kind == Command::Kind::hold) {
        command.hold_for = *read_time(line.words[1]);
        for (std::size_t i = 2; i < line.words.size(); ++i) {
          command.reason += (i > 2 ? " " : "") + line.words[i];
        }
      }
      simulation.give(command);
    }
  }
}

}  // namespace keepwell
