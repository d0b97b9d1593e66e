// The part of Networks that puts rules back which somebody else has removed. netavark makes rules
// only together with an interface, so each container that has lost its own is set up once more, in
// a namespace that is dropped at once: with its addresses, since the rules are made for those, but
// without its names, which are there. Rules that are there already are not made twice.
#include <algorithm>

#include "runtime/network/networks.h"

namespace keepwell {
namespace {

constexpr const char* kScratch = "scratch";

bool has_v6(const NetworkRecord& record) {
  return std::any_of(record.endpoints.begin(), record.endpoints.end(), [](const Endpoint& e) {
    return std::any_of(e.subnets.begin(), e.subnets.end(),
                       [](const EndpointSubnet& s) { return s.subnet.base.v6; });
  });
}

}  // namespace

void Networks::put_rules_back() {
  add_job([this] {
    const bool any = std::any_of(records_.begin(), records_.end(),
                                 [](const auto& each) { return !each.second.endpoints.empty(); });
    if (!any || finishing_ || !find_tools()) return job_done();
    read_rules(false, [this](const std::optional<std::string>& four) {
      auto look = [this, four](const std::optional<std::string>& six) {
        std::vector<std::string> lost;
        for (const auto& [id, record] : records_) {
          if (record.endpoints.empty()) continue;
          if ((four && !has_rules_of(*four, record, false)) ||
              (six && !has_rules_of(*six, record, true))) {
            lost.push_back(id);
          }
        }
        if (lost.empty()) return job_done();
        warn("the firewall had lost the rules of " + std::to_string(lost.size()) +
             " containers: they are put back");
        put_back(std::move(lost), [this] { job_done(); });
      };
      const bool six = std::any_of(records_.begin(), records_.end(),
                                   [](const auto& each) { return has_v6(each.second); });
      six ? read_rules(true, look) : look(std::nullopt);
    });
  });
}

void Networks::put_back(std::vector<std::string> ids, Step then) {
  if (ids.empty()) return then();
  const NetworkRecord record = records_.at(ids.back());
  ids.pop_back();
  make_namespace(kScratch,
                 [this, record, ids = std::move(ids), then = std::move(then)](const Status& made) {
                   auto next = [this, ids, then, name = record.name](const std::string& problem) {
                     remove_namespace(kScratch);
                     if (!problem.empty())
                       warn("cannot put back the firewall's rules of " + name + ": " + problem +
                            "; keepwell restart brings them");
                     put_back(ids, then);
                   };
                   if (!made) return next(made.error().text);
                   NetavarkPlace nameless = tools_;
                   nameless.aardvark = tools_.config_dir + "/none";
                   netavark(netavark_argv(nameless, "setup", namespace_path(kScratch)), record,
                            [next](const HostCommandResult& result) {
                              next(result.ok() ? "" : netavark_complaint(result.output));
                            });
                 });
}

}  // namespace keepwell
