// The `filters` parameter of list and events, in both shapes that clients send:
// {"health":{"healthy":true}} (docker, dockerode) and {"health":["healthy"]} (docker-py).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"

namespace keepwell {

struct Filters {
  std::map<std::string, std::vector<std::string>> values;  // a value mapped to false is left out

  bool empty() const { return values.empty(); }
  // The values of KEY; none of them: an empty list.
  const std::vector<std::string>& of(const std::string& key) const;
};

// An empty TEXT means no filter. Errc::invalid with Docker's own words otherwise; more than 64 KiB,
// 256 values or nesting is refused too.
Result<Filters> parse_filters(std::string_view text);

// Whether LABELS has every one of the `k` and `k=v` of WANTED.
bool labels_match(const std::map<std::string, std::string>& labels,
                  const std::vector<std::string>& wanted);

}  // namespace keepwell
