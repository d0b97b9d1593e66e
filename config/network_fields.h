// The fields of network_spec.h, once for both directions; for spec_json.cc, whose IO is a Writer or
// a Reader.
#pragma once

#include "config/network_spec.h"

namespace keepwell {

template <class Io>
void fields(Io& io, SubnetSpec& s) {
  io("subnet", s.subnet);
  io("gateway", s.gateway);
  io("ip_range", s.ip_range);
}

template <class Io>
void fields(Io& io, NetworkSpec& s) {
  io("key", s.key);
  io("name", s.name);
  io("bridge", s.bridge);
  io("mtu", s.mtu);
  io("internal", s.internal);
  io("ipv6", s.ipv6);
  io("subnets", s.subnets);
  io("labels", s.labels);
}

template <class Io>
void fields(Io& io, NetworkUse& s) {
  io("network", s.network);
  io("aliases", s.aliases);
  io("ipv4_address", s.ipv4_address);
  io("ipv6_address", s.ipv6_address);
  io("mac_address", s.mac_address);
  io("priority", s.priority);
}

template <class Io>
void fields(Io& io, PortSpec& s) {
  io("container_port", s.container_port);
  io("protocol", s.protocol);
  io("host_ip", s.host_ip);
  io("host_port", s.host_port);
  io("host_port_last", s.host_port_last);
}

}  // namespace keepwell
