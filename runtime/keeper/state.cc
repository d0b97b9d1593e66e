#include "runtime/keeper/state.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/keeper/keeper.h"
#include "runtime/keeper/launch.h"

namespace keepwell {

// One record being read: its name, then its words in order.
class KeeperState::Words {
 public:
  explicit Words(std::string_view line) : rest_(line) { name_ = next(); }
  std::string_view name() const { return name_; }
  bool done() const { return rest_.empty(); }

  template <class Number>
  void number(Number& out) {
    std::string word(next());
    if constexpr (std::is_signed_v<Number>) {
      out = static_cast<Number>(std::strtoll(word.c_str(), nullptr, 10));
    } else {
      out = static_cast<Number>(std::strtoull(word.c_str(), nullptr, 10));
    }
  }
  void flag(bool& out) {
    int value = 0;
    number(value);
    out = value != 0;
  }
  void fd(UniqueFd& out) {
    int number_of_fd = -1;
    if (!rest_.empty()) number(number_of_fd);
    out.reset(number_of_fd);
    if (out) fcntl(out.get(), F_SETFD, FD_CLOEXEC);
  }
  std::string text() {
    std::string_view word = next();
    if (!word.empty()) word.remove_prefix(1);
    std::string out;
    for (std::size_t i = 0; i < word.size(); ++i) {
      if (word[i] == '%' && i + 2 < word.size()) {
        out +=
            static_cast<char>(std::strtol(std::string(word.substr(i + 1, 2)).c_str(), nullptr, 16));
        i += 2;
      } else {
        out += word[i];
      }
    }
    return out;
  }

 private:
  std::string_view next() {
    std::size_t space = rest_.find(' ');
    std::string_view word = rest_.substr(0, space);
    rest_.remove_prefix(space == std::string_view::npos ? rest_.size() : space + 1);
    return word;
  }
  std::string_view rest_;
  std::string_view name_;
};

namespace {

using Words = KeeperState::Words;

class Line {
 public:
  Line(std::string& out, std::string_view name) : out_(out) { out_ += name; }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  ~Line() { out_ += '\n'; }

  template <class Number>
    requires std::is_integral_v<Number>
  Line& operator<<(Number number) {
    out_ += ' ';
    out_ += std::to_string(number);
    return *this;
  }
  Line& operator<<(std::string_view text) {
    constexpr std::string_view kHex = "0123456789abcdef";
    out_ += " =";  // so that an empty word is one
    for (char c : text) {
      auto byte = static_cast<unsigned char>(c);
      if (byte > ' ' && byte != '%') {
        out_ += c;
      } else {
        out_ += '%';
        out_ += kHex[byte >> 4];
        out_ += kHex[byte & 15];
      }
    }
    return *this;
  }

