#include "exporters/filters.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace keepwell {
namespace {

constexpr std::size_t kTextMax = 65536;
constexpr std::size_t kValuesMax = 256;
constexpr int kDepthMax = 3;  // {"key": {"value": true}} is two

// A parse that gives up on deep nesting before it costs anything.
nlohmann::json parse_shallow(std::string_view text) {
  const auto depth_guard = [](int depth, nlohmann::json::parse_event_t event, nlohmann::json&) {
    using parse_event = nlohmann::json::parse_event_t;
    const bool opens = event == parse_event::object_start || event == parse_event::array_start;
    return !opens || depth < kDepthMax;
  };
  return nlohmann::json::parse(text, depth_guard, /*allow_exceptions=*/false);
}

tl::unexpected<Error> invalid_filter() { return fail(Errc::invalid, "invalid filter"); }

}  // namespace

const std::vector<std::string>& Filters::of(const std::string& key) const {
  static const std::vector<std::string> kNone;
  const auto found = values.find(key);
  return found == values.end() ? kNone : found->second;
}

Result<Filters> parse_filters(std::string_view text) {
  Filters filters;
  if (text.empty()) return filters;
  if (text.size() > kTextMax) return invalid_filter();
  const nlohmann::json tree = parse_shallow(text);
  if (tree.is_null()) return filters;
  if (!tree.is_object()) return invalid_filter();
  std::size_t count = 0;
  for (const auto& [key, given] : tree.items()) {
    std::vector<std::string>& values = filters.values[key];
    if (given.is_object()) {
      for (const auto& [value, wanted] : given.items()) {
        if (!wanted.is_boolean()) return invalid_filter();
        if (wanted.get<bool>()) values.push_back(value);
      }
    } else if (given.is_array()) {
      for (const auto& value : given) {
        if (!value.is_string()) return invalid_filter();
        values.push_back(value.get<std::string>());
      }
    } else {
      return invalid_filter();
    }
    count += values.size() + 1;
    if (count > kValuesMax) return invalid_filter();
  }
  return filters;
}

bool labels_match(const std::map<std::string, std::string>& labels,
                  const std::vector<std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& one) {
    const std::size_t equals = one.find('=');
    const auto found = labels.find(one.substr(0, equals));
    if (found == labels.end()) return false;
    return equals == std::string::npos || found->second == one.substr(equals + 1);
  });
}

}  // namespace keepwell
