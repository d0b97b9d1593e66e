// keepwell exec: a command in a container, as if it ran here. The terminal goes raw, changes of its
// size and signals are passed on, and the exit code is the command's.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "agent/cli/client_commands.h"
#include "agent/http/query.h"
#include "agent/http/stream_frames.h"
#include "config/signals.h"
#include "runtime/terminal.h"

namespace keepwell {
namespace {

using nlohmann::ordered_json;

constexpr int kStdin = 0;
constexpr int kStdout = 1;
constexpr int kStderr = 2;
constexpr std::size_t kInputBytesMax = 256 * 1024;  // read ahead of what the agent takes

// "K" alone stands for our own K, and for nothing where there is none.
std::vector<std::string> resolve_env(const std::vector<std::string>& given) {
  std::vector<std::string> env;
  for (const std::string& entry : given) {
    const char* own = std::getenv(entry.c_str());
    if (entry.find('=') != std::string::npos) {
      env.push_back(entry);
    } else if (own) {
      env.push_back(entry + "=" + own);
    }
  }
  return env;
}

ordered_json console_size() {
  const std::optional<TerminalSize> size = terminal_size(kStdout);
  if (!size || size->rows <= 0 || size->columns <= 0) return nullptr;
  return {size->rows, size->columns};
}

// One exec session from this side.
class Session {
 public:
  Session(const ExecCommand& command, HttpClient control)
      : command_(command), control_(std::move(control)), frames_(command.tty) {}

  int run() {
    if (Status created = create(); !created) return failed_with_1(created.error());
    return command_.detach ? run_detached() : run_attached();
  }

 private:
  static int failed_with_1(const Error& error) {
    failed(error);
    return 1;
  }

  Status create() {
    ordered_json body;
    body["AttachStdin"] = command_.interactive && !command_.detach;
    body["AttachStdout"] = true;
    body["AttachStderr"] = true;
    body["Tty"] = command_.tty;
    body["Cmd"] = command_.argv;
    body["Env"] = resolve_env(command_.env);
    body["User"] = command_.user;
    body["WorkingDir"] = command_.working_dir;
    body["Privileged"] = command_.privileged;
    body["DetachKeys"] = command_.detach_keys;
    if (command_.tty) body["ConsoleSize"] = console_size();
    const Result<ClientResponse> response =
        post("/containers/" + percent_encode(command_.name) + "/exec", body);
    if (!response) return fail(response.error());
    if (!response->ok()) return fail(Errc::os, response->message());
    const ordered_json answer = ordered_json::parse(response->body, nullptr, false);
    if (answer.is_object()) id_ = answer.value("Id", "");
    if (id_.empty()) return fail(Errc::os, "cannot read the agent's answer: it has no exec Id");
    return {};
  }

  Result<ClientResponse> post(const std::string& target, const ordered_json& body) {
    ClientRequest request;
    request.method = "POST";
    request.target = target;
    request.body = body.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    return control_.send(request);
  }

  void post_quietly(const std::string& target) {
    ClientRequest request;
    request.method = "POST";
    request.target = target;
    static_cast<void>(control_.send(request));
  }

  int run_detached() {
    const Result<ClientResponse> response =
        post("/exec/" + id_ + "/start", {{"Detach", true}, {"Tty", command_.tty}});
    if (!response) return failed_with_1(response.error());
    if (response->ok()) return 0;
    failed(Error{Errc::os, response->message()});
    const int code = exit_code();
    return code == 126 || code == 127 ? code : 1;
  }

  int run_attached() {
    Result<HttpClient> stream = connect_agent(command_.place);
    if (!stream) return failed_with_1(stream.error());
    ClientRequest request;
    request.method = "POST";
    request.target = "/exec/" + id_ + "/start";
    ordered_json body = {{"Detach", false}, {"Tty", command_.tty}};
    if (command_.tty) body["ConsoleSize"] = console_size();
    request.body = body.dump();
    const Result<ClientResponse> response = stream->hijack(request);
    if (!response) return failed_with_1(response.error());
    if (response->status != 101) return failed_with_1(Error{Errc::os, response->message()});
    const Status talked = talk(*stream);
    if (!talked) return failed_with_1(talked.error());
    return exit_code();
  }

