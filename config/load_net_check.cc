// The kinds of check that start no process: http, tcp and grpc, each a map of its own or, for what
// is needed most often, a single value:
//   http: http://127.0.0.1:8080/ready     http: { port: 8080, path: /ready, status: 200-299 }
//   tcp: 6379                             tcp: { port: 6379, send: "PING\r\n", expect: +PONG }
//   grpc: 9090                            grpc: { port: 9090, service: shop.Cart, tls: true }
// Hosts are IP addresses or localhost: a probe must not depend on a resolver.
#include <arpa/inet.h>

#include <charconv>

#include "config/draft.h"

namespace keepwell {
namespace {

bool is_host(const std::string& host) {
  in_addr v4{};
  in6_addr v6{};
  return host == "localhost" || inet_pton(AF_INET, host.c_str(), &v4) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &v6) == 1;
}

void read_host(const Field& f, std::string& out) {
  std::string host;
  if (!read_text(f.context, "host", f.value(), host)) return;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  if (!is_host(host)) {
    f.error("host " + in_quotes(host) + " is no address; write localhost or an IP address");
    return;
  }
  out = std::move(host);
}

bool read_port_node(LoadContext& context, const Node& node, std::uint16_t& out) {
  std::int64_t port = 0;
  if (!read_integer(context, "port", node, 1, 65535, port)) return false;
  out = static_cast<std::uint16_t>(port);
  return true;
}

bool has_control(std::string_view text) {
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return true;
  }
  return false;
}

// ---- http

struct HttpDraft {
  HttpCheck spec;
  bool port_given = false;
};

void read_http_host(const Field& f, HttpDraft& d) { read_host(f, d.spec.host); }
void read_http_port(const Field& f, HttpDraft& d) {
  d.port_given = true;
  read_port_node(f.context, f.value(), d.spec.port);
}
void read_scheme(const Field& f, HttpDraft& d) {
  constexpr std::string_view kSchemes[] = {"http", "https"};
  std::size_t which = 0;
  if (read_choice(f.context, "scheme", f.value(), kSchemes, which)) d.spec.scheme = kSchemes[which];
}

void read_method(const Field& f, HttpDraft& d) {
  std::string method;
  if (!read_text(f.context, "method", f.value(), method)) return;
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-";
  if (method.empty() || method.find_first_not_of(kLetters) != std::string::npos) {
    f.error("method " + in_quotes(method) + " is not one; write GET, HEAD or another in capitals");
    return;
  }
  d.spec.method = std::move(method);
}

bool is_path(std::string_view path) {
  return !path.empty() && path.front() == '/' && path.find(' ') == std::string_view::npos &&
         !has_control(path);
}

void read_http_path(const Field& f, HttpDraft& d) {
  std::string path;
  if (!read_text(f.context, "path", f.value(), path)) return;
  if (!is_path(path)) {
    f.error("path " + in_quotes(path) + " is not one; begin with / and write spaces as %20");
    return;
  }
  d.spec.path = std::move(path);
}

}  // namespace

void read_http_headers(const Field& f, HttpCheck& http) {
  std::vector<NamedValue> headers;
  if (!read_named_values(f.context, "headers", f.value(), headers)) return;
  for (NamedValue& header : headers) {
    constexpr std::string_view kToken =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
    bool bad_name =
        header.name.empty() || header.name.find_first_not_of(kToken) != std::string::npos;
    if (bad_name || has_control(header.value.value_or(""))) {
      f.context.report.error(header.place, "header " + in_quotes(header.name) +
                                               " cannot be sent; write NAME: value on one line");
    } else {
      http.headers.emplace_back(std::move(header.name), header.value.value_or(""));
    }
  }
}

