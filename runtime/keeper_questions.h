// What an agent has asked of its keeper and is not answered yet. Private to keeper_client*.cc.
#pragma once

#include <unordered_map>

#include "runtime/keeper_client.h"

namespace keepwell {

struct KeeperClient::Questions {
  std::unordered_map<SpawnId, SpawnHandlers> spawns;  // until exited or failed
  std::unordered_map<SpawnId, ExitRecord> unwatched;  // exits of inherited children
  std::unordered_map<SpawnId, std::function<void(Status)>> answers;
  std::unordered_map<SpawnId, std::function<void(Result<UniqueFd>)>> fetches;
  std::unordered_map<SpawnId, std::function<void(Result<KeeperStats>)>> stats;
  struct Zygote {
    std::function<void()> on_serves;
    std::function<void(Error)> on_ended;
  };
  std::unordered_map<SpawnId, Zygote> zygotes;  // until ended
  std::vector<std::function<void()>> later;     // callbacks that wait for the loop's next turn
};

}  // namespace keepwell
