#include "gateway/edge/gateway.h"

#include <algorithm>
#include <utility>

#include "gateway/edge/answer.h"
#include "gateway/edge/outcome.h"
#include "gateway/limits/limit_table.h"
#include "net/sse.h"

namespace sluice::gateway {
namespace {

constexpr int64_t kTickNs = 50'000'000;
constexpr int64_t kDrainRetryS = 5;

// Of a page that this machine itself serves.
bool is_own_origin(std::string_view origin) {
  const auto url = net::parse_url(origin);
  if (!url.ok()) return false;
  const std::string& host = url.value().endpoint.host;
  return host == "localhost" || host == "127.0.0.1" || host == "::1";
}

// It was sent, no replica has said how long it is, and nobody has counted it.
bool has_unstated_prompt(const Exchange& exchange) {
  return !exchange.attempts.empty() && !exchange.prompt_tokens && !exchange.count_failed &&
         std::none_of(exchange.attempts.begin(), exchange.attempts.end(),
                      [](const Attempt& attempt) { return attempt.usage.has_value(); });
}

}  // namespace

std::shared_ptr<PromptEstimate> Estimates::prompts_of(std::string_view model) {
  const std::lock_guard lock(mutex_);
  const auto found = prompts_.find(model);
  if (found != prompts_.end()) return found->second;
  return prompts_.emplace(model, std::make_shared<PromptEstimate>()).first->second;
}

bool Exchange::end_flight(UpstreamOutcome outcome, int64_t now_ns) {
  const bool met = flight.end(attempt().output_tokens, outcome, now_ns);
  attempt().compute_us = flight.compute_us();
  return met;
}

void* ExchangePool::take(size_t bytes) {
  if (bytes != block_bytes_ || free_.empty())
    return std::make_unique_for_overwrite<std::byte[]>(bytes).release();
  void* block = free_.back().release();
  free_.pop_back();
  return block;
}

void ExchangePool::give(void* block, size_t bytes) {
  std::unique_ptr<std::byte[]> given(static_cast<std::byte*>(block));
  if (block_bytes_ == 0) block_bytes_ = bytes;
  if (bytes == block_bytes_ && free_.size() < kKeptMax) free_.push_back(std::move(given));
}

Gateway::Gateway(GatewayOptions options)
    : options_(std::move(options)),
      pool_(std::make_shared<ExchangePool>()),
      rng_(options_.seed),
      hasher_(options_.hash_keys),
      upstreams_(options_),
      prompts_(options_.texts, options_.clock, options_.loop),
      waiting_(options_.edge.waiting_max),
      tick_timer_(options_.loop),
      wake_timer_(options_.loop),
      self_(std::make_shared<Gateway*>(this)) {}

Gateway::~Gateway() {
  for (const auto& exchange : exchanges_) {
    exchange->state = Exchange::State::kEnded;  // a sweep finds what it had reserved
    exchange->call.cancel();
  }
}

// ---- what holds ---------------------------------------------------------------------------------

std::vector<contract::RequestId> Gateway::update(std::shared_ptr<const RoutingTable> table,
                                                 Limits limits) {
  ASSERT(options_.loop.owned_by_caller(), "update() from a foreign thread");
  const Directory& directory = table->directory();
  upstreams_.update(*table);
  key_limits_.assign(directory.keys().size(), nullptr);
  prompts_.update(directory);
  model_limits_.clear();
  estimates_.clear();
  for (const ModelEntry& entry : directory.models()) {
    model_limits_.push_back(options_.limits.model_limits(*entry.model));
    estimates_.push_back(options_.estimates.prompts_of(entry.model->id));
  }
  table_ = table;
  end_revoked(*table);
  std::vector<contract::RequestId> joined;
  if (limits == Limits::kHoldMore) joined = join_limits(directory);
  wake_waiting();
  return joined;
}

std::vector<contract::RequestId> Gateway::join_limits(const Directory& directory) {
  std::vector<contract::RequestId> joined;
  for (const auto& exchange : exchanges_) {
    if (!exchange->limits.held()) continue;
    const KeyEntry* key = directory.key_by_id(exchange->key->key->id);
    const ModelEntry* model = directory.find_model(exchange->model->model->id);
    if (key == nullptr) continue;
    if (model == nullptr) model = exchange->model;  // gone; the key's limits hold on
    if (exchange->limits.join(limit_sets(*key, *model), exchange->demand,
                              exchange->arrived_unix_ns))
      joined.push_back(exchange->id);
  }
  return joined;
}

void Gateway::take_secrets(std::map<std::string, std::string> secrets) {
  ASSERT(options_.loop.owned_by_caller(), "take_secrets() from a foreign thread");
  upstreams_.take_secrets(std::move(secrets));
  if (table_ != nullptr) upstreams_.update(*table_);
}

void Gateway::end_revoked(const RoutingTable& table) {
  const int64_t unix_s = options_.clock.unix_ns() / 1'000'000'000;
  for (const auto& exchange : std::vector(exchanges_)) {
    if (exchange->state == Exchange::State::kEnded || exchange->key == nullptr) continue;
    const KeyEntry* now = table.directory().key_by_id(exchange->key->key->id);
    const bool holds = now != nullptr && !now->key->revoked && !now->expired(unix_s) &&
                       now->digest == exchange->key->digest;
    if (holds) continue;
    exchange->call.cancel();
    end_with_error(*exchange, contract::Outcome::kKeyRevoked,
                   api::invalid_api_key("this API key has been revoked"));
  }
}

const LimitSets& Gateway::limit_sets(const KeyEntry& key, const ModelEntry& model) {
  // A request that began with an older directory is held by the limits of its own key there.
  const auto entry = [&](const auto& list, const auto& one, size_t index) {
    return index < list.size() && &list[index] == &one;
  };
  const Directory& directory = table_->directory();
  const auto key_index = static_cast<size_t>(key.index);
  const auto model_index = static_cast<size_t>(model.index);
  if (entry(directory.keys(), key, key_index)) {
    std::shared_ptr<const LimitSet>& known = key_limits_[key_index];
    if (known == nullptr) known = options_.limits.key_limits(*key.key, *key.project->project);
    scratch_sets_.key = known;
  } else {
    scratch_sets_.key = options_.limits.key_limits(*key.key, *key.project->project);
  }
  scratch_sets_.model = entry(directory.models(), model, model_index)
                            ? model_limits_[model_index]
                            : options_.limits.model_limits(*model.model);
  return scratch_sets_;
}

PromptEstimate& Gateway::prompt_estimate(const ModelEntry& model) {
  const auto index = static_cast<size_t>(model.index);
  const auto models = table_->directory().models();
  if (index < models.size() && models[index].model->id == model.model->id)
    return *estimates_[index];
  return *options_.estimates.prompts_of(model.model->id);
}

ModelPrompts::Counting Gateway::count_prompt(Exchange& exchange) {
  return prompts_.count(exchange, [weak = std::weak_ptr(self_),
                                   handle = exchange.handle](std::optional<int64_t> tokens) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    const std::shared_ptr<Exchange> counted = (*self)->find(handle);
    if (counted == nullptr) return;
    counted->prompt_tokens = tokens;
    counted->count_failed = !tokens;
    run_forward(*counted);
  });
}

