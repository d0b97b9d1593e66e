#include "config/compose_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <istream>
#include <streambuf>
#include <unordered_map>

#include "config/utf8.h"

namespace keepwell {

const Node* Node::find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

const char* kind_name(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null:
      return "nothing";
    case Node::Kind::scalar:
      return "a single value";
    case Node::Kind::sequence:
      return "a list";
    case Node::Kind::mapping:
      return "a map";
  }
  return "";
}

namespace {

// Thrown through yaml-cpp, which has no other way to be stopped; never leaves this file.
struct Refused {};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(int file, Report& report) : file_(file), report_(report) {}

  std::optional<Node> root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Node node;
    node.place = place(mark);
    node.plain = true;
    finish(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      refuse(place(mark), "an alias stands inside the value that it names; that would be endless");
    }
    count(place(mark), found->second.nodes, found->second.bytes);
    finish(found->second.node, 0);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node;
    node.kind = Node::Kind::scalar;
    node.place = place(mark);
    node.plain = tag == "?" || tag.empty();
    node.text = value;
    node.mark = look_at_tag(node.place, tag);
    if (value.find('\0') != std::string::npos) {
      report_.error(node.place, "here is a zero byte, which no process can be given; remove it");
    }
    finish(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(Node::Kind::sequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { end(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(Node::Kind::mapping, mark, tag, anchor);
  }
  void OnMapEnd() override {
    resolve_merges(frames_.back());
    end();
  }

 private:
  struct Frame {
    Node node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;
    bool bad_key = false;
    std::string key;
    Place key_place;
    std::unordered_map<std::string, Place> seen;
    std::vector<Entry> merges;
  };
  struct Anchored {
    Node node;
    std::size_t nodes = 0;
    std::size_t bytes = 0;
  };

  Place place(const YAML::Mark& mark) const { return {file_, mark.line + 1, mark.column + 1}; }

  [[noreturn]] void refuse(const Place& where, std::string_view text) {
    report_.error(where, text);
    throw Refused{};
  }

  void count(const Place& where, std::size_t nodes, std::size_t bytes) {
    nodes_ += nodes;
    bytes_ += bytes;
    if (nodes_ > kComposeNodesMax || bytes_ > 4 * kComposeFileBytesMax) {
      refuse(where, "the file grows beyond " + std::to_string(kComposeNodesMax) +
                        " values or 8 MB when its aliases are followed; that is no configuration "
                        "of services");
    }
  }

  Node::Mark look_at_tag(const Place& where, const std::string& tag) {
    if (tag == "!reset") return Node::Mark::reset;
    if (tag == "!override") return Node::Mark::override;
    bool plain = tag.empty() || tag == "?" || tag == "!" || tag.rfind("tag:yaml.org,2002:", 0) == 0;
    if (!plain) report_.error(where, "tag " + in_quotes(tag) + " is not supported; remove it");
    return Node::Mark::none;
  }

  void start(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
             YAML::anchor_t anchor) {
    if (frames_.size() >= static_cast<std::size_t>(kComposeDepthMax)) {
      refuse(place(mark), "values are nested deeper than " + std::to_string(kComposeDepthMax) +
                              " levels; no Compose file needs that");
    }
    Frame frame;
    frame.node.mark = look_at_tag(place(mark), tag);
    frame.node.kind = kind;
    frame.node.place = place(mark);
    frame.anchor = anchor;
    frames_.push_back(std::move(frame));
  }

  void end() {
    Node node = std::move(frames_.back().node);
    YAML::anchor_t anchor = frames_.back().anchor;
    frames_.pop_back();
    finish(std::move(node), anchor);
  }

  static void measure(const Node& node, Anchored& out) {
    out.nodes += 1;
    out.bytes += node.text.size();
    for (const Node& item : node.items) measure(item, out);
    for (const Entry& entry : node.entries) {
      out.bytes += entry.key.size();
      measure(entry.value, out);
    }
  }

  void finish(Node node, YAML::anchor_t anchor) {
    count(node.place, 1, node.text.size());
    if (anchor != 0) {
      Anchored anchored;
      measure(node, anchored);
      count(node.place, anchored.nodes, anchored.bytes);
      anchored.node = node;
      anchors_[anchor] = std::move(anchored);
    }
    if (frames_.empty()) {
      root = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.node.is_sequence()) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.has_key) {
      take_key(frame, std::move(node));
    } else {
      take_value(frame, std::move(node));
    }
  }

  void take_key(Frame& frame, Node node) {
    frame.has_key = true;
    frame.key_place = node.place;
    frame.bad_key = !node.is_scalar();
    if (frame.bad_key) {
      report_.error(node.place, node.is_null() ? "a key is missing before the colon"
                                               : "a key must be a single value, not " +
                                                     std::string(kind_name(node)));
    }
    frame.key = std::move(node.text);
  }

  void take_value(Frame& frame, Node node) {
    frame.has_key = false;
    if (frame.bad_key) return;
    Entry entry{std::move(frame.key), frame.key_place, std::move(node)};
    if (entry.key == "<<") {
      frame.merges.push_back(std::move(entry));
      return;
    }
    auto [earlier, fresh] = frame.seen.try_emplace(entry.key, entry.key_place);
    if (!fresh) {
      report_.error(entry.key_place,
                    "key " + in_quotes(entry.key) + " is here a second time (first in line " +
                        std::to_string(earlier->second.line) + "); keep one of them");
      return;
    }
    frame.node.entries.push_back(std::move(entry));
  }

  void merge_map(Frame& frame, const Node& from) {
    for (const Entry& entry : from.entries) {
      if (frame.seen.try_emplace(entry.key, entry.key_place).second) {
        frame.node.entries.push_back(entry);
      }
    }
  }

  void resolve_merges(Frame& frame) {
    for (const Entry& merge : frame.merges) {
      if (merge.value.is_mapping()) {
        merge_map(frame, merge.value);
        continue;
      }
      bool good = merge.value.is_sequence();
      for (const Node& item : merge.value.items) good = good && item.is_mapping();
      if (!good) {
        report_.error(merge.value.place,
                      "<< takes a map or a list of maps, such as <<: *common or <<: [*a, *b]");
        continue;
      }
      for (const Node& item : merge.value.items) merge_map(frame, item);
    }
    frame.merges.clear();
  }

  int file_;
  Report& report_;
  std::size_t nodes_ = 0;
  std::size_t bytes_ = 0;
  std::vector<Frame> frames_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
};

// An istream over memory that is not ours.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // only ever read from
    setg(begin, begin, begin + text.size());
  }
};

