#include "config/merge.h"

#include <algorithm>
#include <initializer_list>
#include <unordered_map>

namespace keepwell {
namespace {

bool is_one_of(std::string_view key, std::initializer_list<std::string_view> keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

bool is_replaced_whole(std::string_view key) {
  return is_one_of(key, {"command", "entrypoint", "test", "extends"});
}

// A list, or a map by name.
bool has_two_forms(std::string_view key) {
  return is_one_of(key,
                   {"environment", "labels", "depends_on", "networks", "sysctls", "annotations"});
}

// A list, or a single value for a list of one.
bool may_be_single(std::string_view key) {
  return is_one_of(key, {"dns", "dns_search", "dns_opt", "env_file", "label_file", "tmpfs"});
}

Node null_at(const Place& place) {
  Node node;
  node.place = place;
  node.plain = true;
  return node;
}

// The map form of a list such as [A=1, B] (environment, labels) or [db, cache] (depends_on).
void make_map(std::string_view key, Node& node) {
  if (!node.is_sequence()) return;
  Node map;
  map.kind = Node::Kind::mapping;
  map.place = node.place;
  for (Node& item : node.items) {
    if (!item.is_scalar()) return;  // the reader of the key reports it
  }
  for (Node& item : node.items) {
    Entry entry;
    entry.key_place = item.place;
    if (key == "depends_on") {
      entry.key = item.text;
      entry.value.kind = Node::Kind::mapping;
      entry.value.place = item.place;
      Node condition = null_at(item.place);
      condition.kind = Node::Kind::scalar;
      condition.text = "service_started";
      entry.value.entries.push_back({"condition", item.place, std::move(condition)});
    } else {
      std::size_t equals = item.text.find('=');
      entry.key = item.text.substr(0, equals);
      entry.value = null_at(item.place);
      if (equals != std::string::npos) {
        entry.value.kind = Node::Kind::scalar;
        entry.value.plain = false;
        entry.value.text = item.text.substr(equals + 1);
      }
    }
    auto same = std::find_if(map.entries.begin(), map.entries.end(),
                             [&](const Entry& e) { return e.key == entry.key; });
    if (same == map.entries.end()) {
      map.entries.push_back(std::move(entry));
    } else {
      *same = std::move(entry);
    }
  }
  node = std::move(map);
}

// The list form of {db: 10.0.0.1, web: [10.0.0.2, 10.0.0.3]}.
void make_host_list(Node& node) {
  if (!node.is_mapping()) return;
  Node list;
  list.kind = Node::Kind::sequence;
  list.place = node.place;
  for (Entry& entry : node.entries) {
    std::vector<Node> addresses;
    if (entry.value.is_sequence()) {
      addresses = std::move(entry.value.items);
    } else {
      addresses.push_back(std::move(entry.value));
    }
    for (Node& address : addresses) {
      if (address.is_scalar()) address.text = entry.key + "=" + address.text;
      list.items.push_back(std::move(address));
    }
  }
  node = std::move(list);
}

void make_list(Node& node) {
  if (!node.is_scalar()) return;
  Node list;
  list.kind = Node::Kind::sequence;
  list.place = node.place;
  list.items.push_back(std::move(node));
  node = std::move(list);
}

std::string text_of(const Node& node, std::string_view key) {
  const Node* value = node.find(key);
  return value != nullptr && value->is_scalar() ? value->text : std::string();
}

// The second part of A:B:C, or all of it where there is one only.
std::string second_part(const std::string& text) {
  std::size_t first = text.find(':');
  if (first == std::string::npos) return text;
  return text.substr(first + 1, text.find(':', first + 1) - first - 1);
}

// What of ITEM, in the list KEY, may be there only once; empty: nothing.
std::string unique_part(std::string_view key, const Node& item) {
  if (is_one_of(key, {"volumes", "devices"})) {
    return item.is_scalar() ? second_part(item.text) : text_of(item, "target");
  }
  if (key == "tmpfs") return item.text.substr(0, item.text.find(':'));
  if (is_one_of(key, {"secrets", "configs"})) {
    if (item.is_scalar()) return item.text;
    std::string target = text_of(item, "target");
    return target.empty() ? text_of(item, "source") : target;
  }
  return item.is_scalar() ? item.text : std::string();
}

void merge_lists(std::string_view key, Node& base, Node later) {
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < base.items.size(); ++i) {
    index.try_emplace(unique_part(key, base.items[i]), i);
  }
  for (Node& item : later.items) {
    std::string part = unique_part(key, item);
    auto found = part.empty() ? index.end() : index.find(part);
    if (found == index.end()) {
      index.try_emplace(std::move(part), base.items.size());
      base.items.push_back(std::move(item));
    } else if (item.is_mapping() || item.text != base.items[found->second].text) {
      base.items[found->second] = std::move(item);
    }
  }
}

void merge_value(std::string_view key, Node& base, Node later);

void merge_maps(Node& base, Node later) {
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < base.entries.size(); ++i) index.emplace(base.entries[i].key, i);
  for (Entry& entry : later.entries) {
    auto found = index.find(entry.key);
    if (found == index.end()) {
      base.entries.push_back(std::move(entry));
    } else {
      Entry& into = base.entries[found->second];
      into.key_place = entry.key_place;
      merge_value(into.key, into.value, std::move(entry.value));
    }
  }
}

void merge_value(std::string_view key, Node& base, Node later) {
  if (later.is_null()) return;
  if (later.mark != Node::Mark::none || base.mark == Node::Mark::reset) {
    base = std::move(later);
    return;
  }
  if (key == "extra_hosts" && base.kind != later.kind) {
    make_host_list(base);
    make_host_list(later);
  }
  if (may_be_single(key)) {
    make_list(base);
    make_list(later);
  }
  // Two lists of services or networks stay a list; everything else with two forms is merged by
  // name.
  const bool names = key == "depends_on" || key == "networks";
  if (has_two_forms(key) && (!names || base.kind != later.kind)) {
    make_map(key, base);
    make_map(key, later);
  }
  if (base.is_mapping() && later.is_mapping()) {
    // Options belong to their driver.
    const Node* old_driver = key == "logging" ? base.find("driver") : nullptr;
    const Node* new_driver = key == "logging" ? later.find("driver") : nullptr;
    if (old_driver != nullptr && new_driver != nullptr && old_driver->text != new_driver->text) {
      base = std::move(later);
      return;
    }
    merge_maps(base, std::move(later));
  } else if (base.is_sequence() && later.is_sequence() && !is_replaced_whole(key)) {
    merge_lists(key, base, std::move(later));
  } else {
    base = std::move(later);
  }
}

}  // namespace

void merge_compose_tree(Node& base, Node later, Report& report) {
  if (!base.is_mapping()) {
    if (!base.is_null()) {
      report.error(base.place, "the file must be a map of keys and values, not " +
                                   std::string(kind_name(base)));
    }
    base = std::move(later);
    return;
  }
  if (later.is_null()) return;
  if (!later.is_mapping()) {
    report.error(later.place,
                 "the file must be a map of keys and values, not " + std::string(kind_name(later)));
    return;
  }
  merge_maps(base, std::move(later));
}

void merge_compose_value(Node& base, Node later) { merge_value("", base, std::move(later)); }

void remove_reset_values(Node& node) {
  std::erase_if(node.items, [](const Node& item) { return item.mark == Node::Mark::reset; });
  std::erase_if(node.entries,
                [](const Entry& entry) { return entry.value.mark == Node::Mark::reset; });
  for (Node& item : node.items) remove_reset_values(item);
  for (Entry& entry : node.entries) remove_reset_values(entry.value);
}

}  // namespace keepwell
