// JSON that a client sent: checked before anything of it is used. All errors are Errc::invalid, in
// Docker's words.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "agent/http/message.h"
#include "config/result.h"

namespace keepwell {

inline constexpr int kJsonDepthMax = 32;

// TEXT as one JSON object, no deeper than kJsonDepthMax; "null" counts as an empty one.
Result<nlohmann::json> parse_json_object(std::string_view text);

// Whether REQUEST says that its body is JSON; a request without body and type does.
Status check_json_type(const HttpRequest& request);

// Reads KEY of OBJECT into VALUE, which stays as it is where the key is missing or null. Keys are
// compared without regard to case, as Go does. Fails on another type, and on a NUL in a text.
Status read_json(const nlohmann::json& object, const char* key, std::string& value);
Status read_json(const nlohmann::json& object, const char* key, bool& value);
Status read_json(const nlohmann::json& object, const char* key, std::vector<std::string>& value);
Status read_json(const nlohmann::json& object, const char* key, std::vector<int>& value);

}  // namespace keepwell
