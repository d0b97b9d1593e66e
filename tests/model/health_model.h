// A second opinion on verdicts: what the sequence of all results of a run says, read as a whole.
// HealthTracker walks forward and remembers three numbers; this looks at the history from its end
// and remembers everything. They share no code and no idea but Docker's rules, so that an error
// would have to be made twice, in two different shapes.
#pragma once

#include <algorithm>
#include <vector>

#include "config/time.h"
#include "probes/probe_result.h"

namespace keepwell {

enum class Letter { pass, fail, timeout, exit_2 };

struct ModelResult {
  Letter letter = Letter::pass;
  bool in_start_period = false;  // its probe began inside the start period
};

struct ModelVerdict {
  Health status = Health::starting;
  int failing_streak = 0;

  bool operator==(const ModelVerdict&) const = default;
};

// How many results belong to the time in which the container was starting; the last of them is the
// one that ended it, if it has ended.
struct Beginning {
  std::size_t size = 0;
  bool ended = false;
};

inline Beginning beginning_of(const std::vector<ModelResult>& history, int retries) {
  int counted = 0;
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (history[i].letter == Letter::pass) return {i + 1, true};
    if (history[i].letter == Letter::exit_2 || history[i].in_start_period) continue;
    if (++counted == retries) return {i + 1, true};
  }
  return {history.size(), false};
}

// REQUIRES: success_threshold 1, no max_starting; RETRIES >= 1. BEGINNING is beginning_of(history).
inline ModelVerdict model_verdict(const std::vector<ModelResult>& history, int retries,
                                  const Beginning& beginning) {
  ModelVerdict verdict;
  std::size_t at = history.size();
  // Later results: whatever is not a pass is a failure.
  while (at > beginning.size && history[at - 1].letter != Letter::pass) {
    verdict.failing_streak++;
    at--;
  }
  if (at > beginning.size) {  // a pass ended the search
    verdict.status = verdict.failing_streak >= retries ? Health::unhealthy : Health::healthy;
    return verdict;
  }
  // Only failures since the beginning: it decides how they are continued.
  const bool passed = beginning.ended && history[beginning.size - 1].letter == Letter::pass;
  if (passed) {
    verdict.status = verdict.failing_streak >= retries ? Health::unhealthy : Health::healthy;
    return verdict;
  }
  verdict.failing_streak += static_cast<int>(
      std::count_if(history.begin(), history.begin() + static_cast<std::ptrdiff_t>(beginning.size),
                    [](const ModelResult& result) {
                      return result.letter != Letter::exit_2 && !result.in_start_period;
                    }));
  verdict.status = beginning.ended ? Health::unhealthy : Health::starting;
  return verdict;
}

}  // namespace keepwell
