#include "agent/log.h"

#include <spdlog/formatter.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "exporters/time_text.h"
#include "runtime/journald.h"
#include "runtime/socket_state.h"

namespace keepwell {

namespace {

// A container's name and an incident's id travel in front of the text, each ended by this byte,
// which neither contains.
constexpr char kNameEnd = '\x1f';

std::string_view view(const spdlog::string_view_t& text) { return {text.data(), text.size()}; }

struct Parts {
  std::string_view container;
  std::string_view incident;
  std::string_view text;
};
Parts split(std::string_view payload) {
  const std::size_t end = payload.find(kNameEnd);
  if (end == std::string_view::npos) return {{}, {}, payload};
  const std::size_t second = payload.find(kNameEnd, end + 1);
  return {payload.substr(0, end), payload.substr(end + 1, second - end - 1),
          payload.substr(second + 1)};
}

std::string time_of(const spdlog::details::log_msg& message) {
  auto since = std::chrono::duration_cast<Duration>(message.time.time_since_epoch());
  return rfc3339_nano_fixed(WallTime(since)).substr(0, 23) + "Z";
}

void append(spdlog::memory_buf_t& out, std::string_view text) {
  out.append(text.data(), text.data() + text.size());
}

// Control characters would let a service's output forge lines, or drive a terminal.
void append_printable(spdlog::memory_buf_t& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      const char escaped[] = {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      append(out, {escaped, sizeof escaped});
    } else {
      out.push_back(c);
    }
  }
}

class TextFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    Parts parts = split(view(message.payload));
    append(out, time_of(message));
    out.push_back(' ');
    append(out, view(spdlog::level::to_string_view(message.level)));
    out.push_back(' ');
    if (!parts.container.empty()) {
      append_printable(out, parts.container);
      append(out, ": ");
    }
    append_printable(out, parts.text);
    if (!parts.incident.empty()) {
      append(out, " incident=");
      append_printable(out, parts.incident);
    }
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }
};

class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    Parts parts = split(view(message.payload));
    nlohmann::ordered_json line;
    line["time"] = time_of(message);
    line["level"] = std::string(view(spdlog::level::to_string_view(message.level)));
    if (!parts.container.empty()) line["container"] = std::string(parts.container);
    if (!parts.incident.empty()) line["incident"] = std::string(parts.incident);
    line["message"] = std::string(parts.text);
    append(out, line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

// syslog's numbers.
std::string_view priority_of(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
    case spdlog::level::debug:
      return "7";
    case spdlog::level::warn:
      return "4";
    case spdlog::level::err:
      return "3";
    case spdlog::level::critical:
      return "2";
    default:
      return "6";
  }
}

// To journald with fields of their own; where it does not take a line, to stderr as text.
class JournaldSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  JournaldSink() { stderr_.set_formatter(std::make_unique<TextFormatter>()); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const Parts parts = split(view(message.payload));
    std::string text(parts.container);
    if (!text.empty()) text += ": ";
    text += parts.text;
    JournaldFields fields{{"MESSAGE", text},
                          {"PRIORITY", priority_of(message.level)},
                          {"SYSLOG_IDENTIFIER", "keepwell"}};
    if (!parts.container.empty()) fields.emplace_back("KEEPWELL_CONTAINER", parts.container);
    if (!parts.incident.empty()) fields.emplace_back("KEEPWELL_INCIDENT", parts.incident);
    // It may be restarted under us.
    for (int tries = 0; tries < 2; ++tries) {
      if (!socket_) {
        Result<JournaldSocket> socket = JournaldSocket::connect();
        if (!socket) break;
        socket_.emplace(std::move(*socket));
      }
      if (socket_->send(fields)) return;
      socket_.reset();
    }
    stderr_.log(message);
  }
  void flush_() override {}

 private:
  std::optional<JournaldSocket> socket_;
  spdlog::sinks::stderr_sink_st stderr_;
};

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_st>();
    sink->set_formatter(std::make_unique<TextFormatter>());
    return spdlog::logger("keepwell", sink);
  }();
  return instance;
}

// A reader who does not read (a stopped terminal, a journal in trouble) costs lines, never the time
// of the agent.
void log(spdlog::level::level_enum level, std::string_view text) {
  static std::uint64_t lost = 0;
  if (!logger().should_log(level)) return;
  if (!can_take_a_line(STDERR_FILENO)) {
    ++lost;
    return;
  }
  if (lost > 0) logger().warn("{} lines of this log were lost: nobody read it", lost);
  lost = 0;
  logger().log(level, spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace

void open_log(const LogSpec& spec) {
  logger().sinks() = {std::make_shared<spdlog::sinks::stderr_sink_st>()};
  if (spec.format == "journald") {
    logger().sinks() = {std::make_shared<JournaldSink>()};
  } else if (spec.format == "json") {
    logger().set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger().set_formatter(std::make_unique<TextFormatter>());
  }
  logger().set_level(spdlog::level::from_str(spec.level));
  logger().flush_on(spdlog::level::trace);
}

void log_debug(std::string_view text) { log(spdlog::level::debug, text); }
void log_info(std::string_view text) { log(spdlog::level::info, text); }
void log_warning(std::string_view text) { log(spdlog::level::warn, text); }
void log_error(std::string_view text) { log(spdlog::level::err, text); }

void log_container(std::string_view container, std::string_view text, bool warning,
                   std::string_view incident) {
  std::string payload(container);
  payload += kNameEnd;
  payload += incident;
  payload += kNameEnd;
  payload += text;
  log(warning ? spdlog::level::warn : spdlog::level::info, payload);
}

}  // namespace keepwell