  // Until the agent's side has ended.
  Status talk(HttpClient& stream) {
    Result<SignalQueue> signals =
        SignalQueue::open({SIGWINCH, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2});
    if (!signals) return fail(signals.error());
    std::optional<Result<RawTerminal>> raw;
    if (command_.tty && command_.interactive && is_terminal(kStdin))
      raw.emplace(RawTerminal::enter(kStdin));
    input_open_ = command_.interactive;
    if (!input_open_) shutdown_sending(stream.fd());
    if (!show(stream.take_rest())) return fail(Errc::os, "cannot write the output");
    std::string buffer(64 * 1024, '\0');
    while (true) {
      std::vector<Waiting> items(3);
      items[0] = {stream.fd(), true, !input_.empty()};
      items[1] = {kStdin, input_open_ && input_.size() < kInputBytesMax, false};
      items[2] = {signals->fd(), true, false};
      if (Status waited = wait_for_io(items); !waited) return waited;
      if (items[2].readable)
        while (const std::optional<int> signal = signals->take()) pass_on(*signal);
      if (items[1].readable) read_input(buffer);
      if ((items[0].writable || !input_.empty() || !input_open_) && !send_input(stream.fd()))
        input_.clear();
      if (!items[0].readable) continue;
      const Result<std::string_view> bytes = read_some(stream.fd(), buffer);
      if (!bytes || bytes->empty()) return {};
      if (!show(*bytes)) return fail(Errc::os, "cannot write the output");
    }
  }

  bool show(std::string_view bytes) {
    return frames_.feed(bytes, [](std::uint8_t stream, std::string_view payload) {
      return write_all(stream >= 2 ? kStderr : kStdout, payload).has_value();
    });
  }

  void read_input(std::string& buffer) {
    const Result<std::string_view> bytes = read_some(kStdin, buffer);
    if (!bytes || bytes->empty()) {
      input_open_ = false;
    } else {
      input_.append(*bytes);
    }
  }

  // False once the agent takes no more.
  bool send_input(int fd) {
    if (!input_.empty()) {
      const Result<std::size_t> sent = send_some(fd, input_);
      if (!sent) return false;
      input_.erase(0, *sent);
    }
    if (input_.empty() && !input_open_ && !std::exchange(half_closed_, true)) shutdown_sending(fd);
    return true;
  }

  void pass_on(int signal) {
    if (signal != SIGWINCH) {
      post_quietly("/exec/" + id_ + "/kill?signal=" + percent_encode(signal_name(signal)));
      return;
    }
    const std::optional<TerminalSize> size = terminal_size(kStdout);
    if (command_.tty && size)
      post_quietly("/exec/" + id_ + "/resize?h=" + std::to_string(size->rows) +
                   "&w=" + std::to_string(size->columns));
  }

  // 0 where it goes on without us (detach keys).
  int exit_code() {
    const Result<std::string> body = get_body(control_, "/exec/" + id_ + "/json");
    if (!body) return failed_with_1(body.error());
    const ordered_json exec = ordered_json::parse(*body, nullptr, false);
    if (!exec.is_object()) return 1;
    if (exec.value("Running", false)) {
      std::fputs("read escape sequence\r\n", stderr);
      return 0;
    }
    return exec.contains("ExitCode") && exec["ExitCode"].is_number_integer()
               ? exec["ExitCode"].get<int>()
               : 1;
  }

  const ExecCommand& command_;
  HttpClient control_;
  FrameSplitter frames_;
  std::string id_;
  std::string input_;  // read from stdin, not yet sent
  bool input_open_ = false;
  bool half_closed_ = false;
};

}  // namespace

int exec_command(const ExecCommand& command) {
  if (command.argv.empty()) {
    failed(Error{Errc::invalid, "cannot run a command in " + command.name + ": none was given"});
    return 2;
  }
  if (command.tty && command.interactive && !command.detach && !is_terminal(kStdin)) {
    failed(Error{Errc::invalid, "the input device is not a TTY"});
    return 1;
  }
  Result<HttpClient> control = connect_agent(command.place);
  if (!control) {
    failed(control.error());
    return 1;
  }
  ignore_sigpipe();
  return Session(command, std::move(*control)).run();
}

}  // namespace keepwell
