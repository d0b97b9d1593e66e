#include "config/bytes.h"

#include "config/diagnostic.h"

namespace keepwell {
namespace {

constexpr std::string_view kPrefixes = "kmgtp";

tl::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(Errc::invalid, "cannot read the size " + in_quotes(text) + ": " + std::string(why));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

Result<std::int64_t> parse_bytes(std::string_view text) {
  std::size_t digits = text.find_first_not_of("0123456789");
  std::string_view whole = text.substr(0, digits);
  std::string_view rest = digits == std::string_view::npos ? "" : text.substr(digits);
  std::string_view fraction;
  if (!rest.empty() && rest.front() == '.') {
    rest.remove_prefix(1);
    fraction = rest.substr(0, rest.find_first_not_of("0123456789"));
    rest.remove_prefix(fraction.size());
  }
  if (!text.empty() && text.front() == '-') return refuse(text, "it is negative");
  if (whole.empty()) return refuse(text, "write a number and a unit, such as 64m");
  if (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);

  std::string unit = lower(rest);
  std::int64_t worth = 1;
  if (!unit.empty() && unit != "b") {
    std::size_t power = kPrefixes.find(unit[0]);
    std::string tail = unit.substr(1);
    if (power == std::string_view::npos || (!tail.empty() && tail != "b" && tail != "ib")) {
      return refuse(text, "its units are b, k, m, g, t, p, such as 64m");
    }
    worth = std::int64_t{1} << (10 * (power + 1));
  }
  std::int64_t value = 0;
  for (char c : whole) {
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value))
      return refuse(text, "it is too large");
  }
  if (__builtin_mul_overflow(value, worth, &value)) return refuse(text, "it is too large");
  double part = 0;
  double digit_worth = static_cast<double>(worth);
  for (char c : fraction) {
    digit_worth /= 10;
    part += digit_worth * (c - '0');
  }
  if (__builtin_add_overflow(value, static_cast<std::int64_t>(part), &value)) {
    return refuse(text, "it is too large");
  }
  return value;
}

std::string format_bytes(std::int64_t bytes) {
  std::string unit;
  std::size_t power = 0;
  while (bytes != 0 && bytes % 1024 == 0 && power < kPrefixes.size()) {
    bytes /= 1024;
    unit = kPrefixes[power++];
  }
  return std::to_string(bytes) + unit;
}

}  // namespace keepwell
