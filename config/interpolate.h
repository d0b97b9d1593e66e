// Variables in values, as Compose replaces them:
//   $NAME ${NAME}         the value; nothing, with a warning, where it is not set
//   ${NAME:-x} ${NAME-x}  x where NAME is empty or not set / not set
//   ${NAME:?x} ${NAME?x}  a mistake saying x where NAME is empty or not set / not set
//   ${NAME:+x} ${NAME+x}  x where NAME is set and not empty / set; else nothing
//   $$                    one $
// x may hold variables itself. Any other $ is a mistake, as in docker compose.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"

namespace keepwell {

using VariableLookup = std::function<std::optional<std::string>(std::string_view name)>;

struct Interpolated {
  std::string text;
  std::vector<std::string> unset;  // names without value or default, each once
};

// Results larger than this are refused: nested defaults could otherwise grow without end.
inline constexpr std::size_t kInterpolatedBytesMax = std::size_t{1} << 20;

// What to tell about such a name.
std::string unset_variable_text(const std::string& name);

// Fails with Errc::invalid.
Result<Interpolated> interpolate(std::string_view text, const VariableLookup& lookup);

}  // namespace keepwell
