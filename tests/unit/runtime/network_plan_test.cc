// Subnets and addresses: what is chosen, and what is refused.
#include "runtime/network/network_plan.h"

#include "runtime/network/interface_counters.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

const std::string kId(64, 'a');
const std::string kOther(64, 'b');

NetworkUse use_of(const std::string& name, std::vector<SubnetSpec> subnets = {}) {
  NetworkUse use;
  use.network.key = name;
  use.network.name = "p_" + name;
  use.network.subnets = std::move(subnets);
  return use;
}

Result<NetworkRecord> plan(const std::vector<NetworkUse>& uses, const NetworksInUse& in_use = {},
                           const std::string& id = kId, const std::string& name = "p-web-1") {
  return plan_networks("/run/k", {id, name, "web", ""}, uses, in_use);
}

}  // namespace

TEST_CASE("a network without a subnet gets a free one, the same each time") {
  Result<NetworkRecord> first = plan({use_of("a")});
  REQUIRE(first);
  const Endpoint& e = first->endpoints.at(0);
  REQUIRE(e.subnets.size() == 1);
  CHECK(e.subnets[0].subnet.prefix == 20);
  CHECK(overlap(e.subnets[0].subnet, *parse_subnet("10.0.0.0/8")));
  CHECK(contains(e.subnets[0].subnet, e.subnets[0].address));
  CHECK(e.subnets[0].gateway == plus(e.subnets[0].subnet.base, 1));
  CHECK(e.interface == "eth0");
  CHECK(e.bridge.size() == 15);
  CHECK(e.names == std::vector<std::string>{"p-web-1", "web", std::string(12, 'a')});
  CHECK(plan({use_of("a")})->endpoints[0] == e);

  NetworksInUse in_use;
  in_use.routes = {{e.subnets[0].subnet, "eth7"}};
  Result<NetworkRecord> second = plan({use_of("a")}, in_use);
  REQUIRE(second);
  CHECK_FALSE(overlap(second->endpoints[0].subnets[0].subnet, e.subnets[0].subnet));
  in_use.routes = {{e.subnets[0].subnet, e.bridge}};  // our own
  CHECK(plan({use_of("a")}, in_use)->endpoints[0] == e);
  in_use.routes = {{*parse_subnet("10.0.0.0/8"), "vpn"}};
  Result<NetworkRecord> none = plan({use_of("a")}, in_use);
  REQUIRE_FALSE(none);
  CHECK_THAT(none.error().text, ContainsSubstring("no subnet is free on this host"));
}

TEST_CASE("two networks of one container do not overlap") {
  Result<NetworkRecord> record = plan({use_of("a"), use_of("b"), use_of("c")});
  REQUIRE(record);
  const auto& e = record->endpoints;
  CHECK_FALSE(overlap(e[0].subnets[0].subnet, e[1].subnets[0].subnet));
  CHECK_FALSE(overlap(e[1].subnets[0].subnet, e[2].subnets[0].subnet));
  CHECK(e[2].interface == "eth2");
}

TEST_CASE("a subnet of the file's that the host has already is refused, naming who has it") {
  NetworksInUse in_use;
  in_use.routes = {{*parse_subnet("10.5.0.0/16"), "eth0"}};
  Result<NetworkRecord> record = plan({use_of("a", {{"10.5.1.0/24", "", ""}})}, in_use);
  REQUIRE_FALSE(record);
  CHECK(record.error().code == Errc::conflict);
  CHECK_THAT(record.error().text,
             ContainsSubstring("10.5.1.0/24 is in use by the route 10.5.0.0/16 of interface eth0"));
}

