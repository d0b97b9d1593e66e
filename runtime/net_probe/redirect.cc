#include "runtime/net_probe/redirect.h"

#include <strings.h>

#include <algorithm>
#include <charconv>

namespace keepwell {

namespace {

struct Location {
  std::string scheme, host, path;  // empty scheme: as before
  std::uint16_t port = 0;
};

bool same_word(const std::string& a, const std::string& b) {
  return strcasecmp(a.c_str(), b.c_str()) == 0;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::string header(const HttpCheck& check, const char* name) {
  for (const auto& [key, value] : check.headers)
    if (strcasecmp(key.c_str(), name) == 0) return value;
  return {};
}

// Without the port, if there is one.
std::string host_of(std::string authority) {
  if (authority.starts_with('[')) return authority.substr(1, authority.find(']') - 1);
  return authority.substr(0, authority.find(':'));
}

bool clean(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c != 0x7f; });
}

// http://HOST[:PORT][/PATH], or //HOST..., or /PATH. What is behind # is not sent.
bool parse(std::string_view text, Location& out) {
  text = text.substr(0, text.find('#'));
  if (!clean(text)) return false;
  std::size_t colon = text.find("://");
  if (text.starts_with("//")) {
    text.remove_prefix(2);
  } else if (text.starts_with('/')) {
    out.path = text;
    return true;
  } else if (colon != std::string_view::npos) {
    out.scheme = text.substr(0, colon);
    text.remove_prefix(colon + 3);
  } else {
    return false;
  }
  std::size_t slash = std::min(text.find_first_of("/?"), text.size());
  std::string authority(text.substr(0, slash));
  out.path = text.substr(slash);
  if (!out.path.starts_with('/')) out.path.insert(0, "/");
  if (authority.find('@') != std::string::npos) return false;
  out.host = host_of(authority);
  std::size_t port = authority.rfind(':');
  std::size_t bracket = authority.rfind(']');
  if (port == std::string::npos || (bracket != std::string::npos && port < bracket))
    return !out.host.empty();
  const char* end = authority.data() + authority.size();
  auto [stop, error] = std::from_chars(authority.data() + port + 1, end, out.port);
  return error == std::errc{} && stop == end && out.port != 0 && !out.host.empty();
}

bool is_own_name(const HttpCheck& from, const std::string& host) {
  return same_word(host, from.host) || (is_loopback(host) && is_loopback(from.host)) ||
         (!from.tls_server_name.empty() && same_word(host, from.tls_server_name)) ||
         same_word(host, host_of(header(from, "host")));
}

}  // namespace

Result<HttpCheck> redirected(const HttpCheck& from, std::string_view location) {
  std::string shown(location.substr(0, 200));
  Location to;
  if (!parse(location, to))
    return fail(Errc::denied, "cannot follow the redirect to \"" + shown + "\"");
  HttpCheck next = from;
  next.redirects_max = from.redirects_max - 1;
  next.path = to.path;
  if (!to.host.empty()) {
    if (!to.scheme.empty()) next.scheme = to.scheme;
    std::transform(next.scheme.begin(), next.scheme.end(), next.scheme.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
    if (next.scheme != "http" && next.scheme != "https")
      return fail(Errc::denied, "cannot follow the redirect to \"" + shown + "\"");
    next.port = to.port != 0 ? to.port : next.scheme == "https" ? 443 : 80;
    const bool allowed = std::any_of(from.redirect_hosts.begin(), from.redirect_hosts.end(),
                                     [&](const std::string& host) { return host == to.host; });
    if (!is_own_name(from, to.host)) {
      if (!allowed)
        return fail(Errc::denied, "cannot follow the redirect to " + to.host +
                                      ": it is another host, and not in redirects.hosts");
      next.host = to.host;
      next.tls_server_name.clear();
      std::erase_if(next.headers, [](const auto& each) {
        const char* name = each.first.c_str();
        return strcasecmp(name, "host") == 0 || strcasecmp(name, "authorization") == 0 ||
               strcasecmp(name, "cookie") == 0;
      });
    }
  }
  return next;
}

}  // namespace keepwell
