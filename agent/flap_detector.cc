#include "agent/flap_detector.h"

#include <algorithm>

namespace keepwell {

void note_recent(std::string& recent, bool passed, const FlapSpec& spec) {
  recent += passed ? '.' : 'x';
  const auto most = static_cast<std::size_t>(std::max(2, spec.window));
  if (recent.size() > most) recent.erase(0, recent.size() - most);
}

double flap_ratio(const std::string& recent) {
  const std::size_t pairs = recent.size() < 2 ? 0 : recent.size() - 1;
  double changes = 0;
  double all = 0;
  for (std::size_t i = 0; i < pairs; ++i) {
    const double age = pairs == 1 ? 0.5 : static_cast<double>(i) / static_cast<double>(pairs - 1);
    const double weight = 0.75 + 0.5 * age;
    all += weight;
    if (recent[i] != recent[i + 1]) changes += weight;
  }
  return pairs == 0 ? 0 : changes / all;
}

bool flaps(bool was, const std::string& recent, const FlapSpec& spec) {
  if (!spec.on) return false;
  const double ratio = flap_ratio(recent);
  if (was) return ratio >= spec.low;
  return recent.size() * 2 >= static_cast<std::size_t>(spec.window) && ratio >= spec.high;
}

}  // namespace keepwell
