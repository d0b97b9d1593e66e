// What `keepwell ps` prints, made from the list that the API gave (the command line is a client
// like any other): the columns of docker ps, and `--format json` with the very fields of
// `docker ps --format json`, one object a line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/result.h"
#include "config/time.h"

namespace keepwell {

// Cells as docker ps would show them.
struct PsRow {
  std::string id;  // 12 digits, or all with no_trunc
  std::string names, image, command, created_at, running_for, ports, state, status, labels, mounts,
      networks, size;
  int local_volumes = 0;
  // Ours, for the table and for scripts that go through the rows.
  std::string service;
  std::string health;          // none, starting, healthy, unhealthy
  std::string keepwell_state;  // ServiceState
  bool held = false;           // nothing is done about it by itself
};

struct PsStyle {
  WallTime now{};
  int utc_offset_seconds = 0;  // of the reader, for CreatedAt
  std::string zone = "UTC";
  bool no_trunc = false;  // full ids, commands and mounts
};

// LIST_JSON: the body of GET /containers/json. Errc::invalid if it is not such a list; keys that an
// entry lacks give empty cells.
Result<std::vector<PsRow>> ps_rows(std::string_view list_json, const PsStyle& style);

// One line without a newline.
std::string ps_row_json(const PsRow& row);

}  // namespace keepwell