TEST_CASE("addresses: fixed, of the last run, reserved, in their range, used up") {
  const NetworkUse small = use_of("a", {{"10.5.0.0/29", "", ""}});
  NetworkUse fixed = small;
  fixed.ipv4_address = "10.5.0.6";
  Result<NetworkRecord> one = plan({fixed});
  REQUIRE(one);
  CHECK(to_string(one->endpoints[0].subnets[0].address) == "10.5.0.6");
  CHECK(one->endpoints[0].mac_address == "02:42:0a:05:00:06");

  NetworksInUse in_use;
  in_use.records[kId] = *one;
  in_use.reserved["p_a"] = {"10.5.0.2"};
  Result<NetworkRecord> taken = plan({fixed}, in_use, kOther, "p-db-1");
  REQUIRE_FALSE(taken);
  CHECK_THAT(taken.error().text, ContainsSubstring("p-web-1 has it on network p_a"));

  // 1 is the gateway, 2 reserved, 6 taken: 3, 4 and 5 are left.
  std::set<std::string> seen;
  for (int i = 0; i < 3; ++i) {
    const std::string id(64, static_cast<char>('c' + i));
    Result<NetworkRecord> next = plan({small}, in_use, id, "p-x-" + std::to_string(i));
    REQUIRE(next);
    seen.insert(to_string(next->endpoints[0].subnets[0].address));
    in_use.records[id] = *next;
  }
  CHECK(seen == std::set<std::string>{"10.5.0.3", "10.5.0.4", "10.5.0.5"});
  Result<NetworkRecord> full = plan({small}, in_use, kOther, "p-db-1");
  REQUIRE_FALSE(full);
  CHECK_THAT(full.error().text, ContainsSubstring("choose a larger subnet"));

  NetworksInUse again;
  again.before = &in_use.records[std::string(64, 'd')];
  CHECK(plan({small}, again, std::string(64, 'd'), "other")->endpoints[0].subnets[0].address ==
        again.before->endpoints[0].subnets[0].address);

  Result<NetworkRecord> ranged = plan({use_of("r", {{"10.6.0.0/16", "10.6.0.9", "10.6.7.0/30"}})});
  REQUIRE(ranged);
  CHECK(contains(*parse_subnet("10.6.7.0/30"), ranged->endpoints[0].subnets[0].address));
  CHECK(to_string(ranged->endpoints[0].subnets[0].gateway) == "10.6.0.9");
}

TEST_CASE("who is on a network has its subnet; IPv6 is added") {
  NetworkUse six = use_of("a");
  six.network.ipv6 = true;
  NetworksInUse in_use;
  Result<NetworkRecord> first = plan({six});
  REQUIRE(first);
  REQUIRE(first->endpoints[0].subnets.size() == 2);
  CHECK(first->endpoints[0].subnets[1].subnet.prefix == 64);
  CHECK(to_string(first->endpoints[0].subnets[1].subnet).starts_with("fd"));
  in_use.records[kId] = *first;
  in_use.routes = {{first->endpoints[0].subnets[0].subnet, first->endpoints[0].bridge}};
  Result<NetworkRecord> second = plan({six}, in_use, kOther, "p-db-1");
  REQUIRE(second);
  for (std::size_t i : {0u, 1u}) {
    CHECK(second->endpoints[0].subnets[i].subnet == first->endpoints[0].subnets[i].subnet);
    CHECK(second->endpoints[0].subnets[i].address != first->endpoints[0].subnets[i].address);
  }
}

TEST_CASE("two run directories have networks of their own") {
  CHECK(network_id("/run/a", "p_default") != network_id("/run/b", "p_default"));
}

TEST_CASE("routes of the host") {
  const auto routes = parse_routes(
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
      "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
      "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
      "junk\n",
      "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 "
      "00000000000000000000000000000000 00000100 00000001 00000000 00000001     kw0\n"
      "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
      "00000000000000000000000000000000 00000100 00000001 00000000 00000001     kw0\n"
      "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
      "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n");
  CHECK(routes == std::vector<HostRoute>{{*parse_subnet("192.168.0.0/24"), "eth0"},
                                         {*parse_subnet("fd00::/64"), "kw0"}});
}

TEST_CASE("a record is read back as it was") {
  NetworkUse six = use_of("a");
  six.network.ipv6 = true;
  six.network.internal = true;
  NetworkRecord record = *plan({six, use_of("b")});
  record.ports = {{80, "tcp", "127.0.0.1", 8080}};
  Result<NetworkRecord> again = parse_record(record_text(record));
  REQUIRE(again);
  CHECK(*again == record);
  for (const char* bad : {"", "{}", "[]", "{\"id\": 1}"}) CHECK_FALSE(parse_record(bad));
}

TEST_CASE("counters of interfaces") {
  const auto all = parse_interface_counters(
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs "
      "drop "
      "fifo colls carrier compressed\n"
      "    lo:     100       1    0    0    0     0          0         0     100       1    0    0 "
      "   "
      "0     0       0          0\n"
      "  eth0:    1234      12    1    2    0     0          0         0    5678      34    3    4 "
      "   "
      "0     0       0          0\n");
  REQUIRE(all.size() == 1);
  CHECK(all.at("eth0") == InterfaceCounters{1234, 12, 1, 2, 5678, 34, 3, 4});
}
