// What netavark is told and what it answers. Pure. (netavark makes bridge, interfaces and rules of
// a container, and has aardvark-dns answer for its names; the JSON is that of Podman, netavark's
// src/network/types.rs.)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/network/network_record.h"

namespace keepwell {

// The standard input of `netavark setup` and `netavark teardown`; the same for both.
std::string netavark_input(const NetworkRecord& record);

struct NetavarkPlace {
  std::string netavark, aardvark;  // paths; without the second, names are not resolved
  std::string config_dir;          // of ours alone: one aardvark-dns serves it
};
// VERB is setup or teardown.
std::vector<std::string> netavark_argv(const NetavarkPlace& place, std::string_view verb,
                                       const std::string& namespace_path);

// What it complains of, in one line, from what it wrote.
std::string netavark_complaint(std::string_view output);

}  // namespace keepwell
