#include "simulate/run.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <queue>
#include <utility>

#include "core/rng.h"
#include "gateway/routing/fair_queue.h"
#include "gateway/routing/health.h"
#include "gateway/routing/latency_model.h"
#include "simulate/books.h"
#include "simulate/chooser.h"
#include "simulate/world.h"

namespace sluice::simulate {
namespace {

constexpr double kDay_s = 86'400.0;
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kWaitingMax = 100'000;
constexpr int64_t kBusyAgainNs = 100'000'000;

int64_t to_ns(double s) {
  return static_cast<int64_t>(s * 1e9);
}

int64_t length(double mean, double spread, core::Rng* rng) {
  return std::max<int64_t>(
      1, static_cast<int64_t>(mean * (1.0 + spread * (2.0 * rng->unit() - 1.0)) + 0.5));
}

struct Event {
  enum class Kind : uint8_t { kArrival, kStep, kFirstToken, kEnd, kAskAgain, kSlowdown, kSweep };
  int64_t at_ns = 0;
  int64_t order = 0;  // of equal times, first pushed first
  Kind kind = Kind::kArrival;
  int64_t index = 0;    // of traffic, engine, request or slowdown
  int32_t writer = -1;  // kArrival

  bool operator>(const Event& other) const {
    return at_ns != other.at_ns ? at_ns > other.at_ns : order > other.order;
  }
};

class Run {
 public:
  Run(const Scenario& scenario, const Case& which, Arm arm)
      : scenario_(scenario),
        case_(which),
        world_(make_world(scenario, which, arm)),
        books_(world_),
        chooser_(make_chooser(arm, &world_)),
        waiting_(kWaitingMax) {
    for (size_t i = 0; i < case_.traffic.size(); ++i)
      lengths_.emplace_back(core::random_bits(scenario.seed, 2 * i));
    for (size_t i = 0; i < case_.traffic.size(); ++i)
      arrivals_.emplace_back(core::random_bits(scenario.seed, 2 * i + 1));
    stepping_.assign(world_.engines.size(), false);
  }

  core::Result<RunResult> run();

 private:
  static World make_world(const Scenario& scenario, const Case& which, Arm arm);
  void push(Event event) {
    event.order = order_++;
    events_.push(event);
  }
  void begin_traffic();
  void next_open_arrival(int64_t traffic, double after_s);
  void next_of_writer(int64_t request, int64_t at_ns);
  core::Result<void> handle(const Event& event);
  core::Result<void> arrive(const Event& event);
  core::Result<void> ask_waiting();
  void ask_again(int64_t at_ns);
  bool send(int64_t request, int32_t replica);
  bool submit(int64_t request, int32_t replica);
  void follow_steps(int64_t engine);
  void step(int64_t engine);
  core::Result<void> end(int64_t request);
  core::Result<void> refuse(int64_t request, int64_t retry_after_ns);

