// Several files of one project become one tree: maps are merged key by key, single values are
// replaced, lists are appended, as docker compose does with several -f. command, entrypoint and
// healthcheck.test are replaced whole; items of a list that have a key (the target of a volume,
// say) replace the one with the same; keys that have two forms (environment, labels, depends_on,
// dns...) are merged whichever form each file uses. `!override` replaces whatever the key's rule
// is,
// `!reset` takes the key away.
#pragma once

#include "config/compose_tree.h"
#include "config/diagnostic.h"

namespace keepwell {

// Lays LATER over BASE. Values keep the places they came from.
void merge_compose_tree(Node& base, Node later, Report& report);

// The same for a part of a file, such as a service over the one that it extends.
void merge_compose_value(Node& base, Node later);

// Takes away what `!reset` marks. REQUIRES: nothing is merged over NODE any more.
void remove_reset_values(Node& node);

}  // namespace keepwell
