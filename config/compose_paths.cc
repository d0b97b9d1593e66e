#include "config/compose_paths.h"

#include "config/paths.h"

namespace keepwell {

namespace {

void make_absolute(const std::string& directory, Node& node) {
  if (node.is_scalar() && !node.text.empty() && node.text.front() != '~') {
    node.text = absolute_path(directory, node.text);
  }
}

void make_paths_absolute(const std::string& directory, Node* node) {
  if (node == nullptr) return;
  make_absolute(directory, *node);
  for (Node& item : node->items) {
    make_absolute(directory, item);
    if (Node* path = find_child(item, "path")) make_absolute(directory, *path);
  }
}

void make_volume_absolute(const std::string& directory, Node& volume) {
  if (volume.is_scalar() && !volume.text.empty() && volume.text.front() == '.') {
    std::size_t colon = volume.text.find(':');
    if (colon == std::string::npos) return;
    std::string rest = volume.text.substr(colon);
    volume.text = absolute_path(directory, volume.text.substr(0, colon)) + rest;
  }
  const Node* type = volume.find("type");
  Node* source = find_child(volume, "source");
  if (type != nullptr && type->text == "bind" && source != nullptr) {
    make_absolute(directory, *source);
  }
}

}  // namespace

Node* find_child(Node& node, std::string_view key) {
  for (Entry& entry : node.entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

void make_service_absolute(const std::string& directory, Node& service) {
  make_paths_absolute(directory, find_child(service, "env_file"));
  make_paths_absolute(directory, find_child(service, "label_file"));
  if (Node* volumes = find_child(service, "volumes")) {
    for (Node& volume : volumes->items) make_volume_absolute(directory, volume);
  }
  if (Node* own = find_child(service, "x-keepwell")) {
    if (Node* rootfs = find_child(*own, "rootfs")) make_absolute(directory, *rootfs);
  }
  if (Node* options = find_child(service, "security_opt")) {
    for (Node& option : options->items) {
      std::size_t at = option.text.find_first_of(":=");
      if (at == std::string::npos || option.text.substr(0, at) != "seccomp") continue;
      std::string value = option.text.substr(at + 1);
      if (!value.empty() && value != "unconfined") {
        option.text = "seccomp=" + absolute_path(directory, value);
      }
    }
  }
}

void make_project_absolute(const std::string& directory, Node& root) {
  if (Node* services = find_child(root, "services")) {
    for (Entry& entry : services->entries) make_service_absolute(directory, entry.value);
  }
  for (const char* section : {"secrets", "configs"}) {
    Node* node = find_child(root, section);
    if (node == nullptr) continue;
    for (Entry& entry : node->entries) {
      if (Node* file = find_child(entry.value, "file")) make_absolute(directory, *file);
    }
  }
}

}  // namespace keepwell
