#include "config/image_config.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "config/signals.h"

namespace keepwell {
namespace {

using Json = nlohmann::json;

constexpr int kDepthMax = 64;

// The value of KEY, null where it is absent.
const Json& at(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

// Reads one value of the config after another; the first that does not fit is kept.
class ConfigReader {
 public:
  Status problem;

  void text(const Json& in, const char* key, std::string& out) {
    const Json& value = at(in, key);
    if (value.is_null()) return;
    if (!value.is_string()) return bad(key, "is no text");
    out = value.get<std::string>();
    if (out.find('\0') != std::string::npos) bad(key, "has a NUL in it");
  }

  void list(const Json& in, const char* key, std::vector<std::string>& out) {
    const Json& value = at(in, key);
    if (value.is_null()) return;
    if (!value.is_array()) return bad(key, "is no list");
    for (const Json& item : value) {
      if (!item.is_string()) return bad(key, "is no list of texts");
      out.push_back(item.get<std::string>());
      if (out.back().find('\0') != std::string::npos) return bad(key, "has a NUL in it");
    }
  }

  // {"80/tcp": {}}: only the keys say something.
  void keys(const Json& in, const char* key, std::vector<std::string>& out) {
    const Json& value = at(in, key);
    if (value.is_null()) return;
    if (!value.is_object()) return bad(key, "is no object");
    for (const auto& [name, ignored] : value.items()) out.push_back(name);
  }

  void labels(const Json& in, std::map<std::string, std::string>& out) {
    const Json& value = at(in, "Labels");
    if (value.is_null()) return;
    if (!value.is_object()) return bad("Labels", "is no object");
    for (const auto& [name, label] : value.items()) {
      if (!label.is_string()) return bad("Labels", "has a value that is no text");
      out[name] = label.get<std::string>();
    }
  }

  void duration(const Json& in, const char* key, Duration& out) {
    const Json& value = at(in, key);
    if (value.is_null()) return;
    if (!value.is_number_integer()) return bad(key, "is no whole number of nanoseconds");
    const bool large = value.is_number_unsigned() &&
                       value.get<std::uint64_t>() >
                           static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (large) return bad(key, "is too large");
    out = Duration{value.get<std::int64_t>()};
    // Docker refuses to run such an image ("cannot be less than 1ms").
    constexpr Duration kShortest = std::chrono::milliseconds(1);
    if (out.count() != 0 && out < kShortest) bad(key, "is less than 1ms");
  }

  void retries(const Json& in, int& out) {
    const Json& value = at(in, "Retries");
    if (value.is_null()) return;
    const bool good =
        value.is_number_integer() && value >= 0 && value <= std::numeric_limits<int>::max();
    if (!good) return bad("Retries", "is no number from 0");
    out = value.get<int>();
  }

  void bad(const std::string& key, const char* what) {
    if (problem)
      problem = fail(Errc::invalid, "cannot use the image's config: " + key + " " + what);
  }
};

void read_environment(ConfigReader& reader, const Json& config, ImageConfig& out) {
  std::vector<std::string> entries;
  reader.list(config, "Env", entries);
  for (const std::string& entry : entries) {
    const std::size_t equals = entry.find('=');
    if (equals == 0) return reader.bad("Env", "has an entry without a name");
    // Docker sets nothing for an entry without "=".
    if (equals == std::string::npos) continue;
    out.environment.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
  }
}

void read_healthcheck(ConfigReader& reader, const Json& config, ImageConfig& out) {
  const Json& value = at(config, "Healthcheck");
  if (value.is_null()) return;
  if (!value.is_object()) return reader.bad("Healthcheck", "is no object");
  ImageHealthcheck check;
  reader.list(value, "Test", check.test);
  reader.duration(value, "Interval", check.interval);
  reader.duration(value, "Timeout", check.timeout);
  reader.duration(value, "StartPeriod", check.start_period);
  reader.duration(value, "StartInterval", check.start_interval);
  reader.retries(value, check.retries);
  if (!check.test.empty()) {
    const std::string& kind = check.test.front();
    // The engine's own three; anything else Docker logs and then ignores.
    if (kind != "NONE" && kind != "CMD" && kind != "CMD-SHELL") {
      return reader.bad("Healthcheck.Test", "does not begin with CMD, CMD-SHELL or NONE");
    }
    if (kind != "NONE" && check.test.size() < 2) {
      return reader.bad("Healthcheck.Test", "has no command");
    }
  }
  out.healthcheck = std::move(check);
}

void read_stop_signal(ConfigReader& reader, const Json& config, ImageConfig& out) {
  std::string text;
  reader.text(config, "StopSignal", text);
  if (text.empty()) return;
  Result<int> number = parse_signal(text);
  if (!number) return reader.bad("StopSignal", "names no signal of Linux");
  out.stop_signal = signal_name(*number);
}

}  // namespace

Result<ImageConfig> parse_image_config(std::string_view text) {
  int depth = 0;
  bool deep = false;
  Json root = Json::parse(
      text,
      [&](int level, Json::parse_event_t, Json&) {
        depth = std::max(depth, level);
        deep = depth > kDepthMax;
        return !deep;
      },
      /*allow_exceptions=*/false);
  if (deep || root.is_discarded() || !root.is_object()) {
    return fail(Errc::invalid, "cannot use the image's config: it is no JSON object");
  }
  ConfigReader reader;
  ImageConfig out;
  reader.text(root, "os", out.os);
  reader.text(root, "architecture", out.architecture);
  reader.text(root, "variant", out.variant);
  reader.text(root, "created", out.created);
  const Json& config = at(root, "config");
  if (!config.is_null() && !config.is_object()) reader.bad("config", "is no object");
  reader.list(config, "Entrypoint", out.entrypoint);
  reader.list(config, "Cmd", out.command);
  reader.list(config, "Shell", out.shell);
  reader.text(config, "User", out.user);
  reader.text(config, "WorkingDir", out.working_dir);
  reader.keys(config, "Volumes", out.volumes);
  reader.keys(config, "ExposedPorts", out.exposed_ports);
  reader.labels(config, out.labels);
  read_environment(reader, config, out);
  read_stop_signal(reader, config, out);
  read_healthcheck(reader, config, out);
  std::vector<std::string*> paths{&out.working_dir};
  for (std::string& volume : out.volumes) paths.push_back(&volume);
  for (std::string* path : paths) {  // what is relative starts from the root, as Docker joins it
    if (!path->empty() && path->front() != '/') *path = '/' + *path;
  }
  if (!reader.problem) return fail(reader.problem.error());
  return out;
}

}  // namespace keepwell
