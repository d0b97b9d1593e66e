// sim [--seed N|HASH] [--seeds N] [--hours H] [--trace] [--expect-violation]
//     [--boundaries [--every N] | --boundary N [--keeper | --again]]
//
// Runs simulated worlds. Prints how much virtual time they covered; a violation prints the one line
// that runs it again. --expect-violation turns the result round: for builds with a planted bug.
// --boundaries: small worlds, each as often as there are boundaries between two actions in it, with
// a death of the agent at each (--every N: at each Nth); once more with one of the keeper, and once
// with a second agent that dies a moment later. --boundary N: one of those.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>

#include "tests/sim/sim_world.h"

namespace {

constexpr keepwell::Duration kSmall = std::chrono::seconds(45);

struct Arguments {
  std::uint64_t seed = 1;
  std::uint64_t seeds = 1;
  double hours = 1;
  bool trace = false;
  bool expect_violation = false;
  bool boundaries = false;
  std::uint64_t every = 1;
  std::optional<std::uint64_t> boundary;
  std::string how;  // " --keeper", " --again", or nothing
};

struct Totals {
  double years = 0;
  std::uint64_t steps = 0;
  std::uint64_t probes = 0;
  std::uint64_t starts = 0;
  std::uint64_t deaths = 0;
  std::uint64_t violations = 0;
};

// A number as it is; anything else (a commit) by its bytes.
std::uint64_t seed_of(const std::string& text) {
  char* end = nullptr;
  const std::uint64_t number = std::strtoull(text.c_str(), &end, 10);
  if (!text.empty() && *end == '\0') return number;
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

bool parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool more = i + 1 < argc;
    if (word == "--trace") {
      arguments.trace = true;
    } else if (word == "--expect-violation") {
      arguments.expect_violation = true;
    } else if (word == "--boundaries") {
      arguments.boundaries = true;
    } else if (word == "--keeper" || word == "--again") {
      arguments.how = " " + word;
    } else if (word == "--every" && more) {
      arguments.every = std::max<std::uint64_t>(1, std::strtoull(argv[++i], nullptr, 10));
    } else if (word == "--boundary" && more) {
      arguments.boundary = std::strtoull(argv[++i], nullptr, 10);
    } else if (word == "--seed" && more) {
      arguments.seed = seed_of(argv[++i]);
    } else if (word == "--seeds" && more) {
      arguments.seeds = std::strtoull(argv[++i], nullptr, 10);
    } else if (word == "--hours" && more) {
      arguments.hours = std::strtod(argv[++i], nullptr);
    } else {
      std::fprintf(
          stderr,
          "usage: %s [--seed N|HASH] [--seeds N] [--hours H] [--trace] "
          "[--expect-violation] [--boundaries [--every N] | --boundary N [--keeper | --again]]\n",
          argv[0]);
      return false;
    }
  }
  return true;
}

// What the Supervisor throws it has no right to.
keepwell::SimWorld::Outcome outcome_of(const keepwell::SimWorld::Options& options,
                                       std::uint64_t seed) {
  try {
    return keepwell::SimWorld(seed, options).run();
  } catch (const std::exception& thrown) {
    keepwell::SimWorld::Outcome outcome;
    outcome.violation = std::string("an exception: ") + thrown.what();
    return outcome;
  }
}

keepwell::SimWorld::Outcome run(const keepwell::SimWorld::Options& options, std::uint64_t seed,
                                const std::string& again, Totals& totals) {
  auto outcome = outcome_of(options, seed);
  totals.years += std::chrono::duration<double>(outcome.virtual_time).count() / (365.25 * 86400);
  totals.steps += outcome.steps;
  totals.probes += outcome.probes;
  totals.starts += outcome.restarts;
  totals.deaths += outcome.deaths;
  if (!outcome.violation) return outcome;
  totals.violations++;
  std::printf("violation: %s\n", outcome.violation->c_str());
  std::printf("again: %s --seed %llu --trace\n", again.c_str(),
              static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  return outcome;
}

// One small world without a death, and then with one at each of its boundaries.
void run_boundaries(keepwell::SimWorld::Options options, std::uint64_t seed,
                    const Arguments& arguments, const std::string& program, Totals& totals) {
  options.small = true;
  options.faulty = kSmall;
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  if (arguments.boundary) {
    from = *arguments.boundary;
    to = from + 1;
  } else {
    to = run(options, seed, program + " --boundary 999999", totals).boundaries;
  }
  for (std::uint64_t at = from; at < to; at += arguments.every) {
    for (const std::string how : {"", " --keeper", " --again"}) {
      options.keeper_dies = how == " --keeper";
      options.dies_again = how == " --again";
      if (arguments.boundary && how != arguments.how) continue;
      if (arguments.expect_violation && totals.violations > 0) return;
      options.death_at = at;
      (void)run(options, seed, program + " --boundary " + std::to_string(at) + how, totals);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, arguments)) return 2;
  keepwell::SimWorld::Options options;
  options.faulty = std::chrono::duration_cast<keepwell::Duration>(
      std::chrono::duration<double, std::ratio<3600>>(arguments.hours));
  options.trace = arguments.trace;
  char hours[32];
  std::snprintf(hours, sizeof hours, "%g", arguments.hours);
  const std::string program = argv[0];
  Totals totals;
  for (std::uint64_t i = 0; i < arguments.seeds; ++i) {
    if (arguments.expect_violation && totals.violations > 0) break;
    const std::uint64_t seed = arguments.seed + i;
    if (arguments.boundaries || arguments.boundary) {
      run_boundaries(options, seed, arguments, program, totals);
    } else {
      (void)run(options, seed, program + " --hours " + hours, totals);
    }
  }
  std::printf(
      "%llu seeds from %llu, %.3f virtual years, %llu steps, %llu probes, %llu starts, %llu deaths "
      "of the agent, %llu violations\n",
      static_cast<unsigned long long>(arguments.seeds),
      static_cast<unsigned long long>(arguments.seed), totals.years,
      static_cast<unsigned long long>(totals.steps), static_cast<unsigned long long>(totals.probes),
      static_cast<unsigned long long>(totals.starts),
      static_cast<unsigned long long>(totals.deaths),
      static_cast<unsigned long long>(totals.violations));
  return (totals.violations > 0) == arguments.expect_violation ? 0 : 1;
}