// The offset of the first byte that no text file has; npos where all is well. yaml-cpp guesses
// other encodings from the first bytes and replaces what it cannot read, which would hide mistakes.
std::size_t find_bad_byte(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    auto c = static_cast<unsigned char>(text[at]);
    bool control = (c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f;
    std::size_t length = control ? 0 : utf8_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

Place place_of_offset(std::string_view text, std::size_t offset, int file) {
  Place place{file, 1, 1};
  for (char c : text.substr(0, offset)) {
    if (c == '\n') {
      ++place.line;
      place.column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
      ++place.column;
    }
  }
  return place;
}

}  // namespace

std::optional<Node> parse_compose_tree(std::string_view text, int file, Report& report) {
  if (text.size() > kComposeFileBytesMax) {
    report.error({file, 1, 1}, "the file is " + std::to_string(text.size() >> 10) +
                                   " KB large; a Compose file may have at most 2 MB");
    return std::nullopt;
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  std::size_t bad = find_bad_byte(text);
  if (bad != std::string_view::npos) {
    report.error(
        place_of_offset(text, bad, file),
        "here is a byte that no text has; save the file as UTF-8, without control characters");
    return std::nullopt;
  }
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    TreeBuilder builder(file, report);
    if (!parser.HandleNextDocument(builder)) {
      Node nothing;
      nothing.place = {file, 1, 1};
      return nothing;
    }
    std::optional<Node> root = std::move(builder.root);
    TreeBuilder second(file, report);
    if (parser.HandleNextDocument(second)) {
      report.error(second.root ? second.root->place : Place{file, 1, 1},
                   "a second document begins here; put it into a file of its own");
    }
    return root;
  } catch (const Refused&) {
    return std::nullopt;
  } catch (const YAML::ParserException& e) {
    report.error({file, e.mark.line + 1, e.mark.column + 1}, "this is not YAML: " + e.msg);
  } catch (const std::exception& e) {
    report.error({file, 1, 1}, std::string("cannot read this as YAML: ") + e.what());
  }
  return std::nullopt;
}

}  // namespace keepwell
