#include "server/api_server.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "net/sse.h"
#include "server/api_server_impl.h"
#include "server/metrics_text.h"

namespace sluice::server {
namespace {

using Impl = ApiServer::Impl;

enum class Access : uint8_t { kOpen, kKey };  // kKey: with an API key, where there are keys

struct Route {
  net::Method method;
  std::string_view path;  // "…/" at the end: and whatever follows
  Access access;
  void (Impl::*handle)(Ticket ticket, const net::Request& request);
};

constexpr Route kRoutes[] = {
    {net::Method::kPost, "/v1/chat/completions", Access::kKey, &Impl::generate_chat},
    {net::Method::kPost, "/v1/completions", Access::kKey, &Impl::generate_completion},
    {net::Method::kGet, "/v1/models", Access::kKey, &Impl::list_models},
    {net::Method::kGet, "/v1/models/", Access::kKey, &Impl::show_model},
    {net::Method::kPost, "/tokenize", Access::kKey, &Impl::tokenize},
    {net::Method::kPost, "/detokenize", Access::kKey, &Impl::detokenize},
    {net::Method::kPost, "/flush_cache", Access::kKey, &Impl::flush_cache},
    {net::Method::kGet, "/internal/events", Access::kOpen, &Impl::show_events},  // gateway's key
    {net::Method::kGet, "/server_info", Access::kKey, &Impl::show_server_info},
    {net::Method::kGet, "/health", Access::kOpen, &Impl::show_ready},
    {net::Method::kGet, "/readyz", Access::kOpen, &Impl::show_ready},
    {net::Method::kGet, "/readiness", Access::kOpen, &Impl::show_ready},
    {net::Method::kGet, "/ping", Access::kOpen, &Impl::show_alive},
    {net::Method::kPost, "/ping", Access::kOpen, &Impl::show_alive},
    {net::Method::kGet, "/livez", Access::kOpen, &Impl::show_alive},
    {net::Method::kGet, "/liveness", Access::kOpen, &Impl::show_alive},
    {net::Method::kGet, "/metrics", Access::kOpen, &Impl::show_metrics},
    {net::Method::kGet, "/version", Access::kOpen, &Impl::show_version},
};

bool matches(const Route& route, std::string_view path) {
  return route.path.ends_with('/') ? path.starts_with(route.path) && path.size() > route.path.size()
                                   : path == route.path;
}

// Of the routes with this path, the one with this method; `allowed` lists the methods there are.
const Route* find_route(net::Method method, std::string_view path, std::string* allowed) {
  const net::Method wanted = method == net::Method::kHead ? net::Method::kGet : method;
  for (const Route& route : kRoutes) {
    if (!matches(route, path)) continue;
    if (route.method == wanted) return &route;
    if (!allowed->empty()) *allowed += ", ";
    *allowed += net::method_text(route.method);
  }
  return nullptr;
}

constexpr double kChoiceBounds[] = {1, 2, 5, 10, 20};

}  // namespace

std::optional<api::Error> check_access(const net::Request& request,
                                       std::span<const std::string> api_keys) {
  std::string allowed;
  const Route* route = find_route(request.method, request.path, &allowed);
  if (request.method == net::Method::kOptions && (!allowed.empty() || request.path == "*"))
    return std::nullopt;
  if (route == nullptr && allowed.empty())
    return api::not_found(fmt::format("there is no path '{}' here", request.path));
  if (route == nullptr)
    return api::method_not_allowed(fmt::format("'{}' takes {}, not {}", request.path, allowed,
                                               net::method_text(request.method)),
                                   allowed);
  if (route->access == Access::kKey && !is_authorized(request, api_keys))
    return api::invalid_api_key("send a valid API key as 'Authorization: Bearer KEY'");
  return std::nullopt;
}

Impl::Impl(ApiServerConfig config_in, ApiServerParts parts_in)
    : config(std::move(config_in)),
      parts(std::move(parts_in)),
      replier{.allowed_origin = config.allowed_origin},
      created_s(parts.clock.unix_ns() / 1'000'000'000),
      request_n(kChoiceBounds),
      loop_builder(parts.prompt_model),
      worker_builder(parts.prompt_model),
      generations(parts.engine),
      event_streams({.name_space = parts.engine.config().cache_namespace,
                     .page_tokens = config.page_tokens,
                     .context_tokens_max = parts.prompt_model.context_tokens_max,
                     .epoch = random_hex(~config.id_seed, ~uint64_t{0})},
                    {.loop = parts.loop, .engine = parts.engine, .pages = parts.pages}),
      ping_timer(parts.loop),
      drain_timer(parts.loop),
      http({.loop = parts.loop,
            .limits = config.http_limits,
            .handler = [this](const net::Request& request,
                              net::Responder responder) { handle(request, std::move(responder)); },
            .check_head = [this](const net::Request& head) { return check_head(head); },
            .refusal =
                [this](int status, std::string_view message) {
                  return replier.refusal(new_request_id(config.id_seed, &requests),
                                         api::from_status(status, message));
                },
            .tls = config.tls}),
      worker(config.prepare_queue_max) {
  parts.bridge.set_receiver([this](const EventBatch& batch) {
    generations.on_events(batch, parts.clock.now_ns());
    end_drain_if_idle();
  });
  start_ping_timer();
}

void Impl::handle(const net::Request& request, net::Responder responder) {
  const int64_t now_ns = parts.clock.now_ns();
  Ticket ticket{.responder = std::move(responder),
                .request_id = request_id_of(request, config.id_seed, &requests),
                .started_ns = now_ns};
  if (const auto error = check_access(request, config.api_keys)) return refuse(ticket, *error);
  if (request.method == net::Method::kOptions) return replier.preflight(ticket, request);
  std::string allowed;
  const Route* route = find_route(request.method, request.path, &allowed);
  (this->*route->handle)(std::move(ticket), request);
}

std::optional<net::Response> Impl::check_head(const net::Request& head) {
  const auto error = check_access(head, config.api_keys);
  if (!error) return std::nullopt;
  return replier.refusal(request_id_of(head, config.id_seed, &requests), *error);
}

void Impl::refuse(const Ticket& ticket, const api::Error& error) {
  replier.error(ticket, error, parts.clock.now_ns());
}

PrepareContext Impl::context(prompt::PromptBuilder& builder, GatewayKey key) const {
  return {.limits = config.request_limits,
          .model_names = config.model_names,
          .builder = builder,
          .gateway_key = key};
}

api::ModelCard Impl::card(const std::string& name) const {
  return {.id = name,
          .created_s = created_s,
          .root = config.model_root,
          .context_tokens_max = parts.prompt_model.context_tokens_max};
}

void Impl::list_models(Ticket ticket, const net::Request&) {
  std::vector<api::ModelCard> cards;
  for (const std::string& name : config.model_names) cards.push_back(card(name));
  replier.json(ticket, api::model_list_json(cards), parts.clock.now_ns());
}

void Impl::show_model(Ticket ticket, const net::Request& request) {
  constexpr std::string_view kPrefix = "/v1/models/";
  const std::optional<std::string> name = net::percent_decode(request.path.substr(kPrefix.size()));
  const auto& names = config.model_names;
  if (!name || std::find(names.begin(), names.end(), *name) == names.end())
    return refuse(ticket, api::model_not_found(name.value_or("")));
  replier.json(ticket, api::model_json(card(*name)), parts.clock.now_ns());
}

void Impl::tokenize(Ticket ticket, const net::Request& request) {
  prepare(
      std::move(ticket), request.body,
      [this](std::string_view body, prompt::PromptBuilder& builder) {
        return answer_tokenize(body, context(builder), parts.prompt_model);
      },
      [this](Ticket done, api::Parsed<std::string> answer) {
        if (!answer.ok()) return refuse(done, answer.error());
        replier.json(done, std::move(answer).value(), parts.clock.now_ns());
      });
}

void Impl::detokenize(Ticket ticket, const net::Request& request) {
  prepare(
      std::move(ticket), request.body,
      [this](std::string_view body, prompt::PromptBuilder& builder) {
        return answer_detokenize(body, context(builder), parts.prompt_model);
      },
      [this](Ticket done, api::Parsed<std::string> answer) {
        if (!answer.ok()) return refuse(done, answer.error());
        replier.json(done, std::move(answer).value(), parts.clock.now_ns());
      });
}

void Impl::show_alive(Ticket ticket, const net::Request&) {
  replier.json(ticket, R"({"status":"ok"})", parts.clock.now_ns());
}

void Impl::show_ready(Ticket ticket, const net::Request& request) {
  if (draining) return refuse(ticket, shutting_down());
  show_alive(std::move(ticket), request);
}

void Impl::show_metrics(Ticket ticket, const net::Request&) {
  const engine::EngineStats stats = parts.engine.stats();
  replier.text(ticket, "text/plain; version=0.0.4; charset=utf-8",
               metrics_text({.engine = stats,
                             .http = http.stats(),
                             .request_n = request_n,
                             .model_name = config.model_names.front(),
                             .page_tokens = config.page_tokens,
                             .resident_bytes = parts.resident_bytes()}),
               parts.clock.now_ns());
}

void Impl::show_version(Ticket ticket, const net::Request&) {
  replier.json(ticket, api::version_json(config.version), parts.clock.now_ns());
}

void Impl::show_server_info(Ticket ticket, const net::Request&) {
  replier.json(ticket,
               api::server_info_json({.version = config.version,
                                      .model = card(config.model_names.front()),
                                      .model_digest = config.model_digest,
                                      .settings = config.settings}),
               parts.clock.now_ns());
}

GatewayKey Impl::gateway_key_of(const net::Request& request) const {
  if (config.gateway_key.empty()) return GatewayKey::kNotConfigured;
  const auto given = request.header("x-sluice-key");
  if (!given) return GatewayKey::kNone;
  return equal_in_constant_time(*given, config.gateway_key) ? GatewayKey::kValid
                                                            : GatewayKey::kWrong;
}

void Impl::show_events(Ticket ticket, const net::Request& request) {
  switch (gateway_key_of(request)) {
    case GatewayKey::kNotConfigured:
      return refuse(ticket, api::not_found("this server was started without --gateway-key-file"));
    case GatewayKey::kNone:
    case GatewayKey::kWrong:
      return refuse(ticket, api::not_the_gateway("send the gateway's key as x-sluice-key"));
    case GatewayKey::kValid:
      break;
  }
  if (request.method == net::Method::kHead)  // a stream without a body would have no end
    return replier.text(ticket, net::kSseContentType, "", parts.clock.now_ns());
  const auto error = event_streams.open(ticket.responder, request.header("last-event-id"));
  if (error) refuse(ticket, *error);
}

void Impl::flush_cache(Ticket ticket, const net::Request&) {
  parts.engine.flush_cache();
  replier.text(ticket, "text/plain", "Cache flushed.\n", parts.clock.now_ns());
}

void Impl::start_ping_timer() {
  ping_timer.start(config.ping_period_ns, [this] {
    const int64_t now_ns = parts.clock.now_ns();
    generations.ping(now_ns - config.ping_after_ns, now_ns);
    start_ping_timer();
  });
}

ApiServer::ApiServer(ApiServerConfig config, ApiServerParts parts)
    : impl_(std::make_unique<Impl>(std::move(config), std::move(parts))) {}

ApiServer::~ApiServer() = default;

core::Result<uint16_t> ApiServer::listen(std::string_view host, uint16_t port) {
  return impl_->http.listen(host, port);
}

}  // namespace sluice::server
