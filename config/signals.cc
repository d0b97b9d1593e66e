#include "config/signals.h"

#include <charconv>
#include <csignal>
#include <cstdlib>
#include <vector>

#include "config/diagnostic.h"
#include "config/suggest.h"

namespace keepwell {
namespace {

struct NamedSignal {
  std::string_view name;
  int number;
};

constexpr NamedSignal kSignals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT}, {"ILL", SIGILL},
    {"TRAP", SIGTRAP}, {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},
    {"KILL", SIGKILL}, {"USR1", SIGUSR1},     {"SEGV", SIGSEGV}, {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},     {"TERM", SIGTERM}, {"STKFLT", SIGSTKFLT},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
    {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},
    {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
    {"IO", SIGIO},     {"PWR", SIGPWR},       {"SYS", SIGSYS},   {"IOT", SIGABRT},
    {"POLL", SIGIO},   {"CLD", SIGCHLD}};

// The numbers that containers see: glibc keeps 32 and 33 for itself.
constexpr int kRealTimeMin = 34;
constexpr int kRealTimeMax = 64;

bool read_number(std::string_view text, int& out) {
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, out);
  return !text.empty() && error == std::errc{} && stop == end;
}

// "RTMIN+3" and "RTMAX-1"; 0 where NAME is neither.
int real_time(std::string_view name) {
  bool from_min = name.substr(0, 5) == "RTMIN";
  bool from_max = name.substr(0, 5) == "RTMAX";
  if (!from_min && !from_max) return 0;
  int offset = 0;
  std::string_view rest = name.substr(5);
  if (!rest.empty()) {
    if (rest.front() != (from_min ? '+' : '-')) return 0;
    if (!read_number(rest.substr(1), offset) || offset < 0 || offset > 30) return 0;
  }
  return from_min ? kRealTimeMin + offset : kRealTimeMax - offset;
}

}  // namespace

Result<int> parse_signal(std::string_view text) {
  int number = 0;
  if (read_number(text, number)) {
    if (number >= 1 && number <= kRealTimeMax) return number;
    return fail(Errc::invalid, "cannot use signal " + in_quotes(text) + ": numbers are 1 to 64");
  }
  std::string name;
  for (char c : text) name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  if (name.rfind("SIG", 0) == 0) name.erase(0, 3);
  for (const NamedSignal& s : kSignals) {
    if (s.name == name) return s.number;
  }
  if (int rt = real_time(name); rt != 0) return rt;
  std::vector<std::string_view> names;
  for (const NamedSignal& s : kSignals) names.push_back(s.name);
  std::string_view near = nearest_name(name, names);
  return fail(Errc::invalid, "cannot find signal " + in_quotes(text) +
                                 (near.empty() ? ": write a name such as SIGTERM"
                                               : ": did you mean SIG" + std::string(near) + "?"));
}

std::string signal_name(int number) {
  for (const NamedSignal& s : kSignals) {
    if (s.number == number) return "SIG" + std::string(s.name);
  }
  if (number == kRealTimeMin) return "SIGRTMIN";
  if (number > kRealTimeMin && number <= kRealTimeMax) {
    return "SIGRTMIN+" + std::to_string(number - kRealTimeMin);
  }
  return std::to_string(number);
}

}  // namespace keepwell
