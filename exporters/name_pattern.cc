// A recursive-descent parser makes a small program of byte sets and jumps (Thompson's
// construction); matching steps all its threads through the text together, so no input makes it go
// back.
#include "exporters/name_pattern.h"

#include <algorithm>
#include <string>

namespace keepwell {
namespace {

using Instruction = NamePattern::Instruction;
using Kind = Instruction::Kind;
using ByteSet = NamePattern::ByteSet;
using Code = std::vector<Instruction>;

constexpr std::size_t kProgramMax = 1000;
constexpr int kNestingMax = 50;
constexpr int kRepeatMax = 1000;  // as in Go

std::size_t index_of(char c) { return static_cast<unsigned char>(c); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

ByteSet range_set(char low, char high) {
  ByteSet set;
  for (std::size_t i = index_of(low); i <= index_of(high); ++i) set.set(i);
  return set;
}

ByteSet word_set() {
  ByteSet set = range_set('0', '9') | range_set('a', 'z') | range_set('A', 'Z');
  set.set(index_of('_'));
  return set;
}

ByteSet space_set() {
  ByteSet set;
  for (char c : {' ', '\t', '\n', '\f', '\r'}) set.set(index_of(c));
  return set;
}

// Both cases of each letter.
ByteSet folded(ByteSet set) {
  for (char lower = 'a'; lower <= 'z'; ++lower) {
    const auto upper = static_cast<char>(lower - 'a' + 'A');
    if (set[index_of(lower)] || set[index_of(upper)]) {
      set.set(index_of(lower));
      set.set(index_of(upper));
    }
  }
  return set;
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : rest_(pattern) {}

  bool parse(Code& code) {
    if (rest_.starts_with("(?i)")) {
      fold_ = true;
      rest_.remove_prefix(4);
    }
    if (!alternatives(code) || !rest_.empty() || too_often_) return false;
    code.push_back({.kind = Kind::match});
    return fits(code);
  }

  std::vector<ByteSet> take_sets() { return std::move(sets_); }

 private:
  static bool fits(const Code& code) { return code.size() <= kProgramMax; }

  bool take(char c) {
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  static void append(Code& code, const Code& more) {
    code.insert(code.end(), more.begin(), more.end());
  }

  void emit_set(Code& code, const ByteSet& set) {
    code.push_back({.kind = Kind::set, .set = static_cast<std::uint32_t>(sets_.size())});
    sets_.push_back(fold_ ? folded(set) : set);
  }

  bool alternatives(Code& code) {
    if (++nesting_ > kNestingMax || !sequence(code)) return false;
    while (take('|')) {
      Code right;
      if (!sequence(right)) return false;
      Code both;
      const auto left_size = static_cast<std::int32_t>(code.size());
      both.push_back({.kind = Kind::split, .next = 1, .other = left_size + 2});
      append(both, code);
      both.push_back({.kind = Kind::jump, .next = static_cast<std::int32_t>(right.size()) + 1});
      append(both, right);
      code = std::move(both);
      if (!fits(code)) return false;
    }
    --nesting_;
    return true;
  }

  bool sequence(Code& code) {
    while (!rest_.empty() && rest_[0] != '|' && rest_[0] != ')') {
      Code part;
      if (!atom(part) || !repeats(part)) return false;
      append(code, part);
      if (!fits(code)) return false;
    }
    return true;
  }

  bool atom(Code& code) {
    const char c = rest_[0];
    rest_.remove_prefix(1);
    switch (c) {
      case '(':
        if (rest_.starts_with("?:")) {
          rest_.remove_prefix(2);
        } else if (rest_.starts_with("?")) {
          return false;
        }
        return alternatives(code) && take(')');
      case '[':
        return byte_class(code);
      case '\\':
        return escape(code);
      case '.': {
        ByteSet any;
        any.set();
        any.reset(index_of('\n'));
        emit_set(code, any);
        return true;
      }
      case '^':
        code.push_back({.kind = Kind::begin});
        return true;
      case '$':
        code.push_back({.kind = Kind::end});
        return true;
      case '*':
      case '+':
      case '?':
        return false;  // nothing to repeat
      default:
        emit_set(code, range_set(c, c));
        return true;
    }
  }

  // The set that an escape stands for, inside and outside of classes.
  bool escaped_set(char c, ByteSet& set) {
    switch (c) {
      case 'd':
        set = range_set('0', '9');
        return true;
      case 'D':
        set = ~range_set('0', '9');
        return true;
      case 'w':
        set = word_set();
        return true;
      case 'W':
        set = ~word_set();
        return true;
      case 's':
        set = space_set();
        return true;
      case 'S':
        set = ~space_set();
        return true;
      case 't':
        set = range_set('\t', '\t');
        return true;
      case 'n':
        set = range_set('\n', '\n');
        return true;
      default:
        set = range_set(c, c);
        return !is_word(c) || c == '_';  // other letters mean something that is not known here
    }
  }

  bool escape(Code& code) {
    if (rest_.empty()) return false;
    const char c = rest_[0];
    rest_.remove_prefix(1);
    if (c == 'b' || c == 'B') {
      code.push_back({.kind = c == 'b' ? Kind::word_edge : Kind::no_word_edge});
      return true;
    }
    if (c == 'A' || c == 'z') {
      code.push_back({.kind = c == 'A' ? Kind::begin : Kind::end});
      return true;
    }
    ByteSet set;
    if (!escaped_set(c, set)) return false;
    emit_set(code, set);
    return true;
  }

  // One character or escape of a class; `single` tells whether it can begin a range.
  bool class_item(ByteSet& set, char& c, bool& single) {
    if (rest_.empty()) return false;
    c = rest_[0];
    rest_.remove_prefix(1);
    single = true;
    if (c != '\\') {
      set = range_set(c, c);
      return true;
    }
    if (rest_.empty()) return false;
    c = rest_[0];
    rest_.remove_prefix(1);
    if (!escaped_set(c, set)) return false;
    single = set.count() == 1;
    return true;
  }

  bool byte_class(Code& code) {
    const bool negated = take('^');
    ByteSet set;
    bool first = true;
    while (first || !take(']')) {
      first = false;
      if (rest_.starts_with("[:")) return false;  // POSIX names
      ByteSet item;
      char low = 0;
      bool single = false;
      if (!class_item(item, low, single)) return false;
      const bool range = rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']';
      if (single && range) {
        rest_.remove_prefix(1);
        char high = 0;
        if (!class_item(item, high, single) || !single || index_of(high) < index_of(low)) {
          return false;
        }
        item = range_set(low, high);
      }
      set |= item;
    }
    if (fold_) set = folded(set);
    emit_set(code, negated ? ~set : set);
    return true;
  }

  bool number(int& value) {
    if (rest_.empty() || !is_digit(rest_[0])) return false;
    value = 0;
    while (!rest_.empty() && is_digit(rest_[0])) {
      value = value * 10 + (rest_[0] - '0');
      too_often_ = too_often_ || value > kRepeatMax;
      value = std::min(value, kRepeatMax);
      rest_.remove_prefix(1);
    }
    return true;
  }

  // {n}, {n,} or {n,m}; anything else after a brace is the brace itself, as in Go.
  bool braces(int& least, int& most) {
    const std::string_view before = rest_;
    rest_.remove_prefix(1);
    bool good = number(least);
    most = least;
    if (good && take(',')) {
      most = -1;
      if (!rest_.empty() && rest_[0] != '}') good = number(most) && most >= least;
    }
    if (good && take('}')) return true;
    rest_ = before;
    return false;
  }

  bool repeats(Code& part) {
    while (!rest_.empty()) {
      int least = 0;
      int most = -1;
      if (take('*')) {
      } else if (take('+')) {
        least = 1;
      } else if (take('?')) {
        most = 1;
      } else if (rest_[0] != '{' || !braces(least, most)) {
        return true;
      }
      take('?');  // lazy or greedy: whether it is found is the same
      if (!repeat(part, least, most)) return false;
    }
    return true;
  }

  bool repeat(Code& part, int least, int most) {
    const auto size = static_cast<std::int32_t>(part.size());
    Code code;
    for (int i = 0; i < least; ++i) {
      append(code, part);
      if (!fits(code)) return false;
    }
    if (most < 0) {
      code.push_back({.kind = Kind::split, .next = 1, .other = size + 2});
      append(code, part);
      code.push_back({.kind = Kind::jump, .next = -(size + 1)});
    }
    for (int i = least; i < most; ++i) {
      // Each further one is optional; skipping one is as good as skipping the rest.
      code.push_back({.kind = Kind::split, .next = 1, .other = size + 1});
      append(code, part);
      if (!fits(code)) return false;
    }
    part = std::move(code);
    return fits(part);
  }

  std::string_view rest_;
  std::vector<ByteSet> sets_;
  int nesting_ = 0;
  bool fold_ = false;
  bool too_often_ = false;  // a count above kRepeatMax was read
};

}  // namespace

Result<NamePattern> NamePattern::parse(std::string_view pattern) {
  NamePattern compiled;
  Parser parser(pattern);
  if (pattern.size() > kProgramMax || !parser.parse(compiled.program_)) {
    return fail(Errc::invalid, "cannot use the pattern \"" + std::string(pattern.substr(0, 64)) +
                                   "\": it is malformed, too long or not supported");
  }
  compiled.sets_ = parser.take_sets();
  return compiled;
}

bool NamePattern::found_in(std::string_view text) const {
  std::vector<std::size_t> current, next, pending;
  std::vector<std::size_t> seen(program_.size(), 0);  // last position + 1 at which it was added
  for (std::size_t at = 0; at <= text.size(); ++at) {
    pending = std::move(next);
    pending.push_back(0);  // it may begin anywhere
    next.clear();
    current.clear();
    const bool word_before = at > 0 && is_word(text[at - 1]);
    const bool word_after = at < text.size() && is_word(text[at]);
    while (!pending.empty()) {
      const std::size_t pc = pending.back();
      pending.pop_back();
      if (seen[pc] == at + 1) continue;
      seen[pc] = at + 1;
      const Instruction& one = program_[pc];
      const auto target = [&](std::int32_t step) {
        return static_cast<std::size_t>(static_cast<std::int64_t>(pc) + step);
      };
      bool passes = false;
      switch (one.kind) {
        case Kind::match:
          return true;
        case Kind::set:
          current.push_back(pc);
          break;
        case Kind::split:
          pending.push_back(target(one.other));
          passes = true;
          break;
        case Kind::jump:
          passes = true;
          break;
        case Kind::begin:
          passes = at == 0;
          break;
        case Kind::end:
          passes = at == text.size();
          break;
        case Kind::word_edge:
          passes = word_before != word_after;
          break;
        case Kind::no_word_edge:
          passes = word_before == word_after;
          break;
      }
      if (passes) pending.push_back(target(one.next));
    }
    if (at == text.size()) break;
    for (std::size_t pc : current) {
      if (sets_[program_[pc].set][index_of(text[at])]) next.push_back(pc + 1);
    }
  }
  return false;
}

}  // namespace keepwell
