#include "tests/sim/trace.h"

#include <cstdio>

namespace keepwell {
namespace {

std::string short_ref(const ContainerRef& ref) {
  return ref.id.substr(0, 6) + "/" + std::to_string(ref.run);
}

std::string words(const Tick&) { return "tick"; }
std::string words(const Configure&) { return "configure"; }
std::string words(const Captured& input) { return "captured " + input.incident; }
std::string words(const Shutdown&) { return "shutdown"; }
std::string words(const SignalFailed& failed) {
  return "signal " + std::to_string(failed.signal) + " failed " + short_ref(failed.container);
}
std::string words(const Suspended&) { return "suspended"; }
std::string words(const Command& command) {
  static constexpr const char* kNames[] = {"start",        "stop",    "restart", "kill",
                                           "pause",        "unpause", "probe",   "pause check",
                                           "resume check", "hold",    "release"};
  return std::string("command ") + kNames[static_cast<int>(command.kind)] + " " +
         command.container.substr(0, 6) + " signal " + std::to_string(command.signal) +
         " request " + std::to_string(command.request);
}
std::string words(const ContainerStarted& event) {
  return "started " + short_ref(event.container) + (event.adopted ? " adopted" : "") +
         (event.paused.value_or(false) ? " frozen" : "");
}
std::string words(const ContainerStartFailed& event) {
  return "start failed " + short_ref(event.container) + " " + event.text;
}
std::string words(const ContainerExited& event) {
  return "exited " + short_ref(event.container) + " with " + std::to_string(event.code) +
         (event.known ? "" : " unknown") + (event.oom_killed ? " oom" : "");
}
std::string words(const ContainerPaused& event) {
  return "paused " + short_ref(event.container) + " " + event.error;
}
std::string words(const ContainerResumed& event) {
  return "resumed " + short_ref(event.container) + " " + event.error;
}
std::string words(const ContainerOom& event) { return "oom " + short_ref(event.container); }
std::string words(const ProbeEntered& event) {
  return "probe entered " + std::to_string(event.probe);
}
std::string words(const ProbeStarted& event) {
  return "probe started " + std::to_string(event.probe);
}
std::string words(const ProbeEnded& event) {
  return "probe ended " + std::to_string(event.probe) + " how " +
         std::to_string(static_cast<int>(event.how)) + " code " + std::to_string(event.code) + " " +
         event.output;
}
std::string words(const HookEnded& event) {
  return "hook ended " + std::to_string(event.hook) + " " + event.error;
}
std::string words(const EngineEvent& event) {
  return std::visit([](const auto& each) { return words(each); }, event);
}

std::string words(const StartContainer& action) {
  return "start " + short_ref(action.order.container) + " " + action.order.name;
}
std::string words(const AdoptContainer& action) {
  return "adopt " + short_ref(action.order.start.container);
}
std::string words(const SignalContainer& action) {
  return "signal " + short_ref(action.container) + " " + std::to_string(action.signal);
}
std::string words(const KillContainer& action) { return "kill " + short_ref(action.container); }
std::string words(const PauseContainer& action) { return "pause " + short_ref(action.container); }
std::string words(const ResumeContainer& action) { return "resume " + short_ref(action.container); }
std::string words(const RemoveContainer& action) { return "remove " + action.id.substr(0, 6); }
std::string words(const StartProbe& action) {
  return "start probe " + std::to_string(action.order.id) + " " + action.order.check->name +
         " of " + short_ref(action.order.container);
}
std::string words(const KillProbe& action) { return "kill probe " + std::to_string(action.probe); }
std::string words(const RunHook& action) {
  return "run hook " + std::to_string(action.order.id) + " " + action.order.name;
}
std::string words(const SendWebhook& action) { return "send webhook " + action.action->name; }
std::string words(const Emit& action) {
  std::string text = "emit " + action.event.name + " " + action.event.action;
  for (const auto& [key, value] : action.event.attributes) text += " " + key + "=" + value;
  return text;
}
std::string words(const Capture& action) {
  return "capture " + short_ref(action.container) + " " + action.incident;
}
std::string words(const Record& action) {
  std::string text = "record " + action.event.name + " " + action.event.action;
  for (const auto& [key, value] : action.event.attributes) text += " " + key + "=" + value;
  return text;
}
std::string words(const Reply& action) {
  return "reply " + std::to_string(action.request) +
         (action.result ? " ok" : " " + action.result.error().text);
}
std::string words(const Save& action) {
  return "save " + action.id.substr(0, 6) + (action.status ? "" : " live");
}
std::string words(const Forget& action) { return "forget " + action.id.substr(0, 6); }
std::string words(const AllStopped&) { return "all stopped"; }

}  // namespace

std::string stamp(Now now) {
  char text[32];
  std::snprintf(text, sizeof text, "%12.3f",
                std::chrono::duration<double>(now.mono.time_since_epoch()).count() - 3600);
  return text;
}

void trace(Now now, const Input& input, const std::vector<Action>& actions) {
  const std::string text = std::visit([](const auto& each) { return words(each); }, input);
  std::printf("%s %s\n", stamp(now).c_str(), text.c_str());
  for (const Action& action : actions) {
    const std::string what = std::visit([](const auto& each) { return words(each); }, action);
    std::printf("%12s   %s\n", "", what.c_str());
  }
}

}  // namespace keepwell
