// depends_on, and what must hold between services: that they exist, that what is waited for can
// become healthy, and that nobody waits for himself.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "config/draft.h"

namespace keepwell {
namespace {

struct DependencyDraft {
  Dependency spec;
  bool condition_given = false;
};

void read_condition(const Field& f, DependencyDraft& d) {
  d.condition_given = true;
  read_enum(f.context, "condition", f.value(), d.spec.condition);
}
void read_dependency_restart(const Field& f, DependencyDraft& d) {
  read_bool(f.context, "depends_on.restart", f.value(), d.spec.restart);
}
void read_dependency_required(const Field& f, DependencyDraft& d) {
  read_bool(f.context, "depends_on.required", f.value(), d.spec.required);
}

void read_excuses(const Field& f, DependencyDraft& d) {
  read_bool(f.context, "excuses", f.value(), d.spec.excuses);
}

constexpr Key<DependencyDraft> kOwnKeys[] = {{"excuses", read_excuses}};

void read_own(const Field& f, DependencyDraft& d) {
  read_map(f.context, f.value(), "x-keepwell of depends_on", kOwnKeys, d);
}

constexpr Key<DependencyDraft> kDependencyKeys[] = {{"condition", read_condition},
                                                    {"restart", read_dependency_restart},
                                                    {"required", read_dependency_required},
                                                    {"x-keepwell", read_own}};

class DependencyCheck {
 public:
  DependencyCheck(LoadContext& context, std::vector<ServiceDraft>& drafts,
                  const std::vector<std::string>& profiles)
      : context_(context), drafts_(drafts), profiles_(profiles) {
    for (std::size_t i = 0; i < drafts_.size(); ++i) {
      index_.emplace(drafts_[i].spec.name, i);
      names_.push_back(drafts_[i].spec.name);
    }
    states_.resize(drafts_.size(), State::fresh);
  }

  void run() {
    for (ServiceDraft& draft : drafts_) check_targets(draft);
    for (std::size_t i = 0; i < drafts_.size(); ++i) walk(i);
    for (ServiceDraft& draft : drafts_) drop_absent(draft);
  }

 private:
  enum class State { fresh, open, done };
  struct Step {
    std::size_t service;
    std::size_t next;  // dependency to follow next
  };

  bool enabled(const ServiceDraft& draft) const { return is_enabled(draft.spec, profiles_); }

  void check_targets(ServiceDraft& draft) {
    for (std::size_t k = 0; k < draft.spec.depends_on.size(); ++k) {
      const Dependency& dependency = draft.spec.depends_on[k];
      const Place& place = draft.dependency_places[k];
      auto found = index_.find(dependency.service);
      if (found == index_.end()) {
        report_missing(draft, dependency, place);
        continue;
      }
      ServiceDraft& target = drafts_[found->second];
      if (!enabled(target)) {
        if (enabled(draft) && dependency.required) {
          context_.report.error(place, "service " + draft.spec.name + " depends on " +
                                           dependency.service +
                                           ", which is switched off; add --profile " +
                                           target.spec.profiles.front() + " or required: false");
        }
        continue;
      }
      if (dependency.condition != DependencyCondition::healthy) continue;
      if (target.image_use && !target.spec.healthcheck_disabled) {
        target.waiters.push_back({draft.spec.name, place});
      } else if (target.spec.checks.empty()) {
        context_.report.error(place, "service " + draft.spec.name + " waits for " +
                                         dependency.service +
                                         " to be healthy, which has no healthcheck; give it one or "
                                         "write condition: service_started");
      }
    }
  }

  // What is not required and not there does not reach the spec: nobody above has to ask again.
  void drop_absent(ServiceDraft& draft) {
    auto absent = [this](const Dependency& dependency) {
      auto found = index_.find(dependency.service);
      return !dependency.required && (found == index_.end() || !enabled(drafts_[found->second]));
    };
    std::erase_if(draft.spec.depends_on, absent);
  }