std::shared_ptr<Exchange> Gateway::find(uint64_t handle) const {
  const auto found = std::find_if(exchanges_.begin(), exchanges_.end(),
                                  [&](const auto& one) { return one->handle == handle; });
  return found == exchanges_.end() ? nullptr : *found;
}

// ---- a request ----------------------------------------------------------------------------------

// The key of those who show none of ours. A page from elsewhere in a browser of this machine is no
// guest: its reader has not asked for anything.
const KeyEntry* Gateway::guest(const net::Request& head, std::string_view secret) const {
  if (options_.guest_key.empty() || secret.starts_with(kSecretPrefix)) return nullptr;
  const std::string_view origin = head.header("origin").value_or("");
  if (!origin.empty() && !is_own_origin(origin)) return nullptr;
  const KeyEntry* key = table_->directory().key_by_id(options_.guest_key);
  return key != nullptr && !key->key->revoked && key->allows_address(head.remote_address) ? key
                                                                                          : nullptr;
}

std::string Gateway::combined_salt(const TenantEntry& tenant, std::string_view client_salt) {
  constexpr size_t kDigits = 32;
  std::string text = "cache_salt";  // with zeros in it, which no secret of a key has
  for (const std::string_view part : {std::string_view(tenant.cache_salt), client_salt})
    text.append(1, '\0').append(part);
  return to_hex(hasher_.digest(0, text)).substr(0, kDigits);
}

