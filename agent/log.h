// The agent's own log: lines on stderr, as text or as one JSON object each, through spdlog (which
// stays out of our headers). Says what the agent did and why; what containers print goes through
// keepwell-logger instead. An error is logged where it is handled, once.
#pragma once

#include <string>
#include <string_view>

#include "config/spec.h"

namespace keepwell {

// Before it is called, lines are text at level info. May be called again (reload).
void open_log(const LogSpec& spec);

void log_debug(std::string_view text);
void log_info(std::string_view text);
void log_warning(std::string_view text);
void log_error(std::string_view text);

// The same with the container, and the incident, that it is about: "web-1: TEXT incident=3f2a", or
// in JSON fields of their own.
void log_container(std::string_view container, std::string_view text, bool warning = false,
                   std::string_view incident = {});

}  // namespace keepwell