  void report_missing(const ServiceDraft& draft, const Dependency& dependency, const Place& place) {
    std::vector<std::string_view> names(names_.begin(), names_.end());
    std::string_view near =
        context_.report.full() ? std::string_view() : nearest_name(dependency.service, names);
    std::string text = "service " + draft.spec.name + " depends on " +
                       in_quotes(dependency.service) + ", which this file does not have";
    if (!near.empty()) text += "; did you mean " + std::string(near) + "?";
    if (dependency.required) {
      context_.report.error(place, near.empty() ? text + "; add it or remove this" : text);
    } else {
      context_.report.warning(place, text);
    }
  }

  // Depth first without recursion, since a file may hold a very long chain.
  void walk(std::size_t start) {
    if (states_[start] != State::fresh) return;
    std::vector<Step> path{{start, 0}};
    states_[start] = State::open;
    while (!path.empty()) {
      Step& step = path.back();
      const ServiceSpec& spec = drafts_[step.service].spec;
      if (step.next == spec.depends_on.size()) {
        states_[step.service] = State::done;
        path.pop_back();
        continue;
      }
      std::size_t k = step.next++;
      auto found = index_.find(spec.depends_on[k].service);
      if (found == index_.end()) continue;
      std::size_t target = found->second;
      if (states_[target] == State::open) {
        report_cycle(path, target, drafts_[step.service].dependency_places[k]);
      } else if (states_[target] == State::fresh) {
        states_[target] = State::open;
        path.push_back({target, 0});
      }
    }
  }

  void report_cycle(const std::vector<Step>& path, std::size_t target, const Place& place) {
    std::string text;
    bool inside = false;
    std::size_t shown = 0;
    constexpr std::size_t kShownMax = 20;
    for (const Step& step : path) {
      inside = inside || step.service == target;
      if (!inside || ++shown > kShownMax) continue;
      text += drafts_[step.service].spec.name + " -> ";
    }
    if (shown > kShownMax) text += "... -> ";
    text += drafts_[target].spec.name;
    context_.report.error(place, "depends_on goes in a circle: " + text + "; remove one of them");
  }

  LoadContext& context_;
  std::vector<ServiceDraft>& drafts_;
  const std::vector<std::string>& profiles_;
  std::unordered_map<std::string, std::size_t> index_;
  std::vector<std::string> names_;
  std::vector<State> states_;
};

}  // namespace

void read_depends_on(const Field& f, ServiceDraft& d) {
  if (f.value().is_sequence()) {
    std::unordered_set<std::string> seen;
    for (const Node& item : f.value().items) {
      std::string name;
      if (!read_text(f.context, "an item of depends_on", item, name)) continue;
      if (!seen.insert(name).second) {
        f.context.report.error(
            item.place, "depends_on names " + in_quotes(name) + " a second time; keep one of them");
        continue;
      }
      d.spec.depends_on.push_back({.service = std::move(name)});
      d.dependency_places.push_back(item.place);
    }
    return;
  }
  if (!f.value().is_mapping()) {
    f.error("depends_on must be a list of services or a map, not " +
            std::string(kind_name(f.value())));
    return;
  }
  for (const Entry& entry : f.value().entries) {
    DependencyDraft draft;
    draft.spec.service = entry.key;
    read_map(f.context, entry.value, "depends_on." + entry.key, kDependencyKeys, draft);
    if (entry.value.is_mapping() && !draft.condition_given) {
      f.context.report.error(entry.key_place,
                             "depends_on." + entry.key +
                                 " has no condition; write condition: service_started, "
                                 "service_healthy or service_completed_successfully");
    }
    d.spec.depends_on.push_back(std::move(draft.spec));
    d.dependency_places.push_back(entry.key_place);
  }
}

void check_dependencies(LoadContext& context, std::vector<ServiceDraft>& drafts,
                        const std::vector<std::string>& profiles) {
  DependencyCheck(context, drafts, profiles).run();
}

}  // namespace keepwell
