// networks, ports, expose and network_mode: what they become, and what is said where they are
// wrong.
#include <span>

#include "config/print.h"
#include "tests/catch.h"
#include "tests/unit/config/load_helpers.h"

using namespace keepwell;

namespace {

Loaded load_shop(const std::string& services, const std::string& top = "") {
  std::string text = "name: shop\n" + top + "services:\n";
  return load_text(text + services);
}

// Services of a container each: NAME and what stands under it, indented by four.
std::string service(const std::string& name, const std::string& body = "") {
  return "  " + name + ":\n    x-keepwell: { rootfs: /r }\n    command: x\n" + body;
}

ProjectSpec shop(const std::string& services, const std::string& top = "") {
  Loaded loaded = load_shop(services, top);
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  return *loaded.project;
}

std::string said(const std::string& services, const std::string& top = "") {
  return listing(load_shop(services, top));
}

}  // namespace

TEST_CASE("a service that says nothing is on the project's default network") {
  ServiceSpec s = shop(service("web")).services.at(0);
  REQUIRE(s.networks.size() == 1);
  CHECK(s.networks[0].network.key == "default");
  CHECK(s.networks[0].network.name == "shop_default");
  CHECK(s.networks_implicit);
  CHECK(s.network_mode.empty());
  CHECK_FALSE(shop(service("web", "    ports: [80]\n")).services[0].networks_implicit);
  CHECK_FALSE(shop(service("web", "    networks: [default]\n")).services[0].networks_implicit);
}

TEST_CASE("x-keepwell.defaults.network_mode is for those that say nothing") {
  const std::string top = "x-keepwell: { defaults: { network_mode: none } }\n";
  ProjectSpec p = shop(
      service("a") + service("b", "    ports: [80]\n") + service("c", "    network_mode: host\n"),
      top);
  CHECK(p.services[0].network_mode == "none");
  CHECK(p.services[0].networks.empty());
  CHECK(p.services[1].networks.size() == 1);
  CHECK(p.services[2].network_mode == "host");
}

TEST_CASE("the default network can be described, and others with it") {
  const std::string top =
      "networks:\n"
      "  default: { driver_opts: { com.docker.network.driver.mtu: 1400 } }\n"
      "  back: { internal: true, labels: { a: b }, name: depot, enable_ipv6: true }\n"
      "  front:\n"
      "    ipam: { config: [{ subnet: 10.5.0.9/24, gateway: 10.5.0.254, ip_range: 10.5.0.128/25 }] "
      "}\n";
  ProjectSpec p = shop(service("web",
                               "    networks:\n"
                               "      back: { aliases: [www], mac_address: 'AA:00:00:00:00:01' }\n"
                               "      front: { ipv4_address: 10.5.0.7, priority: 5 }\n") +
                           service("db"),
                       top);
  const ServiceSpec& web = p.services[0];
  REQUIRE(web.networks.size() == 2);
  CHECK(web.networks[0].network.key == "front");  // the higher priority
  CHECK(web.networks[0].ipv4_address == "10.5.0.7");
  CHECK(web.networks[0].network.subnets ==
        std::vector<SubnetSpec>{{"10.5.0.0/24", "10.5.0.254", "10.5.0.128/25"}});
  CHECK(web.networks[1].network.name == "depot");
  CHECK(web.networks[1].network.internal);
  CHECK(web.networks[1].network.ipv6);
  CHECK(web.networks[1].aliases == std::vector<std::string>{"www"});
  CHECK(web.networks[1].mac_address == "aa:00:00:00:00:01");
  CHECK(p.services[1].networks[0].network.mtu == 1400);

  // What is printed is read back as the same.
  Loaded again = load_text(print_project(p));
  INFO(listing(again));
  REQUIRE(again.project);
  CHECK(again.project->services[0].networks == web.networks);
  CHECK(again.project->services[1].networks == p.services[1].networks);
}

