#include "agent/cli/load_reporter.h"

#include <unistd.h>

#include <cstdio>
#include <memory>

#include "agent/cli/client.h"
#include "exporters/time_text.h"
#include "runtime/terminal.h"

namespace keepwell {

namespace {

const char* stage_text(LoadStep::Stage stage) {
  switch (stage) {
    case LoadStep::Stage::waiting:
      return "waiting for another keepwell that loads images";
    case LoadStep::Stage::asking:
      return "looking";
    case LoadStep::Stage::fetching:
      return "fetching";
    case LoadStep::Stage::checking:
      return "checking";
    case LoadStep::Stage::unpacking:
      return "unpacking";
    case LoadStep::Stage::ready:
      return "ready";
  }
  return "";
}

class LoadReporter {
 public:
  explicit LoadReporter(std::string what)
      : what_(std::move(what)), terminal_(is_terminal(STDERR_FILENO)) {}
  ~LoadReporter() {
    if (open_line_) std::fputs("\n", stderr);
  }
  LoadReporter(const LoadReporter&) = delete;
  LoadReporter& operator=(const LoadReporter&) = delete;

  void tell(const LoadStep& step);

 private:
  std::string what_;
  bool terminal_;
  bool open_line_ = false;
  LoadStep::Stage last_ = LoadStep::Stage::ready;
};

void LoadReporter::tell(const LoadStep& step) {
  std::string text = what_ + ": " + stage_text(step.stage);
  if (step.bytes > 0) text += ", " + human_size(step.bytes);
  if (step.bytes_total > 0) text += " of " + human_size(step.bytes_total);
  if (terminal_) {
    constexpr const char* kNewLine = "\r\x1b[K";
    std::fprintf(stderr, "%s%s", kNewLine, printable(text).c_str());
    open_line_ = true;
  } else if (step.stage != last_) {
    std::fprintf(stderr, "%s\n", printable(text).c_str());
  }
  last_ = step.stage;
  std::fflush(stderr);
}

}  // namespace

OnLoadStep report_load(const std::string& what) {
  return [reporter = std::make_shared<LoadReporter>(what)](const LoadStep& step) {
    reporter->tell(step);
  };
}

}  // namespace keepwell
