#include "exporters/time_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

#include "config/duration.h"

namespace keepwell {
namespace {

constexpr std::int64_t kNanos = 1'000'000'000;

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

struct Civil {
  int year, month, day, hour, minute, second;
  std::int64_t nanos;
};

Civil civil(WallTime at, int utc_offset_seconds) {
  const std::int64_t whole = unix_seconds(at);
  const std::int64_t shifted = whole + utc_offset_seconds;
  const std::int64_t days = floor_div(shifted, 86400);
  const int rest = static_cast<int>(shifted - days * 86400);
  const std::chrono::year_month_day date{
      std::chrono::sys_days{std::chrono::days{static_cast<int>(days)}}};
  return {.year = static_cast<int>(date.year()),
          .month = static_cast<int>(static_cast<unsigned>(date.month())),
          .day = static_cast<int>(static_cast<unsigned>(date.day())),
          .hour = rest / 3600,
          .minute = rest / 60 % 60,
          .second = rest % 60,
          .nanos = unix_nanos(at) - whole * kNanos};
}

std::string zone_text(int offset_seconds, bool colon) {
  const int minutes = std::abs(offset_seconds) / 60;
  std::array<char, 40> text;
  std::snprintf(text.data(), text.size(), colon ? "%c%02d:%02d" : "%c%02d%02d",
                offset_seconds < 0 ? '-' : '+', minutes / 60, minutes % 60);
  return text.data();
}

std::string date_and_time(const Civil& c, char between) {
  std::array<char, 80> text;
  std::snprintf(text.data(), text.size(), "%04d-%02d-%02d%c%02d:%02d:%02d", c.year, c.month, c.day,
                between, c.hour, c.minute, c.second);
  return text.data();
}

std::string nine_digits(std::int64_t nanos) {
  std::string digits = std::to_string(nanos);
  return std::string(9 - digits.size(), '0') + digits;
}

std::string rfc3339(WallTime at, int offset, bool fixed) {
  const Civil c = civil(at, offset);
  std::string text = date_and_time(c, 'T');
  std::string fraction = nine_digits(c.nanos);
  if (!fixed) fraction.erase(fraction.find_last_not_of('0') + 1);
  if (!fraction.empty()) text += "." + fraction;
  return text + (offset == 0 ? "Z" : zone_text(offset, true));
}

bool digit(char c) { return c >= '0' && c <= '9'; }

// Exactly COUNT digits from the front of TEXT.
bool take_number(std::string_view& text, std::size_t count, int& value) {
  if (text.size() < count) return false;
  value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!digit(text[i])) return false;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return true;
}

bool take_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text[0]) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// One or more digits as a fraction of a second; more than nine are read and dropped.
bool take_fraction(std::string_view& text, std::int64_t& nanos) {
  std::size_t digits = 0;
  nanos = 0;
  while (!text.empty() && digit(text[0])) {
    if (digits < 9) nanos = nanos * 10 + (text[0] - '0');
    ++digits;
    text.remove_prefix(1);
  }
  for (std::size_t i = digits; i < 9; ++i) nanos *= 10;
  return digits > 0;
}

bool take_zone(std::string_view& text, int& offset_seconds) {
  offset_seconds = 0;
  if (text.empty() || take_char(text, "Zz")) return true;
  const bool west = text[0] == '-';
  int hours = 0;
  int minutes = 0;
  if (!take_char(text, "+-") || !take_number(text, 2, hours)) return false;
  take_char(text, ":");
  if (!take_number(text, 2, minutes) || hours > 23 || minutes > 59) return false;
  offset_seconds = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
  return true;
}

bool take_date(std::string_view& text, std::int64_t& days) {
  int year = 0;
  int month = 0;
  int day = 0;
  if (!take_number(text, 4, year) || !take_char(text, "-") || !take_number(text, 2, month) ||
      !take_char(text, "-") || !take_number(text, 2, day)) {
    return false;
  }
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return false;
  days = std::chrono::sys_days{date}.time_since_epoch().count();
  return true;
}

// Time of day and zone, seconds optional.
bool take_clock(std::string_view& text, std::int64_t& seconds, std::int64_t& nanos) {
  int hour = 0;
  int minute = 0;
  int second = 0;
  int offset = 0;
  if (!take_number(text, 2, hour) || !take_char(text, ":") || !take_number(text, 2, minute)) {
    return false;
  }
  if (take_char(text, ":") && !take_number(text, 2, second)) return false;
  if (take_char(text, ".,") && !take_fraction(text, nanos)) return false;
  if (!take_zone(text, offset) || hour > 23 || minute > 59 || second > 60) return false;
  seconds = hour * 3600 + minute * 60 + second - offset;
  return true;
}

