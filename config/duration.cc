#include "config/duration.h"

#include <array>
#include <cstdint>
#include <limits>

#include "config/diagnostic.h"

namespace keepwell {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t nanoseconds;
};

// Longer names first where one begins with another.
constexpr std::array<Unit, 10> kUnits{{
    {"ns", 1},
    {"us", 1'000},
    {"\xC2\xB5s", 1'000},  // the micro sign
    {"\xCE\xBCs", 1'000},  // the Greek letter mu
    {"ms", 1'000'000},
    {"s", 1'000'000'000},
    {"m", 60'000'000'000},
    {"h", 3'600'000'000'000},
    {"d", 86'400'000'000'000},
    {"w", 604'800'000'000'000},
}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::size_t count_digits(std::string_view text) {
  std::size_t n = 0;
  while (n < text.size() && is_digit(text[n])) ++n;
  return n;
}

tl::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(Errc::invalid,
              "cannot read the duration " + in_quotes(text) + ": " + std::string(why));
}

// The nanoseconds of WHOLE and, as a decimal fraction, FRACTION of UNIT; nothing when it overflows.
bool scale(std::string_view whole, std::string_view fraction, std::int64_t unit,
           std::int64_t& out) {
  std::int64_t value = 0;
  for (char c : whole) {
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value))
      return false;
  }
  if (__builtin_mul_overflow(value, unit, &value)) return false;
  std::int64_t digit_worth = unit;
  for (char c : fraction) {
    digit_worth /= 10;
    if (__builtin_add_overflow(value, digit_worth * (c - '0'), &value)) return false;
  }
  return !__builtin_add_overflow(out, value, &out);
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  if (text.empty()) return refuse(text, "it is empty; write for example 10s");
  if (text.front() == '-') return refuse(text, "it is negative; a duration starts at 0s");
  if (count_digits(text) == text.size()) {
    if (text.find_first_not_of('0') == std::string_view::npos) return Duration{0};
    std::string number(text.substr(0, 20));
    return refuse(text,
                  "it has no unit; write " + number + "s, " + number + "ms or " + number + "m");
  }
  std::int64_t total = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view whole = rest.substr(0, count_digits(rest));
    rest.remove_prefix(whole.size());
    std::string_view fraction;
    if (!rest.empty() && rest.front() == '.') {
      rest.remove_prefix(1);
      fraction = rest.substr(0, count_digits(rest));
      rest.remove_prefix(fraction.size());
    }
    if (whole.empty() && fraction.empty()) {
      return refuse(text, "a number is expected before each unit, as in 1m30s");
    }
    const Unit* unit = nullptr;
    for (const Unit& candidate : kUnits) {
      bool fits = rest.substr(0, candidate.name.size()) == candidate.name;
      if (fits && (unit == nullptr || candidate.name.size() > unit->name.size())) {
        unit = &candidate;
      }
    }
    if (unit == nullptr)
      return refuse(text, "its units are ns, us, ms, s, m, h, d, w, as in 1m30s");
    rest.remove_prefix(unit->name.size());
    if (!scale(whole, fraction, unit->nanoseconds, total)) {
      return refuse(text, "it is too long; at most 15250w fit");
    }
  }
  return Duration{total};
}

namespace {

// VALUE / UNIT with as many decimals as it needs and no more.
std::string decimal(std::uint64_t value, std::uint64_t unit) {
  std::string out = std::to_string(value / unit);
  std::uint64_t rest = value % unit;
  if (rest == 0) return out;
  std::string digits;
  for (std::uint64_t worth = unit / 10; worth > 0 && rest > 0; worth /= 10) {
    digits += static_cast<char>('0' + rest / worth);
    rest %= worth;
  }
  return out + "." + digits;
}

}  // namespace

std::string format_duration(Duration duration) {
  std::int64_t ns = duration.count();
  if (ns == 0) return "0s";
  std::string sign = ns < 0 ? "-" : "";
  std::uint64_t n = ns < 0 ? 0 - static_cast<std::uint64_t>(ns) : static_cast<std::uint64_t>(ns);
  if (n < 1'000) return sign + std::to_string(n) + "ns";
  if (n < 1'000'000) return sign + decimal(n, 1'000) + "\xC2\xB5s";
  if (n < 1'000'000'000) return sign + decimal(n, 1'000'000) + "ms";
  constexpr std::uint64_t kMinute = 60'000'000'000;
  std::uint64_t minutes = n / kMinute;
  std::string seconds = decimal(n % kMinute, 1'000'000'000) + "s";
  if (minutes == 0) return sign + seconds;
  if (minutes < 60) return sign + std::to_string(minutes) + "m" + seconds;
  return sign + std::to_string(minutes / 60) + "h" + std::to_string(minutes % 60) + "m" + seconds;
}

}  // namespace keepwell
