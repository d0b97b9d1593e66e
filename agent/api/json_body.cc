#include "agent/api/json_body.h"

#include <algorithm>

#include "agent/http/head_filter.h"

namespace keepwell {
namespace {

using nlohmann::json;

struct Brackets {
  int depth = 0;                             // at the deepest
  std::size_t end = std::string_view::npos;  // of the first value, behind it; npos: it has none
};

// What the brackets of TEXT alone say of it.
Brackets scan_brackets(std::string_view text) {
  Brackets found;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      found.depth = std::max(found.depth, ++depth);
    } else if ((c == '}' || c == ']') && --depth == 0) {
      found.end = std::min(found.end, i + 1);
    }
  }
  return found;
}

// The value of KEY; nullptr where it is missing or null.
const json* find_value(const json& object, const char* key) {
  const json* found = nullptr;
  if (const auto exact = object.find(key); exact != object.end()) {
    found = &*exact;
  } else {
    for (const auto& [name, value] : object.items())
      if (equal_ignoring_case(name, key)) found = &value;
  }
  return found && !found->is_null() ? found : nullptr;
}

Status wrong_type(const char* key, const char* wanted, const json& value) {
  return fail(Errc::invalid, std::string("invalid JSON: field ") + key + " must be " + wanted +
                                 ", not " + value.type_name());
}

// No program, path or name can hold one; what stands behind it would be cut off unseen.
Status check_no_nul(const char* key, const std::string& text) {
  if (text.find('\0') == std::string::npos) return {};
  return fail(Errc::invalid, std::string("invalid JSON: field ") + key + " holds a NUL");
}

}  // namespace

Result<json> parse_json_object(std::string_view text) {
  // Checked before parsing: the parser itself recurses as deep as it is told to.
  const Brackets brackets = scan_brackets(text);
  if (brackets.depth > kJsonDepthMax) return fail(Errc::invalid, "invalid JSON: nested too deeply");
  json parsed = json::parse(text, nullptr, false);
  if (parsed.is_null()) return json::object();
  if (parsed.is_object()) return parsed;
  if (parsed.is_discarded() && brackets.end != std::string_view::npos &&
      json::accept(text.substr(0, brackets.end)))
    return fail(Errc::invalid, "unexpected content after JSON");
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return fail(Errc::invalid, "invalid JSON: got EOF while reading request body");
  if (!parsed.is_discarded()) return fail(Errc::invalid, "invalid JSON: must be an object");
  return fail(Errc::invalid, "invalid JSON: malformed");
}

Status check_json_type(const HttpRequest& request) {
  const std::string type = request.content_type();
  if (type == "application/json" || (type.empty() && !request.has_body())) return {};
  const std::string* given = find_field(request.fields, "content-type");
  return fail(Errc::invalid, "unsupported Content-Type header (" + (given ? *given : "") +
                                 "): must be 'application/json'");
}

Status read_json(const json& object, const char* key, std::string& value) {
  const json* found = find_value(object, key);
  if (!found) return {};
  if (!found->is_string()) return wrong_type(key, "a string", *found);
  std::string text = found->get<std::string>();
  if (Status whole = check_no_nul(key, text); !whole) return whole;
  value = std::move(text);
  return {};
}

Status read_json(const json& object, const char* key, bool& value) {
  const json* found = find_value(object, key);
  if (!found) return {};
  if (!found->is_boolean()) return wrong_type(key, "a boolean", *found);
  value = found->get<bool>();
  return {};
}

Status read_json(const json& object, const char* key, std::vector<std::string>& value) {
  const json* found = find_value(object, key);
  if (!found) return {};
  if (!found->is_array()) return wrong_type(key, "a list of strings", *found);
  std::vector<std::string> list;
  for (const json& item : *found) {
    if (!item.is_string()) return wrong_type(key, "a list of strings", item);
    list.push_back(item.get<std::string>());
    if (Status whole = check_no_nul(key, list.back()); !whole) return whole;
  }
  value = std::move(list);
  return {};
}

Status read_json(const json& object, const char* key, std::vector<int>& value) {
  const json* found = find_value(object, key);
  if (!found) return {};
  if (!found->is_array()) return wrong_type(key, "a list of numbers", *found);
  std::vector<int> list;
  for (const json& item : *found) {
    const bool fits = item.is_number_unsigned() && item.get<std::uint64_t>() <= 0xffff;
    if (!fits) return wrong_type(key, "a list of numbers from 0 to 65535", item);
    list.push_back(item.get<int>());
  }
  value = std::move(list);
  return {};
}

}  // namespace keepwell
