// logs and events: answers that go on.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/cli/client_commands.h"
#include "agent/http/query.h"
#include "agent/http/stream_frames.h"
#include "exporters/event_json.h"
#include "exporters/time_text.h"
#include "runtime/loop.h"
#include "runtime/terminal.h"

namespace keepwell {
namespace {

// "seconds.nanos" as the API takes it; empty for empty.
Result<std::string> time_argument(const std::string& text) {
  if (text.empty()) return std::string();
  const Result<WallTime> time = parse_time_argument(text, Loop::now().wall);
  if (!time) return fail(Errc::invalid, time.error().text);
  const std::int64_t seconds = unix_seconds(*time);
  std::string nanos = std::to_string(unix_nanos(*time) - seconds * 1'000'000'000);
  nanos.insert(0, 9 - nanos.size(), '0');
  return std::to_string(seconds) + "." + nanos;
}

// Prints the lines of a stream of JSON objects as they become complete.
class EventPrinter {
 public:
  EventPrinter(bool json, int utc_offset_seconds) : json_(json), offset_(utc_offset_seconds) {}

  bool take(std::string_view bytes) {
    rest_.append(bytes);
    while (true) {
      const std::size_t end = rest_.find('\n');
      if (end == std::string::npos) break;
      print(rest_.substr(0, end));
      rest_.erase(0, end + 1);
    }
    return std::fflush(stdout) == 0;
  }

 private:
  void print(const std::string& line) const {
    if (line.empty()) return;
    if (json_) {
      std::puts(line.c_str());
      return;
    }
    const Result<std::string> text = event_text_of_json(line, offset_);
    std::puts(text ? text->c_str() : printable(line).c_str());
  }

  bool json_;
  int offset_;
  std::string rest_;
};

}  // namespace

int logs_command(const LogsCommand& command) {
  const Result<std::string> since = time_argument(command.since);
  if (!since) return failed(since.error());
  const Result<std::string> until = time_argument(command.until);
  if (!until) return failed(until.error());
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());
  ignore_sigpipe();
  const std::string container = "/containers/" + percent_encode(command.name);
  const Result<std::string> inspected = get_body(*client, container + "/json");
  if (!inspected) return failed(inspected.error());
  const nlohmann::json object = nlohmann::json::parse(*inspected, nullptr, false);
  const bool tty =
      object.is_object() && object.contains("Config") && object["Config"].value("Tty", false);

  std::string target = container + "/logs?stdout=1&stderr=1&tail=" + percent_encode(command.tail);
  if (command.follow) target += "&follow=1";
  if (command.timestamps) target += "&timestamps=1";
  if (!since->empty()) target += "&since=" + *since;
  if (!until->empty()) target += "&until=" + *until;
  FrameSplitter frames(tty);
  const Result<ClientResponse> response =
      client->stream({.target = target}, [&frames](std::string_view bytes) {
        return frames.feed(bytes, [](std::uint8_t stream, std::string_view payload) {
          return write_all(stream == 2 || stream == 3 ? 2 : 1, payload).has_value();
        });
      });
  if (!response) return failed(response.error());
  if (!response->ok()) return failed(Error{Errc::os, response->message()});
  return 0;
}

int events_command(const EventsCommand& command) {
  const Result<std::string> filters = filters_json(command.filters);
  if (!filters) return failed(filters.error());
  const Result<std::string> since = time_argument(command.since);
  if (!since) return failed(since.error());
  const Result<std::string> until = time_argument(command.until);
  if (!until) return failed(until.error());
  Result<HttpClient> client = connect_agent(command.place);
  if (!client) return failed(client.error());

  std::string target = "/events?filters=" + percent_encode(*filters);
  // Without --follow: what is remembered, up to now.
  const WallTime now = Loop::now().wall;
  if (!since->empty()) {
    target += "&since=" + *since;
  } else if (!command.follow) {
    target += "&since=1";
  }
  if (!until->empty()) {
    target += "&until=" + *until;
  } else if (!command.follow) {
    target += "&until=" + std::to_string(unix_seconds(now) + 1) + ".000000000";
  }
  EventPrinter printer(command.json, local_zone(now).utc_offset_seconds);
  const Result<ClientResponse> response = client->stream(
      {.target = target}, [&printer](std::string_view bytes) { return printer.take(bytes); });
  if (!response) return failed(response.error());
  if (!response->ok()) return failed(Error{Errc::os, response->message()});
  return 0;
}

}  // namespace keepwell
