#include "config/diagnostic.h"

#include <algorithm>
#include <cstdio>
#include <tuple>

#include "config/check.h"
#include "config/utf8.h"

namespace keepwell {
namespace {

// Appends the first character of TEXT to OUT, escaped where a terminal would act on it or it is no
// character, and returns how many bytes it took.
std::size_t append_printable(std::string_view text, std::string& out) {
  std::size_t length = utf8_length(text);
  auto byte = static_cast<unsigned char>(text[0]);
  // C1 controls are two bytes in UTF-8: C2 80 to C2 9F.
  bool c1 = length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
  if (text[0] == '\n') {
    out += "\\n";
  } else if (text[0] == '\t') {
    out += "\\t";
  } else if (length == 0 || c1 || byte < 0x20 || byte == 0x7f) {
    char hex[8];
    std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(c1 ? text[1] & 0xff : byte));
    out += hex;
  } else {
    out.append(text.substr(0, length));
  }
  return length == 0 ? 1 : length;
}

// TEXT on one line, of bounded length.
std::string printable(std::string_view text) {
  constexpr std::size_t kShownMax = 1000;
  std::string out;
  while (!text.empty() && out.size() < kShownMax) {
    text.remove_prefix(append_printable(text, out));
  }
  return text.empty() ? out : out + "...";
}

}  // namespace

std::string to_string(const Diagnostic& diagnostic) {
  std::string out = diagnostic.file;
  if (diagnostic.line > 0) {
    out += ":" + std::to_string(diagnostic.line) + ":" + std::to_string(diagnostic.column);
  }
  if (!out.empty()) out += ": ";
  return out + (diagnostic.error ? "error: " : "warning: ") + diagnostic.text;
}

int Report::add_file(std::string_view name) {
  files_.push_back(printable(name));
  return static_cast<int>(files_.size()) - 1;
}

const std::string& Report::file_name(int file) const {
  KW_CHECK(file >= 0 && static_cast<std::size_t>(file) < files_.size());
  return files_[static_cast<std::size_t>(file)];
}

void Report::unsupported(const Place& place, std::string text) {
  if (lenient_) text += " (ignored, since --lenient is given)";
  add(!lenient_, place, text);
}

void Report::add(bool error, const Place& place, std::string_view text) {
  failed_ = failed_ || error;
  if (full()) {
    overflowed_ = true;
    return;
  }
  diagnostics_.push_back({error, place, printable(text)});
}

std::vector<Diagnostic> Report::take() {
  auto key = [](const Entry& e) {
    return std::tie(e.place.file, e.place.line, e.place.column, e.text);
  };
  std::stable_sort(diagnostics_.begin(), diagnostics_.end(),
                   [&](const Entry& a, const Entry& b) { return key(a) < key(b); });
  diagnostics_.erase(std::unique(diagnostics_.begin(), diagnostics_.end(),
                                 [&](const Entry& a, const Entry& b) { return key(a) == key(b); }),
                     diagnostics_.end());
  std::vector<Diagnostic> out;
  for (Entry& e : diagnostics_) {
    std::string file = files_.empty() ? std::string() : file_name(e.place.file);
    out.push_back({e.error, std::move(file), e.place.line, e.place.column, std::move(e.text)});
  }
  if (overflowed_) out.push_back({true, "", 0, 0, "too many mistakes; the rest is not listed"});
  diagnostics_.clear();
  return out;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kShownMax = 80;
  std::string out = "\"";
  std::size_t at = 0;
  while (at < text.size() && at < kShownMax) {
    if (text[at] == '"') out += '\\';
    at += append_printable(text.substr(at), out);
  }
  if (at < text.size()) out += "...";
  return out + "\"";
}

}  // namespace keepwell
