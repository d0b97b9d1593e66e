// Every sequence of results up to length 10, under every small setting, through HealthTracker and
// through the model: 39 million verdicts, none sampled.
#include "tests/model/health_model.h"

#include <cstdint>

#include "probes/health_tracker.h"
#include "tests/catch.h"

namespace keepwell {
namespace {

constexpr int kLengthMax = 10;

ProbeResult result_of(Letter letter, Instant at) {
  ProbeResult result;
  result.started = at;
  result.ended = at + std::chrono::milliseconds(100);
  switch (letter) {
    case Letter::pass:
      break;
    case Letter::fail:
      result.exit_code = 1;
      break;
    case Letter::timeout:
      result.outcome = ProbeOutcome::timed_out;
      result.reason = FailureReason::timeout;
      result.exit_code = -1;
      break;
    case Letter::exit_2:
      result.exit_code = 2;
      break;
  }
  return result;
}

struct Walk {
  CheckSpec spec;
  Instant began{};
  std::vector<ModelResult> history;
  std::uint64_t verdicts = 0;
  std::string wrong;  // the first sequence on which they disagree

  void go(const HealthTracker& tracker) {
    if (history.size() == kLengthMax || !wrong.empty()) return;
    const Instant at = began + std::chrono::seconds(history.size() + 1);
    for (const Letter letter : {Letter::pass, Letter::fail, Letter::timeout, Letter::exit_2}) {
      HealthTracker next = tracker;
      const Health before = next.status();
      const auto transition = next.apply(spec, began, result_of(letter, at));
      history.push_back({letter, at - began < spec.start_period});
      const ModelVerdict model =
          model_verdict(history, spec.retries, beginning_of(history, spec.retries));
      verdicts++;
      const bool told =
          transition.has_value() == (before != model.status) &&
          (!transition || (transition->from == before && transition->to == model.status));
      if (next.status() != model.status || next.record().failing_streak != model.failing_streak ||
          !told) {
        for (const ModelResult& each : history) wrong += "PFT2"[static_cast<int>(each.letter)];
        return;
      }
      go(next);
      history.pop_back();
      if (!wrong.empty()) return;
    }
  }
};

TEST_CASE("the tracker and the model agree on every short history") {
  std::uint64_t verdicts = 0;
  for (int retries = 1; retries <= 4; ++retries) {
    for (int period = 0; period <= 6; ++period) {
      Walk walk;
      walk.spec.retries = retries;
      walk.spec.start_period = std::chrono::seconds(period);
      walk.began = Instant(std::chrono::hours(1));
      walk.go(HealthTracker());
      INFO("retries " << retries << ", start period " << period << ", sequence " << walk.wrong);
      REQUIRE(walk.wrong.empty());
      verdicts += walk.verdicts;
    }
  }
  CHECK(verdicts == 28U * 1398100U);  // 4 + 4^2 + ... + 4^10, for each setting
}

}  // namespace
}  // namespace keepwell
