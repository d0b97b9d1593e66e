// Writes YAML for print.h: one key a line, values quoted where YAML or Compose would else read them
// as something else, $ doubled, since values are interpolated when read. Private to print*.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/spec.h"
#include "config/time.h"

namespace keepwell {

class YamlWriter {
 public:
  std::string out;

  void open(std::string_view key);
  void close() { indent_ -= 2; }
  // An item of a list that is a map: the first line begins with "- ".
  void item() {
    item_ = true;
    indent_ += 2;
  }
  // An item of a list that is a single value, as it stands.
  void plain_item(std::string_view value) { line("- " + std::string(value)); }
  void raw(std::string_view key, std::string_view value);
  void text(std::string_view key, std::string_view value);
  void text_if(std::string_view key, std::string_view value) {
    if (!value.empty()) text(key, value);
  }
  void flag(std::string_view key, bool value) { raw(key, value ? "true" : "false"); }
  void flag_if(std::string_view key, bool value) {
    if (value) raw(key, "true");
  }
  void number(std::string_view key, std::int64_t value) { raw(key, std::to_string(value)); }
  void real(std::string_view key, double value);
  void duration(std::string_view key, Duration value);
  void list(std::string_view key, const std::vector<std::string>& values);
  void list_if(std::string_view key, const std::vector<std::string>& values) {
    if (!values.empty()) list(key, values);
  }

 private:
  void line(const std::string& text);

  std::size_t indent_ = 0;
  bool item_ = false;
};

// TEXT in double quotes, as YAML reads it back.
std::string yaml_quote(std::string_view text);

// print_checks.cc: the keys of a check that Compose has, and ours.
void print_timing(YamlWriter& w, const CheckSpec& check);
void print_own_check_keys(YamlWriter& w, const CheckSpec& check);

// print_container.cc: the keys of a service that say what its container finds around the program.
void print_container(YamlWriter& w, const ServiceSpec& service);
// Its networks, ports and exposed ports.
void print_service_networks(YamlWriter& w, const ServiceSpec& service);
// The top-level networks, volumes, secrets and configs that the services of PROJECT use.
void print_resources(YamlWriter& w, const ProjectSpec& project);

}  // namespace keepwell
