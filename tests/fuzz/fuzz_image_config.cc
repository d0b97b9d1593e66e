// Any text as an image's config: no crash, and what is accepted keeps its promises (absolute paths,
// a signal's own spelling, no NUL in what becomes an argument), and merges under a service. Links:
// config
#include <cstdint>
#include <string>

#include "config/check.h"
#include "config/image_config.h"
#include "config/image_merge.h"
#include "config/image_reference.h"
#include "config/signals.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (Result<ImageReference> reference = parse_image_reference(text)) {
    Result<ImageReference> again = parse_image_reference(reference->full());
    KW_CHECK(again && again->full() == reference->full());
    KW_CHECK(!reference->familiar_repository().empty());
  }
  Result<ImageConfig> config = parse_image_config(text);
  if (!config) {
    KW_CHECK(config.error().text.rfind("cannot use the image's config: ", 0) == 0);
    return 0;
  }
  auto plain = [](const std::string& word) { return word.find('\0') == std::string::npos; };
  for (const auto* words : {&config->entrypoint, &config->command, &config->shell}) {
    for (const std::string& word : *words) KW_CHECK(plain(word));
  }
  for (const auto& [name, value] : config->environment) {
    KW_CHECK(!name.empty() && plain(name) && plain(value));
  }
  for (const std::string& volume : config->volumes) KW_CHECK(volume.empty() || volume[0] == '/');
  KW_CHECK(config->working_dir.empty() || config->working_dir[0] == '/');
  if (!config->stop_signal.empty()) KW_CHECK(parse_signal(config->stop_signal).has_value());

  ServiceSpec service;
  service.name = "s";
  std::vector<Diagnostic> said;
  ImageUse use;
  merge_image(service, use, {"sha256:1", "/r", *config}, said);
  KW_CHECK(service.checks.size() <= 1);
  for (const CheckSpec& check : service.checks) {
    KW_CHECK(check.test.size() >= 2 && check.retries >= 1);
    KW_CHECK(check.interval >= std::chrono::milliseconds(1));
  }
  bool failed = false;
  for (const Diagnostic& diagnostic : said) failed = failed || diagnostic.error;
  KW_CHECK(failed == (service.argv().empty() || service.argv().front().empty()));
  return 0;
}
