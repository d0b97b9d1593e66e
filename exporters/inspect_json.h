// Docker's two views of a container: the inspect object (GET /containers/{id}/json) and the list
// entry (GET /containers/json), to the byte where clients compare (health-and-exec-semantics.md
// 1.6, 3.2, 3.3). Key order is fixed: the docker client prints what it was sent. Everything
// that Docker does not know stands under one further key, "Keepwell".
#pragma once

#include <cstdint>
#include <string>

#include "config/time.h"
#include "exporters/compose_labels.h"
#include "exporters/container_status.h"
#include "exporters/runtime_facts.h"

namespace keepwell {

// The object, compact, without a newline. SIZE: with SizeRw and SizeRootFs where known.
std::string inspect_json(const ContainerStatus& container, const RuntimeFacts& facts, Now now,
                         bool size = false);

// One entry of the list, an object without a newline; the caller joins them into an array, in the
// order that select_containers() (container_filter.h) gave. Extra keys: "Keepwell" with service,
// state and health.
std::string list_entry_json(const ContainerStatus& container, const RuntimeFacts& facts, Now now,
                            bool size = false);

// "Up 5 minutes (healthy)": the Status column of docker ps.
std::string status_text(const ContainerStatus& container, Now now);

// What runs, as the Command column shows it: argv joined, words with spaces in single quotes.
std::string command_text(const ContainerStatus& container, const RuntimeFacts& facts);

// The service's labels over the image's, and those by which docker compose knows its containers.
Labels container_labels(const ContainerStatus& container, const RuntimeFacts& facts);

// The image as shown: image, else the rootfs directory, else empty (a host process).
std::string image_text(const ServiceSpec& spec);

}  // namespace keepwell
