#include "runtime/seccomp_compact.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>

namespace keepwell {
namespace {

using Word = std::uint32_t;

constexpr std::size_t kInstructionsMax = BPF_MAXINSNS;
constexpr std::size_t kJumpMax = 255;  // of a conditional jump
constexpr Word kBlock = 32;            // numbers, and bits of a word
constexpr Word kBlocksEnd = 512;       // above all numbers that are given out
constexpr int kVisitsMax = 20000;      // instructions looked at for one call

bool operator_holds(Word operation, Word left, Word right) {
  switch (operation) {
    case BPF_JEQ:
      return left == right;
    case BPF_JGT:
      return left > right;
    case BPF_JGE:
      return left >= right;
    default:  // BPF_JSET
      return (left & right) != 0;
  }
}

bool is_condition(const sock_filter& one) {
  Word operation = BPF_OP(one.code);
  return BPF_CLASS(one.code) == BPF_JMP && BPF_SRC(one.code) == BPF_K &&
         (operation == BPF_JEQ || operation == BPF_JGT || operation == BPF_JGE ||
          operation == BPF_JSET);
}

bool same(const BpfProgram& left, const BpfProgram& right) {
  return left.size() == right.size() &&
         std::memcmp(left.data(), right.data(), left.size() * sizeof(sock_filter)) == 0;
}

// The part of a program that is left where architecture and number are known.
class Specializer {
 public:
  Specializer(std::span<const sock_filter> program, Word arch, Word number)
      : program_(program), arch_(arch), number_(number) {}

  // none: an instruction that is not understood, or too long.
  std::optional<BpfProgram> run() { return from(0, Word{0}); }

 private:
  // From instruction AT on, with A in the accumulator if it is known.
  std::optional<BpfProgram> from(std::size_t at, std::optional<Word> a) {
    BpfProgram code;
    while (at < program_.size() && ++visits_ < kVisitsMax) {
      const sock_filter& one = program_[at];
      if (one.code == (BPF_LD | BPF_W | BPF_ABS)) {
        if (one.k == offsetof(seccomp_data, nr)) {
          a = number_;
        } else if (one.k == offsetof(seccomp_data, arch)) {
          a = arch_;
        } else {
          a.reset();
          code.push_back(one);
        }
      } else if (one.code == (BPF_ALU | BPF_AND | BPF_K)) {
        if (a) {
          *a &= one.k;
        } else {
          code.push_back(one);
        }
      } else if (one.code == (BPF_RET | BPF_K)) {
        code.push_back(one);
        return code;
      } else if (one.code == (BPF_JMP | BPF_JA)) {
        at += one.k;
      } else if (!is_condition(one)) {
        return std::nullopt;
      } else if (a) {
        at += operator_holds(BPF_OP(one.code), *a, one.k) ? one.jt : one.jf;
      } else {
        std::optional<BpfProgram> yes = from(at + 1 + one.jt, a);
        std::optional<BpfProgram> no = from(at + 1 + one.jf, a);
        if (!yes || !no || yes->size() > kJumpMax) return std::nullopt;
        if (yes->size() + no->size() > kInstructionsMax) return std::nullopt;
        if (!same(*yes, *no)) {
          code.push_back({one.code, 0, static_cast<std::uint8_t>(yes->size()), one.k});
          code.insert(code.end(), yes->begin(), yes->end());
        }
        code.insert(code.end(), no->begin(), no->end());
        return code;
      }
      ++at;
    }
    return std::nullopt;
  }

