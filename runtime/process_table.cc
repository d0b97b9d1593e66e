#include "runtime/process_table.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>

namespace keepwell {
namespace {

// ---- one process

struct Process {
  int pid = 0;
  std::uint32_t uid = 0;
  std::string name, arguments;
  char state = '?';
  int parent = 0, group = 0, session = 0, terminal = 0, foreground = 0;
  std::uint64_t cpu_ticks = 0, start_ticks = 0;
  std::int64_t priority = 0, nice = 0, threads = 0;
  std::uint64_t virtual_bytes = 0, resident_pages = 0;
};

struct Host {
  double ticks = 100;
  std::uint64_t page_bytes = 4096;
  std::int64_t boot_seconds = 0;  // since 1970
  double uptime_seconds = 0;
  std::uint64_t memory_kb = 1;
  std::int64_t now_seconds = 0;
  std::map<std::uint32_t, std::string> users;
};

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

std::string number_after(const std::string& text, const std::string& key) {
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return "0";
  std::istringstream in(text.substr(at + key.size()));
  std::string word;
  in >> word;
  return word;
}

Host read_host(Now now) {
  Host host;
  host.ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  host.page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  host.boot_seconds = std::atoll(number_after(slurp("/proc/stat"), "btime ").c_str());
  host.uptime_seconds = std::atof(slurp("/proc/uptime").c_str());
  host.memory_kb = std::max<std::uint64_t>(
      1, std::strtoull(number_after(slurp("/proc/meminfo"), "MemTotal:").c_str(), nullptr, 10));
  host.now_seconds =
      std::chrono::duration_cast<std::chrono::seconds>(now.wall.time_since_epoch()).count();
  std::istringstream users(slurp("/etc/passwd"));
  for (std::string line; std::getline(users, line);) {
    std::istringstream fields(line);
    std::string name, password, uid;
    if (std::getline(fields, name, ':') && std::getline(fields, password, ':') &&
        std::getline(fields, uid, ':'))
      host.users.emplace(static_cast<std::uint32_t>(std::strtoul(uid.c_str(), nullptr, 10)), name);
  }
  return host;
}

// Arguments as one line; control characters would disturb a terminal.
std::string printable(std::string text) {
  while (!text.empty() && text.back() == '\0') text.pop_back();
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

std::optional<Process> read_process(int pid) {
  const std::string directory = "/proc/" + std::to_string(pid);
  const std::string stat = slurp(directory + "/stat");
  const std::size_t open = stat.find('(');
  const std::size_t close = stat.rfind(')');
  struct stat facts {};
  if (open == std::string::npos || close == std::string::npos || close < open ||
      ::stat(directory.c_str(), &facts) != 0)
    return std::nullopt;
  Process process;
  process.pid = pid;
  process.uid = facts.st_uid;
  process.name = printable(stat.substr(open + 1, close - open - 1));
  std::istringstream fields(stat.substr(close + 1));
  std::uint64_t user = 0, system = 0;
  std::string skip;
  fields >> process.state >> process.parent >> process.group >> process.session >>
      process.terminal >> process.foreground;
  for (int i = 0; i < 5; ++i) fields >> skip;
  fields >> user >> system >> skip >> skip >> process.priority >> process.nice >> process.threads >>
      skip >> process.start_ticks >> process.virtual_bytes >> process.resident_pages;
  process.cpu_ticks = user + system;
  process.arguments = printable(slurp(directory + "/cmdline"));
  if (process.arguments.empty()) process.arguments = "[" + process.name + "]";
  return process;
}

// ---- columns

std::string two(std::int64_t number) {
  const std::string text = std::to_string(number);
  return text.size() < 2 ? "0" + text : text;
}

std::string clock_time(std::int64_t seconds, bool hours) {
  if (!hours) return std::to_string(seconds / 60) + ":" + two(seconds % 60);
  std::string text =
      two(seconds / 3600 % 24) + ":" + two(seconds / 60 % 60) + ":" + two(seconds % 60);
  if (seconds >= 86400) text = std::to_string(seconds / 86400) + "-" + text;
  return text;
}

std::string one_decimal(double value) {
  const auto tenths = static_cast<std::int64_t>(value * 10);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

std::int64_t age_seconds(const Process& p, const Host& h) {
  return std::max<std::int64_t>(
      0,
      static_cast<std::int64_t>(h.uptime_seconds - static_cast<double>(p.start_ticks) / h.ticks));
}

double cpu_share(const Process& p, const Host& h) {
  const double lived = h.uptime_seconds - static_cast<double>(p.start_ticks) / h.ticks;
  return lived <= 0 ? 0 : static_cast<double>(p.cpu_ticks) / h.ticks / lived * 100;
}

std::int64_t cpu_seconds(const Process& p, const Host& h) {
  return static_cast<std::int64_t>(static_cast<double>(p.cpu_ticks) / h.ticks);
}

// "20:00" today, "Nov24" this year, "2025" before.
std::string start_time(const Process& p, const Host& h) {
  const std::time_t started = static_cast<std::time_t>(
      h.boot_seconds + static_cast<std::int64_t>(static_cast<double>(p.start_ticks) / h.ticks));
  const std::time_t now = static_cast<std::time_t>(h.now_seconds);
  std::tm then{}, today{};
  ::localtime_r(&started, &then);
  ::localtime_r(&now, &today);
  std::array<char, 16> text{};
  const bool same_day = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
  const char* format = same_day ? "%H:%M" : then.tm_year == today.tm_year ? "%b%d" : "%Y";
  std::strftime(text.data(), text.size(), format, &then);
  return text.data();
}

std::string terminal_name(const Process& p) {
  if (p.terminal == 0) return "?";
  const auto device = static_cast<dev_t>(static_cast<unsigned>(p.terminal));
  const unsigned number = minor(device) & 0xff;
  if (major(device) == 136) return "pts/" + std::to_string(number);
  return number < 64 && major(device) == 4 ? "tty" + std::to_string(number) : "?";
}

std::string state_text(const Process& p) {
  std::string text(1, p.state);
  if (p.nice < 0) text += '<';
  if (p.nice > 0) text += 'N';
  if (p.session == p.pid) text += 's';
  if (p.threads > 1) text += 'l';
  if (p.foreground == p.group && p.terminal != 0) text += '+';
  return text;
}

std::string user_name(const Process& p, const Host& h) {
  const auto found = h.users.find(p.uid);
  return found == h.users.end() ? std::to_string(p.uid) : found->second;
}

struct Column {
  const char* name;
  const char* title;
  std::string (*text)(const Process&, const Host&);
};

std::uint64_t resident_kb(const Process& p, const Host& h) {
  return p.resident_pages * h.page_bytes / 1024;
}

const std::array kColumns{
    Column{"pid", "PID", [](const Process& p, const Host&) { return std::to_string(p.pid); }},
    Column{"ppid", "PPID", [](const Process& p, const Host&) { return std::to_string(p.parent); }},
    Column{"pgid", "PGID", [](const Process& p, const Host&) { return std::to_string(p.group); }},
    Column{"sid", "SID", [](const Process& p, const Host&) { return std::to_string(p.session); }},
    Column{"uid", "UID", [](const Process& p, const Host&) { return std::to_string(p.uid); }},
    Column{"user", "USER", user_name},
    Column{"euser", "EUSER", user_name},
    Column{"ruser", "RUSER", user_name},
    Column{"comm", "COMMAND", [](const Process& p, const Host&) { return p.name; }},
    Column{"ucmd", "CMD", [](const Process& p, const Host&) { return p.name; }},
    Column{"cmd", "CMD", [](const Process& p, const Host&) { return p.arguments; }},
    Column{"args", "COMMAND", [](const Process& p, const Host&) { return p.arguments; }},
    Column{"command", "COMMAND", [](const Process& p, const Host&) { return p.arguments; }},
    Column{"c", "C",
           [](const Process& p, const Host& h) {
             return std::to_string(static_cast<int>(cpu_share(p, h)));
           }},
    Column{"pcpu", "%CPU",
           [](const Process& p, const Host& h) { return one_decimal(cpu_share(p, h)); }},
    Column{"%cpu", "%CPU",
           [](const Process& p, const Host& h) { return one_decimal(cpu_share(p, h)); }},
    Column{"pmem", "%MEM",
           [](const Process& p, const Host& h) {
             return one_decimal(static_cast<double>(resident_kb(p, h)) * 100 /
                                static_cast<double>(h.memory_kb));
           }},
    Column{"%mem", "%MEM",
           [](const Process& p, const Host& h) {
             return one_decimal(static_cast<double>(resident_kb(p, h)) * 100 /
                                static_cast<double>(h.memory_kb));
           }},
    Column{"vsz", "VSZ",
           [](const Process& p, const Host&) { return std::to_string(p.virtual_bytes / 1024); }},
    Column{"rss", "RSS",
           [](const Process& p, const Host& h) { return std::to_string(resident_kb(p, h)); }},
    Column{"tty", "TTY", [](const Process& p, const Host&) { return terminal_name(p); }},
    Column{"tt", "TT", [](const Process& p, const Host&) { return terminal_name(p); }},
    Column{"stat", "STAT", [](const Process& p, const Host&) { return state_text(p); }},
    Column{"state", "S", [](const Process& p, const Host&) { return std::string(1, p.state); }},
    Column{"s", "S", [](const Process& p, const Host&) { return std::string(1, p.state); }},
    Column{"stime", "STIME", start_time},
    Column{"start", "START", start_time},
    Column{"time", "TIME",
           [](const Process& p, const Host& h) { return clock_time(cpu_seconds(p, h), true); }},
    Column{"bsdtime", "TIME",
           [](const Process& p, const Host& h) { return clock_time(cpu_seconds(p, h), false); }},
    Column{"etime", "ELAPSED",
           [](const Process& p, const Host& h) { return clock_time(age_seconds(p, h), true); }},
    Column{"etimes", "ELAPSED",
           [](const Process& p, const Host& h) { return std::to_string(age_seconds(p, h)); }},
    Column{"ni", "NI", [](const Process& p, const Host&) { return std::to_string(p.nice); }},
    Column{"nice", "NI", [](const Process& p, const Host&) { return std::to_string(p.nice); }},
    Column{"pri", "PRI",
           [](const Process& p, const Host&) { return std::to_string(39 - p.priority); }},
    Column{"nlwp", "NLWP", [](const Process& p, const Host&) { return std::to_string(p.threads); }},
};

struct Chosen {
  const Column* column;
  std::string title;
};

Status add_column(std::vector<Chosen>& chosen, std::string name) {
  std::string title;
  if (const std::size_t equals = name.find('='); equals != std::string::npos) {
    title = name.substr(equals + 1);
    name.resize(equals);
  }
  for (const Column& column : kColumns) {
    if (name != column.name) continue;
    chosen.push_back({&column, title.empty() ? column.title : title});
    return {};
  }
  return fail(Errc::invalid, "cannot list processes by \"" + name + "\": unknown column");
}

Status add_list(std::vector<Chosen>& chosen, const std::string& list) {
  std::string name;
  for (const char c : list + ",") {
    if (c != ',' && c != ' ') {
      name += c;
    } else if (!name.empty()) {
      Status added = add_column(chosen, std::exchange(name, {}));
      if (!added) return added;
    }
  }
  return {};
}

// Which columns ARGUMENTS asks for. Selections of processes (-e, -A, a, x) change nothing: the pids
// are given.
Result<std::vector<Chosen>> read_arguments(const std::string& arguments) {
  std::istringstream words(arguments);
  std::vector<Chosen> chosen;
  bool full = false, user = false;
  for (std::string word; words >> word;) {
    if (word == "-aux") word = "aux";  // as ps takes it, where there is no user "x"
    const bool dashed = word.starts_with("-");
    const std::string letters = dashed ? word.substr(1) : word;
    const std::size_t output = letters.find('o');
    for (const char c : letters.substr(0, output)) {
      if (c == 'f') {
        full = true;
      } else if (c == 'u' && !dashed) {
        user = true;
      } else if (std::string_view("eAaxwlHT").find(c) == std::string_view::npos) {
        return fail(Errc::invalid, "cannot list processes with \"" + arguments +
                                       "\": use -ef, aux, or -o and columns");
      }
    }
    if (output == std::string::npos) continue;
    std::string list = letters.substr(output + 1);
    if (list.empty() && !(words >> list))
      return fail(Errc::invalid,
                  "cannot list processes with \"" + arguments + "\": -o needs a list of columns");
    const Status added = add_list(chosen, list);
    if (!added) return fail(added.error());
  }
  if (!chosen.empty()) return chosen;
  const Status added =
      add_list(chosen, user   ? "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,bsdtime=TIME,args"
                       : full ? "user=UID,pid,ppid,c,stime,tty,time,cmd"
                              : "pid,tty,time,ucmd");
  if (!added) return fail(added.error());
  return chosen;
}

}  // namespace

Result<ProcessTable> list_processes(const std::vector<int>& pids, const std::string& arguments,
                                    Now now) {
  const Result<std::vector<Chosen>> chosen = read_arguments(arguments);
  if (!chosen) return fail(chosen.error());
  const bool has_pid = std::any_of(chosen->begin(), chosen->end(), [](const Chosen& c) {
    return std::string_view(c.column->name) == "pid";
  });
  if (!has_pid)
    return fail(Errc::invalid, "cannot list processes: couldn't find PID field in ps output");

  const Host host = read_host(now);
  ProcessTable table;
  for (const Chosen& column : *chosen) table.titles.push_back(column.title);
  std::vector<int> sorted = pids;
  std::sort(sorted.begin(), sorted.end());
  for (const int pid : sorted) {
    const std::optional<Process> process = read_process(pid);
    if (!process) continue;
    std::vector<std::string> row;
    for (const Chosen& column : *chosen) row.push_back(column.column->text(*process, host));
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace keepwell
