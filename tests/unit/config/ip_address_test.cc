#include "config/ip_address.h"

#include "tests/catch.h"

using namespace keepwell;

TEST_CASE("addresses and subnets as text") {
  CHECK(to_string(*parse_ip("10.0.0.1")) == "10.0.0.1");
  CHECK(to_string(*parse_ip("FD00:0::1")) == "fd00::1");
  CHECK(to_string(*parse_subnet("10.5.6.7/16")) == "10.5.0.0/16");
  CHECK(to_string(*parse_subnet("fd00::1:2:3/64")) == "fd00::/64");
  for (const char* bad : {"", "10.0.0", "10.0.0.1/8", "::g", "10.0.0.256"})
    CHECK_FALSE(parse_ip(bad));
  for (const char* bad : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x"}) {
    CHECK_FALSE(parse_subnet(bad));
  }
}

TEST_CASE("what is in a subnet") {
  const Subnet s = *parse_subnet("10.5.0.0/20");
  CHECK(contains(s, *parse_ip("10.5.15.255")));
  CHECK_FALSE(contains(s, *parse_ip("10.5.16.0")));
  CHECK_FALSE(contains(s, *parse_ip("::")));
  CHECK(overlap(s, *parse_subnet("10.0.0.0/8")));
  CHECK(overlap(*parse_subnet("10.5.3.0/24"), s));
  CHECK_FALSE(overlap(s, *parse_subnet("10.5.16.0/20")));
  CHECK(to_string(last_of(s)) == "10.5.15.255");
  CHECK(to_string(plus(s.base, 257)) == "10.5.1.1");
  CHECK(to_string(plus(*parse_ip("fd00::ffff:ffff"), 1)) == "fd00::1:0:0");
}
