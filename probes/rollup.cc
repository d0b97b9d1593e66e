#include "probes/rollup.h"

namespace keepwell {

Health roll_up(std::span<const CheckVerdict> checks) {
  Health health = Health::none;
  for (const CheckVerdict& check : checks) {
    if (check.role == CheckRole::info || check.status == Health::none) continue;
    if (check.status == Health::unhealthy) return Health::unhealthy;
    if (check.status == Health::starting || health == Health::none) health = check.status;
  }
  return health;
}

}  // namespace keepwell
