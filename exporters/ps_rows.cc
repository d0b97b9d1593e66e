#include "exporters/ps_rows.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "config/utf8.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"
#include "exporters/utf8.h"

namespace keepwell {
namespace {

using nlohmann::json;

std::string text_at(const json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t number_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

// The container at KEY; an empty one of no kind where there is none.
const json& part_at(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found != object.end() ? *found : kNothing;
}

// At most CHARACTERS characters, the last one then an ellipsis.
std::string shortened(const std::string& text, std::size_t characters) {
  std::size_t at = 0;
  std::size_t cut = 0;
  for (std::size_t count = 0; at < text.size(); ++count) {
    if (count + 1 == characters) cut = at;
    if (count == characters) return text.substr(0, cut) + "\xE2\x80\xA6";
    at += std::max<std::size_t>(utf8_length(std::string_view(text).substr(at)), 1);
  }
  return text;
}

// As Go's strconv.Quote writes it.
std::string go_quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : valid_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte == 0x7F) {
      std::array<char, 8> escaped;
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", byte);
      out += escaped.data();
    } else {
      out += c;
    }
  }
  return out + "\"";
}

void join(std::string& list, const std::string& word, const char* between = ",") {
  if (!list.empty()) list += between;
  list += word;
}

struct Port {
  std::int64_t inner, outer;
  std::string ip, type;

  auto key() const { return std::tie(inner, ip, outer, type); }
};

std::string with_ip(const std::string& ip, const std::string& port) {
  return (ip.find(':') == std::string::npos ? ip : "[" + ip + "]") + ":" + port;
}

struct Run {
  std::string ip, type;
  std::int64_t first, last;

  std::string text() const {
    std::string range = std::to_string(first);
    if (last != first) range += "-" + std::to_string(last);
    return (ip.empty() ? range : with_ip(ip, range) + "->" + range) + "/" + type;
  }
};

// Ports that follow each other are shown as one range, where the host's numbers are the same.
std::string ports_text_of(const json& list) {
  std::vector<Port> ports;
  for (const json& one : list) {
    if (!one.is_object()) continue;
    ports.push_back({number_at(one, "PrivatePort"), number_at(one, "PublicPort"),
                     text_at(one, "IP"), text_at(one, "Type")});
  }
  std::sort(ports.begin(), ports.end(),
            [](const Port& a, const Port& b) { return a.key() < b.key(); });
  std::vector<Run> open;  // one by address and type, in order of their first port
  std::string done;
  std::string moved;
  for (const Port& port : ports) {
    if (!port.ip.empty() && port.outer != port.inner) {
      join(moved,
           with_ip(port.ip, std::to_string(port.outer)) + "->" + std::to_string(port.inner) + "/" +
               port.type,
           ", ");
      continue;
    }
    const auto run = std::find_if(open.begin(), open.end(), [&](const Run& one) {
      return one.ip == port.ip && one.type == port.type;
    });
    if (run == open.end()) {
      open.push_back({port.ip, port.type, port.inner, port.inner});
    } else if (port.inner == run->last + 1) {
      run->last = port.inner;
    } else {
      join(done, run->text(), ", ");
      run->first = run->last = port.inner;
    }
  }
  for (const Run& run : open) join(done, run.text(), ", ");
  if (!moved.empty()) join(done, moved, ", ");
  return done;
}

std::string size_text(const json& entry) {
  const std::int64_t rw = std::max<std::int64_t>(number_at(entry, "SizeRw"), 0);
  const std::int64_t root = number_at(entry, "SizeRootFs");
  std::string text = human_size(static_cast<std::uint64_t>(rw));
  if (root > 0) text += " (virtual " + human_size(static_cast<std::uint64_t>(root)) + ")";
  return text;
}

void add_mounts(PsRow& row, const json& mounts, const PsStyle& style) {
  for (const json& mount : mounts) {
    std::string name = text_at(mount, "Name");
    if (name.empty()) name = text_at(mount, "Source");
    join(row.mounts, style.no_trunc ? name : shortened(name, 15));
    if (text_at(mount, "Driver") == "local") ++row.local_volumes;
  }
}

PsRow row_of(const json& entry, const PsStyle& style) {
  PsRow row;
  row.id = text_at(entry, "Id");
  if (!style.no_trunc) row.id = row.id.substr(0, 12);
  for (const json& name : part_at(entry, "Names")) {
    if (!name.is_string()) continue;
    const auto text = name.get<std::string>();
    join(row.names, text.starts_with('/') ? text.substr(1) : text);
  }
  row.image = text_at(entry, "Image");
  if (row.image.empty()) row.image = "<no image>";
  const std::string command = text_at(entry, "Command");
  row.command = go_quoted(style.no_trunc ? command : shortened(command, 20));
  const WallTime created{std::chrono::seconds(number_at(entry, "Created"))};
  row.created_at = ps_time(created, style.utc_offset_seconds, style.zone);
  row.running_for = human_duration(style.now - created) + " ago";
  row.ports = ports_text_of(part_at(entry, "Ports"));
  row.state = text_at(entry, "State");
  row.status = text_at(entry, "Status");
  for (const auto& [key, value] : part_at(entry, "Labels").items()) {
    if (value.is_string()) join(row.labels, key + "=" + value.get<std::string>());
  }
  const json& networks = part_at(part_at(entry, "NetworkSettings"), "Networks");
  for (const auto& [name, network] : networks.items()) join(row.networks, name);
  row.size = size_text(entry);
  add_mounts(row, part_at(entry, "Mounts"), style);
  const json& own = part_at(entry, "Keepwell");
  row.service = text_at(own, "Service");
  row.health = text_at(own, "Health");
  if (const std::int64_t paused = number_at(own, "ChecksPaused"); paused > 0) {
    row.health += " (" + std::to_string(paused) + " paused)";
  }
  row.keepwell_state = text_at(own, "State");
  row.held = own.is_object() && own.contains("Held") && own["Held"] == true;
  return row;
}

tl::unexpected<Error> no_list() {
  return fail(Errc::invalid,
              "cannot read the list of containers: the answer is not a JSON array of them");
}

}  // namespace

Result<std::vector<PsRow>> ps_rows(std::string_view list_json, const PsStyle& style) {
  const json list = json::parse(list_json, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return no_list();
  std::vector<PsRow> rows;
  for (const json& entry : list) {
    if (!entry.is_object()) return no_list();
    rows.push_back(row_of(entry, style));
  }
  return rows;
}

std::string ps_row_json(const PsRow& row) {
  return json_text(nlohmann::ordered_json{{"Command", row.command},
                                          {"CreatedAt", row.created_at},
                                          {"ID", row.id},
                                          {"Image", row.image},
                                          {"Labels", row.labels},
                                          {"LocalVolumes", std::to_string(row.local_volumes)},
                                          {"Mounts", row.mounts},
                                          {"Names", row.names},
                                          {"Networks", row.networks},
                                          {"Platform", nullptr},
                                          {"Ports", row.ports},
                                          {"RunningFor", row.running_for},
                                          {"Size", row.size},
                                          {"State", row.state},
                                          {"Status", row.status}});
}

}  // namespace keepwell
