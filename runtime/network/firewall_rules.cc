#include "runtime/network/firewall_rules.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <vector>

namespace keepwell {
namespace {

// Those that netavark makes once for all containers. (A chain of one network or container has 13
// hex digits for a name: NETAVARK-BAB0E87F64375, NETAVARK-DN-BAB0E87F64375.)
constexpr std::string_view kShared[] = {"NETAVARK_INPUT",         "NETAVARK_FORWARD",
                                        "NETAVARK_ISOLATION_1",   "NETAVARK_ISOLATION_2",
                                        "NETAVARK_ISOLATION_3",   "NETAVARK-HOSTPORT-DNAT",
                                        "NETAVARK-HOSTPORT-MASQ", "NETAVARK-HOSTPORT-SETMARK"};
// Their own rules do not belong to a container.
constexpr std::string_view kConstant[] = {"NETAVARK-HOSTPORT-MASQ", "NETAVARK-HOSTPORT-SETMARK"};

bool is_shared(std::string_view chain) {
  return std::find(std::begin(kShared), std::end(kShared), chain) != std::end(kShared);
}
bool is_constant(std::string_view chain) {
  return std::find(std::begin(kConstant), std::end(kConstant), chain) != std::end(kConstant);
}

struct Rule {
  std::string chain;
  std::string text;  // behind "-A "
  std::vector<std::string> words;
  bool gone = false;

  // The word behind OPTION; empty: none.
  std::string value(std::string_view option) const {
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
      if (words[i] == option) return words[i + 1];
    }
    return {};
  }
};

struct Table {
  std::string name;
  std::vector<std::string> chains;
  std::vector<Rule> rules;
};

std::vector<Table> parse(std::string_view saved) {
  std::vector<Table> tables;
  std::istringstream lines{std::string(saved)};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("*")) {
      tables.push_back({line.substr(1), {}, {}});
    } else if (tables.empty()) {
      continue;
    } else if (line.starts_with(":")) {
      tables.back().chains.push_back(line.substr(1, line.find(' ') - 1));
    } else if (line.starts_with("-A ")) {
      Rule rule;
      rule.text = line.substr(3);
      std::istringstream words(rule.text);
      for (std::string word; words >> word;) rule.words.push_back(word);
      if (!rule.words.empty()) rule.chain = rule.words.front();
      tables.back().rules.push_back(std::move(rule));
    }
  }
  return tables;
}

class Removal {
 public:
  Removal(Table& table, const GoneNetworks& gone) : table_(table), gone_(gone) {}

  std::string text() {
    std::vector<std::string> emptied;  // chains of networks and containers
    for (Rule& rule : table_.rules) {
      if (!rule.chain.starts_with("NETAVARK") && !rule.value("-j").starts_with("NETAVARK"))
        continue;
      if (!of_gone(rule)) continue;
      rule.gone = true;
      const std::string target = rule.value("-j");
      if (target.starts_with("NETAVARK") && !is_shared(target)) emptied.push_back(target);
    }
    for (const std::string& chain : emptied) {
      if (!used(chain)) drop_chain(chain);
    }
    drop_shared();
    if (removed_.empty() && std::none_of(table_.rules.begin(), table_.rules.end(),
                                         [](const Rule& r) { return r.gone; })) {
      return {};
    }
    return script();
  }

 private:
  bool of_gone(const Rule& rule) const {
    for (const char* option : {"-s", "-d"}) {
      if (rule.chain != "NETAVARK-HOSTPORT-DNAT" && gone_.subnets.contains(rule.value(option)) &&
          (is_shared(rule.chain) || !rule.chain.starts_with("NETAVARK"))) {
        return true;
      }
    }
    for (const char* option : {"-i", "-o"}) {
      if (gone_.bridges.contains(rule.value(option))) return true;
    }
    // -m comment --comment "dnat name: NETWORK id: CONTAINER"
    for (std::size_t i = 0; i + 1 < rule.words.size(); ++i) {
      if (rule.words[i] != "id:") continue;
      std::string id = rule.words[i + 1];
      std::erase(id, '"');
      if (gone_.containers.contains(id)) return true;
    }
    return false;
  }

  bool used(const std::string& chain) const {
    return std::any_of(table_.rules.begin(), table_.rules.end(),
                       [&](const Rule& rule) { return !rule.gone && rule.value("-j") == chain; });
  }

