#include "runtime/net_probe/body_regex.h"

#include <re2/re2.h>

#include <memory>
#include <unordered_map>

namespace keepwell {

namespace {

constexpr std::int64_t kMemoryMax = 1 << 20;
// Without room for its automaton RE2 walks the program once for each byte: 10 KiB of text times
// this many instructions stay below 0.1 s.
constexpr int kProgramSizeMax = 2000;
constexpr std::size_t kPatternBytesMax = 4096;
constexpr std::size_t kKeptMax = 1000;

std::unique_ptr<re2::RE2> compile(const std::string& pattern) {
  re2::RE2::Options options(re2::RE2::Quiet);
  options.set_max_mem(kMemoryMax);
  return std::make_unique<re2::RE2>(pattern, options);
}

std::optional<std::string> fault_of(const std::string& pattern, const re2::RE2& compiled) {
  if (pattern.size() > kPatternBytesMax) return "it is longer than 4096 bytes";
  if (!compiled.ok()) return compiled.error();
  if (compiled.ProgramSize() > kProgramSizeMax) {
    return "it would need " + std::to_string(compiled.ProgramSize()) +
           " steps for each byte, and " + std::to_string(kProgramSizeMax) + " are allowed";
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> body_regex_fault(const std::string& pattern) {
  return fault_of(pattern, *compile(pattern));
}

bool body_matches(const std::string& pattern, std::string_view text) {
  static std::unordered_map<std::string, std::unique_ptr<re2::RE2>> kept;
  auto found = kept.find(pattern);
  if (found == kept.end()) {
    if (kept.size() >= kKeptMax) kept.clear();
    std::unique_ptr<re2::RE2> compiled = compile(pattern);
    if (fault_of(pattern, *compiled)) compiled.reset();
    found = kept.emplace(pattern, std::move(compiled)).first;
  }
  if (!found->second) return false;
  return re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *found->second);
}

}  // namespace keepwell
