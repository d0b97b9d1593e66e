// What the loader has to say about a Compose file. A run reports every mistake it can find, each
// with the place it was made at and, after a semicolon, what would be right:
//   compose.yaml:7:17: error: interval "10" has no unit; write 10s, 10m or 10ms
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keepwell {

struct Diagnostic {
  bool error = true;  // else a warning
  std::string file;   // as the user named it
  int line = 0;       // from 1; 0: the file as a whole
  int column = 0;     // from 1, in characters
  std::string text;

  bool operator==(const Diagnostic&) const = default;
};

// "file:line:column: error: text", without the parts that are unknown.
std::string to_string(const Diagnostic& diagnostic);

// A place in one of the files of a load. The text is looked up only when something is reported.
struct Place {
  int file = 0;
  int line = 0;
  int column = 0;

  bool operator==(const Place&) const = default;
};

// Collects diagnostics. Identical ones (an alias makes one mistake appear several times) are kept
// once; past kDiagnosticsMax only a last line saying so is added, so that a hostile file costs
// bounded time and memory. Every text is made printable and put on one line: a file may hold
// anything, and its words appear in messages.
class Report {
 public:
  static constexpr std::size_t kDiagnosticsMax = 500;

  explicit Report(bool lenient = false) : lenient_(lenient) {}

  // Returns the number by which places refer to this file.
  int add_file(std::string_view name);
  const std::string& file_name(int file) const;

  void error(const Place& place, std::string_view text) { add(true, place, text); }
  void warning(const Place& place, std::string_view text) { add(false, place, text); }
  // A key or value that keepwell knows and does not support: an error, a warning when lenient.
  void unsupported(const Place& place, std::string text);

  bool failed() const { return failed_; }
  bool full() const { return diagnostics_.size() >= kDiagnosticsMax; }

  // All of them, by file, line and column. Leaves the report empty.
  std::vector<Diagnostic> take();

 private:
  struct Entry {
    bool error;
    Place place;
    std::string text;
  };
  void add(bool error, const Place& place, std::string_view text);

  bool lenient_;
  bool failed_ = false;
  bool overflowed_ = false;
  std::vector<std::string> files_;
  std::vector<Entry> diagnostics_;
};

// TEXT in double quotes, shortened and with control characters escaped: safe to print.
std::string in_quotes(std::string_view text);

}  // namespace keepwell