// What a WallTime can hold.
bool fits(std::int64_t seconds) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max() / kNanos - 1;
  return seconds >= -kMax && seconds <= kMax;
}

tl::unexpected<Error> bad_time(std::string_view text, const char* right) {
  return fail(Errc::invalid,
              "cannot read time \"" + std::string(text.substr(0, 64)) + "\"; " + right);
}

constexpr const char* kRfcExample = "use RFC 3339, for example 2026-11-24T20:00:00Z";

}  // namespace

std::int64_t unix_nanos(WallTime at) { return at.time_since_epoch().count(); }
std::int64_t unix_seconds(WallTime at) { return floor_div(unix_nanos(at), kNanos); }

std::string rfc3339_nano(WallTime at, int utc_offset_seconds) {
  return rfc3339(at, utc_offset_seconds, false);
}
std::string rfc3339_nano(const std::optional<WallTime>& at) {
  return at ? rfc3339_nano(*at) : kZeroTimeText;
}
std::string rfc3339_nano_fixed(WallTime at, int utc_offset_seconds) {
  return rfc3339(at, utc_offset_seconds, true);
}

std::string ps_time(WallTime at, int utc_offset_seconds, std::string_view zone) {
  return date_and_time(civil(at, utc_offset_seconds), ' ') + " " +
         zone_text(utc_offset_seconds, false) + " " + std::string(zone);
}

Result<WallTime> parse_rfc3339(std::string_view text) {
  std::string_view rest = text;
  std::int64_t days = 0;
  std::int64_t seconds = 0;
  std::int64_t nanos = 0;
  if (!take_date(rest, days)) return bad_time(text, kRfcExample);
  if (take_char(rest, "Tt ")) {
    if (!take_clock(rest, seconds, nanos)) return bad_time(text, kRfcExample);
  } else {
    int offset = 0;
    if (!take_zone(rest, offset)) return bad_time(text, kRfcExample);
    seconds = -offset;
  }
  if (!rest.empty()) return bad_time(text, kRfcExample);
  const std::int64_t total = days * 86400 + seconds;
  if (!fits(total)) return bad_time(text, "years 1678 to 2261 can be used");
  return WallTime{Duration{total * kNanos + nanos}};
}

Result<WallTime> parse_unix_time(std::string_view text) {
  constexpr const char* kRight = "use seconds since 1970, for example 1764014400.5";
  std::string_view rest = text;
  const bool negative = take_char(rest, "-");
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), seconds);
  if (error != std::errc() || seconds < 0 || !fits(seconds)) return bad_time(text, kRight);
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  std::int64_t nanos = 0;
  if (take_char(rest, ".") && !take_fraction(rest, nanos)) return bad_time(text, kRight);
  if (!rest.empty()) return bad_time(text, kRight);
  const std::int64_t total = seconds * kNanos + nanos;
  return WallTime{Duration{negative ? -total : total}};
}

Result<WallTime> parse_time_argument(std::string_view text, WallTime now) {
  if (auto unix_time = parse_unix_time(text)) return unix_time;
  if (auto date = parse_rfc3339(text)) return date;
  if (auto ago = parse_duration(text);
      ago && *ago >= Duration{0} && ago->count() <= now.time_since_epoch().count()) {
    return now - *ago;
  }
  return bad_time(text, "use a duration before now (10m), RFC 3339 or seconds since 1970");
}

std::string human_duration(Duration duration) {
  const std::int64_t seconds = std::max<std::int64_t>(duration.count(), 0) / kNanos;
  const std::int64_t minutes = seconds / 60;
  const std::int64_t hours = (seconds + 1800) / 3600;
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return std::to_string(seconds) + " seconds";
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return std::to_string(minutes) + " minutes";
  if (hours == 1) return "About an hour";
  if (hours < 48) return std::to_string(hours) + " hours";
  const std::int64_t days = hours / 24;
  if (days < 14) return std::to_string(days) + " days";
  if (days < 60) return std::to_string(days / 7) + " weeks";
  if (days < 730) return std::to_string(days / 30) + " months";
  return std::to_string(seconds / 3600 / 24 / 365) + " years";
}

std::string human_size(std::uint64_t bytes) {
  constexpr std::array<const char*, 7> kUnits{"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  auto size = static_cast<double>(bytes);
  std::size_t unit = 0;
  std::array<char, 40> text;
  while (true) {
    while (size >= 1000 && unit + 1 < kUnits.size()) {
      size /= 1000;
      ++unit;
    }
    std::snprintf(text.data(), text.size(), "%.3g", size);
    // 999.9 would print as 1e+03: it is the next unit's 1.
    if (std::string_view(text.data()).find('e') == std::string_view::npos) break;
    size = 1000;
  }
  return std::string(text.data()) + kUnits[unit];
}

}  // namespace keepwell
