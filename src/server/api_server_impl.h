// The inside of ApiServer: api_server.cpp has the routes, admission.cpp what makes text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "server/api_server.h"
#include "server/event_streams.h"
#include "server/generation_table.h"
#include "server/prepare.h"
#include "server/reply.h"
#include "server/worker.h"

namespace sluice::server {

struct ApiServer::Impl {
  Impl(ApiServerConfig config_in, ApiServerParts parts_in);

  // Requests.
  void handle(const net::Request& request, net::Responder responder);
  std::optional<net::Response> check_head(const net::Request& head);
  void generate_chat(Ticket ticket, const net::Request& request);
  void generate_completion(Ticket ticket, const net::Request& request);
  void list_models(Ticket ticket, const net::Request& request);
  void show_model(Ticket ticket, const net::Request& request);
  void tokenize(Ticket ticket, const net::Request& request);
  void detokenize(Ticket ticket, const net::Request& request);
  void show_alive(Ticket ticket, const net::Request& request);
  void show_ready(Ticket ticket, const net::Request& request);
  void show_metrics(Ticket ticket, const net::Request& request);
  void show_version(Ticket ticket, const net::Request& request);
  void show_server_info(Ticket ticket, const net::Request& request);
  void show_events(Ticket ticket, const net::Request& request);
  void flush_cache(Ticket ticket, const net::Request& request);

  // Runs `work(builder)` on the loop for a small body and on the worker for a large one, then
  // `done(ticket, result)` on the loop.
  template <typename Work, typename Done>
  void prepare(Ticket ticket, std::string_view body, Work work, Done done);
  void generate(AnswerKind kind, Ticket ticket, const net::Request& request);
  GatewayKey gateway_key_of(const net::Request& request) const;
  void admit(Ticket ticket, PreparedGeneration prepared);
  // Replays what another server has sent. False: the request is answered.
  bool resume(const Ticket& ticket, const PreparedGeneration& prepared, GenerationPlan* plan);
  // The engine's requests for all choices; their counterparts are added to `plan`.
  std::vector<engine::Request> plan_choices(const PreparedGeneration& prepared, int64_t arrived_ns,
                                            GenerationPlan* plan);
  api::Error refusal(engine::Admission admission, AnswerKind kind) const;
  api::Error shutting_down() const;
  void refuse(const Ticket& ticket, const api::Error& error);
  PrepareContext context(prompt::PromptBuilder& builder, GatewayKey key = GatewayKey::kNone) const;
  api::ModelCard card(const std::string& name) const;

  void start_ping_timer();
  void end_drain_if_idle();
  void give_up_drain();
  void finish_drain();

  ApiServerConfig config;
  ApiServerParts parts;
  Replier replier;
  const int64_t created_s;
  uint64_t requests = 0;  // counted for ids
  uint64_t next_engine_id = 1;
  int64_t preparing = 0;  // requests on the worker; request_bytes_max bounds their bodies
  engine::Histogram request_n;
  prompt::PromptBuilder loop_builder;    // the loop's thread only
  prompt::PromptBuilder worker_builder;  // the worker's thread only
  GenerationTable generations;
  EventStreams event_streams;
  net::Timer ping_timer;
  net::Timer drain_timer;
  bool draining = false;
  net::Task on_drained;
  net::HttpServer http;  // its end calls back into the members above
  Worker worker;         // its end comes first: its tasks use everything
};

template <typename Work, typename Done>
void ApiServer::Impl::prepare(Ticket ticket, std::string_view body, Work work, Done done) {
  if (std::ssize(body) <= config.inline_body_bytes_max)
    return done(std::move(ticket), work(body, loop_builder));
  if (preparing >= config.prepare_queue_max)
    return refuse(ticket, api::overloaded("too many large requests are being read already", 1));
  ++preparing;
  auto task = [this, work, done, ticket = std::move(ticket), kept = std::string(body)]() mutable {
    // The ticket holds a responder, which is the loop's: it only passes through this thread.
    auto finish = [this, done, ticket = std::move(ticket),
                   result = work(std::exchange(kept, {}), worker_builder)]() mutable {
      --preparing;
      done(std::move(ticket), std::move(result));
      end_drain_if_idle();
    };
    parts.loop.post(std::move(finish));
  };
  const core::PushResult pushed = worker.push(std::move(task));
  ASSERT(pushed == core::PushResult::kOk, "{} tasks on the worker", preparing);
}

}  // namespace sluice::server
