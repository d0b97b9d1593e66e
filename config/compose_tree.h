// A YAML document as a tree of our own, every node with the place it stands at. This is the only
// file that knows yaml-cpp; above it YAML is nodes.
//
// Aliases are copied in (keeping the places of the original), merge keys (`<<`) are resolved as
// YAML 1.1 and Compose do: explicit keys win, then earlier merged maps win over later ones. A key
// that stands twice in one map is a mistake. Size, depth and the growth by aliases are bounded, so
// that no file can make reading it slow or large.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostic.h"

namespace keepwell {

struct Entry;

struct Node {
  enum class Kind { null, scalar, sequence, mapping };

  Kind kind = Kind::null;
  enum class Mark { none, reset, override };
  Mark mark = Mark::none;  // the tag !reset or !override, for merge.h
  bool plain = false;      // a scalar without quotes: what may be a number or a boolean
  Place place;
  std::string text;            // of a scalar
  std::vector<Node> items;     // of a sequence
  std::vector<Entry> entries;  // of a mapping, in file order, keys all different

  bool is_null() const { return kind == Kind::null; }
  bool is_scalar() const { return kind == Kind::scalar; }
  bool is_sequence() const { return kind == Kind::sequence; }
  bool is_mapping() const { return kind == Kind::mapping; }

  // The value of KEY in a mapping; null pointer where there is none.
  const Node* find(std::string_view key) const;
};

struct Entry {
  std::string key;
  Place key_place;
  Node value;
};

// "a list", "a map", "a text"..., for messages.
const char* kind_name(const Node& node);

inline constexpr std::size_t kComposeFileBytesMax = std::size_t{2} << 20;
inline constexpr int kComposeDepthMax = 64;
inline constexpr std::size_t kComposeNodesMax = 300'000;

// Parses one document. FILE is its number in REPORT. Mistakes are reported; on one that leaves no
// usable tree (bad syntax, too large), the result is empty.
std::optional<Node> parse_compose_tree(std::string_view text, int file, Report& report);

}  // namespace keepwell
