#include "config/fields.h"

#include <charconv>
#include <cmath>

#include "config/bytes.h"
#include "config/duration.h"
#include "config/paths.h"

namespace keepwell {

bool expect_map(LoadContext& context, const Node& node, std::string_view what) {
  if (node.is_mapping()) return true;
  context.report.error(
      node.place, std::string(what) + " must be a map of keys and values, not " + kind_name(node));
  return false;
}

void report_unknown_key(LoadContext& context, const Entry& entry, std::string_view what,
                        std::span<const std::string_view> names) {
  if (context.report.full()) return;
  bool extension = entry.key.rfind("x-", 0) == 0;
  std::string_view near = nearest_name(entry.key, names);
  if (extension) {
    if (near == "x-keepwell") {
      context.report.warning(entry.key_place, "key " + in_quotes(entry.key) +
                                                  " is ignored like any x- key; did you mean " +
                                                  "x-keepwell?");
    }
    return;
  }
  std::string text = "unknown key " + in_quotes(entry.key) + " in " + std::string(what);
  if (!near.empty()) {
    text += "; did you mean " + std::string(near) + "?";
  } else {
    text += "; remove it";
  }
  context.report.error(entry.key_place, text);
}

void report_unsupported_key(LoadContext& context, const Entry& entry, std::string_view instead) {
  context.report.unsupported(entry.key_place,
                             "key " + entry.key + " is not supported; " + std::string(instead));
}

namespace {

// The text of a scalar; reports anything else.
const std::string* scalar_text(LoadContext& context, std::string_view what, const Node& node,
                               std::string_view wanted) {
  if (node.is_scalar()) return &node.text;
  context.report.error(
      node.place,
      node.is_null()
          ? std::string(what) + " has no value; write " + std::string(wanted) + " or remove the key"
          : std::string(what) + " must be " + std::string(wanted) + ", not " + kind_name(node));
  return nullptr;
}

bool refuse(LoadContext& context, const Node& node, std::string_view what, std::string_view why) {
  context.report.error(node.place,
                       std::string(what) + " " + in_quotes(node.text) + " " + std::string(why));
  return false;
}

// The part of an Error's text after "cannot read the duration "10": ".
std::string reason_of(const Error& error) {
  std::size_t colon = error.text.find("\": ");
  return colon == std::string::npos ? error.text : error.text.substr(colon + 3);
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace

bool read_text(LoadContext& context, std::string_view what, const Node& node, std::string& out) {
  const std::string* text = scalar_text(context, what, node, "a single value");
  if (text == nullptr) return false;
  out = *text;
  return true;
}

bool read_bool(LoadContext& context, std::string_view what, const Node& node, bool& out) {
  const std::string* text = scalar_text(context, what, node, "true or false");
  if (text == nullptr) return false;
  std::string word = lower(*text);
  bool yes = word == "true" || word == "yes" || word == "y" || word == "on" || word == "1";
  bool no = word == "false" || word == "no" || word == "n" || word == "off" || word == "0";
  if (!yes && !no) return refuse(context, node, what, "is neither true nor false");
  out = yes;
  return true;
}

bool read_integer(LoadContext& context, std::string_view what, const Node& node, std::int64_t min,
                  std::int64_t max, std::int64_t& out) {
  const std::string* text = scalar_text(context, what, node, "a whole number");
  if (text == nullptr) return false;
  std::int64_t value = 0;
  const char* end = text->data() + text->size();
  auto [stop, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc{} || stop != end) {
    return refuse(context, node, what, "is not a whole number, such as 3");
  }
  if (value < min || value > max) {
    std::string range = "is out of range; it is at least " + std::to_string(min);
    if (max != std::numeric_limits<std::int64_t>::max()) {
      range += " and at most " + std::to_string(max);
    }
    return refuse(context, node, what, range);
  }
  out = value;
  return true;
}

bool read_number(LoadContext& context, std::string_view what, const Node& node, double min,
                 double max, double& out) {
  const std::string* text = scalar_text(context, what, node, "a number");
  if (text == nullptr) return false;
  double value = 0;
  const char* end = text->data() + text->size();
  auto [stop, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc{} || stop != end || !std::isfinite(value)) {
    return refuse(context, node, what, "is not a number, such as 1.5");
  }
  if (value < min || value > max) return refuse(context, node, what, "is out of range");
  out = value;
  return true;
}

bool read_duration(LoadContext& context, std::string_view what, const Node& node, Duration& out) {
  const std::string* text = scalar_text(context, what, node, "a duration such as 10s");
  if (text == nullptr) return false;
  Result<Duration> value = parse_duration(*text);
  if (!value) {
    context.report.error(node.place, std::string(what) + " " + in_quotes(*text) +
                                         " is not a duration: " + reason_of(value.error()));
    return false;
  }
  out = *value;
  return true;
}

bool read_bytes(LoadContext& context, std::string_view what, const Node& node, std::int64_t& out) {
  const std::string* text = scalar_text(context, what, node, "a size such as 64m");
  if (text == nullptr) return false;
  Result<std::int64_t> value = parse_bytes(*text);
  if (!value) {
    context.report.error(node.place, std::string(what) + " " + in_quotes(*text) +
                                         " is not a size: " + reason_of(value.error()));
    return false;
  }
  out = *value;
  return true;
}

bool read_mode(LoadContext& context, std::string_view what, const Node& node, std::uint32_t& out) {
  const std::string* text = scalar_text(context, what, node, "a file mode such as 0440");
  if (text == nullptr) return false;
  std::string_view digits = *text;
  if (digits.substr(0, 2) == "0o") digits.remove_prefix(2);
  std::uint32_t mode = 0;
  const char* end = digits.data() + digits.size();
  auto [stop, error] = std::from_chars(digits.data(), end, mode, 8);
  if (error != std::errc{} || stop != end || mode > 07777) {
    return refuse(context, node, what, "is no file mode; write octal digits such as 0440");
  }
  out = mode;
  return true;
}

bool read_share(LoadContext& context, std::string_view what, const Node& node, double& out) {
  const std::string* text = scalar_text(context, what, node, "a share such as 10%");
  if (text == nullptr) return false;
  std::string_view number = *text;
  bool percent = !number.empty() && number.back() == '%';
  if (percent) number.remove_suffix(1);
  double value = 0;
  const char* end = number.data() + number.size();
  auto [stop, error] = std::from_chars(number.data(), end, value);
  if (percent) value /= 100;
  if (error != std::errc{} || stop != end || !(value >= 0 && value <= 1)) {
    return refuse(context, node, what, "is not a share; write 0% to 100%, or 0 to 1");
  }
  out = value;
  return true;
}

bool read_choice(LoadContext& context, std::string_view what, const Node& node,
                 std::span<const std::string_view> choices, std::size_t& out) {
  std::string all;
  for (std::string_view choice : choices) {
    if (!all.empty()) all += choice == choices.back() ? " or " : ", ";
    all += choice;
  }
  const std::string* text = scalar_text(context, what, node, all);
  if (text == nullptr) return false;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (*text == choices[i]) {
      out = i;
      return true;
    }
  }
  std::string_view near = nearest_name(*text, choices);
  std::string why = "is not known; ";
  why += near.empty() ? "write " + all : "did you mean " + std::string(near) + "?";
  return refuse(context, node, what, why);
}

bool read_text_list(LoadContext& context, std::string_view what, const Node& node,
                    std::vector<std::string>& out) {
  if (!node.is_sequence()) {
    context.report.error(node.place, std::string(what) + " must be a list, not " + kind_name(node));
    return false;
  }
  std::vector<std::string> texts;
  bool good = true;
  for (const Node& item : node.items) {
    std::string text;
    good = read_text(context, "an item of " + std::string(what), item, text) && good;
    texts.push_back(std::move(text));
  }
  if (good) out = std::move(texts);
  return good;
}

bool read_text_or_list(LoadContext& context, std::string_view what, const Node& node,
                       std::vector<std::string>& out) {
  if (!node.is_scalar()) return read_text_list(context, what, node, out);
  out = {node.text};
  return true;
}

bool read_named_values(LoadContext& context, std::string_view what, const Node& node,
                       std::vector<NamedValue>& out) {
  if (node.is_mapping()) {
    for (const Entry& entry : node.entries) {
      NamedValue named{entry.key, std::nullopt, entry.key_place};
      if (!entry.value.is_null()) {
        std::string text;
        if (!read_text(context, std::string(what) + "." + entry.key, entry.value, text)) continue;
        named.value = std::move(text);
      }
      out.push_back(std::move(named));
    }
    return true;
  }
  if (!node.is_sequence()) {
    context.report.error(node.place, std::string(what) +
                                         " must be a map (NAME: value) or a list (- NAME=value), "
                                         "not " +
                                         kind_name(node));
    return false;
  }
  for (const Node& item : node.items) {
    std::string text;
    if (!read_text(context, "an item of " + std::string(what), item, text)) continue;
    std::size_t equals = text.find('=');
    NamedValue named{text.substr(0, equals), std::nullopt, item.place};
    if (equals != std::string::npos) named.value = text.substr(equals + 1);
    out.push_back(std::move(named));
  }
  return true;
}

std::string absolute_path(const LoadContext& context, std::string_view path) {
  return absolute_path(context.directory, path);
}

}  // namespace keepwell
