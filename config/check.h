// KW_CHECK(condition): an invariant of ours. On in every build; a broken one prints its place and
// aborts, since going on from an impossible state loses more than a restart of the agent does (its
// keeper starts a new one).
#pragma once

#include <cstdio>
#include <cstdlib>

#define KW_CHECK(condition)                                                                 \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      std::fprintf(stderr, "keepwell: broken invariant at %s:%d: %s\n", __FILE__, __LINE__, \
                   #condition);                                                             \
      std::abort();                                                                         \
    }                                                                                       \
  } while (false)
