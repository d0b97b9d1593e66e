#include "agent/image_resolve.h"

#include <algorithm>
#include <map>
#include <set>

#include "config/image_merge.h"
#include "runtime/loop.h"
#include "runtime/state_file.h"

namespace keepwell {

namespace {

bool is_local(const std::string& source) {
  for (const char* transport : {"docker-archive:", "oci-archive:", "oci:", "dir:"}) {
    if (source.starts_with(transport)) return true;
  }
  return false;
}

// The host of docker://HOST/NAME; empty for what is in no registry.
std::string registry_of(std::string_view source) {
  constexpr std::string_view kTransport = "docker://";
  if (!source.starts_with(kTransport)) return {};
  source.remove_prefix(kTransport.size());
  return std::string(source.substr(0, source.find('/')));
}

bool fits(const StoredImage& image, const std::string& platform) {
  const std::string is = image.config.os + "/" + image.config.architecture;
  return platform.empty() || platform == is || platform.starts_with(is + "/");
}

Result<FoundImage> found(const StoredImage& image) {
  return FoundImage{image.id, image.rootfs, image.config};
}

// The images of one file.
class Resolver {
 public:
  Resolver(const ProjectSpec& project, ImageFetch fetch, const WatchLoad& watch)
      : data_dir_(project.data_dir), store_(project.data_dir), fetch_(fetch), watch_(watch) {}

  // The image of SERVICE, by its pull_policy. WARNING may be set beside an image. Errc::not_found:
  // it is not here, and may not be fetched.
  Result<FoundImage> image_of(const ServiceSpec& service, std::string& warning) {
    Result<ImageReference> reference = parse_image_reference(service.image);
    if (!reference) return fail(reference.error());
    ImageOrder order{.name = reference->full(),
                     .source = service.image_source.from,
                     .platform = service.image_source.platform,
                     .bytes_max = service.image_source.bytes_max};
    if (order.source.empty()) order.source = "docker://" + order.name;
    // One answer for all services of the file that say the same.
    const std::string key = order.name + " " + order.source + " " + order.platform;
    auto known = known_.find(key);
    if (known == known_.end()) {
      known = known_.emplace(key, look(service, order, warning)).first;
    }
    return known->second;
  }

 private:
  Result<FoundImage> look(const ServiceSpec& service, const ImageOrder& order,
                          std::string& warning) {
    std::optional<ImageStore::Named> there = store_.find_name(order.name);
    const PullPolicy pull = service.image_source.pull;
    if (there && (fetch_ != ImageFetch::allowed || !wants_look(*there, order, service))) {
      return found(there->image);
    }
    if (fetch_ != ImageFetch::allowed || pull == PullPolicy::never) {
      return fail(Errc::not_found,
                  "image " + service.image + " is not here" +
                      (pull == PullPolicy::never ? ", and pull_policy is never" : "") +
                      "; bring it with: keepwell image load " + order.source +
                      (order.source.starts_with("docker://") ? "" : " --name " + service.image));
    }
    return fetch(service, order, warning);
  }

  bool wants_look(const ImageStore::Named& there, const ImageOrder& order,
                  const ServiceSpec& service) const {
    if (service.image_source.pull == PullPolicy::never) return false;
    if (!fits(there.image, order.platform)) return true;
    switch (service.image_source.pull) {
      case PullPolicy::always:
        return true;
      case PullPolicy::refresh:
        return Loop::now().wall - there.name.checked >= service.image_source.refresh;
      case PullPolicy::automatic:
        return is_local(order.source) ||
               (!service.image_source.from.empty() && order.source != there.name.source);
      case PullPolicy::missing:
      case PullPolicy::never:
        return false;
    }
    return false;
  }

