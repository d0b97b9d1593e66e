// The part of `keepwell check --print` that is about checks.
#include "config/spec_names.h"
#include "config/yaml_writer.h"

namespace keepwell {
namespace {

template <class Spec>
void print_tls(YamlWriter& w, const Spec& spec) {
  w.open("tls");
  w.flag("verify", spec.tls_verify);
  w.text_if("server_name", spec.tls_server_name);
  w.text_if("ca", spec.tls_ca);
  w.close();
}

std::vector<std::string> header_list(const HttpCheck& http) {
  std::vector<std::string> headers;  // a list, since a name may come twice
  headers.reserve(http.headers.size());
  for (const auto& [name, value] : http.headers) {
    headers.push_back(name);
    headers.back() += "=" + value;
  }
  return headers;
}

std::string url_of(const HttpCheck& http) {
  const bool ipv6 = http.host.find(':') != std::string::npos;
  return http.scheme + "://" + (ipv6 ? "[" + http.host + "]" : http.host) + ":" +
         std::to_string(http.port) + http.path;
}

void print_http(YamlWriter& w, const HttpCheck& http) {
  w.open("http");
  w.text("scheme", http.scheme);
  w.text("host", http.host);
  w.number("port", http.port);
  w.text("path", http.path);
  w.text("method", http.method);
  w.list_if("headers", header_list(http));
  std::vector<std::string> statuses;
  statuses.reserve(http.statuses.size());
  for (const auto& [low, high] : http.statuses) {
    statuses.push_back(std::to_string(low) + "-" + std::to_string(high));
  }
  w.list("status", statuses);
  w.text_if("body", http.body_regex);
  w.open("redirects");
  w.number("max", http.redirects_max);
  w.list_if("hosts", http.redirect_hosts);
  w.close();
  print_tls(w, http);
  w.close();
}

void print_tcp(YamlWriter& w, const TcpCheck& tcp) {
  w.open("tcp");
  w.text("host", tcp.host);
  w.number("port", tcp.port);
  w.text_if("send", tcp.send);
  w.text_if("expect", tcp.expect);
  w.close();
}

void print_grpc(YamlWriter& w, const GrpcCheck& grpc) {
  w.open("grpc");
  w.text("host", grpc.host);
  w.number("port", grpc.port);
  w.text_if("service", grpc.service);
  if (grpc.tls) print_tls(w, grpc);
  w.close();
}

void print_action(YamlWriter& w, const ActionSpec& action) {
  if (action.kind == ActionKind::capture) return w.plain_item("capture");
  w.item();
  w.open(name_of(action.kind));
  if (action.kind == ActionKind::hook) {
    w.list("command", action.hook.command);
    w.duration("timeout", action.hook.timeout);
  } else {
    const WebhookSpec& webhook = action.webhook;
    w.text("url", url_of(webhook.request));
    w.list_if("headers", header_list(webhook.request));
    w.text_if("secret_file", webhook.secret_file);
    w.duration("timeout", webhook.timeout);
    print_tls(w, webhook.request);
  }
  w.close();
  w.close();
}

void print_on_unhealthy(YamlWriter& w, const CheckSpec& check) {
  if (check.actions.empty()) return w.raw("on_unhealthy", name_of(check.on_unhealthy));
  w.open("on_unhealthy");
  for (const ActionSpec& action : check.actions) {
    if (action.first) print_action(w, action);
  }
  w.plain_item(name_of(check.on_unhealthy));
  for (const ActionSpec& action : check.actions) {
    if (!action.first) print_action(w, action);
  }
  w.close();
}

}  // namespace

void print_own_check_keys(YamlWriter& w, const CheckSpec& check) {
  if (check.kind == ProbeKind::http) print_http(w, check.http);
  if (check.kind == ProbeKind::tcp) print_tcp(w, check.tcp);
  if (check.kind == ProbeKind::grpc) print_grpc(w, check.grpc);
  print_on_unhealthy(w, check);
  if (check.max_starting) w.duration("max_starting", *check.max_starting);
  if (check.success_threshold != 1) w.number("success_threshold", check.success_threshold);
  if (check.initial_delay.count() != 0) w.duration("initial_delay", check.initial_delay);
  if (check.jitter != 0) w.real("jitter", check.jitter);
  if (check.observe) w.raw("mode", "observe");
  if (check.role != CheckRole::live) w.raw("role", name_of(check.role));
}

void print_timing(YamlWriter& w, const CheckSpec& check) {
  if (check.kind == ProbeKind::exec) w.list("test", check.test);
  w.duration("interval", check.interval);
  w.duration("timeout", check.timeout);
  w.number("retries", check.retries);
  w.duration("start_period", check.start_period);
  if (check.start_period.count() != 0 || check.start_interval != CheckSpec{}.start_interval) {
    w.duration("start_interval", check.start_interval);
  }
}

}  // namespace keepwell