 private:
  std::string& out_;
};

void write_exit(Line& line, const wire::Exited& exit) {
  line << exit.pid << exit.known << exit.code << exit.signal << exit.core << exit.user_us
       << exit.system_us << exit.rss_bytes_max << exit.mono_ns << exit.wall_ns;
}

void read_exit(Words& words, wire::Exited& exit) {
  words.number(exit.pid);
  words.number(exit.known);
  words.number(exit.code);
  words.number(exit.signal);
  words.number(exit.core);
  words.number(exit.user_us);
  words.number(exit.system_us);
  words.number(exit.rss_bytes_max);
  words.number(exit.mono_ns);
  words.number(exit.wall_ns);
}

void write_attendant(std::string& out, std::string_view name, const Attendant& attendant) {
  Line(out, name) << attendant.pid << attendant.control.get() << attendant.started_ms
                  << attendant.respawn_ms << attendant.delay_ms << attendant.starts;
}

void read_attendant(Words& words, Attendant& attendant) {
  words.number(attendant.pid);
  words.fd(attendant.control);
  words.number(attendant.started_ms);
  words.number(attendant.respawn_ms);
  words.number(attendant.delay_ms);
  words.number(attendant.starts);
}

std::vector<std::uint64_t*> stats_fields(wire::Stats& stats) {
  return {&stats.spawns,         &stats.spawn_failures,
          &stats.reaped,         &stats.unclaimed_exits_lost,
          &stats.agent_starts,   &stats.logger_starts,
          &stats.loop_lag_ns_max};
}

std::string read_all(int fd) {
  std::string all;
  std::array<char, 16384> buffer;
  for (off_t at = 0;;) {
    ssize_t n = pread(fd, buffer.data(), buffer.size(), at);
    if (n <= 0) return all;
    all.append(buffer.data(), static_cast<std::size_t>(n));
    at += n;
  }
}

bool whole(std::string_view state) {
  return state.starts_with("keeper-state 1\n") && state.ends_with("\nend\n");
}

void save_children(std::string& out, const Children& children) {
  for (const auto& [id, child] : children.all()) {
    Line line(out, "child");
    line << id << child.pid << child.start_ticks << child.claimed << child.durable << child.doomed
         << child.ended << child.pidfd.get() << child.recheck_until_ms << child.kill_cgroup
         << child.key;
    write_exit(line, child.exit);
  }
  for (const auto& [pid, id] : children.helpers()) {
    Line(out, "helper") << pid << id;
  }
  for (const Children::Stranger& stranger : children.strangers()) {
    Line line(out, "stranger");
    line << stranger.pid << stranger.start_ticks;
    write_exit(line, stranger.exit);
  }
}

void load_child(Words& words, Children& children) {
  ChildProcess child;
  words.number(child.id);
  words.number(child.pid);
  words.number(child.start_ticks);
  words.flag(child.claimed);
  words.flag(child.durable);
  words.flag(child.doomed);
  words.flag(child.ended);
  words.fd(child.pidfd);
  words.number(child.recheck_until_ms);
  child.kill_cgroup = words.text();
  child.key = words.text();
  read_exit(words, child.exit);
  child.exit.durable = child.durable ? 1 : 0;
  child.exit.key_bytes = static_cast<std::uint32_t>(child.key.size());
  children.restore(std::move(child));
}

}  // namespace

UniqueFd KeeperState::save(const Keeper& keeper) {
  std::string out = "keeper-state 1\n";
  const KeeperOptions& options = keeper.options_;
  Line(out, "paths") << options.keeper_path << options.logger_path << options.enter_path;
  {
    Line argv(out, "argv");
    for (const std::string& argument : options.agent_argv) argv << argument;
  }
  Line(out, "fds") << options.lock.get() << options.listen.get();
  Line(out, "limit") << original_descriptor_limit();
  write_attendant(out, "agent", keeper.agent_);
  write_attendant(out, "logger", keeper.logger_);
  Line(out, "flags") << keeper.ready_once_ << keeper.stopping_ << keeper.respawning_
                     << keeper.exit_code_ << keeper.last_wait_status_ << keeper.next_stream_
                     << keeper.upgrade_id_;
  for (int number : keeper.pending_signals_) Line(out, "signal") << number;
  {
    Line line(out, "stats");
    wire::Stats stats = keeper.children_.stats_so_far();
    for (std::uint64_t* field : stats_fields(stats)) line << *field;
  }
  save_children(out, keeper.children_);
  for (const auto& [id, zygote] : keeper.zygotes_.all()) {
    Line(out, "zygote") << id << zygote.pid << zygote.control.get() << zygote.serves
                        << zygote.asked;
  }
  for (const auto& [name, kept] : keeper.kept_) {
    Line(out, "kept") << name << kept.fd.get() << kept.blob << kept.for_logger << kept.stream
                      << kept.dropping << kept.drop_id;
  }
  out += "end\n";
  UniqueFd memory(memfd_create("keeper-state", MFD_CLOEXEC));
  for (std::size_t at = 0; memory && at < out.size();) {
    ssize_t n = write(memory.get(), out.data() + at, out.size() - at);
    if (n <= 0) return {};
    at += static_cast<std::size_t>(n);
  }
  return memory;
}

bool KeeperState::check(int state) { return whole(read_all(state)); }

// A record of what the keeper's children are.
bool KeeperState::load_of_children(Children& children, Words& words) {
  if (words.name() == "child") {
    load_child(words, children);
  } else if (words.name() == "helper") {
    pid_t pid = 0;
    std::uint64_t id = 0;
    words.number(pid);
    words.number(id);
    children.restore(pid, id);
  } else if (words.name() == "stranger") {
    Children::Stranger stranger;
    words.number(stranger.pid);
    words.number(stranger.start_ticks);
    read_exit(words, stranger.exit);
    children.restore(stranger);
  } else if (words.name() == "stats") {
    for (std::uint64_t* field : stats_fields(children.stats())) words.number(*field);
  } else {
    return false;
  }
  return true;
}

// A record of how the keeper was started.
bool KeeperState::load_of_options(Keeper& keeper, Words& words) {
  KeeperOptions& options = keeper.options_;
  if (words.name() == "paths") {
    options.keeper_path = words.text();
    options.logger_path = words.text();
    options.enter_path = words.text();
  } else if (words.name() == "argv") {
    options.agent_argv.clear();
    while (!words.done()) options.agent_argv.push_back(words.text());
  } else if (words.name() == "limit") {
    std::uint64_t limit = 0;
    words.number(limit);
    set_original_descriptor_limit(limit);
  } else if (words.name() == "fds") {
    words.fd(options.lock);
    words.fd(options.listen);
  } else {
    return false;
  }
  return true;
}

void KeeperState::load_of_keeper(Keeper& keeper, Words& words) {
  if (words.name() == "agent") {
    read_attendant(words, keeper.agent_);
  } else if (words.name() == "logger") {
    read_attendant(words, keeper.logger_);
  } else if (words.name() == "flags") {
    words.flag(keeper.ready_once_);
    words.flag(keeper.stopping_);
    words.flag(keeper.respawning_);
    words.number(keeper.exit_code_);
    words.number(keeper.last_wait_status_);
    words.number(keeper.next_stream_);
    words.number(keeper.upgrade_id_);
  } else if (words.name() == "signal") {
    words.number(keeper.pending_signals_.emplace_back());
  } else if (words.name() == "zygote") {
    std::uint64_t id = 0;
    pid_t pid = 0;
    words.number(id);
    words.number(pid);
    Zygotes::Zygote& zygote = keeper.zygotes_.restore(id, pid);
    words.fd(zygote.control);
    words.flag(zygote.serves);
    words.number(zygote.asked);
  } else if (words.name() == "kept") {
    std::string name = words.text();
    Keeper::KeptFd& kept = keeper.kept_[name];
    words.fd(kept.fd);
    kept.blob = words.text();
    words.flag(kept.for_logger);
    words.number(kept.stream);
    words.flag(kept.dropping);
    words.number(kept.drop_id);
  }
}

bool KeeperState::load(Keeper& keeper, int state) {
  std::string all = read_all(state);
  if (!whole(all)) return false;
  std::string_view rest = all;
  while (!rest.empty()) {
    std::size_t end = rest.find('\n');
    Words words(rest.substr(0, end));
    rest.remove_prefix(end + 1);
    if (load_of_options(keeper, words) || load_of_children(keeper.children_, words)) continue;
    load_of_keeper(keeper, words);
  }
  return true;
}

void KeeperState::set_inheritable(const Keeper& keeper, bool inheritable) {
  auto set = [&](const UniqueFd& fd) {
    if (fd) fcntl(fd.get(), F_SETFD, inheritable ? 0 : FD_CLOEXEC);
  };
  set(keeper.options_.lock);
  set(keeper.options_.listen);
  set(keeper.agent_.control);
  set(keeper.logger_.control);
  for (const auto& [name, kept] : keeper.kept_) set(kept.fd);
  for (const auto& [id, child] : keeper.children_.all()) set(child.pidfd);
  for (const auto& [id, zygote] : keeper.zygotes_.all()) set(zygote.control);
}

}  // namespace keepwell
