#include "gateway/edge/answer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "gateway/edge/gateway.h"
#include "gateway/edge/outcome.h"
#include "net/sse.h"

namespace sluice::gateway {
namespace {

using contract::Outcome;
using contract::ReplicaKind;

constexpr size_t kKeptTextBytesMax = 1 << 20;  // of a stream: a longer one ends with its replica

bool is_success(int status) {
  return status >= 200 && status < 300;
}

bool is_event_stream(std::string_view content_type) {
  return content_type.starts_with("text/event-stream");
}

// ---- out ----------------------------------------------------------------------------------------

// Into memory that is used for the next one too.
std::string_view outgoing_body(const Exchange& exchange, const Upstream& upstream) {
  const contract::Replica& replica = *exchange.attempt().replica->replica;
  const contract::Target& target = exchange.facts.target;
  const bool wished_deadline = exchange.asked.wishes && exchange.asked.wishes->deadline_ns;
  const api::RelayedExtension extension = {
      .ttft_ns = target.ttft.limit_ns,
      .tpot_ns = target.tpot.limit_ns,
      .total_ns = target.total.limit_ns,
      .priority = exchange.priority,
      .deadline_ns = wished_deadline ? std::max<int64_t>(1'000'000, exchange.facts.deadline_ns -
                                                                        exchange.gateway.now_ns())
                                     : 0,
      .session = exchange.asked.wishes ? std::string_view(exchange.asked.wishes->session) : "",
      .cache_salt = exchange.cache_salt(),
      .resume_ids = exchange.emitted_ids,
      .token_ids = exchange.asked.stream};
  const api::TextContinuation continuation = {
      .form = replica.continuation == contract::Continuation::kPrefix
                  ? api::TextContinuation::Form::kPrefix
                  : api::TextContinuation::Form::kFinalMessage,
      .text = exchange.text,
      .output_tokens = exchange.output_tokens()};
  const bool has_extension = !upstream.engine_key.empty();
  const bool by_text = exchange.attempt().goes_on_by == GoesOnBy::kText;
  const std::string& served = exchange.model->model->id;
  std::string& out = exchange.gateway.body_buffer();
  api::change_body(exchange.body, exchange.asked,
                   {.model = replica.upstream_model.empty() ? served : replica.upstream_model,
                    .extension = has_extension ? &extension : nullptr,
                    .cache_salt = !has_extension && replica.cache_salt ? exchange.cache_salt()
                                                                       : std::string_view(),
                    .continuation = by_text ? &continuation : nullptr},
                   &out);
  return out;
}

// ---- failures -----------------------------------------------------------------------------------

bool may_continue(const Exchange& exchange, const contract::Replica& replica) {
  if (replica.kind == ReplicaKind::kSluice) return exchange.ids_complete;
  const int64_t most = exchange.asked.output_tokens_max.value_or(INT64_MAX);
  return exchange.keeps_text && !exchange.text.empty() && exchange.output_tokens() < most &&
         replica.continuation != contract::Continuation::kNone;
}

// All of the answer has been said: what ends it now takes nothing from the client.
bool is_finished(const Exchange& exchange) {
  return exchange.finished >= exchange.asked.choices * exchange.asked.prompts;
}

void finish_stream(Exchange& exchange);

// Another replica can go on where this one stopped: what was said so far is known by token ids, or
// its text is, and there is one that could use it.
bool can_resume(const Exchange& exchange) {
  const bool able =
      exchange.attempt().replica->replica->kind == ReplicaKind::kSluice
          ? exchange.ids_complete || exchange.keeps_text
          : std::ranges::any_of(exchange.model->replicas, [&](const ReplicaEntry* entry) {
              return may_continue(exchange, *entry->replica);
            });
  return able && exchange.asked.choices == 1 && exchange.asked.prompts == 1 &&
         exchange.resumes < exchange.gateway.options().edge.resumes_max;
}

api::Error failure_error(const Exchange& exchange) {
  switch (exchange.failure) {
    case UpstreamOutcome::kTimeout:
    case UpstreamOutcome::kStalled:
      return api::upstream_timeout("the model's replica did not answer in time");
    case UpstreamOutcome::kBusy:
      return api::overloaded("the model's replica is busy", std::max(exchange.busy_s, 1));
    default:
      return api::bad_upstream(exchange.failure_text.empty() ? "the model's replica failed"
                                                             : exchange.failure_text);
  }
}

// How long a replica that is busy wants to be left alone. Of several the least: then one of them
// takes it. What is no number of seconds says nothing.
void note_retry_after(std::string_view seconds, Exchange* exchange) {
  constexpr int32_t kDay_s = 86'400;
  int32_t wanted_s = 0;
  const auto [end, fault] =
      std::from_chars(seconds.data(), seconds.data() + seconds.size(), wanted_s);
  if (fault != std::errc() || end != seconds.data() + seconds.size() || wanted_s < 1) return;
  wanted_s = std::min(wanted_s, kDay_s);
  exchange->busy_s = exchange->busy_s == 0 ? wanted_s : std::min(exchange->busy_s, wanted_s);
}

// Ends the attempt; asks another replica where that is allowed, else the request ends: well, where
// only usage was still to come.
void upstream_failed(Exchange& exchange, UpstreamOutcome outcome, std::string_view message) {
  Gateway& gateway = exchange.gateway;
  const bool begun = exchange.begun;
  if (begun && is_finished(exchange)) return finish_stream(exchange);
  if (exchange.flight.in_flight()) exchange.end_flight(outcome, gateway.now_ns());
  exchange.call = {};
  exchange.collected.clear();
  const int tries = static_cast<int>(exchange.attempts.size());
  const bool retry = !begun && may_retry(outcome, FirstByte::kHeldBack, tries) == Retry::kElsewhere;
  const bool resume = begun && can_resume(exchange);
  exchange.failure = outcome;
  exchange.failure_text = message;
  exchange.failed_ns = gateway.now_ns();
  if (!retry && !resume) return give_up(exchange);
  exchange.tried.push_back(exchange.attempt().replica->replica->id);
  if (resume) {
    ++exchange.resumes;
    exchange.facts.deadline_ns = std::max(exchange.facts.deadline_ns,
                                          exchange.failed_ns + gateway.options().edge.wait_max_ns);
    exchange.attempt().end = ledger::AttemptEnd::kHandedOver;
    gateway.options().metrics.streams_resumed.add();
  } else {
    exchange.attempt().end = ledger::AttemptEnd::kRetried;
    gateway.options().metrics.upstream_retries.add();
  }
  exchange.next_filter = route_filter();
  run_forward(exchange);
}

UpstreamOutcome outcome_of(net::CallEnd end, const Exchange& exchange) {
  const bool begun = exchange.begun;
  switch (end) {
    case net::CallEnd::kNotConnected:
      return UpstreamOutcome::kConnectError;
    case net::CallEnd::kTimedOut:
      return begun ? UpstreamOutcome::kStalled : UpstreamOutcome::kTimeout;
    case net::CallEnd::kCut:
      return begun ? UpstreamOutcome::kBroken : UpstreamOutcome::kConnectError;
    case net::CallEnd::kMalformed:
    case net::CallEnd::kComplete:  // of the connection, not of the answer
      break;
  }
  return begun ? UpstreamOutcome::kBroken : UpstreamOutcome::kServerError;
}

// ---- whole answers ------------------------------------------------------------------------------

// The upstream said no.
void pass_refusal(Exchange& exchange, std::string_view body) {
  Gateway& gateway = exchange.gateway;
  const int status = exchange.upstream_status;
  const auto retry_after =
      std::ranges::find_if(exchange.upstream_headers, [](const net::OwnedHeader& header) {
        return net::equal_ignoring_case(header.name, "retry-after");
      });
  const bool has_retry_after = retry_after != exchange.upstream_headers.end();
  const UpstreamOutcome outcome =
      outcome_of_status(status, has_retry_after ? RetryAfter::kGiven : RetryAfter::kMissing);
  if (has_retry_after && outcome == UpstreamOutcome::kBusy)
    note_retry_after(retry_after->value, &exchange);
  if (outcome != UpstreamOutcome::kRefused)
    return upstream_failed(exchange, outcome,
                           fmt::format("the model's replica answers with status {}", status));
  exchange.end_flight(outcome, gateway.now_ns());
  // Its no to us is not a no to our client.
  if (status == 401 || status == 403 || status == 404 || exchange.head_sent)
    return end_with_error(
        exchange, Outcome::kUpstreamError,
        api::bad_upstream(fmt::format("the model's replica answers with status {}", status)));
  if (!gateway.end(exchange, Outcome::kUpstreamError, status))
    return exchange.responder.send(error_response(api::overloaded("not recorded", 5), ""));
  HeaderList& headers = gateway.header_list();
  headers.add("Content-Type", "application/json");
  run_start(exchange, &headers);
  exchange.responder.send(status, headers.view(), body);
}

void add_receipt(const Exchange& exchange, HeaderList* headers) {
  const contract::UsageEvent& event = exchange.gateway.last_event();
  headers->add("x-sluice-cost", money_text(ledger::total_amount(event.lines)));
  const contract::ReceiptSigner* signer = exchange.gateway.options().signer;
  if (!exchange.wants_receipt || signer == nullptr) return;
  headers->add("x-sluice-receipt", contract::receipt_header(signer->sign(event)));
}

// False: it is no answer, and nothing has happened.
template <typename Headers>
bool pass_whole(Exchange& exchange, const Headers& upstream, std::string_view body) {
  Gateway& gateway = exchange.gateway;
  std::vector<int32_t> ids;
  const api::RelayedAnswer answer = api::read_relayed_answer(body, &ids);
  exchange.attempt().usage = answer.usage;
  if (!answer.has_choices && !answer.has_output) return false;
  exchange.finish_reason = answer.finish_reason;
  exchange.attempt().output_tokens = answer.usage ? answer.usage->completion_tokens
                                                  : std::min(tokens_of_bytes(answer.text_bytes),
                                                             exchange.demand.output_tokens_max);
  const int64_t now_ns = gateway.now_ns();
  exchange.first_token_ns = exchange.last_token_ns = now_ns;
  exchange.flight.first_token(now_ns);
  if (!gateway.end(exchange, answer.usage ? Outcome::kComplete : Outcome::kCompleteUsageMissing,
                   exchange.upstream_status)) {
    exchange.responder.send(
        error_response(api::overloaded("the answer could not be recorded", 5), ""));
    return true;
  }
  HeaderList& headers = gateway.header_list();
  for (const auto& header : upstream)
    if (passes_back(header.name)) headers.add(header.name, header.value);
  run_start(exchange, &headers);
  add_receipt(exchange, &headers);
  exchange.responder.send(exchange.upstream_status, headers.view(), body);
  return true;
}

// ---- streams ------------------------------------------------------------------------------------

void finish_stream(Exchange& exchange) {
  begin_stream(exchange);
  const Outcome outcome =
      exchange.attempt().usage ? Outcome::kComplete : Outcome::kCompleteUsageMissing;
  if (!exchange.gateway.end(exchange, outcome, 200)) {
    std::string event;
    net::append_sse_data(api::to_json(api::overloaded("the answer could not be recorded", 5)),
                         &event);
    exchange.responder.write(event);
    return exchange.responder.finish();
  }
  std::string last;
  if (exchange.asked.include_usage && outcome == Outcome::kCompleteUsageMissing)
    net::append_sse_data(
        api::usage_chunk(exchange.identity, charged_usage(exchange.gateway.last_event())), &last);
  if (exchange.wants_receipt) {
    HeaderList headers;
    add_receipt(exchange, &headers);
    for (const net::Header& header : headers.view())
      last.append(": ").append(header.name).append(": ").append(header.value).append("\n");
    last.append("\n");
  }
  exchange.responder.write(last.append(net::kSseDone));
  exchange.responder.finish();
}

// One behind the empty line that ends the first event of `bytes`; npos: it is not complete.
size_t event_end(std::string_view bytes) {
  for (size_t at = 0; (at = bytes.find('\n', at)) != std::string_view::npos;) {
    ++at;
    if (at < bytes.size() && bytes[at] == '\n') return at + 1;
    if (at + 1 < bytes.size() && bytes[at] == '\r' && bytes[at + 1] == '\n') return at + 2;
  }
  return std::string_view::npos;
}

// "" where there is none, or more than one line of it.
std::string_view event_data(std::string_view event) {
  std::string_view data;
  while (!event.empty()) {
    std::string_view line = event.substr(0, event.find('\n'));
    event.remove_prefix(std::min(event.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.starts_with("data:")) continue;
    if (!data.empty()) return {};
    data = line.substr(line.starts_with("data: ") ? 6 : 5);
  }
  return data;
}

// Thoughts and tool calls are no text that a replica could go on behind.
void keep_text(const EventView& event, Exchange* exchange) {
  const std::string_view text = api::text_in_chunk(event.data);
  exchange->text.append(text);
  exchange->keeps_text = static_cast<int64_t>(text.size()) == event.answer.text_bytes &&
                         exchange->text.size() <= kKeptTextBytesMax;
  if (!exchange->keeps_text) exchange->text = {};
}

EventView read_event(Exchange& exchange, std::string_view text) {
  EventView event;
  event.text = text;
  event.data = event_data(text);
  if (!event.data.starts_with('{')) return event;
  const size_t ids_before = exchange.emitted_ids.size();
  event.answer = api::read_relayed_answer(event.data, &exchange.emitted_ids);
  const auto ids = static_cast<int64_t>(exchange.emitted_ids.size() - ids_before);
  event.output_tokens = ids > 0 ? ids : event.answer.has_output ? 1 : 0;
  if (event.answer.has_output && ids == 0) {
    exchange.ids_complete = false;
    exchange.emitted_ids = {};
  }
  if (event.answer.has_output && exchange.keeps_text) keep_text(event, &exchange);
  return event;
}

// Passes the events on that `bytes` completes; returns how many bytes are done with. Neighbours
// that pass unchanged go out in one write.
class EventForwarder {
 public:
  explicit EventForwarder(Exchange& exchange) : exchange_(exchange) {}

  size_t forward(std::string_view bytes) {
    size_t at = 0;
    for (;;) {
      const size_t length = event_end(bytes.substr(at));
      if (length == std::string_view::npos) break;
      const std::string_view text = bytes.substr(at, length);
      at += length;
      EventView event = read_event(exchange_, text);
      if (event.answer.is_error) {
        flush();
        exchange_.call.cancel();
        upstream_failed(exchange_,
                        exchange_.begun ? UpstreamOutcome::kBroken : UpstreamOutcome::kServerError,
                        "the model's replica reports an error");
        return bytes.size();
      }
      const EventAction action = run_backward(exchange_, &event);
      take(action, event);
      if (action != EventAction::kEnd) continue;
      finish_stream(exchange_);
      return bytes.size();
    }
    flush();
    return at;
  }

 private:
  void take(EventAction action, const EventView& event) {
    if (action == EventAction::kForward) {
      pending_ = pending_.empty()
                     ? event.text
                     : std::string_view(pending_.data(), pending_.size() + event.text.size());
      return;
    }
    flush();
    if (action == EventAction::kReplace) write(event.replacement);
  }
  void flush() { write(std::exchange(pending_, {})); }
  void write(std::string_view bytes) {
    if (bytes.empty() || !exchange_.responder.is_open()) return;
    begin_stream(exchange_);
    if (!std::exchange(exchange_.begun, true)) exchange_.gateway.options().metrics.streaming.add();
    exchange_.responder.write(bytes);
  }

  Exchange& exchange_;
  std::string_view pending_;  // events side by side that wait to be written
};

void hold_back(Exchange& exchange) {
  if (exchange.paused ||
      exchange.responder.buffered_bytes() <= exchange.gateway.options().edge.buffered_bytes_max)
    return;
  exchange.paused = true;
  exchange.call.pause();
  exchange.responder.on_drained([weak = exchange.weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr || self->state == Exchange::State::kEnded) return;
    self->paused = false;
    self->call.resume();
  });
}

}  // namespace

// ---- for the filters ----------------------------------------------------------------------------

void exclude_from_resuming(Exchange* exchange) {
  const contract::Place place = exchange->attempt().replica->pool->pool->place;
  for (const ReplicaEntry* entry : exchange->model->replicas) {
    const std::string& id = entry->replica->id;
    if (may_continue(*exchange, *entry->replica) && entry->pool->pool->place == place) continue;
    if (std::ranges::find(exchange->tried, id) == exchange->tried.end())
      exchange->tried.push_back(id);
  }
}

Forward send_upstream(Exchange& exchange) {
  Gateway& gateway = exchange.gateway;
  Upstream* upstream = gateway.upstreams().find(*exchange.attempt().replica);
  if (upstream == nullptr) {
    upstream_failed(exchange, UpstreamOutcome::kConnectError,
                    "the model's replica is out of reach");
    return Forward::kAnswered;
  }
  HeaderList& headers = gateway.header_list();
  for (const net::OwnedHeader& header : exchange.forwarded) headers.add(header.name, header.value);
  headers.add("x-request-id", to_text(exchange.id));
  headers.add_text("traceparent",
                   [&](std::string* text) { append_text(exchange.span.self, text); });
  if (!exchange.trace_state.empty()) headers.add("tracestate", exchange.trace_state);
  if (!upstream->authorization.empty()) headers.add("authorization", upstream->authorization);
  if (!upstream->engine_key.empty()) headers.add("x-sluice-key", upstream->engine_key);
  exchange.is_events = false;
  exchange.paused = false;
  exchange.state = Exchange::State::kSent;
  if (exchange.attempts.size() == 1 && !exchange.waited)
    gateway.options().metrics.added.record_ns(gateway.now_ns() - exchange.arrived_ns);
  exchange.call =
      upstream->client->send({.method = net::Method::kPost,
                              .target = upstream->targets[static_cast<size_t>(exchange.kind)],
                              .headers = headers.view(),
                              .body = outgoing_body(exchange, *upstream)},
                             exchange.shared_from_this());
  return Forward::kAnswered;
}

EventAction keep_one_stream(Exchange& exchange, EventView* event) {
  const api::RelayedAnswer& answer = event->answer;
  const bool resumed = exchange.resumes > 0;
  if (!resumed && answer.has_choices && !exchange.identity.known())
    exchange.identity = api::stream_identity(event->data);
  if (!resumed && !answer.has_token_ids) return EventAction::kForward;
  const bool says_nothing = !answer.has_output && answer.finish_reason.empty() && !answer.usage;
  if (resumed && says_nothing) return EventAction::kHold;  // the role, which the client has
  std::string data = api::without_token_ids(event->data);
  if (resumed) data = api::with_identity(data, exchange.identity);
  if (answer.usage && exchange.attempt().goes_on_by == GoesOnBy::kText)
    data =
        api::with_answer_tokens(data, exchange.output_tokens() - exchange.attempt().output_tokens);
  net::append_sse_data(data, &event->replacement);
  return EventAction::kReplace;
}

void begin_stream(Exchange& exchange) {
  if (std::exchange(exchange.head_sent, true)) return;
  HeaderList& headers = exchange.gateway.header_list();
  headers.add("Content-Type", net::kSseContentType);
  headers.add("Cache-Control", "no-cache");
  headers.add("X-Accel-Buffering", "no");
  run_start(exchange, &headers);
  exchange.responder.start_stream(200, headers.view());
}

void end_with_error(Exchange& exchange, Outcome outcome, const api::Error& error) {
  const bool streams = exchange.head_sent;
  const bool kept = exchange.gateway.end(exchange, outcome, streams ? 200 : error.status);
  const api::Error& said = kept ? error : api::overloaded("the request could not be recorded", 5);
  if (!exchange.responder.is_open()) return;
  if (streams) {
    std::string event;
    net::append_sse_data(api::to_json(said), &event);
    exchange.responder.write(event);
    return exchange.responder.finish();
  }
  net::Response response = error_response(said, "");
  HeaderList& headers = exchange.gateway.header_list();
  run_start(exchange, &headers);
  for (const net::Header& header : headers.view())
    response.headers.push_back({std::string(header.name), std::string(header.value)});
  exchange.responder.send(response);
}

void give_up(Exchange& exchange) {
  const bool late = exchange.failure == UpstreamOutcome::kTimeout ||
                    exchange.failure == UpstreamOutcome::kStalled;
  end_with_error(exchange,
                 late                       ? Outcome::kTimedOut
                 : exchange.attempt().usage ? Outcome::kUpstreamErrorWithUsage
                                            : Outcome::kUpstreamError,
                 failure_error(exchange));
}

void upstream_stalled(Exchange& exchange) {
  exchange.call.cancel();
  upstream_failed(
      exchange,
      exchange.first_token_ns == 0 ? UpstreamOutcome::kTimeout : UpstreamOutcome::kStalled, "");
}

// ---- from the upstream --------------------------------------------------------------------------

void Exchange::on_head(const net::ResponseHead& head) {
  if (state == State::kEnded) return;
  upstream_status = head.status;
  upstream_headers.clear();
  for (const net::Header& header : head.headers)
    if (passes_back(header.name) || net::equal_ignoring_case(header.name, "retry-after"))
      upstream_headers.push_back({std::string(header.name), std::string(header.value)});
  collected.clear();
  is_events = is_success(head.status) && is_event_stream(head.header("content-type").value_or(""));
}

void Exchange::on_whole(const net::ResponseHead& head, std::string_view whole_body) {
  if (state == State::kEnded) return;
  if (is_success(head.status) && !head_sent &&
      !is_event_stream(head.header("content-type").value_or(""))) {
    upstream_status = head.status;
    if (pass_whole(*this, head.headers, whole_body)) return;
  }
  on_head(head);
  if (is_events) return on_body(whole_body);
  collected = whole_body;  // on_end() comes next, and then another replica may be asked
}

void Exchange::on_body(std::string_view bytes) {
  if (state == State::kEnded) return;
  const EdgeLimits& edge = gateway.options().edge;
  if (!is_events) {
    collected.append(bytes);
    if (static_cast<int64_t>(collected.size()) <= edge.answer_bytes_max) return;
    call.cancel();
    return upstream_failed(*this, UpstreamOutcome::kServerError, "the answer is too large");
  }
  const std::shared_ptr<Exchange> self = shared_from_this();
  const size_t attempts_before = attempts.size();
  const bool kept = !collected.empty();
  if (kept) collected.append(bytes);
  const std::string whole = kept ? std::exchange(collected, {}) : std::string();
  const std::string_view events = kept ? std::string_view(whole) : bytes;
  const size_t used = EventForwarder(*this).forward(events);
  if (state == State::kEnded || attempts.size() != attempts_before) return;
  collected = events.substr(used);
  if (static_cast<int64_t>(collected.size()) > edge.event_bytes_max) {
    call.cancel();
    return upstream_failed(*this, UpstreamOutcome::kBroken, "an event is too large");
  }
  hold_back(*this);
}

void Exchange::on_end(net::CallEnd end, std::string_view message) {
  if (state == State::kEnded || state == State::kWaiting) return;
  if (end != net::CallEnd::kComplete)
    return upstream_failed(*this, outcome_of(end, *this), message);
  if (!is_success(upstream_status)) return pass_refusal(*this, std::exchange(collected, {}));
  if (is_events && is_finished(*this)) return finish_stream(*this);
  if (!is_events && !head_sent) {
    if (pass_whole(*this, upstream_headers, std::exchange(collected, {}))) return;
    return upstream_failed(*this, UpstreamOutcome::kServerError,
                           "the model's replica answers without an answer");
  }
  upstream_failed(*this, outcome_of(end, *this), "the answer ended before it was complete");
}

}  // namespace sluice::gateway