namespace {

void read_headers(const Field& f, HttpDraft& d) { read_http_headers(f, d.spec); }

// "200", "200-299".
bool parse_statuses(std::string_view text, std::pair<int, int>& out) {
  std::size_t dash = text.find('-');
  std::string_view low = text.substr(0, dash);
  std::string_view high = dash == std::string_view::npos ? low : text.substr(dash + 1);
  auto number = [](std::string_view digits, int& value) {
    const char* end = digits.data() + digits.size();
    auto [stop, error] = std::from_chars(digits.data(), end, value);
    return !digits.empty() && error == std::errc{} && stop == end && value >= 100 && value <= 599;
  };
  return number(low, out.first) && number(high, out.second) && out.first <= out.second;
}

void read_status(const Field& f, HttpDraft& d) {
  std::vector<std::string> texts;
  if (!read_text_or_list(f.context, "status", f.value(), texts)) return;
  std::vector<std::pair<int, int>> statuses;
  for (const std::string& text : texts) {
    std::pair<int, int> range;
    if (!parse_statuses(text, range)) {
      f.error("status " + in_quotes(text) + " is none; write 200, 200-299 or a list of such");
      return;
    }
    statuses.push_back(range);
  }
  if (statuses.empty()) {
    f.error("status is empty; write 200-299 or remove it");
    return;
  }
  d.spec.statuses = std::move(statuses);
}

void read_body(const Field& f, HttpDraft& d) {
  std::string pattern;
  if (!read_text(f.context, "body", f.value(), pattern)) return;
  if (f.context.regex_fault && !pattern.empty()) {
    if (const auto fault = f.context.regex_fault(pattern)) {
      f.error("body " + in_quotes(pattern) + " is no pattern that can be used: " + *fault +
              "; write one in RE2's syntax");
      return;
    }
  }
  d.spec.body_regex = std::move(pattern);
}

// A number (only to the same host), or {max, hosts}.
void read_redirects_max(const Field& f, HttpDraft& d) {
  std::int64_t value = 0;
  if (read_integer(f.context, "redirects", f.value(), 0, 10, value)) {
    d.spec.redirects_max = static_cast<int>(value);
  }
}
void read_redirect_hosts(const Field& f, HttpDraft& d) {
  std::vector<std::string> hosts;
  if (!read_text_or_list(f.context, "redirects.hosts", f.value(), hosts)) return;
  for (const std::string& host : hosts) {
    if (!is_host(host)) {
      f.error("redirects.hosts has " + in_quotes(host) +
              ", which is no address; write localhost or IP addresses");
      return;
    }
  }
  d.spec.redirect_hosts = std::move(hosts);
}

constexpr Key<HttpDraft> kRedirectKeys[] = {{"max", read_redirects_max},
                                            {"hosts", read_redirect_hosts}};

void read_redirects(const Field& f, HttpDraft& d) {
  if (!f.value().is_mapping()) return read_redirects_max(f, d);
  if (f.value().find("max") == nullptr) d.spec.redirects_max = 5;
  read_map(f.context, f.value(), "http.redirects", kRedirectKeys, d);
}

// The same keys for http and grpc, whose specs have the same fields.
template <class Spec>
void read_verify(const Field& f, Spec& spec) {
  read_bool(f.context, "tls.verify", f.value(), spec.tls_verify);
}
template <class Spec>
void read_server_name(const Field& f, Spec& spec) {
  read_text(f.context, "tls.server_name", f.value(), spec.tls_server_name);
}
template <class Spec>
void read_ca(const Field& f, Spec& spec) {
  std::string path;
  if (!read_text(f.context, "tls.ca", f.value(), path)) return;
  if (path.empty()) return f.error("tls.ca is empty; name a PEM file or remove it");
  spec.tls_ca = absolute_path(f.context, path);
}
template <class Spec>
void read_tls(const Field& f, std::string_view what, Spec& spec) {
  static constexpr Key<Spec> kKeys[] = {{"verify", read_verify<Spec>},
                                        {"server_name", read_server_name<Spec>},
                                        {"ca", read_ca<Spec>}};
  read_map(f.context, f.value(), what, kKeys, spec);
  if (!spec.tls_verify && !spec.tls_ca.empty()) {
    f.warning("tls.ca has no effect with verify: false; remove one of them");
  }
}

void read_check_tls(const Field& f, HttpDraft& d) { read_tls(f, "http.tls", d.spec); }

constexpr Key<HttpDraft> kHttpKeys[] = {{"host", read_http_host}, {"port", read_http_port},
                                        {"scheme", read_scheme},  {"method", read_method},
                                        {"path", read_http_path}, {"headers", read_headers},
                                        {"status", read_status},  {"body", read_body},
                                        {"tls", read_check_tls},  {"redirects", read_redirects}};

bool is_host_name(std::string_view host) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
  return !host.empty() && host.size() < 254 && host.front() != '-' &&
         host.find_first_not_of(kLetters) == std::string_view::npos;
}

// SCHEME://HOST[:PORT][/PATH]
bool parse_url(std::string_view url, HttpCheck& out, bool names_too = false) {
  std::size_t colon = url.find("://");
  if (colon == std::string_view::npos) return false;
  out.scheme = url.substr(0, colon);
  if (out.scheme != "http" && out.scheme != "https") return false;
  out.port = out.scheme == "https" ? 443 : 80;
  url.remove_prefix(colon + 3);
  std::size_t slash = url.find('/');
  std::string_view authority = url.substr(0, slash);
  if (slash != std::string_view::npos) out.path = url.substr(slash);
  bool bracketed = !authority.empty() && authority.front() == '[';
  std::size_t host_end = bracketed ? authority.find(']') : authority.find(':');
  out.host = authority.substr(bracketed ? 1 : 0, bracketed ? host_end - 1 : host_end);
  if (bracketed && host_end == std::string_view::npos) return false;
  std::string_view rest = host_end == std::string_view::npos
                              ? std::string_view()
                              : authority.substr(host_end + (bracketed ? 1 : 0));
  if (!rest.empty()) {
    if (rest.front() != ':') return false;
    rest.remove_prefix(1);
    const char* end = rest.data() + rest.size();
    auto [stop, error] = std::from_chars(rest.data(), end, out.port);
    if (error != std::errc{} || stop != end || out.port == 0) return false;
  }
  return (is_host(out.host) || (names_too && is_host_name(out.host))) && is_path(out.path);
}