  std::span<const sock_filter> program_;
  Word arch_, number_;
  int visits_ = 0;
};

struct Range {
  Word first;  // up to the first of the next one
  BpfProgram code;
};

// Where a comparison with a constant can change its outcome.
std::vector<Word> range_starts(std::span<const sock_filter> program) {
  std::vector<Word> starts{0};
  for (const sock_filter& one : program) {
    if (!is_condition(one)) continue;
    starts.push_back(one.k);
    if (one.k != ~Word{0}) starts.push_back(one.k + 1);
  }
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  return starts;
}

void append(BpfProgram& to, const BpfProgram& code) {
  to.insert(to.end(), code.begin(), code.end());
}

// Jumps over UNTIL if the accumulator compares as said, else goes on with it.
void append_jump(BpfProgram& to, Word operation, Word value, const BpfProgram& until) {
  auto code = static_cast<std::uint16_t>(BPF_JMP | operation | BPF_K);
  if (until.size() <= kJumpMax) {
    to.push_back({code, static_cast<std::uint8_t>(until.size()), 0, value});
  } else {
    to.push_back({code, 0, 1, value});
    to.push_back({BPF_JMP | BPF_JA, 0, 0, static_cast<Word>(until.size())});
  }
  append(to, until);
}

BpfProgram tree(std::span<const Range> ranges) {
  if (ranges.size() == 1) return ranges[0].code;
  std::size_t middle = ranges.size() / 2;
  BpfProgram code;
  append_jump(code, BPF_JGE, ranges[middle].first, tree(ranges.first(middle)));
  append(code, tree(ranges.subspan(middle)));
  return code;
}

void push(std::vector<Range>& ranges, Word first, BpfProgram code) {
  if (ranges.empty() || !same(ranges.back().code, code)) ranges.push_back({first, std::move(code)});
}

const BpfProgram& outcome(std::span<const Range> ranges, Word number) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), number,
                                [](Word value, const Range& range) { return value < range.first; });
  return std::prev(after)->code;
}

// What answers for the 32 numbers from FIRST on: one bit for each, in scratch word 0 the one of the
// number that is asked for. Calls with conditions, and rarer answers, come before it by number.
// Empty where that is not worth it.
BpfProgram block_of_bits(std::span<const Range> ranges, Word first) {
  std::map<Word, int> counts;  // of each plain answer
  for (Word number = first; number < first + kBlock; ++number) {
    const BpfProgram& code = outcome(ranges, number);
    if (code.size() == 1) ++counts[code[0].k];
  }
  if (counts.size() < 2) return {};
  auto fewer = [](const auto& left, const auto& right) { return left.second < right.second; };
  auto often = std::max_element(counts.begin(), counts.end(), fewer);
  Word yes = often->first;
  counts.erase(often);
  Word no = std::max_element(counts.begin(), counts.end(), fewer)->first;

  BpfProgram code;
  Word bits = 0;
  for (Word number = first; number < first + kBlock; ++number) {
    const BpfProgram& one = outcome(ranges, number);
    if (one.size() == 1 && one[0].k == yes) bits |= 1U << (number - first);
    if (one.size() == 1 && (one[0].k == yes || one[0].k == no)) continue;
    if (one.size() > kJumpMax) return {};
    code.push_back({BPF_JMP | BPF_JEQ | BPF_K, 0, static_cast<std::uint8_t>(one.size()), number});
    append(code, one);
  }
  code.push_back({BPF_LD | BPF_MEM, 0, 0, 0});
  code.push_back({BPF_JMP | BPF_JSET | BPF_K, 0, 1, bits});
  code.push_back({BPF_RET | BPF_K, 0, 0, yes});
  code.push_back({BPF_RET | BPF_K, 0, 0, no});
  return code;
}

// RANGES with a block in place of 32 numbers wherever that is shorter.
std::vector<Range> with_blocks(const std::vector<Range>& ranges, bool& used) {
  std::vector<Range> made;
  std::size_t next = 0;
  for (Word first = 0; first < kBlocksEnd; first += kBlock) {
    std::size_t end = next, plain = 0;
    for (; end < ranges.size() && ranges[end].first < first + kBlock; ++end)
      plain += 1 + ranges[end].code.size();
    BpfProgram block = block_of_bits(ranges, first);
    bool shorter = !block.empty() && block.size() < plain;
    if (shorter) {
      push(made, first, std::move(block));
    } else {
      push(made, first, outcome(ranges, first));
      for (; next < end; ++next) push(made, std::max(first, ranges[next].first), ranges[next].code);
    }
    used = used || shorter;
    next = end;
  }
  push(made, kBlocksEnd, outcome(ranges, kBlocksEnd));
  for (; next < ranges.size(); ++next) push(made, ranges[next].first, ranges[next].code);
  return made;
}

