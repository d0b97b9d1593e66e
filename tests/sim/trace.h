// A simulation in words, one line an input and one an action: for reading a seed that failed.
#pragma once

#include <string>
#include <vector>

#include "agent/supervisor_io.h"

namespace keepwell {

std::string stamp(Now now);
void trace(Now now, const Input& input, const std::vector<Action>& actions);

}  // namespace keepwell
