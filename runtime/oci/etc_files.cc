// The part of bundle.h that writes the files under /etc which docker binds in.
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "runtime/oci/bundle.h"

namespace keepwell {

namespace {

Status write_text(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::trunc | std::ios::binary);
  out << text;
  out.close();
  if (!out) return fail(Errc::os, "cannot write " + path);
  return {};
}

std::string host_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// resolv.conf: the host's, with the service's own words in place of those of the same kind, in
// docker's order. Name servers of its networks ask the host's themselves.
std::string resolver_text(const ServiceSpec& spec, const EtcNetwork& network,
                          const std::string& host) {
  std::string text;
  auto add = [&text](const char* key, const std::vector<std::string>& words) {
    if (words.empty()) return;
    text += key;
    for (const std::string& word : words) text += " " + word;
    text += "\n";
  };
  // A single dot means none.
  if (spec.dns_search != std::vector<std::string>{"."}) add("search", spec.dns_search);
  for (const std::string& server : network.name_servers) add("nameserver", {server});
  for (const std::string& server : spec.dns) add("nameserver", {server});
  const bool own_servers = !spec.dns.empty() || !network.name_servers.empty();
  std::istringstream lines(host);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    bool replaced = (key == "nameserver" && own_servers) ||
                    ((key == "search" || key == "domain") && !spec.dns_search.empty()) ||
                    (key == "options" && !spec.dns_opt.empty());
    if (!replaced) text += line + "\n";
  }
  add("options", spec.dns_opt);
  return text;
}

}  // namespace

Status write_etc_files(const ServiceSpec& spec, const std::string& hostname, const std::string& dir,
                       const EtcNetwork& network) {
  if (mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno("cannot make " + dir);
  bool host = spec.network_mode == "host";
  std::string hosts = host ? host_file("/etc/hosts")
                           : "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
                             "fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n"
                             "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
  for (const auto& [name, address] : spec.extra_hosts) {
    const std::string& known = address == kHostGateway ? network.host_gateway : address;
    if (!known.empty()) hosts += known + "\t" + name + "\n";
  }
  for (const std::string& address : network.addresses) hosts += address + "\t" + hostname + "\n";
  if (Status done = write_text(dir + "/hosts", hosts); !done) return done;
  if (Status done = write_text(dir + "/hostname", hostname + "\n"); !done) return done;
  return write_text(dir + "/resolv.conf",
                    resolver_text(spec, network, host_file("/etc/resolv.conf")));
}

}  // namespace keepwell
