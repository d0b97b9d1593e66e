// Keys that say which image a service runs and where it comes from: image, pull_policy, platform
// and x-keepwell.image.
#include <algorithm>

#include "config/draft.h"
#include "config/duration.h"
#include "config/image_reference.h"

namespace keepwell {
namespace {

// skopeo's, those that name a file or directory of this machine first.
constexpr std::string_view kPathTransports[] = {"docker-archive", "oci-archive", "oci", "dir"};
constexpr std::string_view kTransports[] = {
    "docker-archive", "oci-archive", "oci", "dir", "docker", "docker-daemon", "containers-storage"};

template <std::size_t N>
bool is_one_of(std::string_view word, const std::string_view (&words)[N]) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

// "docker-archive:redis.tar:redis:7" with the path made absolute.
void read_from(const Field& f, const Node& node, ImageSource& source) {
  std::string text;
  if (!read_text(f.context, "x-keepwell.image", node, text)) return;
  const std::size_t colon = text.find(':');
  const std::string transport = text.substr(0, colon);
  if (colon == std::string::npos || !is_one_of(transport, kTransports)) {
    const std::string_view near = nearest_name(transport, kTransports);
    f.context.report.error(
        node.place,
        "x-keepwell.image " + in_quotes(text) + " names no source; " +
            (near.empty() ? "write docker-archive:FILE, oci-archive:FILE, oci:DIR, dir:DIR, "
                            "docker://NAME or containers-storage:NAME"
                          : "did you mean " + std::string(near) + ":?"));
    return;
  }
  std::string rest = text.substr(colon + 1);
  if (transport == "docker" ? rest.rfind("//", 0) != 0 || rest.size() < 3 : rest.empty()) {
    f.context.report.error(node.place,
                           "x-keepwell.image " + in_quotes(text) + " names no image; " +
                               (transport == "docker" ? "write docker://HOST/NAME:TAG"
                                                      : "write " + transport + ":WHAT"));
    return;
  }
  if (is_one_of(transport, kPathTransports)) {
    const std::size_t end = rest.find(':');  // behind it: which image of several
    const std::string which = end == std::string::npos ? "" : rest.substr(end);
    rest = absolute_path(f.context, rest.substr(0, end)) + which;
  }
  source.from = transport + ":" + rest;
}

void read_source_key(const Field& f, ImageSource& source) { read_from(f, f.value(), source); }

void read_max_size(const Field& f, ImageSource& source) {
  std::int64_t bytes = 0;
  if (!read_bytes(f.context, "x-keepwell.image.max_size", f.value(), bytes)) return;
  if (bytes == 0) {
    f.error("x-keepwell.image.max_size is 0; write a size such as 20g");
    return;
  }
  source.bytes_max = bytes;
}

constexpr Key<ImageSource> kSourceKeys[] = {{"from", read_source_key}, {"max_size", read_max_size}};

}  // namespace

void read_image(const Field& f, ServiceDraft& d) {
  std::string image;
  if (!read_text(f.context, "image", f.value(), image)) return;
  if (image.empty() || image.find_first_of(" \t\n") != std::string::npos) {
    f.error("image " + in_quotes(image) + " is not a reference; write name:tag");
    return;
  }
  d.spec.image = std::move(image);
}

void read_pull_policy(const Field& f, ServiceDraft& d) {
  std::string text;
  if (!read_text(f.context, "pull_policy", f.value(), text)) return;
  ImageSource& source = d.spec.image_source;
  constexpr std::string_view kEvery = "every_";
  if (text == "always" || text == "never") {
    source.pull = text == "always" ? PullPolicy::always : PullPolicy::never;
  } else if (text == "missing" || text == "if_not_present") {
    source.pull = PullPolicy::missing;
  } else if (text == "daily" || text == "weekly") {
    source.pull = PullPolicy::refresh;
    source.refresh = std::chrono::hours(text == "daily" ? 24 : 7 * 24);
  } else if (text.rfind(kEvery, 0) == 0) {
    Result<Duration> every = parse_duration(std::string_view(text).substr(kEvery.size()));
    if (!every || every->count() <= 0) {
      f.error("pull_policy " + in_quotes(text) + " has no duration; write every_12h or every_2d");
      return;
    }
    source.pull = PullPolicy::refresh;
    source.refresh = *every;
  } else if (text == "build") {
    f.context.report.unsupported(f.value().place,
                                 "pull_policy build is not supported, keepwell builds no images; "
                                 "build it beforehand and name the result in image or "
                                 "x-keepwell.image");
  } else if (text == "refresh") {
    f.context.report.unsupported(f.value().place,
                                 "pull_policy refresh is not supported; write daily, weekly or "
                                 "every_DURATION");
  } else {
    constexpr std::string_view kPolicies[] = {"always", "never",  "missing",  "if_not_present",
                                              "daily",  "weekly", "every_12h"};
    std::size_t ignored = 0;
    read_choice(f.context, "pull_policy", f.value(), kPolicies, ignored);
  }
}

void read_platform(const Field& f, ServiceDraft& d) {
  std::string text;
  if (!read_text(f.context, "platform", f.value(), text)) return;
  if (text == "linux") return;  // of this machine's architecture
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789_./";
  const auto slashes = std::count(text.begin(), text.end(), '/');
  const bool shaped = slashes >= 1 && slashes <= 2 && text.back() != '/' &&
                      text.find("//") == std::string::npos &&
                      text.find_first_not_of(kLetters) == std::string::npos;
  if (!shaped || text.rfind("linux/", 0) != 0) {
    f.error("platform " + in_quotes(text) +
            " is not one that runs here; write linux/ARCHITECTURE, such as linux/amd64");
    return;
  }
  d.spec.image_source.platform = std::move(text);
}

void read_image_source(const Field& f, ServiceDraft& d) {
  ImageSource& source = d.spec.image_source;
  if (!f.value().is_mapping()) {
    read_from(f, f.value(), source);
    return;
  }
  read_map(f.context, f.value(), "x-keepwell.image", kSourceKeys, source);
}

void check_image(LoadContext& context, ServiceDraft& d) {
  const ServiceSpec& spec = d.spec;
  if (d.runs_image()) {
    if (spec.image.empty()) return;
    Result<ImageReference> reference = parse_image_reference(spec.image);
    if (!reference) context.report.error(d.place_of("image"), reference.error().text);
    return;
  }
  const Node* own = d.entry->value.find("x-keepwell");
  const Node* image = own != nullptr && own->is_mapping() ? own->find("image") : nullptr;
  const std::string instead = spec.runtime == RuntimeKind::process
                                  ? " has no effect with x-keepwell.runtime: process; remove it"
                                  : " has no effect beside x-keepwell.rootfs; remove one of them";
  if (image != nullptr && !spec.image_source.from.empty()) {
    context.report.warning(image->place, "x-keepwell.image" + instead);
  }
  for (const char* key : {"pull_policy", "platform"}) {
    if (d.has(key)) context.report.warning(d.place_of(key), key + instead);
  }
}

}  // namespace keepwell
