#include "config/image_reference.h"

#include <algorithm>

namespace keepwell {
namespace {

constexpr std::size_t kNameMax = 255, kTagMax = 128;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_small(char c) { return (c >= 'a' && c <= 'z') || is_digit(c); }
bool is_letter(char c) { return is_small(c) || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }

// small letters and digits, between which stand one dot, one or two underscores, or dashes
bool is_component(std::string_view text) {
  if (text.empty() || !is_small(text.front()) || !is_small(text.back())) return false;
  for (std::size_t i = 0; i < text.size();) {
    if (is_small(text[i])) {
      ++i;
      continue;
    }
    const std::size_t end = static_cast<std::size_t>(
        std::find_if(text.begin() + static_cast<std::ptrdiff_t>(i), text.end(), is_small) -
        text.begin());
    const std::string_view separator = text.substr(i, end - i);
    const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
    if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
    i = end;
  }
  return true;
}

bool is_path(std::string_view text) {
  while (true) {
    const std::size_t slash = text.find('/');
    if (!is_component(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool is_domain(std::string_view text) {
  const std::size_t bracket = text.rfind(']');
  const std::size_t colon = text.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    const std::string_view port = text.substr(colon + 1);
    if (port.empty() || !std::all_of(port.begin(), port.end(), is_digit)) return false;
    text = text.substr(0, colon);
  }
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    text = text.substr(1, text.size() - 2);
    return std::all_of(text.begin(), text.end(), [](char c) { return is_letter(c) || c == ':'; });
  }
  return !text.empty() && is_letter(text.front()) && is_letter(text.back()) &&
         text.find("..") == std::string_view::npos &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_letter(c) || c == '.' || c == '-'; });
}

bool is_tag(std::string_view text) {
  return !text.empty() && text.size() <= kTagMax && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_letter(c) || c == '_' || c == '.' || c == '-'; });
}

// Docker's rule: the first part is a host if it could not be a part of a name on Docker Hub.
bool names_host(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:") != std::string_view::npos ||
         std::any_of(first.begin(), first.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

}  // namespace

bool is_sha256(std::string_view text) {
  return text.size() == 71 && text.substr(0, 7) == "sha256:" &&
         std::all_of(text.begin() + 7, text.end(), is_hex);
}

std::string ImageReference::familiar_repository() const {
  if (domain != "docker.io") return repository();
  constexpr std::string_view kOfficial = "library/";
  const bool official =
      path.rfind(kOfficial, 0) == 0 && path.find('/', kOfficial.size()) == std::string::npos;
  return official ? path.substr(kOfficial.size()) : path;
}

Result<ImageReference> parse_image_reference(std::string_view text) {
  const std::string shown(text.substr(0, kNameMax + kTagMax));
  ImageReference reference;
  std::string_view rest = text;
  if (const std::size_t at = rest.find('@'); at != std::string_view::npos) {
    reference.digest = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!is_sha256(reference.digest)) {
      return fail(Errc::invalid,
                  "cannot use image name " + shown + ": behind @ stands sha256: and 64 hex digits");
    }
  }
  const std::size_t slash = rest.rfind('/');
  const std::size_t colon = rest.find(':', slash == std::string_view::npos ? 0 : slash);
  if (colon != std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_tag(reference.tag)) {
      return fail(Errc::invalid, "cannot use image name " + shown +
                                     ": a tag is up to 128 letters, digits, _ . and -");
    }
  } else if (reference.digest.empty()) {
    reference.tag = "latest";
  }
  const std::size_t first = rest.find('/');
  if (first != std::string_view::npos && names_host(rest.substr(0, first))) {
    reference.domain = rest.substr(0, first);
    reference.path = rest.substr(first + 1);
    if (reference.domain == "index.docker.io") reference.domain = "docker.io";
  } else {
    reference.domain = "docker.io";
    reference.path = rest;
  }
  if (reference.domain == "docker.io" && reference.path.find('/') == std::string::npos) {
    reference.path.insert(0, "library/");
  }
  if (!is_domain(reference.domain) || !is_path(reference.path) ||
      reference.repository().size() > kNameMax) {
    return fail(Errc::invalid, "cannot use image name " + shown +
                                   ": write NAME, NAME:TAG or HOST/NAME:TAG in "
                                   "small letters");
  }
  return reference;
}

}  // namespace keepwell
