// A line on the keeper's stderr, for what nobody else can say. A reader who does not read (a
// stopped terminal) costs the line, never the keeper's time.
#pragma once

namespace keepwell {

[[gnu::format(printf, 1, 2)]] void say(const char* format, ...);

}  // namespace keepwell
