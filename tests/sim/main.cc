// sim [--seed N|HASH] [--seeds N] [--hours H] [--trace] [--expect-violation]
//
// Runs simulated worlds. Prints how much virtual time they covered; a violation prints the one line
// that runs it again. --expect-violation turns the result round: for builds with a planted bug.
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/sim/sim_world.h"

namespace {

struct Arguments {
  std::uint64_t seed = 1;
  std::uint64_t seeds = 1;
  double hours = 1;
  bool trace = false;
  bool expect_violation = false;
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
    } else if (word == "--seed" && more) {
      arguments.seed = seed_of(argv[++i]);
    } else if (word == "--seeds" && more) {
      arguments.seeds = std::strtoull(argv[++i], nullptr, 10);
    } else if (word == "--hours" && more) {
      arguments.hours = std::strtod(argv[++i], nullptr);
    } else {
      std::fprintf(stderr,
                   "usage: %s [--seed N|HASH] [--seeds N] [--hours H] [--trace] "
                   "[--expect-violation]\n",
                   argv[0]);
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, arguments)) return 2;
  keepwell::SimWorld::Options options;
  options.faulty = std::chrono::duration_cast<keepwell::Duration>(
      std::chrono::duration<double, std::ratio<3600>>(arguments.hours));
  options.trace = arguments.trace;
  double years = 0;
  std::uint64_t steps = 0;
  std::uint64_t probes = 0;
  std::uint64_t starts = 0;
  std::uint64_t deaths = 0;
  std::uint64_t violations = 0;
  for (std::uint64_t i = 0; i < arguments.seeds; ++i) {
    const std::uint64_t seed = arguments.seed + i;
    const auto outcome = keepwell::SimWorld(seed, options).run();
    years += std::chrono::duration<double>(outcome.virtual_time).count() / (365.25 * 86400);
    steps += outcome.steps;
    probes += outcome.probes;
    starts += outcome.restarts;
    deaths += outcome.deaths;
    if (!outcome.violation) continue;
    violations++;
    std::printf("violation: %s\n", outcome.violation->c_str());
    std::printf("again: %s --seed %llu --hours %g --trace\n", argv[0],
                static_cast<unsigned long long>(seed), arguments.hours);
    if (arguments.expect_violation) break;
  }
  std::printf(
      "%llu seeds from %llu, %.3f virtual years, %llu steps, %llu probes, %llu starts, %llu deaths "
      "of the agent, %llu violations\n",
      static_cast<unsigned long long>(arguments.seeds),
      static_cast<unsigned long long>(arguments.seed), years,
      static_cast<unsigned long long>(steps), static_cast<unsigned long long>(probes),
      static_cast<unsigned long long>(starts), static_cast<unsigned long long>(deaths),
      static_cast<unsigned long long>(violations));
  return (violations > 0) == arguments.expect_violation ? 0 : 1;
}
