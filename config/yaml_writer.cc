#include "config/yaml_writer.h"

#include <charconv>
#include <cstdio>

#include "config/duration.h"
#include "config/utf8.h"

namespace keepwell {
namespace {

// Whether YAML and Compose read TEXT without quotes as the same text. Errs towards quotes.
bool is_plain(std::string_view text) {
  if (text.empty()) return false;
  char first = text[0];
  bool letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '/';
  if (!letter || text == "null" || text == "true" || text == "false" || text == "yes" ||
      text == "on" || text == "off" || text == "y" || text == "n") {
    return false;
  }
  for (char c : text) {
    bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '/' || c == '.' || c == '-' || c == '_' || c == '+' || c == '@';
    if (!good) return false;
  }
  return true;
}

std::string yaml_key(std::string_view key) {
  return is_plain(key) ? std::string(key) : yaml_quote(key);
}

// A value as YAML: with $ doubled, since values are interpolated when read.
std::string yaml_text(std::string_view text) {
  std::string doubled;
  for (char c : text) {
    doubled += c;
    if (c == '$') doubled += c;
  }
  return is_plain(doubled) ? doubled : yaml_quote(doubled);
}

std::string shortest(double value) {
  char buffer[40];
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return error == std::errc{} ? std::string(buffer, end) : "0";
}

}  // namespace

std::string yaml_quote(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    std::size_t length = utf8_length(text);
    auto c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      out += "\xEF\xBF\xBD";  // not text; YAML has no way to say it
      length = 1;
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += text[0];
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  return out + "\"";
}

void YamlWriter::open(std::string_view key) {
  line(yaml_key(key) + ":");
  indent_ += 2;
}

void YamlWriter::raw(std::string_view key, std::string_view value) {
  line(yaml_key(key) + ": " + std::string(value));
}

void YamlWriter::text(std::string_view key, std::string_view value) { raw(key, yaml_text(value)); }

void YamlWriter::real(std::string_view key, double value) { raw(key, shortest(value)); }

void YamlWriter::duration(std::string_view key, Duration value) {
  raw(key, format_duration(value));
}

void YamlWriter::list(std::string_view key, const std::vector<std::string>& values) {
  std::string flow;
  for (const std::string& value : values) flow += (flow.empty() ? "" : ", ") + yaml_text(value);
  raw(key, "[" + flow + "]");
}

void YamlWriter::line(const std::string& text) {
  std::string begin(indent_, ' ');
  if (item_) begin.replace(indent_ - 2, 2, "- ");
  item_ = false;
  out += begin + text + "\n";
}

}  // namespace keepwell