TEST_CASE("ports in both forms") {
  ServiceSpec s = shop(service("web",
                               "    ports:\n"
                               "      - 80\n"
                               "      - '8080:81'\n"
                               "      - '127.0.0.1:53:53/udp'\n"
                               "      - '[::1]:82:82'\n"
                               "      - '9000-9001:90-91'\n"
                               "      - '7000-7005:70'\n"
                               "      - '0.0.0.0::83'\n"
                               "      - { target: 84, published: '8084', protocol: udp,\n"
                               "          host_ip: 10.0.0.1, mode: host, name: x }\n"))
                      .services.at(0);
  const std::vector<PortSpec> expected = {
      {80, "tcp", "", 0, 0},       {81, "tcp", "", 8080, 0}, {53, "udp", "127.0.0.1", 53, 0},
      {82, "tcp", "::1", 82, 0},   {90, "tcp", "", 9000, 0}, {91, "tcp", "", 9001, 0},
      {70, "tcp", "", 7000, 7005}, {83, "tcp", "", 0, 0},    {84, "udp", "10.0.0.1", 8084, 0}};
  CHECK(s.ports == expected);
  Loaded again =
      load_text(print_project(shop(service("web", "    ports: ['127.0.0.1:80-82:8080']\n"))));
  REQUIRE(again.project);
  CHECK(again.project->services[0].ports ==
        std::vector<PortSpec>{{8080, "tcp", "127.0.0.1", 80, 82}});
}

TEST_CASE("expose is shown and opens nothing") {
  ServiceSpec s = shop(service("web", "    expose: [3000, 3002-3003, 53/udp]\n")).services.at(0);
  CHECK(s.exposed_ports == std::vector<std::string>{"3000/tcp", "3002/tcp", "3003/tcp", "53/udp"});
  CHECK(s.ports.empty());
}

TEST_CASE("a service in another's network follows it") {
  ProjectSpec p = shop(service("db") + service("side", "    network_mode: service:db\n") +
                       service("peer",
                               "    network_mode: container:shop-db-1\n"
                               "    depends_on: { db: { condition: service_started } }\n"));
  for (std::size_t i : {1u, 2u}) {
    CHECK(p.services[i].network_mode == "service:db");
    CHECK(p.services[i].networks.empty());
    REQUIRE(p.services[i].depends_on.size() == 1);
    CHECK(p.services[i].depends_on[0].service == "db");
    CHECK(p.services[i].depends_on[0].restart);
  }
}

TEST_CASE("mistakes of one service's networks") {
  struct Case {
    const char* body;
    const char* said;
  };
  const std::string top =
      "networks:\n  front: { ipam: { config: [{ subnet: 10.5.0.0/24 }] } }\n  back: {}\n";
  const Case cases[] = {
      {"    networks: [fornt]\n",
       "network \"fornt\" is not in the file's networks; did you mean front?"},
      {"    networks: [front, front]\n", "a second time"},
      {"    networks: [front]\n    network_mode: host\n", "exclude each other"},
      {"    networks: { front: { ipv4_address: 10.6.0.2 } }\n",
       "10.6.0.2 is outside subnet 10.5.0.0/24 of network front"},
      {"    networks: { front: { ipv4_address: 10.5.0.1 } }\n", "is the gateway"},
      {"    networks: { front: { ipv4_address: 10.5.0.255 } }\n", "no host's address"},
      {"    networks: { front: { ipv4_address: nonsense } }\n", "no address of IP version 4"},
      {"    networks: { back: { ipv4_address: 10.6.0.2 } }\n", "needs a subnet of its own choice"},
      {"    networks: { front: { ipv4_address: 10.5.0.2 } }\n    scale: 2\n",
       "of one container only"},
      {"    networks: { front: { mac_address: '01:00:00:00:00:00' } }\n", "is none"},
      {"    networks: { front: { alias: [x] } }\n", "unknown key \"alias\" in networks.front"},
      {"    network_mode: bridg\n", "bridge"},
      {"    network_mode: service:web\n", "cannot be in its own network"},
      {"    network_mode: service:weeb\n", "did you mean service:web?"},
      {"    network_mode: container:other\n", "a container which this file does not make"},
      {"    network_mode: host\n    ports: [80]\n", "remove ports"},
      {"    network_mode: none\n    mac_address: '02:00:00:00:00:00'\n", "nothing to be of"},
      {"    ports: ['80:0']\n", "is no port of the container"},
      {"    ports: ['70000:80']\n", "is no port of the host"},
      {"    ports: ['80:80/tpc']\n", "write tcp or udp"},
      {"    ports: ['x:80:80']\n", "is no address of the host"},
      {"    ports: ['80-81:80-82']\n", "differ in length"},
      {"    ports: ['8080:80']\n    scale: 2\n", "scale is 2; write a range"},
      {"    expose: [x]\n", "is no port"},
  };
  for (const Case& c : cases) {
    INFO(c.body);
    CHECK_THAT(said(service("web", c.body), top), ContainsSubstring(c.said));
  }
}

