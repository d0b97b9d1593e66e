#include "config/env_file.h"

#include <unordered_map>

#include "config/diagnostic.h"

namespace keepwell {
namespace {

constexpr std::string_view kNotText = "the file holds zero bytes, so it is no text; remove them";

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '-' || c == '[' || c == ']';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// The escapes of double quotes. \$ becomes $$, which the interpolation after it reads as one $.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    char c = text[++i];
    constexpr std::string_view kFrom = "abfnrtv\\\"";
    constexpr std::string_view kTo = "\a\b\f\n\r\t\v\\\"";
    std::size_t known = kFrom.find(c);
    if (known != std::string_view::npos) {
      out += kTo[known];
    } else if (c == '$') {
      out += "$$";
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

class Reader {
 public:
  Reader(std::string_view text, const VariableLookup& environment)
      : text_(text), environment_(environment) {
    if (text_.substr(0, 3) == "\xEF\xBB\xBF") text_.remove_prefix(3);
  }

  EnvFile run() {
    while (skip_to_statement()) read_statement();
    return std::move(out_);
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  char here() const { return at_end() ? '\n' : text_[at_]; }
  void advance() {
    if (!at_end() && text_[at_] == '\n') ++line_;
    ++at_;
  }
  void skip_blanks() {
    while (!at_end() && is_blank(text_[at_])) ++at_;
  }
  void skip_line() {
    while (!at_end() && text_[at_] != '\n') ++at_;
  }

  bool skip_to_statement() {
    while (!at_end()) {
      skip_blanks();
      if (!at_end() && text_[at_] == '#') skip_line();
      if (at_end()) return false;
      if (text_[at_] != '\n') return true;
      advance();
    }
    return false;
  }

  void mistake(int line, std::string text) {
    constexpr std::size_t kMistakesMax = 100;
    if (out_.mistakes.size() < kMistakesMax) out_.mistakes.push_back({line, std::move(text)});
  }

  void read_statement() {
    constexpr std::string_view kExport = "export";
    std::string_view rest = text_.substr(at_);
    if (rest.substr(0, kExport.size()) == kExport && rest.size() > kExport.size() &&
        (rest[kExport.size()] == ' ' || rest[kExport.size()] == '\t')) {
      at_ += kExport.size();
      skip_blanks();
    }
    int line = line_;
    std::size_t begin = at_;
    while (!at_end() && is_name_char(text_[at_])) ++at_;
    std::string name(text_.substr(begin, at_ - begin));
    skip_blanks();
    bool comment = !at_end() && text_[at_] == '#';
    if (!name.empty() && (here() == '\n' || comment)) {
      skip_line();
      if (std::optional<std::string> value = environment_(name)) put(name, std::move(*value));
      return;
    }
    if (name.empty() || (here() != '=' && here() != ':')) {
      skip_line();
      std::string_view whole = trim(text_.substr(begin, at_ - begin));
      mistake(line, "cannot read " + in_quotes(whole) +
                        "; a line is NAME=value, and a name is made of letters, digits and _");
      return;
    }
    advance();
    skip_blanks();
    read_value(name, line);
  }

  void read_value(const std::string& name, int line) {
    char quote = here();
    if (quote != '"' && quote != '\'') {
      std::size_t begin = at_;
      skip_line();
      std::string_view value = text_.substr(begin, at_ - begin);
      // "NAME= # note" leaves nothing before its comment.
      value = value.substr(0, value.find(" #"));
      if (!value.empty() && value.front() == '#') value = {};
      expand(name, line, trim(value));
      return;
    }
    advance();
    std::string raw;
    while (!at_end() && text_[at_] != quote) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        if (text_[at_ + 1] != quote || quote == '"') raw += text_[at_];
        advance();
      }
      raw += text_[at_];
      advance();
    }
    if (at_end()) {
      mistake(line, "the value of " + name + " has no closing " + std::string(1, quote));
      return;
    }
    advance();
    after_quotes(name);
    if (quote == '\'') {
      put(name, std::move(raw));
    } else {
      expand(name, line, unescape(raw));
    }
  }

  void after_quotes(const std::string& name) {
    skip_blanks();
    if (here() == '\n' || here() == '#') {
      skip_line();
      return;
    }
    mistake(line_, "something follows the closing quote of " + name + "; put it inside the quotes");
    skip_line();
  }

  void expand(const std::string& name, int line, std::string_view value) {
    auto lookup = [this](std::string_view variable) -> std::optional<std::string> {
      if (std::optional<std::string> found = environment_(variable)) return found;
      auto earlier = known_.find(std::string(variable));
      if (earlier == known_.end()) return std::nullopt;
      return earlier->second;
    };
    Result<Interpolated> result = interpolate(value, lookup);
    if (!result) {
      mistake(line, result.error().text);
      return;
    }
    for (std::string& unset : result->unset) out_.unset.push_back(std::move(unset));
    put(name, std::move(result->text));
  }

  void put(const std::string& name, std::string value) {
    total_ += value.size();
    constexpr std::size_t kValuesBytesMax = std::size_t{16} << 20;
    if (total_ > kValuesBytesMax) {
      mistake(line_, "the values grow beyond 16 MB");
      at_ = text_.size();
      return;
    }
    known_[name] = value;
    out_.values.emplace_back(name, std::move(value));
  }

  std::string_view text_;
  const VariableLookup& environment_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::size_t total_ = 0;
  EnvFile out_;
  std::unordered_map<std::string, std::string> known_;
};

}  // namespace

EnvFile parse_env_file(std::string_view text, const VariableLookup& process_environment) {
  if (text.find('\0') != std::string_view::npos) return {{}, {{1, std::string(kNotText)}}, {}};
  return Reader(text, process_environment).run();
}

EnvFile parse_raw_env_file(std::string_view text, const VariableLookup& process_environment) {
  if (text.find('\0') != std::string_view::npos) return {{}, {{1, std::string(kNotText)}}, {}};
  EnvFile out;
  int line = 0;
  while (!text.empty()) {
    ++line;
    std::size_t end = text.find('\n');
    std::string_view whole = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!whole.empty() && whole.back() == '\r') whole.remove_suffix(1);
    if (trim(whole).empty() || trim(whole).front() == '#') continue;
    std::size_t equals = whole.find('=');
    std::string name(trim(whole.substr(0, equals)));
    if (name.empty() || name.find_first_of(" \t") != std::string::npos) {
      out.mistakes.push_back({line, "cannot read " + in_quotes(whole) + "; a line is NAME=value"});
    } else if (equals != std::string_view::npos) {
      out.values.emplace_back(std::move(name), whole.substr(equals + 1));
    } else if (std::optional<std::string> value = process_environment(name)) {
      out.values.emplace_back(std::move(name), std::move(*value));
    }
  }
  return out;
}

}  // namespace keepwell
