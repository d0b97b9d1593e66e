#include "runtime/image/skopeo.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "config/bytes.h"
#include "config/diagnostic.h"
#include "config/duration.h"
#include "runtime/image/image_loader.h"
#include "runtime/unique_fd.h"

namespace keepwell {

namespace {

constexpr std::string_view kRegistry = "docker://";

// What unpacking a tree needs of root's rights: to write any file, and to give it its owner, mode,
// and file capabilities.
constexpr const char* kBoundingSet = "-all,+chown,+dac_override,+fowner,+fsetid,+setfcap";

bool has_policy() {
  const char* home = std::getenv("HOME");
  std::string own = std::string(home != nullptr ? home : "") + "/.config/containers/policy.json";
  return access("/etc/containers/policy.json", F_OK) == 0 || access(own.c_str(), F_OK) == 0;
}

// The text of msg="..." of logrus' line, with its escapes undone.
std::string message_of(std::string_view line) {
  constexpr std::string_view kField = "msg=";
  const std::size_t at = line.find(kField);
  if (at == std::string_view::npos) return std::string(line);
  std::string_view text = line.substr(at + kField.size());
  if (text.empty() || text.front() != '"') return std::string(text.substr(0, text.find(' ')));
  std::string out;
  for (std::size_t i = 1; i < text.size() && text[i] != '"'; ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    out += text[i];
  }
  return out;
}

}  // namespace

Result<std::vector<std::string>> confined_argv(const std::string& tool,
                                               const std::vector<std::string>& arguments,
                                               std::int64_t file_bytes_max, bool devices) {
  std::vector<std::string> paths;
  for (const char* name : {"prlimit", "setpriv", tool.c_str()}) {
    Result<std::string> path = find_tool(name);
    if (!path) return fail(path.error());
    paths.push_back(std::move(*path));
  }
  std::vector<std::string> argv{paths[0],        "--fsize=" + std::to_string(file_bytes_max),
                                "--core=0",      paths[1],
                                "--pdeathsig",   "KILL",
                                "--no-new-privs"};
  // Reading Podman's store is an exception: that may have to mount its layers.
  const bool mounts = std::any_of(arguments.begin(), arguments.end(), [](const std::string& word) {
    return word.starts_with("containers-storage:");
  });
  if (geteuid() == 0 && !mounts) {
    argv.insert(argv.end(),
                {"--bounding-set", kBoundingSet + std::string(devices ? ",+mknod" : "")});
  }
  argv.insert(argv.end(), {"--", paths[2]});
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

Result<std::string> ask_tool(const std::string& tool, const std::vector<std::string>& arguments,
                             Duration timeout) {
  constexpr std::size_t kOutputMax = std::size_t{4} << 20;
  constexpr std::int64_t kFileBytesMax = std::int64_t{20} << 30;  // a copy of a compressed archive
  Result<std::vector<std::string>> argv = confined_argv(tool, arguments, kFileBytesMax);
  if (!argv) return fail(argv.error());
  ToolResult result = run_tool({.argv = *argv, .output_max = kOutputMax, .timeout = timeout});
  if (result.timed_out) {
    return fail(Errc::timed_out, "there was no answer within " + format_duration(timeout));
  }
  if (!result.ok()) return fail(Errc::unavailable, tool_complaint(result));
  return result.output;
}

bool is_registry(std::string_view source) { return source.starts_with(kRegistry); }

Duration registry_patience() {
  constexpr Duration kDefault = std::chrono::seconds(30);
  const char* text = std::getenv("KEEPWELL_REGISTRY_TIMEOUT");
  const long seconds = text != nullptr ? std::strtol(text, nullptr, 10) : 0;
  return seconds > 0 && seconds <= 86'400 ? std::chrono::seconds(seconds) : kDefault;
}

std::vector<std::string> tls_options(std::string_view source, const std::string& option) {
  if (!is_registry(source)) return {};
  source.remove_prefix(kRegistry.size());
  const std::string_view host = source.substr(0, source.find('/'));
  const std::string_view name = host.substr(0, host.rfind(':'));
  in_addr address{};
  const bool loopback =
      name == "localhost" || name == "[::1]" ||
      (inet_pton(AF_INET, std::string(name).c_str(), &address) == 1 && name.starts_with("127."));
  if (!loopback) return {};
  return {option + "=false"};
}

Result<std::string> plain_source(const std::string& source, const std::string& target,
                                 std::int64_t file_bytes_max) {
  constexpr std::string_view kTransport = "docker-archive:", kMagic = "\x1f\x8b";
  if (!source.starts_with(kTransport)) return source;
  const std::string rest = source.substr(kTransport.size());
  const std::size_t colon = std::min(rest.find(':'), rest.size());
  const std::string path = rest.substr(0, colon);
  char begin[2] = {};
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd || read(fd.get(), begin, sizeof begin) != 2 || std::string_view(begin, 2) != kMagic) {
    return source;
  }
  const char* script = "exec gzip -dc -- \"$1\" >\"$2\"";
  Result<std::vector<std::string>> argv =
      confined_argv("sh", {"-c", script, "keepwell-gunzip", path, target}, file_bytes_max);
  if (!argv) return fail(argv.error());
  ToolResult result = run_tool({.argv = *argv});
  if (result.ok()) return std::string(kTransport) + target + rest.substr(colon);
  struct stat written {};
  const bool cut = stat(target.c_str(), &written) == 0 && written.st_size >= file_bytes_max;
  unlink(target.c_str());
  return fail(Errc::unavailable, cut ? "it is larger than " + format_bytes(file_bytes_max) +
                                           ", which x-keepwell.image.max_size or --max-size allows"
                                     : "cannot decompress " + path + ": " + tool_complaint(result));
}

std::string machine_platform() {
  utsname names{};
  uname(&names);
  const std::string machine = names.machine;
  std::string architecture = machine;
  if (machine == "x86_64") architecture = "amd64";
  if (machine == "aarch64") architecture = "arm64";
  if (machine.starts_with("armv")) architecture = "arm";
  if (machine == "i686" || machine == "i386") architecture = "386";
  if (machine == "loongarch64") architecture = "loong64";
  return "linux/" + architecture;
}

std::vector<std::string> skopeo_options(const std::string& platform, const std::string& tmp_dir) {
  std::vector<std::string> options;
  if (!has_policy()) options.push_back("--insecure-policy");
  if (!tmp_dir.empty()) options.push_back("--tmpdir=" + tmp_dir);
  const char* registries = std::getenv("CONTAINERS_REGISTRIES_CONF");
  if (registries != nullptr && *registries != '\0') {
    options.push_back(std::string("--registries-conf=") + registries);
  }
  const std::string wanted = platform.empty() ? machine_platform() : platform;
  const std::size_t first = wanted.find('/'), second = wanted.find('/', first + 1);
  options.push_back("--override-os=" + wanted.substr(0, first));
  options.push_back("--override-arch=" + wanted.substr(first + 1, second - first - 1));
  if (second != std::string::npos) {
    options.push_back("--override-variant=" + wanted.substr(second + 1));
  }
  return options;
}

std::string tool_complaint(const ToolResult& result) {
  if (!result.started) return result.errors;
  if (!result.stopped) return result.stopped.error().text;
  if (result.timed_out) return "it did not end in time";
  std::string said;  // the last line is the reason
  std::string_view rest = result.errors;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string line = message_of(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.find_first_not_of(" \t") != std::string::npos) said = std::move(line);
  }
  const std::size_t begin = said.find_first_not_of(" \t");
  if (begin == std::string::npos) return "it ended with " + std::to_string(result.status);
  constexpr std::string_view kMark = "\u2a2f ";  // umoci's
  said.erase(0, begin);
  if (said.starts_with(kMark)) said.erase(0, kMark.size());
  constexpr std::size_t kShownMax = 400;
  std::string text;
  for (const char c : said.substr(0, kShownMax)) text += c >= 0 && c < ' ' ? ' ' : c;
  return text;
}

}  // namespace keepwell
