#include "gateway/edge/filters.h"

#include <algorithm>
#include <array>
#include <utility>

#include "contract/block_hash.h"
#include "core/hex.h"
#include "gateway/edge/answer.h"
#include "gateway/edge/demand.h"
#include "gateway/edge/gateway.h"
#include "gateway/edge/outcome.h"
#include "gateway/edge/replies.h"
#include "gateway/metrics/names.h"

namespace sluice::gateway {
namespace {

constexpr size_t kClientRequestIdBytesMax = 128;
constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kAskAgainNs = 100'000'000;  // whether a replica has come
constexpr size_t kLimitsFilter = 3;           // in the table at the end
constexpr size_t kRouteFilter = 4;

Forward refuse(Exchange& exchange, const api::Error& error,
               std::span<const net::OwnedHeader> more = {}) {
  exchange.gateway.refuse(exchange, error, more);
  return Forward::kAnswered;
}

// ---- request id ---------------------------------------------------------------------------------

bool is_request_id(std::string_view text) {
  return !text.empty() && text.size() <= kClientRequestIdBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

// An id that was never given out could be any number, and each would stay in the store.
contract::RequestId parent_in(std::string_view header, const contract::RequestIds& ids) {
  const auto id = contract::parse_request_id(header);
  return id.ok() && ids.has_given(*id) ? *id : contract::RequestId{};
}

Forward identify(Exchange& exchange) {
  const net::Request& request = *exchange.request;
  Gateway& gateway = exchange.gateway;
  exchange.id = gateway.options().request_ids.next();
  exchange.remote_address = request.remote_address;
  std::optional<TraceContext> caller;
  for (const net::Header& header : request.headers) {
    if (net::equal_ignoring_case(header.name, "x-request-id") && is_request_id(header.value))
      exchange.client_request_id = header.value;
    else if (net::equal_ignoring_case(header.name, "traceparent"))
      caller = parse_traceparent(header.value);
    else if (net::equal_ignoring_case(header.name, "tracestate"))
      exchange.trace_state = header.value;
    else if (net::equal_ignoring_case(header.name, "x-sluice-parent"))
      exchange.parent = parent_in(header.value, gateway.options().request_ids);
    else if (net::equal_ignoring_case(header.name, "x-sluice-receipt"))
      exchange.wants_receipt = true;
  }
  exchange.span = begin_span(caller, gateway.random(), gateway.random());
  const auto pass = [&](const net::Header& header) {
    if (passes_on(header.name))
      exchange.forwarded.push_back({std::string(header.name), std::string(header.value)});
  };
  if (request.header("connection"))  // it may name others
    for (const net::Header& header : net::end_to_end(request.headers)) pass(header);
  else
    for (const net::Header& header : request.headers)
      if (!net::is_hop_by_hop(header.name)) pass(header);
  return Forward::kNext;
}

void name_request(const Exchange& exchange, HeaderList* headers) {
  const std::string own_id = to_text(exchange.id);
  const bool named = !exchange.client_request_id.empty();
  headers->add("x-request-id", named ? exchange.client_request_id : own_id);
  if (named) headers->add("x-sluice-request", own_id);
  exchange.gateway.allow_origin(headers);
}

// ---- auth ---------------------------------------------------------------------------------------

Forward authenticate(Exchange& exchange) {
  const Gateway::Caller caller = exchange.gateway.authenticate(*exchange.request);
  if (caller.refusal) return refuse(exchange, *caller.refusal);
  exchange.table = exchange.gateway.table();
  exchange.key = caller.key;
  return Forward::kNext;
}

// ---- body ---------------------------------------------------------------------------------------

constexpr std::pair<std::string_view, contract::Policy> kPolicies[] = {
    {"local_only", contract::Policy::kLocalOnly},
    {"local_first", contract::Policy::kLocalFirst},
    {"cheapest", contract::Policy::kCheapest},
    {"fastest", contract::Policy::kFastest},
};
constexpr std::pair<std::string_view, contract::Statistic> kStatisticWords[] = {
    {"mean", contract::Statistic::kMean},
    {"p50", contract::Statistic::kP50},
    {"p99", contract::Statistic::kP99},
};
constexpr std::pair<std::string_view, contract::DataClass> kDataClasses[] = {
    {"public", contract::DataClass::kPublic},
    {"internal", contract::DataClass::kInternal},
    {"private", contract::DataClass::kPrivate},
};

template <typename Value, size_t n>
std::optional<Value> named(const std::pair<std::string_view, Value> (&table)[n],
                           std::string_view name) {
  for (const auto& [known, value] : table)
    if (known == name) return value;
  return std::nullopt;
}

// A request may ask for more care than its key, never for less: local stays local, private stays
// private, and it does not push itself forward.
std::optional<api::Error> apply_wishes(const api::RelayedWishes& wishes, Exchange* exchange) {
  RouteFacts& facts = exchange->facts;
  for (const auto& [wished, own] :
       {std::pair(&wishes.ttft, &facts.target.ttft), std::pair(&wishes.tpot, &facts.target.tpot),
        std::pair(&wishes.total, &facts.target.total)}) {
    if (wished->limit_ns) own->limit_ns = *wished->limit_ns;
    if (!wished->statistic) continue;
    const auto statistic = named(kStatisticWords, *wished->statistic);
    if (!statistic)
      return api::invalid_field("sluice.target",
                                "a statistic of 'sluice.target' must be mean, p50 or p99");
    own->statistic = *statistic;
  }
  if (wishes.policy) {
    const auto policy = named(kPolicies, *wishes.policy);
    if (!policy)
      return api::invalid_field("sluice.policy",
                                "'sluice.policy' must be local_only, local_first, cheapest or "
                                "fastest");
    if (facts.policy != contract::Policy::kLocalOnly) facts.policy = *policy;
  }
  if (wishes.data_class) {
    const auto data_class = named(kDataClasses, *wishes.data_class);
    if (!data_class)
      return api::invalid_field("sluice.data_class",
                                "'sluice.data_class' must be public, internal or private");
    facts.data_class = std::max(facts.data_class, *data_class);
  }
  if (wishes.priority) exchange->priority = std::min(exchange->priority, *wishes.priority);
  if (wishes.deadline_ns)
    facts.deadline_ns = std::min(facts.deadline_ns, exchange->arrived_ns + *wishes.deadline_ns);
  return std::nullopt;
}

constexpr api::RelayedKind relayed(contract::EventKind kind) {
  return kind == contract::EventKind::kChatCompletion ? api::RelayedKind::kChat
         : kind == contract::EventKind::kCompletion   ? api::RelayedKind::kCompletion
                                                      : api::RelayedKind::kEmbedding;
}

Forward read_body(Exchange& exchange) {
  const net::Request& request = *exchange.request;
  if (const auto encoding = request.header("content-encoding");
      encoding && !net::equal_ignoring_case(*encoding, "identity"))
    return refuse(exchange, api::from_status(415, "compressed bodies are not taken here"));
  auto parsed = exchange.gateway.parser().parse(relayed(exchange.kind), request.body);
  if (!parsed.ok()) return refuse(exchange, parsed.error());
  exchange.asked = std::move(parsed).value();
  const std::string& asked_model = exchange.asked.model;
  const std::string& default_model = exchange.gateway.options().default_model;
  const bool takes_default =
      !default_model.empty() && (asked_model.empty() || asked_model == "default");
  if (asked_model.empty() && !takes_default)
    return refuse(exchange, api::invalid_field("model", "'model' is missing"));
  exchange.asked_model = exchange.model =
      exchange.table->directory().find_model(takes_default ? default_model : asked_model);
  // Whether a model exists is nobody's business who may not call it.
  if (exchange.model == nullptr || !exchange.key->may_use_model(*exchange.model))
    return refuse(exchange, api::model_not_found(exchange.asked.model));
  const EffectiveDefaults defaults = effective_defaults(*exchange.key->key, *exchange.model->model);
  exchange.facts.target = defaults.target;
  exchange.facts.policy = defaults.policy;
  exchange.facts.data_class = defaults.data_class;
  exchange.priority = defaults.priority;
  exchange.facts.deadline_ns = exchange.arrived_ns + exchange.gateway.options().edge.wait_max_ns;
  if (exchange.asked.wishes) {
    const auto error = apply_wishes(*exchange.asked.wishes, &exchange);
    if (error) return refuse(exchange, *error);
  }
  if (const std::string& salt = exchange.asked.cache_salt; !salt.empty())
    exchange.own_salt = exchange.gateway.combined_salt(exchange.key->tenant(), salt);
  exchange.body = request.body;
  return Forward::kNext;
}

// ---- limits -------------------------------------------------------------------------------------

Forward refuse_by_limit(Exchange& exchange, const LimitRefusal& refusal) {
  LoopMetrics& metrics = exchange.gateway.options().metrics;
  metrics.limits_refused[static_cast<size_t>(refusal.dimension)].add();
  std::vector<net::OwnedHeader> headers;
  if (refusal.retry_after_ns) add_retry_after(*refusal.retry_after_ns, &headers);
  switch (refusal.kind) {
    case LimitRefusal::Kind::kRateLimitExceeded:
      return refuse(exchange, api::rate_limit_exceeded(refusal.message), headers);
    case LimitRefusal::Kind::kInsufficientQuota:
      return refuse(exchange, api::insufficient_quota(refusal.message), headers);
    case LimitRefusal::Kind::kNotKnownYet:
      return refuse(exchange, api::overloaded(refusal.message, 0), headers);
  }
  ASSERT(false, "refusal {}", static_cast<int>(refusal.kind));
}

// Which model answers: the one asked for, or the first of its fallbacks that has a replica. True:
// another than was thought; what is known of the prompt is of that one.
bool choose_model(Exchange* exchange, int64_t now_ns) {
  const ModelEntry* served = exchange->table->model_with_replica(*exchange->asked_model, now_ns);
  if (served == nullptr || !exchange->key->may_use_model(*served)) served = exchange->asked_model;
  if (served == exchange->model) return false;
  exchange->model = served;
  exchange->prompt_tokens.reset();
  exchange->count_failed = false;
  exchange->route_prepared = false;
  exchange->chain.clear();
  return true;
}

Forward reserve_limits(Exchange& exchange);

// By the number that decides: at once, or when it is there. nullopt: nobody here can count.
std::optional<Forward> reserve_counted(Exchange& exchange) {
  using Counting = ModelPrompts::Counting;
  const Counting counting = exchange.gateway.count_prompt(exchange);
  if (counting == Counting::kDone) return reserve_limits(exchange);
  if (counting == Counting::kLater) return Forward::kWaits;
  return std::nullopt;
}

Forward reserve_limits(Exchange& exchange) {
  Gateway& gateway = exchange.gateway;
  exchange.limit_sets = gateway.limit_sets(*exchange.key, *exchange.model);
  const TokenRange range = prompt_range(exchange);
  exchange.output_pair =
      contract::combine_namespace(contract::model_namespace(exchange.key->key->id, 0),
                                  contract::model_namespace(exchange.model->model->id, 1));
  Demand& demand = exchange.demand;
  demand.input_tokens = range.most;
  demand.output_tokens_max = output_tokens_max(exchange);
  demand.output_tokens_likely =
      gateway.options().estimates.outputs.likely(exchange.output_pair, demand.output_tokens_max);
  exchange.prompt_tokens_guess = range.least > 0 ? (range.least + range.most) / 2
                                                 : tokens_of_bytes(exchange.asked.text_bytes) + 1;
  if (gateway.prompts().can_count(exchange) && learnt_bound_decides(exchange, range))
    if (const auto verdict = reserve_counted(exchange)) return *verdict;
  auto reserved = reserve_what_is_left(exchange);
  if (!reserved.ok()) {
    if (estimate_decides(exchange, range))
      if (const auto verdict = reserve_counted(exchange)) return *verdict;
    return refuse_by_limit(exchange, reserved.error());
  }
  gateway.options().metrics.limits_allowed.add();
  exchange.limits = std::move(reserved).value();
  return Forward::kNext;
}

Forward enter_limits(Exchange& exchange) {
  choose_model(&exchange, exchange.arrived_ns);
  return reserve_limits(exchange);
}

void add_limit(const RateLimitState& state, std::span<const std::string_view, 3> names,
               HeaderList* headers) {
  headers->add(names[0], state.limit);
  headers->add(names[1], state.remaining);
  headers->add(names[2], duration_text(state.reset_ns));
}

void tell_limits(const Exchange& exchange, HeaderList* headers) {
  constexpr std::string_view kRequests[] = {
      "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"};
  constexpr std::string_view kTokens[] = {
      "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"};
  if (exchange.limit_sets.key == nullptr) return;
  const RateLimitHeaders limits = rate_limit_headers(exchange.limit_sets);
  if (limits.requests) add_limit(*limits.requests, kRequests, headers);
  if (limits.tokens) add_limit(*limits.tokens, kTokens, headers);
}

EventAction book_output(Exchange& exchange, EventView* event) {
  if (event->output_tokens > 0) exchange.limits.outgrow(exchange.output_tokens());
  return EventAction::kForward;
}

void settle_limits(Exchange& exchange, const contract::UsageEvent& event) {
  if (!exchange.limits.held()) return;
  if (exchange.attempts.empty()) return exchange.limits.refund();
  const api::RelayedUsage charged = charged_usage(event);
  const Usage usage = {.input_tokens = charged.prompt_tokens,
                       .output_tokens = charged.completion_tokens,
                       .money = ledger::total_amount(event.lines)};
  exchange.limits.settle(usage);
  Gateway& gateway = exchange.gateway;
  const Attempt& last = exchange.attempt();
  const int64_t stated_prompt =
      last.usage && last.goes_on_by != GoesOnBy::kText ? last.usage->prompt_tokens : 0;
  if (stated_prompt > 0)
    gateway.prompt_estimate(*exchange.model).learn(prompt_size(exchange), stated_prompt);
  if (event.outcome == contract::Outcome::kComplete && usage.output_tokens > 0)
    gateway.options().estimates.outputs.learn(exchange.output_pair,
                                              usage.output_tokens / exchange.asked.choices);
}

// ---- route and valve ----------------------------------------------------------------------------

void prepare_route(Exchange& exchange) {
  RouteFacts& facts = exchange.facts;
  exchange.route_prepared = true;
  const PrefixGeometry geometry = exchange.table->prefix_geometry(*exchange.model);
  const uint64_t salt = exchange.own_salt.empty() ? exchange.key->tenant().salt_number
                                                  : contract::salt_number(exchange.own_salt);
  const uint64_t name_space = contract::combine_namespace(geometry.name_space, salt);
  const bool by_pages = geometry.kind == PrefixGeometry::Kind::kTokens &&
                        exchange.gateway.prompts().append_pages(exchange, geometry, name_space);
  if (!by_pages && geometry.kind != PrefixGeometry::Kind::kNone) {
    const api::ByteRange prompt = exchange.asked.prompt_value;
    append_byte_blocks(
        name_space, std::string_view(exchange.body).substr(prompt.begin, prompt.end - prompt.begin),
        &exchange.chain);
  }
  exchange.keeps_text = exchange.asked.stream && exchange.asked.continuable &&
                        exchange.asked.choices == 1 && exchange.model->continues_by_text;
  if (exchange.asked.wishes && !exchange.asked.wishes->session.empty())
    exchange.session = contract::combine_namespace(
        name_space, contract::model_namespace(exchange.asked.wishes->session, 0));
  facts.tokens = {.prompt_tokens = exchange.prompt_tokens.value_or(exchange.prompt_tokens_guess),
                  .output_tokens = std::max<int64_t>(1, exchange.demand.output_tokens_likely),
                  .output_tokens_max = std::max<int64_t>(1, exchange.demand.output_tokens_max),
                  .prompt_tokens_max = exchange.demand.input_tokens,
                  .compute_us_max = compute_us_max(exchange)};
}

Forward refuse_by_valve(Exchange& exchange, const ValveAnswer& valve) {
  exchange.decision = contract::ValveDecision::kRefused;
  std::vector<net::OwnedHeader> headers;
  // Where the budget is the reason, time helps only if there is compute that it pays for.
  const bool helped_by_time = valve.refusal == Refusal::kBudget
                                  ? valve.retry_after_ns > 0
                                  : valve.refusal != Refusal::kForbidden;
  if (helped_by_time)
    add_retry_after(valve.retry_after_ns > 0 ? valve.retry_after_ns : kSecondNs, &headers);
  switch (valve.refusal) {
    case Refusal::kForbidden:
      return refuse(exchange, api::permission_denied(
                                  "no replica of this model may take this request: its policy or "
                                  "the class of its data forbid it"));
    case Refusal::kBudget:
      return refuse(
          exchange,
          api::insufficient_quota("only replicas that cost more than is left could answer"),
          headers);
    case Refusal::kNone:
    case Refusal::kNoReplica:
    case Refusal::kSaturated:
      break;
  }
  const bool saturated = valve.refusal == Refusal::kSaturated;
  return refuse(exchange,
                api::overloaded(saturated ? "all replicas of this model are busy"
                                          : "no replica of this model can answer now",
                                0),
                headers);
}

// Who has waited, or was failed by a replica, is answered by what there is now.
void renew_table(Exchange* exchange) {
  const auto& now = exchange->gateway.table();
  if (exchange->table == now) return;
  const KeyEntry* key = now->directory().key_by_id(exchange->key->key->id);
  const ModelEntry* model = now->directory().find_model(exchange->model->model->id);
  const ModelEntry* asked = now->directory().find_model(exchange->asked_model->model->id);
  if (key == nullptr || model == nullptr || asked == nullptr) return;
  exchange->table = now;
  exchange->key = key;
  exchange->model = model;
  exchange->asked_model = asked;
}

// No replica is left, but the one that has just gone may be replaced.
bool may_wait_for_replacement(const Exchange& exchange, int64_t now_ns) {
  if (now_ns > exchange.facts.deadline_ns) return false;
  const int64_t wait_ns = exchange.gateway.options().edge.replacement_wait_ns;
  if (exchange.attempts.empty()) return now_ns - exchange.arrived_ns < wait_ns;
  return exchange.failure != UpstreamOutcome::kBusy && now_ns - exchange.failed_ns < wait_ns;
}

Forward choose_route(Exchange& exchange) {
  Gateway& gateway = exchange.gateway;
  // A request that has just come has not waited at all.
  const bool first = !exchange.waited && exchange.attempts.empty();
  const int64_t now_ns = first ? exchange.arrived_ns : gateway.now_ns();
  if (!first) renew_table(&exchange);
  if (!first && exchange.attempts.empty() && choose_model(&exchange, now_ns)) {
    // It has waited for one model and goes to another: by that one's limits and prices.
    exchange.limits.refund();
    exchange.next_filter = kLimitsFilter;  // where it goes on if its prompt is counted first
    const Forward verdict = reserve_limits(exchange);
    if (verdict != Forward::kNext) return verdict;
    exchange.next_filter = kRouteFilter;
  }
  if (!exchange.route_prepared) prepare_route(exchange);
  if (exchange.resumes > 0) exclude_from_resuming(&exchange);
  RouteAnswer answer = exchange.table->route({.model = exchange.model,
                                              .facts = exchange.facts,
                                              .arrived_ns = exchange.arrived_ns,
                                              .chain = exchange.chain,
                                              .block_tokens = exchange.block_tokens,
                                              .session = exchange.session,
                                              .tried = exchange.tried},
                                             {.now_ns = now_ns,
                                              .unix_s = exchange.arrived_unix_ns / kSecondNs,
                                              .random = gateway.random()});
  switch (answer.valve.kind) {
    case ValveAnswer::Kind::kWait:
      exchange.waited = true;
      gateway.wait(exchange, now_ns + answer.valve.retry_after_ns);
      return Forward::kWaits;
    case ValveAnswer::Kind::kRefuse:
      if (answer.valve.refusal == Refusal::kNoReplica &&
          may_wait_for_replacement(exchange, now_ns)) {
        exchange.waited = true;
        gateway.wait(exchange, now_ns + kAskAgainNs);
        return Forward::kWaits;
      }
      if (!exchange.attempts.empty()) {
        give_up(exchange);
        return Forward::kAnswered;
      }
      return refuse_by_valve(exchange, answer.valve);
    case ValveAnswer::Kind::kSend:
      break;
  }
  exchange.flight = std::move(answer.flight);
  if (exchange.attempts.empty())
    exchange.decision = exchange.waited && answer.valve.reason == contract::ValveDecision::kLocal
                            ? contract::ValveDecision::kWaited
                            : answer.valve.reason;
  const ReplicaEntry* replica = exchange.flight.replica().entry;
  const bool resumed = exchange.output_tokens() > 0;
  const bool knows_ids = replica->replica->kind == contract::ReplicaKind::kSluice;
  exchange.attempts.push_back({.table = exchange.table,
                               .replica = replica,
                               .goes_on_by = !resumed    ? GoesOnBy::kNothing
                                             : knows_ids ? GoesOnBy::kTokenIds
                                                         : GoesOnBy::kText});
  return Forward::kNext;
}

void tell_route(const Exchange& exchange, HeaderList* headers) {
  if (exchange.decision != contract::ValveDecision::kNone)
    headers->add("x-sluice-decision", name_of(kDecisionNames, exchange.decision));
  if (exchange.attempts.empty()) return;
  const ReplicaEntry& replica = *exchange.attempt().replica;
  headers->add("x-sluice-replica", replica.replica->id);
  headers->add("x-sluice-pool", replica.pool->pool->id);
  if (replica.model->model->id != exchange.asked.model)  // a fallback
    headers->add("x-sluice-model", replica.model->model->id);
}

// Only what is served while others wait takes something from them.
void charge_share(Exchange& exchange, const contract::UsageEvent& event) {
  FairQueue& waiting = exchange.gateway.waiting_queue();
  if (waiting.size() == 0 || event.lines.empty()) return;
  const api::RelayedUsage charged = charged_usage(event);
  waiting.charge(exchange.key->key->id,
                 {.prompt_tokens = charged.prompt_tokens - charged.cached_tokens,
                  .cached_tokens = charged.cached_tokens,
                  .output_tokens = charged.completion_tokens,
                  .share = static_cast<int32_t>(exchange.key->key->share)});
}

EventAction time_tokens(Exchange& exchange, EventView* event) {
  if (!event->answer.has_output) return EventAction::kForward;
  const int64_t now_ns = exchange.gateway.now_ns();
  if (exchange.first_token_ns == 0) exchange.first_token_ns = now_ns;
  if (exchange.attempt().output_tokens == 0) exchange.flight.first_token(now_ns);
  exchange.attempt().output_tokens += event->output_tokens;
  exchange.flight.tokens(exchange.attempt().output_tokens, now_ns);
  exchange.last_token_ns = now_ns;
  return EventAction::kForward;
}

// ---- record -------------------------------------------------------------------------------------

Forward record_reservation(Exchange& exchange) {
  if (exchange.recorded) return Forward::kNext;
  const contract::Reservation reservation = {
      .id = exchange.id,
      .tenant = exchange.key->tenant().tenant->id,
      .key = exchange.key->key->id,
      .model = exchange.model->model->id,
      .started_unix_ns = exchange.arrived_unix_ns,
      .amount = exchange.demand.money_max,
      .tokens = exchange.demand.input_tokens + exchange.demand.output_tokens_max};
  exchange.recorded = exchange.gateway.options().records.append(reservation);
  if (exchange.recorded) return Forward::kNext;
  exchange.gateway.options().metrics.journal_refused.add();
  exchange.flight.end(0, UpstreamOutcome::kClientGone, exchange.gateway.now_ns());
  exchange.attempts.clear();
  return refuse(exchange, api::overloaded("requests cannot be recorded at the moment", 5));
}

// The chunk that brings the usage alone is for those who asked for it; the last bytes wait until it
// is written down what it came to.
EventAction take_usage(Exchange& exchange, EventView* event) {
  if (event->data == "[DONE]") return EventAction::kEnd;
  if (!event->answer.finish_reason.empty()) exchange.finish_reason = event->answer.finish_reason;
  exchange.finished += event->answer.finished;
  if (!event->answer.usage) return EventAction::kForward;
  exchange.attempt().usage = event->answer.usage;
  const bool alone = !event->answer.has_choices;
  return alone && !exchange.asked.include_usage ? EventAction::kHold : EventAction::kForward;
}

void observe_end(Exchange& exchange, const contract::UsageEvent& event) {
  const GatewayOptions& options = exchange.gateway.options();
  options.metrics.count(event);
  if (!options.on_end) return;
  const std::string trace = to_text(exchange.span.self).substr(3, 32);
  options.on_end(event,
                 {.remote_address = exchange.remote_address,
                  .client_request_id = exchange.client_request_id,
                  .trace_id = trace},
                 exchange.span);
}

// ---- the table ----------------------------------------------------------------------------------

constexpr std::array<Filter, 7> kFilters = {{
    {.name = "request id", .forward = identify, .on_start = name_request},
    {.name = "auth", .forward = authenticate},
    {.name = "body", .forward = read_body},
    {.name = "limits",
     .forward = enter_limits,
     .on_start = tell_limits,
     .on_event = book_output,
     .on_end = settle_limits},
    {.name = "route",
     .forward = choose_route,
     .on_start = tell_route,
     .on_event = time_tokens,
     .on_end = charge_share},
    {.name = "record",
     .forward = record_reservation,
     .on_event = take_usage,
     .on_end = observe_end},
    {.name = "proxy", .forward = send_upstream, .on_event = keep_one_stream},
}};
static_assert(kFilters[kLimitsFilter].name == "limits");
static_assert(kFilters[kRouteFilter].name == "route");

}  // namespace

std::span<const Filter> filters() {
  return kFilters;
}

size_t route_filter() {
  return kRouteFilter;
}

void run_forward(Exchange& exchange) {
  while (exchange.next_filter < kFilters.size()) {
    const Forward verdict = kFilters[exchange.next_filter].forward(exchange);
    if (verdict != Forward::kNext) return;
    ++exchange.next_filter;
  }
}

void run_start(const Exchange& exchange, HeaderList* headers) {
  for (const Filter& filter : kFilters)
    if (filter.on_start != nullptr) filter.on_start(exchange, headers);
}

EventAction run_backward(Exchange& exchange, EventView* event) {
  EventAction decided = EventAction::kForward;
  for (size_t i = kFilters.size(); i-- > 0;) {
    if (kFilters[i].on_event == nullptr) continue;
    decided = std::max(decided, kFilters[i].on_event(exchange, event));
  }
  return decided;
}

}  // namespace sluice::gateway
