// What an image says about how it is to be run: the config JSON of a Docker or OCI image. Both have
// the same keys; Healthcheck and Shell are Docker's, and OCI images may carry them too.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/result.h"
#include "config/time.h"

namespace keepwell {

// A HEALTHCHECK; what is empty or 0 was not said.
struct ImageHealthcheck {
  std::vector<std::string> test;  // {"CMD",...}, {"CMD-SHELL", text} or {"NONE"}
  Duration interval{0}, timeout{0}, start_period{0}, start_interval{0};
  int retries = 0;

  bool operator==(const ImageHealthcheck&) const = default;
};

struct ImageConfig {
  std::string os, architecture, variant;  // linux, amd64, ""
  std::string created;                    // RFC 3339, as the image says it
  std::vector<std::string> entrypoint, command, shell;
  std::vector<std::pair<std::string, std::string>> environment;
  std::string user, working_dir;
  std::string stop_signal;                 // SIGTERM, in this spelling
  std::vector<std::string> volumes;        // absolute paths
  std::vector<std::string> exposed_ports;  // 80/tcp
  std::map<std::string, std::string> labels;
  std::optional<ImageHealthcheck> healthcheck;

  bool operator==(const ImageConfig&) const = default;
};

// An image is somebody else's data: Errc::invalid for what is no such JSON, has a value of the
// wrong kind, or says what cannot be meant (a signal that does not exist). Unknown keys are
// ignored; paths are made absolute. Never throws.
Result<ImageConfig> parse_image_config(std::string_view json);

}  // namespace keepwell