std::optional<BpfProgram> for_arch(std::span<const sock_filter> program, Word arch,
                                   const std::vector<Word>& starts) {
  std::vector<Range> ranges;
  for (Word first : starts) {
    std::optional<BpfProgram> code = Specializer(program, arch, first).run();
    if (!code) return std::nullopt;
    push(ranges, first, std::move(*code));
  }
  bool bits = false;
  ranges = with_blocks(ranges, bits);
  const sock_filter load_number = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  BpfProgram code{load_number};
  if (bits) {
    append(code, {BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kBlock - 1), BPF_STMT(BPF_MISC | BPF_TAX, 0),
                  BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_ALU | BPF_LSH | BPF_X, 0),
                  BPF_STMT(BPF_ST, 0), load_number});
  }
  append(code, tree(ranges));
  return code;
}

// Both at the ends of every range, with the constants of the program as arguments.
bool agree(const BpfProgram& left, const BpfProgram& right, std::span<const Word> arches,
           const std::vector<Word>& starts) {
  std::size_t turn = 0;
  for (Word arch : arches) {
    for (Word start : starts) {
      for (Word number : {start, start - 1}) {
        seccomp_data data{};
        data.nr = static_cast<int>(number);
        data.arch = arch;
        for (int round = 0; round < 3; ++round) {
          for (auto& argument : data.args) {
            argument = round == 0 ? 0 : starts[turn++ % starts.size()];
            if (round == 2) argument |= std::uint64_t{starts[turn++ % starts.size()]} << 32U;
          }
          if (run_filter(left, data) != run_filter(right, data)) return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

std::uint32_t run_filter(std::span<const sock_filter> program, const seccomp_data& data) {
  Word a = 0, x = 0, scratch = 0;
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& one = program[at];
    if (one.code == (BPF_LD | BPF_W | BPF_ABS) && one.k % 4 == 0 && one.k < sizeof(data)) {
      std::memcpy(&a, reinterpret_cast<const char*>(&data) + one.k, sizeof(a));
    } else if (one.code == (BPF_ALU | BPF_AND | BPF_K)) {
      a &= one.k;
    } else if (one.code == (BPF_ALU | BPF_LSH | BPF_X)) {
      a = x < 32 ? a << x : 0;
    } else if (one.code == (BPF_LD | BPF_IMM)) {
      a = one.k;
    } else if (one.code == (BPF_MISC | BPF_TAX)) {
      x = a;
    } else if (one.code == BPF_ST && one.k == 0) {
      scratch = a;
    } else if (one.code == (BPF_LD | BPF_MEM) && one.k == 0) {
      a = scratch;
    } else if (one.code == (BPF_RET | BPF_K)) {
      return one.k;
    } else if (one.code == (BPF_JMP | BPF_JA)) {
      at += one.k;
    } else if (is_condition(one)) {
      at += operator_holds(BPF_OP(one.code), a, one.k) ? one.jt : one.jf;
    } else {
      break;
    }
  }
  return SECCOMP_RET_KILL_PROCESS;
}

BpfProgram compact_filter(BpfProgram program, std::span<const std::uint32_t> arches) {
  std::vector<Word> starts = range_starts(program);
  Word other = 1;  // an architecture that the program cannot know
  while (std::binary_search(starts.begin(), starts.end(), other)) ++other;
  std::vector<Word> all(arches.begin(), arches.end());
  all.push_back(other);

  BpfProgram code{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch))};
  for (Word arch : all) {
    std::optional<BpfProgram> part = for_arch(program, arch, starts);
    if (!part) return program;
    if (arch == other) {
      append(code, *part);
      break;
    }
    // Behind a conditional jump there is room for 255: the jump that is taken goes into the part.
    code.push_back({BPF_JMP | BPF_JEQ | BPF_K, 1, 0, arch});
    code.push_back({BPF_JMP | BPF_JA, 0, 0, static_cast<Word>(part->size())});
    append(code, *part);
  }
  if (code.size() >= program.size() || !agree(program, code, all, starts)) return program;
  return code;
}

}  // namespace keepwell
