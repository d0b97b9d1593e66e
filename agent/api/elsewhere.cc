// What Docker does and keepwell does not: each is answered with the place where it is done.
#include <array>

#include "agent/api/router.h"

namespace keepwell {
namespace {

void not_containers(const ApiCall& call) {
  call.exchange->fail(501,
                      "keepwell does not create, remove, rename or update containers through the "
                      "API: edit the service in the Compose file and run `keepwell reload`");
}
void not_images(const ApiCall& call) {
  call.exchange->fail(501,
                      "keepwell does not build, pull, push, tag or remove images through the API: "
                      "name the image in the Compose file, or use keepwell image load, rm, prune");
}
void not_networks(const ApiCall& call) {
  call.exchange->fail(
      501,
      "keepwell does not manage networks through the API: write them in the Compose "
      "file");
}
void not_volumes(const ApiCall& call) {
  call.exchange->fail(501,
                      "keepwell does not manage volumes through the API: declare them in the "
                      "Compose file");
}
void not_swarm(const ApiCall& call) {
  call.exchange->fail(501,
                      "keepwell runs the services of one host and has no swarm: write them in the "
                      "Compose file");
}
void not_export(const ApiCall& call) {
  call.exchange->fail(501,
                      "keepwell does not export or diff containers: copy single files with `docker "
                      "cp`");
}
void not_system(const ApiCall& call) {
  call.exchange->fail(501,
                      "keepwell has no build cache to report on and no registry to log in to here: "
                      "what it runs is written in the Compose file");
}

constexpr std::array kRoutes{
    Route{"POST", "/containers/create", not_containers},
    Route{"POST", "/containers/prune", not_containers},
    Route{"DELETE", "/containers/{id}", not_containers},
    Route{"POST", "/containers/{id}/rename", not_containers},
    Route{"POST", "/containers/{id}/update", not_containers},
    Route{"GET", "/containers/{id}/export", not_export},
    Route{"GET", "/containers/{id}/changes", not_export},
    Route{"POST", "/commit", not_images},
    Route{"POST", "/build", not_images},
    Route{"POST", "/build/{what*}", not_images},
    Route{"POST", "/images/{what*}", not_images},
    Route{"DELETE", "/images/{what*}", not_images},
    Route{"POST", "/networks/{what*}", not_networks},
    Route{"DELETE", "/networks/{what*}", not_networks},
    Route{"POST", "/volumes/{what*}", not_volumes},
    Route{"PUT", "/volumes/{what*}", not_volumes},
    Route{"DELETE", "/volumes/{what*}", not_volumes},
    Route{"POST", "/swarm/{what*}", not_swarm},
    Route{"POST", "/services/{what*}", not_swarm},
    Route{"DELETE", "/services/{what*}", not_swarm},
    Route{"POST", "/nodes/{what*}", not_swarm},
    Route{"POST", "/secrets/{what*}", not_swarm},
    Route{"POST", "/configs/{what*}", not_swarm},
    Route{"POST", "/plugins/{what*}", not_swarm},
    Route{"POST", "/auth", not_system},
    Route{"POST", "/session", not_system},
    Route{"GET", "/system/df", not_system},
    Route{"GET", "/distribution/{what*}", not_system},
};

}  // namespace

std::span<const Route> elsewhere_routes() { return kRoutes; }

}  // namespace keepwell
