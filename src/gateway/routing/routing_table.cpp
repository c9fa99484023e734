#include "gateway/routing/routing_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "contract/block_hash.h"
#include "contract/money.h"

namespace sluice::gateway {
namespace {

using contract::PriceSide;
using contract::ReplicaState;
using contract::Unit;

bool may_serve(ReplicaState state) {
  return state == ReplicaState::kReady || state == ReplicaState::kStarting ||
         state == ReplicaState::kStaging;
}

// What is learnt of a replica stays its own while it is the same thing at the same place.
bool same_replica(const ReplicaEntry& before, const ReplicaEntry& now) {
  const contract::Replica& a = *before.replica;
  const contract::Replica& b = *now.replica;
  return a.url == b.url && a.model == b.model && a.upstream_model == b.upstream_model &&
         a.speed == b.speed && a.pool == b.pool &&
         before.pool->pool->round_trip_ns == now.pool->pool->round_trip_ns;
}

// A prefix that another replica of the pool has already takes pages of others where the cache is
// full. Each of those is computed again when it is asked for, and takes pages in its turn, so a
// token computed twice costs several. With caches that hold all prefixes of a workload once but not
// twice, weights of 4 to 8 give the same speed, and 8 finds more in the caches.
constexpr double kDisplacedEach = 8.0;

// Of what a decision among a few replicas writes down; of more, the rest is allocated.
constexpr size_t kDecisionBytes = 4096;

// A pace that is worse than predicted by this has changed; less is chance.
constexpr double kSlower = 1.3;

void see_slower_pace(double latest_tpot_ns, ReplicaView* view) {
  const double learnt = std::exp(view->tpot.mean);
  if (latest_tpot_ns > kSlower * learnt * view->tpot_next_ns)
    view->tpot_next_ns = latest_tpot_ns / learnt;
}

void add_displaced_tokens(std::span<Candidate> candidates) {
  for (Candidate& candidate : candidates) {
    int64_t elsewhere = 0;
    for (const Candidate& other : candidates)
      if (other.pool == candidate.pool && !other.out)
        elsewhere = std::max(elsewhere, other.cached_tokens);
    const int64_t twice = std::max<int64_t>(elsewhere - candidate.cached_tokens, 0);
    candidate.displaced_tokens =
        kDisplacedEach * static_cast<double>(twice) * candidate.view.cache_share;
  }
}

// Of the estimate, what counts against a pool's tokens per minute.
int64_t tokens_of(const TokenEstimate& tokens) {
  return tokens.prompt_tokens + tokens.output_tokens;
}

// Turned away at the door, an answer takes nothing of its pool's tokens.
bool took_nothing(UpstreamOutcome outcome) {
  return outcome == UpstreamOutcome::kBusy || outcome == UpstreamOutcome::kConnectError ||
         outcome == UpstreamOutcome::kRefused;
}

contract::NanoMoney price_of_tokens(const contract::Price* price, int64_t prompt_tokens,
                                    int64_t cached_tokens, int64_t output_tokens) {
  if (!price) return {};
  const auto rate = [&](Unit unit) { return price->rates[static_cast<size_t>(unit)]; };
  return contract::amount_of(prompt_tokens - cached_tokens, rate(Unit::kPromptToken)) +
         contract::amount_of(cached_tokens, rate(Unit::kCachedPromptToken)) +
         contract::amount_of(output_tokens, rate(Unit::kOutputToken));
}

}  // namespace

// ---- Flight -------------------------------------------------------------------------------------

void Flight::swap(Flight& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(replica_, other.replica_);
  std::swap(gate_, other.gate_);
  std::swap(pass_, other.pass_);
  std::swap(prompt_tokens_, other.prompt_tokens_);
  std::swap(valve_, other.valve_);
  std::swap(sent_, other.sent_);
  std::swap(target_, other.target_);
  std::swap(chance_, other.chance_);
  std::swap(arrived_ns_, other.arrived_ns_);
}

Flight& Flight::operator=(Flight&& other) noexcept {
  Flight taken(std::move(other));
  swap(taken);
  return *this;
}

Flight::~Flight() {
  if (in_flight()) end(0, UpstreamOutcome::kClientGone, sent_.last_token_ns);
}

void Flight::first_token(int64_t now_ns) {
  replica_->tracker->first_token(&sent_, now_ns);
}

void Flight::tokens(int64_t count, int64_t now_ns) {
  replica_->tracker->tokens(&sent_, count, now_ns);
}

int64_t Flight::stall_deadline_ns(int64_t first_token_max_ns) const {
  if (sent_.first_token_ns == 0) return sent_.sent_ns + first_token_max_ns;
  return sent_.last_token_ns + replica_->tracker->stall_after_ns();
}

bool Flight::end(int64_t output_tokens, UpstreamOutcome outcome, int64_t now_ns) {
  replica_->tracker->end(&sent_, output_tokens, outcome, now_ns);
  gate_->leave(pass_, took_nothing(outcome) ? 0 : prompt_tokens_ + output_tokens, now_ns);
  Latency actual;
  actual.total_ns = static_cast<double>(now_ns - arrived_ns_);
  actual.ttft_ns = sent_.first_token_ns == 0
                       ? actual.total_ns
                       : static_cast<double>(sent_.first_token_ns - arrived_ns_);
  if (sent_.first_token_ns != 0 && output_tokens > 1)
    actual.tpot_ns = static_cast<double>(sent_.last_token_ns - sent_.first_token_ns) /
                     static_cast<double>(output_tokens - 1);
  const bool complete = outcome == UpstreamOutcome::kComplete;
  const bool met = complete && target_met(target_, actual);
  if (complete && chance_) valve_->on_outcome(*chance_, met ? Met::kYes : Met::kNo);
  replica_ = nullptr;
  table_.reset();
  return met || !has_target(target_);
}

// ---- making -------------------------------------------------------------------------------------

std::shared_ptr<const RoutingTable> RoutingTable::make(std::shared_ptr<const Directory> directory,
                                                       const RoutingTable* before,
                                                       const RoutingOptions& options) {
  std::shared_ptr<RoutingTable> table(new RoutingTable());
  table->prefixes_ =
      before ? before->prefixes_ : std::make_shared<PrefixIndex>(options.prefix_blocks_max);
  if (before) {
    for (const RoutedReplica& old : before->replicas_)
      if (!directory->find_replica(old.entry->replica->id))
        table->prefixes_->release(old.entry->replica->id);
  }
  for (const ReplicaEntry& entry : directory->replicas()) {
    RoutedReplica routed{&entry, nullptr, table->prefixes_->slot_of(entry.replica->id)};
    const ReplicaEntry* const old =
        before ? before->directory_->find_replica(entry.replica->id) : nullptr;
    if (old && same_replica(*old, entry))
      routed.tracker = before->replicas_[static_cast<size_t>(old->index)].tracker;
    else
      routed.tracker =
          std::make_shared<ReplicaTracker>(*entry.replica, entry.pool->pool->round_trip_ns);
    table->replicas_.push_back(std::move(routed));
  }
  for (const PoolEntry& entry : directory->pools()) {
    const contract::PoolCapacity& capacity = entry.pool->capacity;
    const PoolEntry* const old = before ? before->directory_->find_pool(entry.pool->id) : nullptr;
    if (old) {
      table->pools_.push_back({&entry, before->pools_[static_cast<size_t>(old->index)].gate});
      table->pools_.back().gate->change(capacity);
    } else {
      table->pools_.push_back({&entry, std::make_shared<PoolGate>(capacity)});
    }
  }
  for (const ModelEntry& entry : directory->models()) {
    const ModelEntry* const old =
        before ? before->directory_->find_model(entry.model->id) : nullptr;
    table->models_.push_back(old ? before->models_[static_cast<size_t>(old->index)]
                                 : std::make_shared<ModelState>());
  }
  table->directory_ = std::move(directory);
  return table;
}

// ---- deciding -----------------------------------------------------------------------------------

void RoutingTable::add_candidates(const RouteRequest& request, const Moment& moment,
                                  std::pmr::vector<Candidate>* candidates,
                                  std::pmr::vector<const RoutedReplica*>* replicas) const {
  for (const ReplicaEntry* entry : request.model->replicas) {
    const RoutedReplica& routed = replicas_[static_cast<size_t>(entry->index)];
    const contract::Replica& spec = *entry->replica;
    if (!may_serve(spec.state) || !may_serve(routed.tracker->state())) continue;
    if (std::ranges::find(request.tried, spec.id) != request.tried.end()) continue;
    Candidate& candidate = candidates->emplace_back();
    candidate.pool = entry->pool->pool;
    candidate.view = routed.tracker->view(moment.now_ns);
    const PoolGate::Room room =
        gate_of(routed)->room(tokens_of(request.facts.tokens), moment.now_ns);
    candidate.view.pool_share = room.share;
    candidate.view.pool_wait_ns = room.wait_ns;
    if (spec.state != ReplicaState::kReady) {
      const int64_t ready_in_ns = spec.ready_at_unix_ns - moment.unix_s * 1'000'000'000;
      candidate.view.ready_in_ns = std::max({candidate.view.ready_in_ns, ready_in_ns, int64_t{1}});
    }
    replicas->push_back(&routed);
  }
}

void RoutingTable::mark_out(Replicas replicas, int64_t now_ns,
                            std::span<Candidate> candidates) const {
  if (std::ranges::none_of(replicas, [&](const RoutedReplica* replica) {
        return replica->tracker->health().out(now_ns);
      }))
    return;
  // Replicas of one pool stand side by side (ModelEntry::replicas).
  std::vector<const Health*> pool;
  std::vector<uint8_t> out;
  for (size_t begin = 0, end = 0; begin < candidates.size(); begin = end) {
    pool.clear();
    for (; end < candidates.size() && candidates[end].pool == candidates[begin].pool; ++end)
      pool.push_back(&replicas[end]->tracker->health());
    if (std::ranges::none_of(pool, [&](const Health* health) { return health->out(now_ns); }))
      continue;
    out.assign(pool.size(), 0);
    select_out(pool, now_ns, out);
    for (size_t i = begin; i < end; ++i) candidates[i].out = out[i - begin] != 0;
  }
}

void RoutingTable::add_cached_tokens(const RouteRequest& request, int64_t now_ns, Replicas replicas,
                                     std::span<Candidate> candidates) const {
  std::array<int32_t, PrefixIndex::kReplicasMax> blocks;
  if (request.session != 0) {
    prefixes_->match({&request.session, 1}, now_ns, blocks);
    for (size_t i = 0; i < candidates.size(); ++i) {
      const int32_t slot = replicas[i]->slot.value;
      candidates[i].home = slot >= 0 && blocks[static_cast<size_t>(slot)] > 0;
    }
  }
  if (request.chain.empty()) return;
  prefixes_->match(request.chain, now_ns, blocks);
  const int64_t most = std::max<int64_t>(request.facts.tokens.prompt_tokens - 1, 0);
  for (size_t i = 0; i < candidates.size(); ++i) {
    const int32_t slot = replicas[i]->slot.value;
    if (slot < 0) continue;
    candidates[i].cached_tokens =
        std::min(most, blocks[static_cast<size_t>(slot)] * request.block_tokens);
  }
  add_displaced_tokens(candidates);
}

// Local replicas are run ahead. Of what runs at rented ones this gateway sees a small part, which
// is not what decides their pace: there it looks at what the latest streams show of it.
void RoutingTable::add_forecasts(const RouteRequest& request, int64_t now_ns, Replicas replicas,
                                 std::span<Candidate> candidates) const {
  if (!has_target(request.facts.target)) return;
  for (size_t i = 0; i < candidates.size(); ++i) {
    Candidate& candidate = candidates[i];
    if (candidate.out) continue;
    if (candidate.pool->place == contract::Place::kRemote) {
      see_slower_pace(replicas[i]->tracker->latest_tpot_ns(now_ns), &candidate.view);
      continue;
    }
    candidate.view.misses_added = replicas[i]->tracker->misses_added(
        candidate.view, request.facts.tokens.prompt_tokens - candidate.cached_tokens,
        request.facts.target.tpot, now_ns);
  }
}

void RoutingTable::add_prices(const RouteRequest& request, const Moment& moment, Replicas replicas,
                              std::span<Candidate> candidates) const {
  const TokenEstimate& tokens = request.facts.tokens;
  const PoolEntry* pool = nullptr;
  const contract::Price* cost = nullptr;
  const contract::Price* sale = nullptr;
  for (size_t i = 0; i < candidates.size(); ++i) {
    Candidate& candidate = candidates[i];
    if (replicas[i]->entry->pool != pool) {
      pool = replicas[i]->entry->pool;
      cost = directory_->price(*request.model, *pool, PriceSide::kCost, moment.unix_s);
      sale = directory_->price(*request.model, *pool, PriceSide::kSale, moment.unix_s);
    }
    candidate.cost =
        price_of_tokens(cost, tokens.prompt_tokens, candidate.cached_tokens, tokens.output_tokens);
    candidate.sale = amount_at_most(sale, {.prompt_tokens = tokens.prompt_tokens_max,
                                           .output_tokens = tokens.output_tokens_max,
                                           .compute_us = tokens.compute_us_max});
  }
}

ValveAnswer RoutingTable::decide_and_enter(const ValveInput& input, Replicas replicas,
                                           std::span<Candidate> candidates,
                                           PoolGate::Pass* pass) const {
  const int64_t tokens = tokens_of(input.facts->tokens);
  while (true) {
    const ValveAnswer answer = decide(input);
    if (answer.kind != ValveAnswer::Kind::kSend) return answer;
    const auto chosen = static_cast<size_t>(answer.candidate);
    PoolGate& gate = *gate_of(*replicas[chosen]);
    const int64_t stay_ns =
        static_cast<int64_t>(answer.predicted.total_ns) - input.facts->waited_ns;
    const auto entered = gate.enter({.tokens = tokens, .stay_ns = stay_ns}, input.now_ns);
    if (entered) {
      *pass = *entered;
      return answer;
    }
    // Another thread has taken the last place since it was looked at.
    const int64_t wait_ns = std::max<int64_t>(gate.room(tokens, input.now_ns).wait_ns, 1);
    for (Candidate& candidate : candidates) {
      if (candidate.pool != candidates[chosen].pool) continue;
      candidate.view.pool_share = 1.0;
      candidate.view.pool_wait_ns = wait_ns;
    }
  }
}

RouteAnswer RoutingTable::route(const RouteRequest& request, const Moment& moment) const {
  std::array<std::byte, kDecisionBytes> room;
  std::pmr::monotonic_buffer_resource memory(room.data(), room.size());
  std::pmr::vector<const RoutedReplica*> replicas(&memory);
  std::pmr::vector<Candidate> found(&memory);
  replicas.reserve(request.model->replicas.size());
  found.reserve(request.model->replicas.size());
  add_candidates(request, moment, &found, &replicas);
  mark_out(replicas, moment.now_ns, found);
  add_cached_tokens(request, moment.now_ns, replicas, found);
  add_forecasts(request, moment.now_ns, replicas, found);
  add_prices(request, moment, replicas, found);

  ModelState& model = state_of(*request.model);
  model.valve.on_saturation(local_saturation(found), moment.now_ns);
  RouteFacts facts = request.facts;
  facts.waited_ns = moment.now_ns - request.arrived_ns;
  RouteAnswer answer;
  PoolGate::Pass pass;
  answer.valve = decide_and_enter({&facts, found, model.valve.view(), moment.now_ns, moment.random},
                                  replicas, found, &pass);
  if (answer.valve.kind != ValveAnswer::Kind::kSend) return answer;

  const auto chosen = static_cast<size_t>(answer.valve.candidate);
  const Candidate& candidate = found[chosen];
  Flight& flight = answer.flight;
  flight.table_ = shared_from_this();
  flight.replica_ = replicas[chosen];
  flight.gate_ = gate_of(*flight.replica_);
  flight.pass_ = pass;
  flight.prompt_tokens_ = facts.tokens.prompt_tokens;
  flight.valve_ = &model.valve;
  flight.target_ = facts.target;
  flight.chance_ = answer.valve.local;
  flight.arrived_ns_ = request.arrived_ns;
  flight.sent_ = flight.replica_->tracker->begin(
      {.tokens = facts.tokens,
       .cached_tokens = candidate.cached_tokens,
       .raw = predict_raw(candidate.view, facts.tokens, candidate.cached_tokens),
       .tpot = facts.target.tpot,
       .is_sold_by_time = flight.replica_->entry->is_sold_by_time},
      moment.now_ns);
  prefixes_->guess(flight.replica_->slot, request.chain, moment.now_ns);
  if (request.session != 0)
    prefixes_->guess(flight.replica_->slot, {&request.session, 1}, moment.now_ns);
  return answer;
}

const ModelEntry* RoutingTable::model_with_replica(const ModelEntry& model, int64_t now_ns) const {
  const auto served = [&](const ModelEntry& entry) {
    return std::ranges::any_of(entry.replicas, [&](const ReplicaEntry* replica) {
      const ReplicaTracker& tracker = *replicas_[static_cast<size_t>(replica->index)].tracker;
      return may_serve(replica->replica->state) && may_serve(tracker.state()) &&
             !tracker.health().out(now_ns);
    });
  };
  if (served(model)) return &model;
  for (const ModelEntry* fallback : model.fallbacks)
    if (served(*fallback)) return fallback;
  return model.replicas.empty() ? nullptr : &model;
}

bool RoutingTable::serves(int64_t now_ns) const {
  return replicas_.empty() || std::ranges::any_of(replicas_, [&](const RoutedReplica& routed) {
           return routed.entry->replica->state == ReplicaState::kReady &&
                  routed.tracker->state() == ReplicaState::kReady &&
                  !routed.tracker->health().out(now_ns);
         });
}

PrefixGeometry RoutingTable::prefix_geometry(const ModelEntry& model) const {
  if (model.replicas.size() < 2) return {};
  const ModelState& state = state_of(model);
  const int32_t page_tokens = state.page_tokens.load(std::memory_order_acquire);
  if (page_tokens == 0 || model.model->vocabulary_file.empty())
    return {PrefixGeometry::Kind::kBytes, 0, contract::model_namespace(model.model->id, 0)};
  return {PrefixGeometry::Kind::kTokens, page_tokens,
          state.name_space.load(std::memory_order_relaxed)};
}

ValveView RoutingTable::valve_of(const ModelEntry& model) const {
  return state_of(model).valve.view();
}

void RoutingTable::on_geometry(const ReplicaEntry& replica, const PrefixGeometry& geometry) const {
  ModelState& state = state_of(*replica.model);
  state.name_space.store(geometry.name_space, std::memory_order_relaxed);
  state.page_tokens.store(geometry.page_tokens, std::memory_order_release);
}

void RoutingTable::on_context(const ReplicaEntry& replica, int64_t context_tokens) const {
  if (context_tokens > 0)
    state_of(*replica.model).context_tokens.store(context_tokens, std::memory_order_relaxed);
}

int64_t RoutingTable::context_tokens(const ModelEntry& model) const {
  if (model.model->context_tokens > 0) return model.model->context_tokens;
  return state_of(model).context_tokens.load(std::memory_order_relaxed);
}

void RoutingTable::sweep(int64_t now_ns) const {
  std::vector<double> ttfts;
  for (const ModelEntry& model : directory_->models()) {
    if (ValveState& valve = state_of(model).valve; valve.view().open) {
      RouteRequest anything;
      anything.model = &model;
      std::pmr::vector<Candidate> found;
      std::pmr::vector<const RoutedReplica*> replicas;
      add_candidates(anything, {.now_ns = now_ns, .unix_s = 0, .random = 0}, &found, &replicas);
      valve.on_saturation(local_saturation(found), now_ns);
    }
    for (size_t begin = 0, end = 0; begin < model.replicas.size(); begin = end) {
      ttfts.clear();
      for (;
           end < model.replicas.size() && model.replicas[end]->pool == model.replicas[begin]->pool;
           ++end) {
        const double ttft_ns =
            replicas_[static_cast<size_t>(model.replicas[end]->index)].tracker->recent_ttft_ns();
        if (ttft_ns > 0.0) ttfts.push_back(ttft_ns);
      }
      if (ttfts.size() < 3) continue;  // of two nobody knows which one is odd
      const auto middle = ttfts.begin() + static_cast<ptrdiff_t>(ttfts.size() / 2);
      std::ranges::nth_element(ttfts, middle);
      for (size_t i = begin; i < end; ++i) {
        ReplicaTracker& tracker = *replicas_[static_cast<size_t>(model.replicas[i]->index)].tracker;
        tracker.health().on_ttft(tracker.recent_ttft_ns(), *middle, now_ns);
      }
    }
  }
}

}  // namespace sluice::gateway