  Result<FoundImage> fetch(const ServiceSpec& service, const ImageOrder& order,
                           std::string& warning) {
    const OnLoadStep on_step = watch_ ? watch_(service.image) : OnLoadStep();
    if (Status locked = lock(on_step); !locked) return fail(locked.error());
    // Whoever held the lock may have brought it.
    std::optional<ImageStore::Named> there = store_.find_name(order.name);
    if (there && !wants_look(*there, order, service)) return found(there->image);
    const std::string registry = registry_of(order.source);
    if (there && fits(there->image, order.platform)) {
      Result<std::string> digest =
          silent_.contains(registry)
              ? Result<std::string>(fail(Errc::timed_out, silence(order.source, registry)))
              : source_digest(store_, order.source, order.platform);
      note_silence(registry, digest ? Status() : fail(digest.error()));
      // A service that has run must run again: a registry that is away, or an archive that was
      // removed after it was loaded, is no reason not to.
      if (!digest) {
        warning = digest.error().text + "; the image that is here is used";
        return found(there->image);
      }
      if (*digest == there->name.digest && order.source == there->name.source) {
        there->name.checked = Loop::now().wall;
        if (Status noted = store_.set_name(*lock_, there->name); !noted) {
          warning = noted.error().text;
        }
        return found(there->image);
      }
    }
    if (silent_.contains(registry)) return fail(Errc::timed_out, silence(order.source, registry));
    Result<StoredImage> image = load_image(store_, *lock_, order, on_step);
    note_silence(registry, image ? Status() : fail(image.error()));
    if (image) return found(*image);
    if (!there || !fits(there->image, order.platform)) return fail(image.error());
    warning = image.error().text + "; the image that is here is used";
    return found(there->image);
  }

  // A registry that did not answer in time is not waited for once more by each further image.
  void note_silence(const std::string& registry, const Status& status) {
    if (!registry.empty() && !status && status.error().code == Errc::timed_out) {
      silent_.insert(registry);
    }
  }
  static std::string silence(const std::string& source, const std::string& registry) {
    return "cannot look at image " + source + ": " + registry + " has not answered before";
  }

  Status lock(const OnLoadStep& on_step) {
    if (lock_) return {};
    if (Status made = make_private_dir(data_dir_, 0711); !made) return made;
    Result<ImageStore::Lock> lock = store_.lock([&on_step](const std::string&) {
      if (on_step) on_step({LoadStep::Stage::waiting, 0, 0});
    });
    if (!lock) return fail(lock.error());
    lock_.emplace(std::move(*lock));
    return {};
  }

  std::string data_dir_;
  ImageStore store_;
  ImageFetch fetch_;
  const WatchLoad& watch_;
  std::optional<ImageStore::Lock> lock_;
  std::map<std::string, Result<FoundImage>> known_;
  std::set<std::string> silent_;  // registries
};

// Services of one image may differ in how eager they are for a new one: whoever asks for it brings
// it for all.
std::vector<const ImageUse*> eager_first(const Loaded& loaded) {
  auto rank = [&loaded](const ImageUse* use) {
    switch (loaded.project->services[use->service].image_source.pull) {
      case PullPolicy::always:
        return 0;
      case PullPolicy::refresh:
        return 1;
      case PullPolicy::automatic:
        return 2;
      case PullPolicy::missing:
        return 3;
      case PullPolicy::never:
        return 4;
    }
    return 4;
  };
  std::vector<const ImageUse*> uses;
  for (const ImageUse& use : loaded.images) uses.push_back(&use);
  std::stable_sort(uses.begin(), uses.end(),
                   [&rank](const ImageUse* a, const ImageUse* b) { return rank(a) < rank(b); });
  return uses;
}

void say(std::vector<Diagnostic>& diagnostics, const Diagnostic& place, bool error,
         std::string text) {
  Diagnostic said = place;
  said.error = error;
  said.text = std::move(text);
  diagnostics.push_back(std::move(said));
}

}  // namespace

bool resolve_images(Loaded& loaded, ImageFetch fetch, const WatchLoad& watch) {
  if (!loaded.project) return true;
  Resolver resolver(*loaded.project, fetch, watch);
  bool mistaken = false, lacking = false;
  for (const ImageUse* next : eager_first(loaded)) {
    const ImageUse& use = *next;
    ServiceSpec& service = loaded.project->services[use.service];
    std::string warning;
    Result<FoundImage> image = resolver.image_of(service, warning);
    if (!warning.empty()) say(loaded.diagnostics, use.place, false, warning);
    if (!image) {
      const bool leave = fetch == ImageFetch::unasked && image.error().code == Errc::not_found;
      say(loaded.diagnostics, use.place, !leave,
          leave ? "image " + service.image +
                      " is not here yet; what it says of itself (command, "
                      "healthcheck, ...) is not looked at"
                : image.error().text);
      lacking = lacking || !leave;
      continue;
    }
    const std::size_t before = loaded.diagnostics.size();
    merge_image(service, use, *image, loaded.diagnostics);
    for (std::size_t i = before; i < loaded.diagnostics.size(); ++i) {
      mistaken = mistaken || loaded.diagnostics[i].error;
    }
  }
  if (mistaken || lacking) loaded.project.reset();
  return !lacking;
}

}  // namespace keepwell
