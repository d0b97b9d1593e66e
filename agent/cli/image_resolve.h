// From a loaded file to one that can be run: its images are found in the store, or brought there,
// and merged into its services. run and reload may fetch; check, and the agent on SIGHUP, which
// must not wait, take only what is there.
#pragma once

#include <cstdio>
#include <string>

#include "config/load.h"
#include "config/result.h"
#include "runtime/image/image_loader.h"

namespace keepwell {

enum class ImageFetch {
  allowed,  // what pull_policy asks for
  never,    // an image that is not here is an error
  unasked,  // an image that is not here is left out, with a warning
};

// Completes LOADED.project. What goes wrong is appended to LOADED.diagnostics; then the project is
// none. False where an image could not be had, which is a failure and not a mistake in the file.
bool resolve_images(Loaded& loaded, ImageFetch fetch);

// Tells on stderr how a load goes: one line that changes on a terminal, else a line for each step.
class LoadReporter {
 public:
  explicit LoadReporter(std::string what);
  ~LoadReporter();
  LoadReporter(const LoadReporter&) = delete;
  LoadReporter& operator=(const LoadReporter&) = delete;

  void operator()(const LoadStep& step);

 private:
  std::string what_;
  bool terminal_;
  bool open_line_ = false;
  LoadStep::Stage last_ = LoadStep::Stage::ready;
};

}  // namespace keepwell
