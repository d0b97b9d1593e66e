#include "config/merge.h"

#include <algorithm>
#include <unordered_map>

namespace keepwell {
namespace {

bool is_replaced_whole(std::string_view key) {
  return key == "command" || key == "entrypoint" || key == "test";
}

bool has_two_forms(std::string_view key) {
  return key == "environment" || key == "labels" || key == "depends_on";
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
  // Two lists of services stay a list; everything else with two forms is merged by name.
  if (has_two_forms(key) && (key != "depends_on" || base.kind != later.kind)) {
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
    for (Node& item : later.items) {
      bool there = item.is_scalar() &&
                   std::any_of(base.items.begin(), base.items.end(),
                               [&](const Node& n) { return n.is_scalar() && n.text == item.text; });
      if (!there) base.items.push_back(std::move(item));
    }
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

}  // namespace keepwell
