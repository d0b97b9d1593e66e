// "did you mean": the known name nearest to what somebody typed.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace keepwell {

// The candidate that the fewest typing slips (a letter added, left out, replaced, or two swapped)
// turn TYPED into; empty where even the nearest is too far to be meant.
std::string_view nearest_name(std::string_view typed, std::span<const std::string_view> candidates);

}  // namespace keepwell