TEST_CASE("mistakes that need two services") {
  CHECK_THAT(said(service("a", "    ports: ['8080:80']\n") +
                  service("b", "    ports: ['127.0.0.1:8080:81']\n")),
             ContainsSubstring("10:13: error: port 8080/tcp of 127.0.0.1 of the host is taken by "
                               "service a; choose another"));
  CHECK(said(service("a", "    ports: ['8080:80']\n") +
             service("b", "    ports: ['8080:81/udp', '8081-8082:80']\n")) == "");
  const std::string top = "networks: { n: { ipam: { config: [{ subnet: 10.5.0.0/24 }] } } }\n";
  const std::string at = "    networks: { n: { ipv4_address: 10.5.0.9 } }\n";
  CHECK_THAT(said(service("a", at) + service("b", at), top),
             ContainsSubstring("address 10.5.0.9 is taken by service a"));
  CHECK_THAT(said(service("a", "    network_mode: service:b\n") +
                  service("b", "    network_mode: service:a\n")),
             ContainsSubstring("has no network of its own"));
  CHECK_THAT(
      said(service("a", "    network_mode: service:b\n") + service("b", "    depends_on: [a]\n")),
      ContainsSubstring("circle"));
}

TEST_CASE("mistakes of the file's networks") {
  struct Case {
    const char* top;
    const char* said;
  };
  const Case cases[] = {
      {"networks: { n: { driver: overlay } }\n", "network driver \"overlay\" is not supported"},
      {"networks: { n: { external: true } }\n", "external networks are not supported"},
      {"networks: { n: { ipam: { config: [{ subnet: 10.0.0.0/33 }] } } }\n", "is none; write"},
      {"networks: { n: { ipam: { config: [{ subnet: 10.0.0.0/31 }] } } }\n", "no room"},
      {"networks: { n: { ipam: { config: [{ gateway: 10.0.0.1 }] } } }\n", "has no subnet"},
      {"networks: { n: { ipam: { config: [{ subnet: 10.0.0.0/24, gateway: 10.0.1.1 }] } } }\n",
       "gateway 10.0.1.1 is outside subnet 10.0.0.0/24"},
      {"networks: { n: { ipam: { config: [{ subnet: 10.0.0.0/24, ip_range: 10.0.1.0/25 }] } } }\n",
       "ip_range 10.0.1.0/25 is outside"},
      {"networks: { a: { ipam: { config: [{ subnet: 10.0.0.0/16 }] } },\n"
       "            b: { ipam: { config: [{ subnet: 10.0.3.0/24 }] } } }\n",
       "subnet 10.0.3.0/24 of network b overlaps 10.0.0.0/16 of network a"},
      {"networks: { a: { name: x }, b: { name: x } }\n", "have one name"},
      {"networks: { a: { name: '-x' } }\n", "cannot be used"},
      {"networks: { a: { driver_opts: { com.docker.network.bridge.name: a-name-that-is-long } } "
       "}\n",
       "is no name of an interface"},
      {"networks: [a]\n", "must be a map"},
  };
  for (const Case& c : cases) {
    INFO(c.top);
    CHECK_THAT(said(service("web"), c.top), ContainsSubstring(c.said));
  }
}

TEST_CASE("networks of two files are put together by name") {
  Loaded loaded = load_text(
      "name: shop\nnetworks: { a: {}, b: {} }\nservices:\n" + service("web", "    networks: [a]\n"),
      {.files = {{"/p/more.yaml", "services: { web: { networks: { b: { aliases: [x] } } } }\n"}},
       .overrides = {"/p/more.yaml"}});
  INFO(listing(loaded));
  REQUIRE(loaded.project);
  CHECK(loaded.project->services[0].networks.size() == 2);
}