  // Rules of somebody's, that is; newer versions have a few that are always there.
  bool has_rules(const std::string& chain) const {
    return std::any_of(table_.rules.begin(), table_.rules.end(), [&](const Rule& rule) {
      const bool constant = (rule.words.size() == 3 && is_shared(rule.value("-j"))) ||
                            rule.value("--ctstate") == "INVALID";
      return !rule.gone && !constant && rule.chain == chain;
    });
  }

  void drop_chain(const std::string& chain) {
    if (std::find(removed_.begin(), removed_.end(), chain) != removed_.end()) return;
    if (std::find(table_.chains.begin(), table_.chains.end(), chain) == table_.chains.end()) return;
    for (Rule& rule : table_.rules) {
      if (rule.chain == chain) rule.gone = true;
    }
    removed_.push_back(chain);
  }

  // All of them, once none holds a rule of a container's.
  void drop_shared() {
    std::vector<std::string> shared;
    for (const std::string& chain : table_.chains) {
      if (!chain.starts_with("NETAVARK")) continue;
      const bool removed = std::find(removed_.begin(), removed_.end(), chain) != removed_.end();
      if (removed) continue;
      if (!is_shared(chain)) return;  // a network's that somebody uses
      if (!is_constant(chain) && has_rules(chain)) return;
      shared.push_back(chain);
    }
    for (Rule& rule : table_.rules) {
      if (is_shared(rule.value("-j"))) rule.gone = true;
    }
    for (const std::string& chain : shared) drop_chain(chain);
  }

  std::string script() const {
    std::string out = "*" + table_.name + "\n";
    auto is_removed = [&](const std::string& chain) {
      return std::find(removed_.begin(), removed_.end(), chain) != removed_.end();
    };
    for (const Rule& rule : table_.rules) {
      // Those of a chain that should be empty go one by one: where another program has put one in
      // since, the chain cannot be deleted, and nothing is changed.
      if (rule.gone) out += "-D " + rule.text + "\n";
    }
    for (const std::string& chain : table_.chains) {
      if (is_removed(chain)) out += "-X " + chain + "\n";
    }
    return out + "COMMIT\n";
  }

  Table& table_;
  const GoneNetworks& gone_;
  std::vector<std::string> removed_;
};

}  // namespace

std::string rules_to_remove(std::string_view saved, const GoneNetworks& gone) {
  std::string out;
  for (Table& table : parse(saved)) out += Removal(table, gone).text();
  return out;
}

bool has_rules_of(std::string_view saved, const NetworkRecord& record, bool v6) {
  const std::vector<Table> tables = parse(saved);
  auto any = [&](std::string_view table, auto matches) {
    return std::any_of(tables.begin(), tables.end(), [&](const Table& t) {
      return t.name == table && std::any_of(t.rules.begin(), t.rules.end(), matches);
    });
  };
  auto jump = [&](std::string_view table, std::string_view from, std::string_view to) {
    return any(table, [&](const Rule& r) { return r.chain == from && r.value("-j") == to; });
  };
  bool wanted = false;
  for (const Endpoint& e : record.endpoints) {
    for (const EndpointSubnet& s : e.subnets) {
      if (s.subnet.base.v6 != v6) continue;
      wanted = true;
      const std::string subnet = to_string(s.subnet);
      const bool forwarded = any("filter", [&](const Rule& r) {
        return r.chain == "NETAVARK_FORWARD" && r.value("-s") == subnet;
      });
      const bool masked = any("nat", [&](const Rule& r) {
        return r.chain == "POSTROUTING" && r.value("-s") == subnet;
      });
      const bool isolated = any("filter", [&](const Rule& r) { return r.value("-i") == e.bridge; });
      if (!e.internal && !(forwarded && masked && isolated)) return false;
    }
  }
  if (!wanted) return true;
  const bool inner = std::all_of(record.endpoints.begin(), record.endpoints.end(),
                                 [](const Endpoint& e) { return e.internal; });
  if (!inner && !(jump("filter", "FORWARD", "NETAVARK_FORWARD") &&
                  jump("filter", "FORWARD", "NETAVARK_ISOLATION_1"))) {
    return false;
  }
  if (record.ports.empty() || v6) return true;
  const bool led = any("nat", [&](const Rule& r) {
    return r.chain == "NETAVARK-HOSTPORT-DNAT" && r.text.find(record.id) != std::string::npos;
  });
  return led && jump("nat", "PREROUTING", "NETAVARK-HOSTPORT-DNAT") &&
         jump("nat", "OUTPUT", "NETAVARK-HOSTPORT-DNAT") &&
         jump("nat", "POSTROUTING", "NETAVARK-HOSTPORT-MASQ");
}

}  // namespace keepwell