Gateway::Caller Gateway::authenticate(const net::Request& head) {
  const auto refuse = [&](AuthRefusal why, api::Error error) {
    options_.metrics.auth_refused[static_cast<size_t>(why)].add();
    return Caller{.refusal = std::move(error)};
  };
  if (table_ == nullptr) return {.refusal = api::overloaded("the gateway is starting", 1)};
  constexpr std::string_view kScheme = "Bearer ";
  std::string_view said;
  for (const net::Header& header : head.headers) {
    if (!net::equal_ignoring_case(header.name, "authorization")) continue;
    if (!said.empty())
      return refuse(AuthRefusal::kNoKey,
                    api::invalid_api_key("more than one Authorization header"));
    said = header.value;
  }
  const bool bears = said.size() > kScheme.size() &&
                     net::equal_ignoring_case(said.substr(0, kScheme.size()), kScheme);
  const std::string_view secret = bears ? said.substr(kScheme.size()) : std::string_view();
  const KeyEntry* key = bears ? table_->directory().find_key(secret, hasher_) : nullptr;
  if (key == nullptr) key = guest(head, secret);
  if (key == nullptr && !bears)
    return refuse(AuthRefusal::kNoKey,
                  api::invalid_api_key("send your API key as 'Authorization: Bearer KEY'"));
  if (key == nullptr)
    return refuse(AuthRefusal::kUnknownKey, api::invalid_api_key("the API key is not known"));
  if (key->key->revoked)
    return refuse(AuthRefusal::kRevoked, api::invalid_api_key("the API key has been revoked"));
  if (key->expired(options_.clock.unix_ns() / 1'000'000'000))
    return refuse(AuthRefusal::kExpired, api::invalid_api_key("the API key has expired"));
  if (!key->allows_address(head.remote_address))
    return refuse(AuthRefusal::kNetwork,
                  api::permission_denied("the API key may not be used from this address"));
  return {.key = key};
}

void Gateway::begin(const net::Request& request, net::Responder responder,
                    contract::EventKind kind) {
  auto exchange = std::allocate_shared<Exchange>(ExchangeAllocator<Exchange>(pool_), *this,
                                                 std::move(responder));
  exchange->kind = kind;
  exchange->request = &request;
  exchange->arrived_ns = now_ns();
  exchange->arrived_unix_ns = options_.clock.unix_ns();
  exchange->handle = ++handles_;
  exchange->index = exchanges_.size();
  exchanges_.push_back(exchange);
  options_.metrics.running.add();
  if (draining_ || running() > options_.edge.requests_max) {
    exchange->id = options_.request_ids.next();
    return refuse(*exchange, api::overloaded(draining_ ? "the gateway is shutting down"
                                                       : "too many requests are running",
                                             draining_ ? kDrainRetryS : 1));
  }
  exchange->responder.on_close([weak = std::weak_ptr(exchange)] {
    if (const auto gone = weak.lock()) gone->gateway.client_gone(*gone);
  });
  run_forward(*exchange);
  exchange->request = nullptr;
  start_tick();
}

void Gateway::refuse(Exchange& exchange, const api::Error& error,
                     std::span<const net::OwnedHeader> more) {
  const api::Error* said = &error;
  const api::Error unrecorded = api::overloaded("requests cannot be recorded at the moment", 5);
  if (!end(exchange, contract::Outcome::kRefused, error.status)) said = &unrecorded;
  if (!exchange.responder.is_open()) return;
  if (exchange.head_sent) {
    std::string event;
    net::append_sse_data(api::to_json(*said), &event);
    exchange.responder.write(event);
    return exchange.responder.finish();
  }
  net::Response response = error_response(*said, "");
  response.headers.insert(response.headers.end(), more.begin(), more.end());
  HeaderList& headers = header_list();
  run_start(exchange, &headers);
  for (const net::Header& header : headers.view())
    response.headers.push_back({std::string(header.name), std::string(header.value)});
  exchange.responder.send(response);
}

bool Gateway::end(Exchange& exchange, contract::Outcome outcome, int status) {
  ASSERT(exchange.state != Exchange::State::kEnded, "{} ends twice", to_text(exchange.id));
  const std::shared_ptr<Exchange> self = exchange.shared_from_this();
  const int64_t now = now_ns();
  bool met = outcome != contract::Outcome::kRefused;
  if (exchange.flight.in_flight()) {
    const bool complete = outcome == contract::Outcome::kComplete ||
                          outcome == contract::Outcome::kCompleteUsageMissing;
    met = exchange.end_flight(complete ? UpstreamOutcome::kComplete : UpstreamOutcome::kClientGone,
                              now);
  }
  forget(exchange);
  // Who is not known has no account: nothing is written of it.
  bool kept = true;
  if (exchange.key != nullptr) {
    if (has_unstated_prompt(exchange)) prompts_.count_small(exchange);
    fill_event(exchange, {.outcome = outcome, .status = status, .now_ns = now, .target_met = met},
               &event_);
    kept = options_.records.append(event_);
    if (!kept) options_.metrics.journal_refused.add();
    for (const Filter& filter : filters())
      if (filter.on_end != nullptr) filter.on_end(exchange, event_);
  }
  wake_waiting();
  return kept;
}

void Gateway::forget(Exchange& exchange) {
  if (exchange.state == Exchange::State::kWaiting) options_.metrics.waiting.add(-1);
  leave_queue(exchange);
  exchange.state = Exchange::State::kEnded;
  options_.metrics.running.add(-1);
  if (exchange.begun) options_.metrics.streaming.add(-1);
  const size_t index = exchange.index;
  std::swap(exchanges_[index], exchanges_.back());
  exchanges_[index]->index = index;
  exchanges_.pop_back();
}

void Gateway::client_gone(Exchange& exchange) {
  if (exchange.state == Exchange::State::kEnded) return;
  exchange.call.cancel();
  const bool sent = !exchange.attempts.empty();
  const contract::Outcome outcome = !sent ? contract::Outcome::kRefused
                                    : exchange.first_token_ns == 0
                                        ? contract::Outcome::kClientAbortBeforeFirstToken
                                        : contract::Outcome::kClientAbort;
  constexpr int kClientClosedRequest = 499;
  if (!end(exchange, outcome, kClientClosedRequest))
    options_.log.error("{}: its event could not be kept", to_text(exchange.id));
}

// ---- waiting ------------------------------------------------------------------------------------

void Gateway::wait(Exchange& exchange, int64_t at_ns) {
  if (!exchange.queued)
    exchange.queued = waiting_.push({.handle = exchange.handle,
                                     .key = exchange.key->key->id,
                                     .model = exchange.model->model->id,
                                     .priority = exchange.priority,
                                     .deadline_ns = exchange.facts.deadline_ns});
  if (!exchange.queued) return refuse(exchange, api::overloaded("too many requests wait", 1));
  exchange.state = Exchange::State::kWaiting;
  options_.metrics.waiting.add();
  wake_at_ns_ = wake_at_ns_ == 0 ? at_ns : std::min(wake_at_ns_, at_ns);
}

// A place may be free: those who wait are asked about in their order, of each model until one has
// to wait on.
void Gateway::wake_waiting() {
  if (waiting_.size() == 0 || wake_timer_.running()) return;
  wake_timer_.start(0, [this] {
    wake_at_ns_ = 0;
    std::vector<std::string> busy;
    while (const WaitingRequest* next = waiting_.first(busy)) {
      const std::shared_ptr<Exchange> exchange = find(next->handle);
      ASSERT(exchange != nullptr, "request {} waits and has ended", next->handle);
      std::string model = next->model;
      route_again(*exchange);
      if (exchange->state == Exchange::State::kWaiting) busy.push_back(std::move(model));
    }
  });
}

void Gateway::route_again(Exchange& exchange) {
  options_.metrics.waiting.add(-1);
  exchange.state = Exchange::State::kFiltering;
  run_forward(exchange);
  if (exchange.state != Exchange::State::kWaiting) leave_queue(exchange);
}

void Gateway::leave_queue(Exchange& exchange) {
  if (std::exchange(exchange.queued, false)) waiting_.remove(exchange.handle);
}

// ---- time ---------------------------------------------------------------------------------------

void Gateway::start_tick() {
  if (!tick_timer_.running() && !exchanges_.empty())
    tick_timer_.start(kTickNs, [this] { on_tick(); });
}

void Gateway::tick_one(Exchange& exchange, int64_t now) {
  const EdgeLimits& limits = options_.edge;
  if (now - exchange.arrived_ns > limits.request_max_ns) {
    exchange.call.cancel();
    return end_with_error(exchange, contract::Outcome::kTimedOut,
                          api::upstream_timeout("the request took too long"));
  }
  if (exchange.state == Exchange::State::kSent && exchange.flight.in_flight() && !exchange.paused &&
      now > exchange.flight.stall_deadline_ns(limits.response_timeout_ns) &&
      now > std::max(exchange.arrived_ns, exchange.last_token_ns) + limits.stall_least_ns)
    return upstream_stalled(exchange);
  if (exchange.state == Exchange::State::kWaiting && now > exchange.facts.deadline_ns) {
    if (!exchange.attempts.empty()) return give_up(exchange);
    return route_again(exchange);  // the last time: it may not wait any more
  }
  send_heartbeat(exchange, now);
}

// To who streams and hears nothing, whoever lets it wait: not every upstream says that it lives.
// What is written are whole events, so this comes between two of them.
void Gateway::send_heartbeat(Exchange& exchange, int64_t now) {
  const bool waits =
      exchange.state == Exchange::State::kWaiting || exchange.state == Exchange::State::kSent;
  if (!exchange.asked.stream || !waits || exchange.paused) return;
  const int64_t heard_ns =
      std::max({exchange.arrived_ns, exchange.last_write_ns, exchange.last_token_ns});
  if (now - heard_ns <= options_.edge.heartbeat_ns) return;
  exchange.last_write_ns = now;
  begin_stream(exchange);
  exchange.responder.write(net::kSsePing);
}

void Gateway::on_tick() {
  const int64_t now = now_ns();
  for (const auto& exchange : std::vector(exchanges_))
    if (exchange->state != Exchange::State::kEnded) tick_one(*exchange, now);
  if (wake_at_ns_ != 0 && now >= wake_at_ns_) wake_waiting();
  upstreams_.sweep();
  start_tick();
}

void Gateway::drain() {
  draining_ = true;
  for (const auto& exchange : std::vector(exchanges_))
    if (exchange->state == Exchange::State::kWaiting)
      refuse(*exchange, api::overloaded("the gateway is shutting down", kDrainRetryS));
}

void Gateway::end_all() {
  drain();
  for (const auto& exchange : std::vector(exchanges_)) {
    if (exchange->state == Exchange::State::kEnded) continue;
    exchange->call.cancel();
    end_with_error(
        *exchange, contract::Outcome::kUpstreamError,
        api::overloaded("the server is shutting down and ended this request", kDrainRetryS));
  }
}

}  // namespace sluice::gateway
