#include "config/interpolate.h"

#include <algorithm>

#include "config/diagnostic.h"

namespace keepwell {
namespace {

constexpr int kNestingMax = 16;

bool starts_name(char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool continues_name(char c) { return starts_name(c) || (c >= '0' && c <= '9'); }

std::string_view name_at(std::string_view text) {
  std::size_t n = 0;
  if (!text.empty() && starts_name(text[0])) {
    while (n < text.size() && continues_name(text[n])) ++n;
  }
  return text.substr(0, n);
}

// The offset of the brace that closes the one just before TEXT; npos where none does.
std::size_t closing_brace(std::string_view text) {
  int open = 1;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '$' && i + 1 < text.size() && text[i + 1] == '$') {
      ++i;
    } else if (text[i] == '$' && i + 1 < text.size() && text[i + 1] == '{') {
      ++open;
      ++i;
    } else if (text[i] == '}' && --open == 0) {
      return i;
    }
  }
  return std::string_view::npos;
}

class Interpolator {
 public:
  explicit Interpolator(const VariableLookup& lookup) : lookup_(lookup) {}

  std::vector<std::string> unset;

  Result<std::string> run(std::string_view text, int nesting) {
    if (nesting > kNestingMax) {
      return fail(Errc::invalid, "cannot replace variables that are nested deeper than " +
                                     std::to_string(kNestingMax) + " levels");
    }
    std::string out;
    while (true) {
      std::size_t dollar = text.find('$');
      out.append(text.substr(0, dollar));
      if (out.size() > kInterpolatedBytesMax) {
        return fail(Errc::invalid, "cannot replace variables: the value grows beyond 1 MB");
      }
      if (dollar == std::string_view::npos) return out;
      text.remove_prefix(dollar + 1);
      Status ok = expand(text, nesting, out);
      if (!ok) return fail(ok.error());
    }
  }

 private:
  // Appends to OUT what the variable at the begin of TEXT (just after its $) stands for, and takes
  // it off TEXT.
  Status expand(std::string_view& text, int nesting, std::string& out) {
    if (!text.empty() && text[0] == '$') {
      text.remove_prefix(1);
      out += '$';
      return {};
    }
    if (!text.empty() && text[0] == '{') return expand_braced(text, nesting, out);
    std::string_view name = name_at(text);
    if (name.empty()) {
      return fail(Errc::invalid, "cannot read the variable at " +
                                     in_quotes("$" + std::string(text.substr(0, 20))) +
                                     ": a name is letters, digits and _; write $$ for a plain $");
    }
    out += plain(name);
    text.remove_prefix(name.size());
    return {};
  }

  std::string plain(std::string_view name) {
    std::optional<std::string> value = lookup_(name);
    if (!value && std::find(unset.begin(), unset.end(), name) == unset.end()) {
      unset.emplace_back(name);
    }
    return value.value_or("");
  }

  Status expand_braced(std::string_view& text, int nesting, std::string& out) {
    std::size_t end = closing_brace(text.substr(1));
    std::string shown = in_quotes("$" + std::string(text.substr(0, 40)));
    if (end == std::string_view::npos) {
      return fail(Errc::invalid, "cannot read the variable at " + shown +
                                     ": its } is missing; write $$ for a plain $");
    }
    std::string_view inside = text.substr(1, end);
    text.remove_prefix(end + 2);
    std::string_view name = name_at(inside);
    inside.remove_prefix(name.size());
    if (!name.empty() && inside.empty()) {
      out += plain(name);
      return {};
    }
    bool empty_counts = !inside.empty() && inside[0] == ':';
    if (empty_counts) inside.remove_prefix(1);
    char op = inside.empty() ? '\0' : inside[0];
    if (name.empty() || (op != '-' && op != '?' && op != '+')) {
      return fail(Errc::invalid,
                  "cannot read the variable at " + shown +
                      ": write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${NAME:+text}");
    }
    return apply(name, op, empty_counts, inside.substr(1), nesting, out);
  }

  Status apply(std::string_view name, char op, bool empty_counts, std::string_view word,
               int nesting, std::string& out) {
    std::optional<std::string> value = lookup_(name);
    bool present = value && !(empty_counts && value->empty());
    if (op == '+' ? !present : present) {
      if (op != '+') out += *value;
      return {};
    }
    Result<std::string> text = run(word, nesting + 1);
    if (!text) return fail(text.error());
    if (op == '?') {
      std::string message = text->empty() ? "set it in the environment or in .env" : *text;
      return fail(Errc::invalid,
                  "cannot go on without the variable " + std::string(name) + ": " + message);
    }
    out += *text;
    return {};
  }

  const VariableLookup& lookup_;
};

}  // namespace

std::string unset_variable_text(const std::string& name) {
  return "variable " + name + " is not set and read as empty; set it, or write ${" + name + ":-}";
}

Result<Interpolated> interpolate(std::string_view text, const VariableLookup& lookup) {
  if (text.find('$') == std::string_view::npos) return Interpolated{std::string(text), {}};
  Interpolator interpolator(lookup);
  Result<std::string> out = interpolator.run(text, 0);
  if (!out) return fail(out.error());
  return Interpolated{std::move(*out), std::move(interpolator.unset)};
}

}  // namespace keepwell
