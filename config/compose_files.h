// The files of a project become one tree: each is parsed, its variables are replaced, what it
// includes and extends is put in, and it is laid over those before it (merge.h). Private to the
// loader.
//
// Files name files, so their number, depth and growth are bounded; a circle is a mistake. Relative
// paths in a file that is included, or that a service extends from, start at that file's own
// directory, so they are made absolute here; those of the files named with -f start at the
// project's.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/compose_tree.h"
#include "config/fields.h"

namespace keepwell {

// Empty where no file could be read; what was wrong is in CONTEXT.report. ON_NAME is told the
// `name` of the last file that has one, its variables replaced (null: none has), and the first
// file's number; what it then puts into CONTEXT.environment (COMPOSE_PROJECT_NAME) all other values
// can use. It is not called where no file could be read.
std::optional<Node> read_compose_files(
    LoadContext& context, const std::vector<std::string>& files,
    const std::function<void(const Node* name, int file)>& on_name);

// Adds the variables of the file PATH, in the grammar of .env, to ENVIRONMENT, which keeps what it
// has. PLACE: where a file that must be there was named; none: it may be absent.
void add_env_file(LoadContext& context, const std::string& path, const std::optional<Place>& place,
                  std::map<std::string, std::string>& environment);

}  // namespace keepwell
