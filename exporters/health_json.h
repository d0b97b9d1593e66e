// Docker's State.Health, from a ContainerStatus: {"Status","FailingStreak","Log":[...]}. With
// several checks Status is their roll-up, FailingStreak the longest among those that count, and Log
// the newest five results of all, oldest first.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "exporters/container_status.h"

namespace keepwell {

// Whether State.Health exists: there are checks, not disabled ones, and it was started once.
bool has_health(const ContainerStatus& container);

// REQUIRES: has_health(container).
nlohmann::ordered_json health_object(const ContainerStatus& container);

// One check as shown under Keepwell.Checks of inspect.
nlohmann::ordered_json check_object(const CheckStatus& check, Now now);

// What a check runs, as Docker's Test: {"CMD",...}, {"CMD-SHELL",...}, and for the kinds that
// Docker does not know {"HTTP","GET http://127.0.0.1:80/"}, {"TCP","127.0.0.1:6379"}, {"GRPC",...}.
std::vector<std::string> test_words(const CheckSpec& check);

// One line of JSON, valid UTF-8 whatever VALUE's strings hold (bad bytes become U+FFFD). Every
// object of the exporters is written by this.
std::string json_text(const nlohmann::ordered_json& value);

}  // namespace keepwell
