// Webhooks whose target is well, sick, or away for a day; in virtual time.
#include "agent/webhook_queue.h"

#include "tests/catch.h"

namespace keepwell {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Outcome = WebhookQueue::Outcome;

ActionSpec target(const std::string& name) {
  ActionSpec action;
  action.kind = ActionKind::webhook;
  action.name = name;
  action.webhook.request.host = name;
  return action;
}

struct Post {
  std::map<std::string, WebhookStats> stats;
  WebhookQueue queue{stats};
  Instant now{hours(1)};
};

}  // namespace

TEST_CASE("deliveries to one target are made in order, one at a time") {
  Post post;
  post.queue.push(target("a"), "1", post.now);
  post.queue.push(target("a"), "2", post.now);
  post.queue.push(target("b"), "3", post.now);
  auto attempts = post.queue.take(post.now);
  REQUIRE(attempts.size() == 2);
  CHECK(attempts[0].body == "1");
  CHECK(attempts[1].body == "3");
  CHECK_FALSE(post.queue.next());
  CHECK(post.queue.take(post.now).empty());
  post.queue.done(attempts[0].number, Outcome::taken, post.now);
  post.queue.done(attempts[0].number, Outcome::taken, post.now);  // stale
  attempts = post.queue.take(post.now);
  REQUIRE(attempts.size() == 1);
  CHECK(attempts[0].body == "2");
  CHECK(post.stats["a"].delivered_total == 1);
  CHECK(post.stats["a"].pending == 1);
}

TEST_CASE("what is refused is dropped, and the next one gets its turn") {
  Post post;
  post.queue.push(target("a"), "1", post.now);
  post.queue.push(target("a"), "2", post.now);
  post.queue.done(post.queue.take(post.now).at(0).number, Outcome::refused, post.now);
  CHECK(post.stats["a"].dropped_total == 1);
  CHECK(post.queue.take(post.now).at(0).body == "2");
}

TEST_CASE("a target that is down for a day costs bounded memory and few attempts") {
  Post post;
  const Instant began = post.now;
  int attempts = 0;
  int pushed = 0;
  Instant next_push = began;
  while (post.now - began < hours(24)) {
    // A service that goes down every five minutes.
    if (next_push <= post.now) {
      post.queue.push(target("a"), std::to_string(++pushed), post.now);
      next_push += minutes(5);
    }
    for (const auto& attempt : post.queue.take(post.now)) {
      ++attempts;
      post.queue.done(attempt.number, Outcome::failed, post.now);
    }
    CHECK(post.stats["a"].pending <= kWebhooksPerTarget);
    const std::optional<Instant> next = post.queue.next();
    REQUIRE(next);
    CHECK(*next > post.now);
    CHECK(*next - post.now <= kWebhookDelayMax);
    post.now = std::min(*next, next_push);
  }
  CHECK(pushed == 288);
  CHECK(attempts < 310);
  CHECK(post.stats["a"].failures_total == static_cast<std::uint64_t>(attempts));
  CHECK(post.stats["a"].dropped_total == 188);
  // It comes back: the newest hundred arrive, in order, without a wait between them.
  post.now = *post.queue.next();
  int last = 188;
  for (auto due = post.queue.take(post.now); !due.empty(); due = post.queue.take(post.now)) {
    CHECK(due[0].body == std::to_string(++last));
    post.queue.done(due[0].number, Outcome::taken, post.now);
  }
  CHECK(last == 288);
  CHECK(post.stats["a"].pending == 0);
  CHECK_FALSE(post.queue.next());
}

TEST_CASE("a delivery is given up when it is a day old") {
  Post post;
  post.queue.push(target("a"), "old", post.now);
  post.queue.done(post.queue.take(post.now).at(0).number, Outcome::failed, post.now);
  post.now += hours(23);
  post.queue.push(target("a"), "new", post.now);
  post.now += hours(1);
  const auto due = post.queue.take(post.now);
  REQUIRE(due.size() == 1);
  CHECK(due[0].body == "new");
  CHECK(post.stats["a"].dropped_total == 1);
}

}  // namespace keepwell
