#include "config/shell_words.h"

#include "config/diagnostic.h"

namespace keepwell {

Result<std::vector<std::string>> split_shell_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = '\0';
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '\\' && quote != '\'') {
      if (++i == text.size()) {
        return fail(Errc::invalid, "cannot split " + in_quotes(text) + ": it ends with a lone \\");
      }
      word += text[i];
      in_word = true;
    } else if (quote != '\0') {
      if (c == quote) {
        quote = '\0';
      } else {
        word += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else if (std::string_view(";&|<>()").find(c) != std::string_view::npos) {
      return fail(Errc::invalid,
                  "cannot split " + in_quotes(text) + ": no shell runs it, so " +
                      in_quotes(std::string(1, c)) +
                      " means nothing; quote it, or write [\"sh\", \"-c\", \"...\"]");
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != '\0') {
    return fail(Errc::invalid, "cannot split " + in_quotes(text) + ": the closing " +
                                   std::string(1, quote) + " is missing");
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

}  // namespace keepwell
