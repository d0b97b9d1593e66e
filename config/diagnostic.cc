#include "config/diagnostic.h"

#include <algorithm>
#include <cstdio>
#include <tuple>

#include "config/check.h"

namespace keepwell {

std::string to_string(const Diagnostic& diagnostic) {
  std::string out = diagnostic.file;
  if (diagnostic.line > 0) {
    out += ":" + std::to_string(diagnostic.line) + ":" + std::to_string(diagnostic.column);
  }
  if (!out.empty()) out += ": ";
  return out + (diagnostic.error ? "error: " : "warning: ") + diagnostic.text;
}

int Report::add_file(std::string name) {
  files_.push_back(std::move(name));
  return static_cast<int>(files_.size()) - 1;
}

const std::string& Report::file_name(int file) const {
  KW_CHECK(file >= 0 && static_cast<std::size_t>(file) < files_.size());
  return files_[static_cast<std::size_t>(file)];
}

void Report::unsupported(const Place& place, std::string text) {
  if (lenient_) text += " (ignored, since --lenient is given)";
  add(!lenient_, place, std::move(text));
}

void Report::add(bool error, const Place& place, std::string text) {
  failed_ = failed_ || error;
  if (full()) {
    overflowed_ = true;
    return;
  }
  diagnostics_.push_back({error, place, std::move(text)});
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

std::string quoted(std::string_view text) {
  constexpr std::size_t kShownMax = 80;
  std::size_t end = std::min(text.size(), kShownMax);
  // Never cut inside a UTF-8 sequence.
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  std::string out = "\"";
  for (char c : text.substr(0, end)) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '"') {
      out += "\\\"";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(c) & 0xffU);
      out += hex;
    } else {
      out += c;
    }
  }
  if (end < text.size()) out += "...";
  return out + "\"";
}

}  // namespace keepwell
