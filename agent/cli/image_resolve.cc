#include "agent/cli/image_resolve.h"

#include <map>

#include "agent/cli/client.h"
#include "config/image_merge.h"
#include "exporters/time_text.h"
#include "runtime/loop.h"
#include "runtime/state_file.h"
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

bool is_local(const std::string& source) {
  for (const char* transport : {"docker-archive:", "oci-archive:", "oci:", "dir:"}) {
    if (source.starts_with(transport)) return true;
  }
  return false;
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
  Resolver(const ProjectSpec& project, ImageFetch fetch)
      : data_dir_(project.data_dir), store_(project.data_dir), fetch_(fetch) {}

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
    LoadReporter report("image " + service.image);
    if (Status locked = lock(report); !locked) return fail(locked.error());
    // Whoever held the lock may have brought it.
    std::optional<ImageStore::Named> there = store_.find_name(order.name);
    if (there && !wants_look(*there, order, service)) return found(there->image);
    if (there && fits(there->image, order.platform)) {
      Result<std::string> digest = source_digest(store_, order.source, order.platform);
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
    Result<StoredImage> image =
        load_image(store_, *lock_, order, [&report](const LoadStep& step) { report(step); });
    if (!image) return fail(image.error());
    return found(*image);
  }

  Status lock(LoadReporter& report) {
    if (lock_) return {};
    if (Status made = make_private_dir(data_dir_, 0711); !made) return made;
    Result<ImageStore::Lock> lock = store_.lock([&report](const std::string&) {
      report({LoadStep::Stage::waiting, 0, 0});
    });
    if (!lock) return fail(lock.error());
    lock_.emplace(std::move(*lock));
    return {};
  }

  std::string data_dir_;
  ImageStore store_;
  ImageFetch fetch_;
  std::optional<ImageStore::Lock> lock_;
  std::map<std::string, Result<FoundImage>> known_;
};

void say(std::vector<Diagnostic>& diagnostics, const Diagnostic& place, bool error,
         std::string text) {
  Diagnostic said = place;
  said.error = error;
  said.text = std::move(text);
  diagnostics.push_back(std::move(said));
}

}  // namespace

bool resolve_images(Loaded& loaded, ImageFetch fetch) {
  if (!loaded.project) return true;
  Resolver resolver(*loaded.project, fetch);
  bool mistaken = false, lacking = false;
  for (const ImageUse& use : loaded.images) {
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

LoadReporter::LoadReporter(std::string what)
    : what_(std::move(what)), terminal_(is_terminal(STDERR_FILENO)) {}

LoadReporter::~LoadReporter() {
  if (open_line_) std::fputs("\n", stderr);
}

void LoadReporter::operator()(const LoadStep& step) {
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

}  // namespace keepwell
