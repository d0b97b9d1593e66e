// From a loaded file to one that can be run: its images are found in the store, or brought there,
// and merged into its services. run and reload may fetch; check, and the agent on SIGHUP, which
// must not wait, take only what is there.
#pragma once

#include <functional>
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

// Asked when an image is about to be fetched, by its name in the file; the answer is told how that
// goes, and dropped when it is over.
using WatchLoad = std::function<OnLoadStep(const std::string& image)>;

// Completes LOADED.project. What goes wrong is appended to LOADED.diagnostics; then the project is
// none. False where an image could not be had, which is a failure and not a mistake in the file.
bool resolve_images(Loaded& loaded, ImageFetch fetch, const WatchLoad& watch = {});

}  // namespace keepwell
