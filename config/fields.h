// How one level of a Compose file is read: a table names every key that may stand there, and the
// function that takes its value. To support a new key is to write that function and one line of
// table.
//
//   constexpr Key<LogSpec> kLogKeys[] = {{"level", read_level}, {"format", read_format}};
//   read_map(context, node, "log", kLogKeys, spec.log);
//
// The read_* functions below take one typed value. On a value that does not fit they report it,
// leave OUT as it was and return false.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/compose_tree.h"
#include "config/diagnostic.h"
#include "config/load.h"
#include "config/result.h"
#include "config/spec.h"
#include "config/spec_names.h"
#include "config/suggest.h"

namespace keepwell {

struct CheckDraft;

// One of the file's `volumes`.
struct VolumeDefinition {
  std::string name;
  bool name_given = false;
  bool external = false;
  bool foreign = false;  // of a driver that keepwell has not
  std::vector<std::pair<std::string, std::string>> driver_opts;
};

// One of the file's `secrets` or `configs`.
struct FileDefinition {
  Place place;
  std::string path, variable, content;  // as in FileSpec
  bool unset = false;                   // `variable` is
};

// One of the file's `networks`.
struct NetworkDefinition {
  Place place;
  NetworkSpec spec;
};

// What services name instead of describing it.
struct Resources {
  std::map<std::string, VolumeDefinition> volumes;
  std::map<std::string, FileDefinition> secrets, configs;
  std::map<std::string, NetworkDefinition> networks;
};

// What a file's x-keepwell.defaults sets for all its services.
struct Defaults {
  const Node* healthcheck = nullptr;
  RestartSpec restart;
  LoggingSpec logging;
  std::string network_mode;  // of services that say nothing of networks
};

// What every reader may need. Lives for one load_project().
struct LoadContext {
  Report& report;
  std::map<std::string, std::string> environment;  // of the process, over .env
  std::string directory;                           // absolute: relative paths start here
  std::function<Result<std::string>(const std::string& path, std::size_t limit)> read_file;
  std::optional<Defaults> defaults;  // set before services are read
  RuntimeKind default_runtime = RuntimeKind::oci;
  PressureGuardSpec pressure_guard{};  // of the file, for its services
  bool net_checks = false;             // http, tcp and grpc checks can be run
  std::function<PathFacts(const std::string& path)> look;
  std::string project_name;
  Resources resources;  // set before services are read
  // What is wrong with a pattern for a response's body; empty: it is not looked at.
  std::function<std::optional<std::string>(const std::string&)> regex_fault;
};

// One key with its value, as handed to the function that reads it.
struct Field {
  LoadContext& context;
  const Entry& entry;

  const Node& value() const { return entry.value; }
  const std::string& name() const { return entry.key; }
  void error(std::string_view text) const { context.report.error(value().place, text); }
  void warning(std::string_view text) const { context.report.warning(value().place, text); }
};

template <class Target>
struct Key {
  std::string_view name;
  void (*read)(const Field& field, Target& target);  // null: known, not supported
  std::string_view instead = {};                     // then: what to use
};

// Reports that NODE is no map, and returns false.
bool expect_map(LoadContext& context, const Node& node, std::string_view what);
// KEY is not among NAMES: silently fine for x-*, else reported with the nearest name.
void report_unknown_key(LoadContext& context, const Entry& entry, std::string_view what,
                        std::span<const std::string_view> names);
// KEY is known and not supported.
void report_unsupported_key(LoadContext& context, const Entry& entry, std::string_view instead);

// One table of the keys of two.
template <class Target, std::size_t M, std::size_t N>
constexpr std::array<Key<Target>, M + N> joined(const Key<Target> (&a)[M],
                                                const Key<Target> (&b)[N]) {
  std::array<Key<Target>, M + N> all{};
  for (std::size_t i = 0; i < M; ++i) all[i] = a[i];
  for (std::size_t i = 0; i < N; ++i) all[M + i] = b[i];
  return all;
}

// Hands every entry of the map NODE to its key's function. WHAT names the map in messages. KEYS is
// an array of Key<Target>.
template <class Keys, class Target>
void read_map(LoadContext& context, const Node& node, std::string_view what, const Keys& keys,
              Target& target) {
  if (!expect_map(context, node, what)) return;
  std::vector<std::string_view> names;
  for (const Key<Target>& key : keys) names.push_back(key.name);
  for (const Entry& entry : node.entries) {
    const Key<Target>* known = nullptr;
    for (const Key<Target>& key : keys) {
      if (key.name == entry.key) known = &key;
    }
    if (known == nullptr) {
      report_unknown_key(context, entry, what, names);
    } else if (known->read == nullptr) {
      report_unsupported_key(context, entry, known->instead);
    } else {
      known->read(Field{context, entry}, target);
    }
  }
}

// WHAT names the value in messages; usually the key.
bool read_text(LoadContext& context, std::string_view what, const Node& node, std::string& out);
bool read_bool(LoadContext& context, std::string_view what, const Node& node, bool& out);
bool read_integer(LoadContext& context, std::string_view what, const Node& node, std::int64_t min,
                  std::int64_t max, std::int64_t& out);
bool read_number(LoadContext& context, std::string_view what, const Node& node, double min,
                 double max, double& out);
bool read_duration(LoadContext& context, std::string_view what, const Node& node, Duration& out);
bool read_bytes(LoadContext& context, std::string_view what, const Node& node, std::int64_t& out);
// A file mode in octal digits: 0440, 0o440 or 440.
bool read_mode(LoadContext& context, std::string_view what, const Node& node, std::uint32_t& out);
// A share as 10% or 0.1; 0 to 1.
bool read_share(LoadContext& context, std::string_view what, const Node& node, double& out);
// One of CHOICES; OUT is its index.
bool read_choice(LoadContext& context, std::string_view what, const Node& node,
                 std::span<const std::string_view> choices, std::size_t& out);
// The same for an enum that spec_names.h has words for.
template <class Enum>
bool read_enum(LoadContext& context, std::string_view what, const Node& node, Enum& out) {
  std::size_t which = 0;
  if (!read_choice(context, what, node, names_of(out), which)) return false;
  out = static_cast<Enum>(which);
  return true;
}
// A list of single values.
bool read_text_list(LoadContext& context, std::string_view what, const Node& node,
                    std::vector<std::string>& out);
// A single value, or a list of them.
bool read_text_or_list(LoadContext& context, std::string_view what, const Node& node,
                       std::vector<std::string>& out);

// A value of a map-or-list key (labels, environment): none where the key stands alone.
struct NamedValue {
  std::string name;
  std::optional<std::string> value;
  Place place;
};
// Both forms: {A: 1, B: } and [A=1, B].
bool read_named_values(LoadContext& context, std::string_view what, const Node& node,
                       std::vector<NamedValue>& out);

// PATH made absolute against the project's directory, without "." and ".." where that needs no
// look at the file system.
std::string absolute_path(const LoadContext& context, std::string_view path);

}  // namespace keepwell
