// Any text as a `filters` parameter, used on a list and on an event; and as a name pattern, which
// must come to an end quickly whatever it is.
// Links: exporters
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "config/check.h"
#include "exporters/container_filter.h"
#include "exporters/event_json.h"
#include "exporters/name_pattern.h"

using namespace keepwell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  ContainerStatus container;
  container.id = std::string(64, 'a');
  container.name = "web-1";
  auto spec = std::make_shared<ServiceSpec>();
  spec->name = "web";
  spec->image = "busybox:1";
  spec->labels["tier"] = "front";
  container.spec = spec;
  const ContainerStatus* const all[] = {&container};
  Event event;
  event.id = container.id;
  event.name = container.name;
  event.action = "health_status: healthy";
  event.spec = spec;

  if (const Result<Filters> filters = parse_filters(text)) {
    const auto listed =
        select_containers(all, {.all = true, .limit = 0, .filters = *filters, .facts = {}});
    if (listed) {
      KW_CHECK(listed->size() <= 1);
    } else {
      KW_CHECK(!listed.error().text.empty());
    }
    (void)matches(*filters, event);
    if (filters->empty()) KW_CHECK(matches(*filters, event));
  } else {
    KW_CHECK(filters.error().code == Errc::invalid);
  }

  if (const Result<NamePattern> pattern = NamePattern::parse(text)) {
    const std::string repeated(200, 'a');
    (void)pattern->found_in("");
    (void)pattern->found_in("web-1");
    (void)pattern->found_in(repeated + "b");
  }
  return 0;
}