  const Scenario& scenario_;
  const Case& case_;
  World world_;
  Books books_;
  std::unique_ptr<Chooser> chooser_;
  gateway::FairQueue waiting_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  int64_t order_ = 0;
  std::vector<core::Rng> lengths_;   // by traffic
  std::vector<core::Rng> arrivals_;  // the same
  std::vector<bool> stepping_;       // by engine: the end of its step is among the events
  std::vector<std::pair<int64_t, Outcome>> outcomes_;  // by request
  std::vector<EngineEvent> step_events_;
  int64_t ask_again_ns_ = -1;  // of the last kAskAgain
  int64_t limited_ = 0;
};

World Run::make_world(const Scenario& scenario, const Case& which, Arm arm) {
  contract::Snapshot snapshot = scenario.snapshot;
  World world;
  snapshot.replicas.clear();
  for (size_t i = 0; i < scenario.snapshot.replicas.size(); ++i) {
    const contract::Replica& replica = scenario.snapshot.replicas[i];
    if (std::ranges::find(which.replicas, replica.id) == which.replicas.end()) continue;
    snapshot.replicas.push_back(replica);
    EngineModel model = scenario.engines[i];
    if (arm == Arm::kLocalOnly) model.busy_at = 0;  // there is nowhere else to go
    world.models.push_back(model);
    world.engines.emplace_back(model);
  }
  // Prices begin with the run.
  for (contract::Price& price : snapshot.prices)
    price.valid_from_unix_s += world.clock.unix_ns() / kSecond;
  world.scenario = &scenario;
  world.directory = gateway::Directory::compile(std::move(snapshot), {});
  for (const gateway::PoolEntry& entry : world.directory->pools())
    world.gates.push_back(std::make_unique<gateway::PoolGate>(entry.pool->capacity));
  world.model = &world.directory->models().front();
  world.target = world.model->model->defaults.target.value_or(contract::Target{});
  return world;
}

void Run::begin_traffic() {
  double last_s = 0.0;
  for (size_t i = 0; i < case_.traffic.size(); ++i) {
    const Traffic& traffic = case_.traffic[i];
    last_s = std::max(last_s, traffic.to_s);
    if (traffic.kind != Traffic::Kind::kWriters) {
      next_open_arrival(static_cast<int64_t>(i), traffic.from_s);
      continue;
    }
    for (int64_t writer = 0; writer < traffic.writers; ++writer) {
      const double share = static_cast<double>(writer) / static_cast<double>(traffic.writers);
      push({.at_ns = to_ns(traffic.from_s + share * traffic.ramp_s),
            .kind = Event::Kind::kArrival,
            .index = static_cast<int64_t>(i),
            .writer = static_cast<int32_t>(writer)});
    }
  }
  for (size_t i = 0; i < scenario_.slowdowns.size(); ++i)
    push({.at_ns = to_ns(scenario_.slowdowns[i].at_s),
          .kind = Event::Kind::kSlowdown,
          .index = static_cast<int64_t>(i)});
  for (int64_t second = 1; second <= static_cast<int64_t>(last_s); ++second)
    push({.at_ns = second * kSecond, .kind = Event::Kind::kSweep});
}

// Thinning: arrivals at the highest rate, of which so many are kept as the rate then asks for.
void Run::next_open_arrival(int64_t index, double after_s) {
  const Traffic& traffic = case_.traffic[static_cast<size_t>(index)];
  core::Rng& rng = arrivals_[static_cast<size_t>(index)];
  for (double at_s = after_s;;) {
    at_s += -std::log(1.0 - rng.unit()) / traffic.rate_per_s;
    if (at_s >= traffic.to_s) return;
    double rate = traffic.rate_per_s;
    if (traffic.kind == Traffic::Kind::kDay)
      rate = traffic.rate_night_per_s + (traffic.rate_per_s - traffic.rate_night_per_s) *
                                            (0.5 - 0.5 * std::cos(2.0 * M_PI * at_s / kDay_s));
    if (rng.unit() * traffic.rate_per_s > rate) continue;
    push({.at_ns = to_ns(at_s), .kind = Event::Kind::kArrival, .index = index});
    return;
  }
}

core::Result<void> Run::arrive(const Event& event) {
  const Traffic& traffic = case_.traffic[static_cast<size_t>(event.index)];
  if (event.writer < 0)
    next_open_arrival(event.index, static_cast<double>(event.at_ns) / 1e9);
  else if (event.at_ns >= to_ns(traffic.to_s))
    return {};
  core::Rng& rng = lengths_[static_cast<size_t>(event.index)];
  Request request;
  request.arrived_ns = event.at_ns;
  request.traffic = static_cast<int32_t>(event.index);
  request.writer = event.writer;
  request.prompt_tokens = length(static_cast<double>(traffic.prompt_tokens), traffic.spread, &rng);
  request.output_tokens = length(static_cast<double>(traffic.output_tokens), traffic.spread, &rng);
  request.output_tokens_max = static_cast<int64_t>(
      std::ceil(static_cast<double>(traffic.output_tokens) * (1.0 + traffic.spread)));
  const auto index = static_cast<int64_t>(world_.requests.size());
  world_.requests.push_back(request);
  if (const auto retry_after_ns = books_.reserve(index)) {
    ++limited_;
    next_of_writer(index, event.at_ns + *retry_after_ns);
    return {};
  }
  if (!waiting_.push({.handle = static_cast<uint64_t>(index), .key = {}, .model = {}}))
    return refuse(index, kSecond);
  return ask_waiting();
}

// In the order of the waiting queue: nobody overtakes.
core::Result<void> Run::ask_waiting() {
  while (const gateway::WaitingRequest* first = waiting_.first()) {
    const auto index = static_cast<int64_t>(first->handle);
    const Choice choice = chooser_->choose(index);
    if (choice.kind == Choice::Kind::kWait) {
      ask_again(choice.again_ns);
      return {};
    }
    if (choice.kind == Choice::Kind::kSend && !send(index, choice.replica)) {
      ask_again(world_.clock.now_ns() + kBusyAgainNs);
      return {};
    }
    waiting_.pop();
    if (choice.kind == Choice::Kind::kRefuse) TRY(refuse(index, choice.again_ns));
  }
  return {};
}

void Run::ask_again(int64_t at_ns) {
  if (ask_again_ns_ > world_.clock.now_ns() && ask_again_ns_ <= at_ns) return;
  ask_again_ns_ = at_ns;
  push({.at_ns = at_ns, .kind = Event::Kind::kAskAgain});
}

// False: 429, of its pool's owner or of its engine.
bool Run::submit(int64_t index, int32_t replica) {
  Request& request = world_.requests[static_cast<size_t>(index)];
  gateway::PoolGate& gate = world_.gate(replica);
  const int64_t now_ns = world_.clock.now_ns();
  const auto pass = gate.enter({.tokens = request.tokens(), .stay_ns = 0}, now_ns);
  if (!pass) return false;
  request.pass = *pass;
  ModelledEngine& engine = world_.engines[static_cast<size_t>(replica)];
  if (engine.submit({index, request.prompt_tokens, request.output_tokens}, now_ns)) return true;
  gate.leave(request.pass, 0, now_ns);
  return false;
}

// False: its engine is busy, and the chooser has no other.
bool Run::send(int64_t index, int32_t replica) {
  Request& request = world_.requests[static_cast<size_t>(index)];
  for (int tries = 0; tries < gateway::kTriesMax; ++tries) {
    if (submit(index, replica)) {
      request.replica = replica;
      request.sent_ns = world_.clock.now_ns();
      follow_steps(replica);
      return true;
    }
    chooser_->busy(index);
    const Choice other = chooser_->choose(index);
    if (other.kind != Choice::Kind::kSend) return false;
    replica = other.replica;
  }
  chooser_->busy(index);
  return false;
}

void Run::follow_steps(int64_t index) {
  const int64_t end_ns = world_.engines[static_cast<size_t>(index)].step_end_ns();
  if (stepping_[static_cast<size_t>(index)] || end_ns == ModelledEngine::kNever) return;
  stepping_[static_cast<size_t>(index)] = true;
  push({.at_ns = end_ns, .kind = Event::Kind::kStep, .index = index});
}

void Run::step(int64_t index) {
  step_events_.clear();
  world_.engines[static_cast<size_t>(index)].end_step(&step_events_);
  const int64_t round_trip_ns = world_.round_trip_ns(static_cast<int32_t>(index));
  for (const EngineEvent& event : step_events_) {
    const int64_t seen_ns = event.at_ns + round_trip_ns;
    const bool end = event.kind == EngineEvent::Kind::kEnd;
    if (!end) world_.requests[static_cast<size_t>(event.request)].first_token_ns = seen_ns;
    push({.at_ns = seen_ns,
          .kind = end ? Event::Kind::kEnd : Event::Kind::kFirstToken,
          .index = event.request});
  }
  stepping_[static_cast<size_t>(index)] = false;
  follow_steps(index);
}

void Run::next_of_writer(int64_t index, int64_t at_ns) {
  const Request& request = world_.requests[static_cast<size_t>(index)];
  if (request.writer < 0) return;
  push({.at_ns = at_ns,
        .kind = Event::Kind::kArrival,
        .index = request.traffic,
        .writer = request.writer});
}

core::Result<void> Run::end(int64_t index) {
  const Request& request = world_.requests[static_cast<size_t>(index)];
  chooser_->ended(index);
  world_.gate(request.replica).leave(request.pass, request.tokens(), world_.clock.now_ns());
  Outcome outcome;
  outcome.answered = true;
  outcome.remote = !world_.is_local(request.replica);
  const int64_t now_ns = world_.clock.now_ns();
  const auto seconds = [](int64_t ns) { return static_cast<double>(ns) / 1e9; };
  outcome.arrived_s = seconds(request.arrived_ns);
  outcome.waited_s = seconds(request.sent_ns - request.arrived_ns);
  outcome.ttft_s = seconds(request.first_token_ns - request.arrived_ns);
  outcome.tpot_s = seconds(now_ns - request.first_token_ns) /
                   static_cast<double>(std::max<int64_t>(request.output_tokens - 1, 1));
  outcome.total_s = seconds(now_ns - request.arrived_ns);
  outcome.met = gateway::target_met(
      world_.target, {outcome.ttft_s * 1e9, outcome.tpot_s * 1e9, outcome.total_s * 1e9});
  outcome.cost = TRY(books_.settle(index, contract::Outcome::kComplete));
  outcomes_.emplace_back(index, outcome);
  next_of_writer(index, now_ns);
  return ask_waiting();
}

core::Result<void> Run::refuse(int64_t index, int64_t retry_after_ns) {
  const Request& request = world_.requests[static_cast<size_t>(index)];
  Outcome outcome;
  outcome.arrived_s = static_cast<double>(request.arrived_ns) / 1e9;
  TRY(books_.settle(index, contract::Outcome::kRefused));
  outcomes_.emplace_back(index, outcome);
  next_of_writer(index, world_.clock.now_ns() + std::max(retry_after_ns, kSecond));
  return {};
}

core::Result<void> Run::handle(const Event& event) {
  switch (event.kind) {
    case Event::Kind::kArrival:
      return arrive(event);
    case Event::Kind::kStep:
      step(event.index);
      return {};
    case Event::Kind::kFirstToken:
      chooser_->first_token(event.index);
      return {};
    case Event::Kind::kEnd:
      return end(event.index);
    case Event::Kind::kAskAgain:
      return ask_waiting();
    case Event::Kind::kSweep:
      chooser_->each_second();
      return {};
    case Event::Kind::kSlowdown: {
      const Slowdown& change = scenario_.slowdowns[static_cast<size_t>(event.index)];
      const auto* replica = world_.directory->find_replica(change.replica);
      if (replica) world_.engines[static_cast<size_t>(replica->index)].slow_down(change.factor);
      return {};
    }
  }
  return {};
}

core::Result<RunResult> Run::run() {
  begin_traffic();
  while (!events_.empty()) {
    const Event event = events_.top();
    events_.pop();
    world_.clock.advance_ns(event.at_ns - world_.clock.now_ns());
    TRY(handle(event));
  }
  TRY(books_.prove());
  RunResult result;
  std::ranges::sort(outcomes_, {}, &std::pair<int64_t, Outcome>::first);
  for (const auto& [index, outcome] : outcomes_)
    if (outcome.arrived_s >= case_.measure_from_s) result.outcomes.push_back(outcome);
  for (const ModelledEngine& engine : world_.engines) result.preemptions += engine.preemptions();
  result.limited = limited_;
  result.q_last = chooser_->q();
  result.owed = books_.owed();
  result.billed = books_.billed();
  return result;
}

}  // namespace

core::Result<RunResult> run(const Scenario& scenario, const Case& which, Arm arm) {
  return Run(scenario, which, arm).run();
}

}  // namespace sluice::simulate
