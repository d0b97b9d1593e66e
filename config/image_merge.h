// From a service's own settings and those of its image to what runs, by Docker's rules: the file
// goes before the image, field by field. Pure; who finds and unpacks images is runtime/image/.
//
//   load_project -> Loaded.images: which services wait for an image, and what their file said
//   -> runtime/image -> FoundImage -> merge_image: the service is complete
//
// Sources: moby daemon/commit.go (merge) and the Compose specification on command and entrypoint.
#pragma once

#include <string>
#include <vector>

#include "config/diagnostic.h"
#include "config/image_config.h"
#include "config/spec.h"

namespace keepwell {

// Which fields of a healthcheck the file itself gives; 0 counts as not given, as Docker has it.
struct HealthcheckGiven {
  bool test = false;  // or http, tcp, grpc
  bool interval = false, timeout = false, start_period = false, start_interval = false,
       retries = false;
};

// A service of the file whose image is still to be found.
struct ImageUse {
  struct Waiter {  // a service that waits for this one to be healthy: only the image may have how
    std::string service;
    Diagnostic place;
  };

  std::size_t service = 0;         // index in ProjectSpec::services
  Diagnostic place;                // where the file names the image; for messages
  bool healthcheck_given = false;  // the service has the key
  CheckSpec healthcheck;           // the file's over its defaults; without the key the defaults
  HealthcheckGiven given;
  bool retries_given = false;       // of the healthcheck, by the file or its defaults
  bool other_retries_given = true;  // of all further checks
  std::vector<Waiter> waiters;
};

// An image that is there, ready to be run.
struct FoundImage {
  std::string id;      // sha256:...
  std::string rootfs;  // absolute
  ImageConfig config;
};

// Completes SERVICE with IMAGE. What then cannot work (nothing to run, others wait for a health
// that there is not) is appended to DIAGNOSTICS as errors, what deserves a look as warnings.
void merge_image(ServiceSpec& service, const ImageUse& use, const FoundImage& image,
                 std::vector<Diagnostic>& diagnostics);

// DESIGN 5: with the founding default of one try a single failed probe restarts a service, and who
// means that says so. The text of that warning; empty where SERVICE needs none.
std::string retries_warning(const ServiceSpec& service);

}  // namespace keepwell
