// Several files of one project become one tree: maps are merged key by key, single values are
// replaced, lists are appended, as docker compose does with several -f. command, entrypoint and
// healthcheck.test are replaced whole; keys that may be a list or a map (environment, labels,
// depends_on) are merged by name whichever form each file uses.
#pragma once

#include "config/compose_tree.h"
#include "config/diagnostic.h"

namespace keepwell {

// Lays LATER over BASE. Values keep the places they came from.
void merge_compose_tree(Node& base, Node later, Report& report);

}  // namespace keepwell
