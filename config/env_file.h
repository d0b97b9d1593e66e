// The .env grammar of Compose, for .env itself and for env_file:
//   # comment
//   NAME=value          up to the end of the line or " #"; spaces at the end are dropped
//   NAME='as it is'     may span lines; \' is a quote
//   NAME="with \n $VAR" may span lines; escapes and variables are replaced
//   export NAME=value   and   NAME: value   are accepted too
//   NAME                takes the value from the process's environment, if it is set there
// Variables in values are looked up in the process's environment first, then above in the file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/interpolate.h"

namespace keepwell {

struct EnvFileMistake {
  int line = 0;
  std::string text;
};

struct EnvFile {
  std::vector<std::pair<std::string, std::string>> values;  // in file order; a later one wins
  std::vector<EnvFileMistake> mistakes;                     // none: all was understood
  std::vector<std::string> unset;                           // variables used and not set
};

EnvFile parse_env_file(std::string_view text, const VariableLookup& process_environment);

// `format: raw`: NAME=VALUE lines, the value exactly as it stands; # lines are comments.
EnvFile parse_raw_env_file(std::string_view text, const VariableLookup& process_environment);

}  // namespace keepwell
