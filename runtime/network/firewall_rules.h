// What of netavark's rules is to go once its own teardown is over, and what is missing of them.
// Pure: from the output of iptables-save to the input of iptables-restore --noflush, which does all
// of it or nothing.
//
// netavark leaves the chains that all containers share, with the jumps to them from the kernel's
// own chains. They are removed where no rule of any container (of Podman's either) is left in them;
// and what is left of ours, where its teardown failed, is removed with them.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "runtime/network/network_record.h"

namespace keepwell {

// What nothing of ours uses any more. Other rules are not touched.
struct GoneNetworks {
  std::set<std::string> containers;  // ids
  std::set<std::string> bridges;
  std::set<std::string> subnets;
};

// Empty: there is nothing to remove.
std::string rules_to_remove(std::string_view saved, const GoneNetworks& gone);

// Whether SAVED (of ip6tables-save with V6) has what netavark makes for the container of RECORD, so
// far as a flush or a reload of the firewall would take it away.
bool has_rules_of(std::string_view saved, const NetworkRecord& record, bool v6);

}  // namespace keepwell
