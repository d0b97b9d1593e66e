// Relative paths in a file that is included, or that a service extends from, start at that file's
// own directory: here they are made absolute, before the file's tree becomes part of another.
// Private to the loader.
#pragma once

#include <string>
#include <string_view>

#include "config/compose_tree.h"

namespace keepwell {

// The paths of one service.
void make_service_absolute(const std::string& directory, Node& service);

// The paths of a whole file.
void make_project_absolute(const std::string& directory, Node& root);

// The value of KEY in a mapping; null pointer where there is none.
Node* find_child(Node& node, std::string_view key);

}  // namespace keepwell