// ---- tcp

struct TcpDraft {
  TcpCheck spec;
};

void read_tcp_host(const Field& f, TcpDraft& d) { read_host(f, d.spec.host); }
void read_tcp_port(const Field& f, TcpDraft& d) {
  read_port_node(f.context, f.value(), d.spec.port);
}
void read_send(const Field& f, TcpDraft& d) {
  read_text(f.context, "send", f.value(), d.spec.send);
}
void read_expect(const Field& f, TcpDraft& d) {
  read_text(f.context, "expect", f.value(), d.spec.expect);
}

constexpr Key<TcpDraft> kTcpKeys[] = {
    {"host", read_tcp_host}, {"port", read_tcp_port}, {"send", read_send}, {"expect", read_expect}};

// ---- grpc

struct GrpcDraft {
  GrpcCheck spec;
};

void read_grpc_host(const Field& f, GrpcDraft& d) { read_host(f, d.spec.host); }
void read_grpc_port(const Field& f, GrpcDraft& d) {
  read_port_node(f.context, f.value(), d.spec.port);
}
void read_grpc_service(const Field& f, GrpcDraft& d) {
  read_text(f.context, "service", f.value(), d.spec.service);
}
void read_grpc_tls(const Field& f, GrpcDraft& d) {
  if (!f.value().is_mapping()) {
    read_bool(f.context, "tls", f.value(), d.spec.tls);
    return;
  }
  d.spec.tls = true;
  read_tls(f, "grpc.tls", d.spec);
}

constexpr Key<GrpcDraft> kGrpcKeys[] = {{"host", read_grpc_host},
                                        {"port", read_grpc_port},
                                        {"service", read_grpc_service},
                                        {"tls", read_grpc_tls}};

// False, and reported, where whoever loads cannot run such checks.
bool can_run(const Field& f) {
  if (f.context.net_checks) return true;
  report_unsupported_key(f.context, f.entry,
                         "this version runs commands only; use test: [\"CMD\", ...]");
  return false;
}

void check_port(const Field& f, std::uint16_t port) {
  if (port == 0 && f.value().is_mapping() && f.value().find("port") == nullptr) {
    f.context.report.error(f.entry.key_place, f.name() + " has no port; write port: N");
  }
}

}  // namespace

void read_http_tls(const Field& f, HttpCheck& http) { read_tls(f, "webhook.tls", http); }

void read_url(const Field& f, const std::string& url, WebhookSpec& webhook) {
  HttpCheck& request = webhook.request;
  request.method = "POST";
  request.statuses = {{200, 299}};
  if (!parse_url(url, request, true)) {
    f.error("webhook " + in_quotes(url) + " is no address; write https://HOST[:PORT]/PATH");
  }
}

void read_http_check(const Field& f, CheckDraft& draft) {
  if (!can_run(f)) return;
  draft.net_place = f.entry.key_place;
  draft.spec.kind = ProbeKind::http;
  HttpDraft d;
  if (f.value().is_scalar()) {
    if (!parse_url(f.value().text, d.spec)) {
      f.error(
          "http " + in_quotes(f.value().text) +
          " is no address that can be checked; write http://127.0.0.1:8080/path, with localhost "
          "or an IP address");
    }
  } else {
    read_map(f.context, f.value(), "http", kHttpKeys, d);
    if (!d.port_given && d.spec.scheme == "https") d.spec.port = 443;
    // Who follows redirects asks for what is behind them.
    if (d.spec.redirects_max > 0 && f.value().find("status") == nullptr) {
      d.spec.statuses = {{200, 299}};
    }
  }
  draft.spec.http = std::move(d.spec);
}

void read_tcp_check(const Field& f, CheckDraft& draft) {
  if (!can_run(f)) return;
  draft.net_place = f.entry.key_place;
  draft.spec.kind = ProbeKind::tcp;
  TcpDraft d;
  if (f.value().is_scalar()) {
    read_port_node(f.context, f.value(), d.spec.port);
  } else {
    read_map(f.context, f.value(), "tcp", kTcpKeys, d);
    check_port(f, d.spec.port);
  }
  draft.spec.tcp = std::move(d.spec);
}

void read_grpc_check(const Field& f, CheckDraft& draft) {
  if (!can_run(f)) return;
  draft.net_place = f.entry.key_place;
  draft.spec.kind = ProbeKind::grpc;
  GrpcDraft d;
  if (f.value().is_scalar()) {
    read_port_node(f.context, f.value(), d.spec.port);
  } else {
    read_map(f.context, f.value(), "grpc", kGrpcKeys, d);
    check_port(f, d.spec.port);
  }
  draft.spec.grpc = std::move(d.spec);
}

}  // namespace keepwell
