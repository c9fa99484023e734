// Which request goes where, and those that need no upstream.
#include <algorithm>

#include "api/model_list.h"
#include "gateway/edge/gateway.h"

namespace sluice::gateway {
namespace {

constexpr std::string_view kModels = "/v1/models/";

bool reads(net::Method method) {
  return method == net::Method::kGet || method == net::Method::kHead;
}

api::ModelCard card_of(const RoutingTable& table, const ModelEntry& entry) {
  return {.id = entry.model->id,
          .created_s = entry.model->created_unix_s,
          .root = entry.model->id,
          .context_tokens_max = table.context_tokens(entry)};
}

}  // namespace

// Paths as they are written: another spelling of one (an escape, a dot segment) is another path.
struct Gateway::RouteRow {
  std::string_view path;
  bool posts = false;
  std::optional<contract::EventKind> kind;
  void (Gateway::*answer)(const net::Request& request, net::Responder responder) = nullptr;
};

const Gateway::RouteRow* Gateway::find_route(const net::Request& request) {
  static constexpr RouteRow kRows[] = {
      {"/v1/chat/completions", true, contract::EventKind::kChatCompletion},
      {"/v1/completions", true, contract::EventKind::kCompletion},
      {"/v1/embeddings", true, contract::EventKind::kEmbedding},
      {"/v1/models", false, {}, &Gateway::list_models},
      {"/livez", false, {}, &Gateway::answer_alive},
      {"/health", false, {}, &Gateway::answer_ready},
      {"/readyz", false, {}, &Gateway::answer_ready},
  };
  static constexpr RouteRow kOneModel = {kModels, false, {}, &Gateway::show_model};
  for (const RouteRow& row : kRows)
    if (row.path == request.path) return &row;
  const bool one_model = request.path.starts_with(kModels) && request.path.size() > kModels.size();
  return one_model ? &kOneModel : nullptr;
}

void Gateway::handle(const net::Request& request, net::Responder responder) {
  const RouteRow* row = find_route(request);
  if (row == nullptr)
    return responder.send(error_reply(api::not_found("there is nothing at this path"), ""));
  if (request.method == net::Method::kOptions && !options_.allowed_origin.empty())
    return answer_preflight(request, std::move(responder));
  const bool allowed = row->posts ? request.method == net::Method::kPost : reads(request.method);
  if (!allowed) {
    const std::string_view allow = row->posts ? "POST" : "GET, HEAD";
    return responder.send(
        error_reply(api::method_not_allowed("this path does not take this method", allow), ""));
  }
  if (row->kind) return begin(request, std::move(responder), *row->kind);
  (this->*row->answer)(request, std::move(responder));
}

std::optional<net::Response> Gateway::check_head(const net::Request& head) {
  const RouteRow* row = find_route(head);
  if (row == nullptr || !row->kind || head.method != net::Method::kPost) return std::nullopt;
  const Caller caller = authenticate(head);
  if (!caller.refusal) return std::nullopt;
  return error_reply(*caller.refusal, to_text(options_.request_ids.next()));
}

net::Response Gateway::refusal(int status, std::string_view message) {
  return error_reply(api::from_status(status, message), to_text(options_.request_ids.next()));
}

// ---- what every answer from here carries --------------------------------------------------------

void Gateway::allow_origin(HeaderList* headers) const {
  if (options_.allowed_origin.empty()) return;
  headers->add("access-control-allow-origin", options_.allowed_origin);
  headers->add("access-control-expose-headers",
               "x-request-id, retry-after, retry-after-ms, x-sluice-cost");
}

net::Response Gateway::error_reply(const api::Error& error, std::string_view request_id) const {
  net::Response response = error_response(error, request_id);
  HeaderList headers;
  allow_origin(&headers);
  for (const net::Header& header : headers.view())
    response.headers.push_back({std::string(header.name), std::string(header.value)});
  return response;
}

void Gateway::send_json(net::Responder& responder, int status, std::string_view body) {
  HeaderList& headers = header_list();
  headers.add("Content-Type", "application/json");
  allow_origin(&headers);
  if (status == 503) headers.add("Retry-After", "1");
  responder.send(status, headers.view(), body);
}

// A browser asks whether a page may send a request.
void Gateway::answer_preflight(const net::Request& request, net::Responder responder) {
  HeaderList& headers = header_list();
  allow_origin(&headers);
  headers.add("access-control-allow-methods", "GET, POST, OPTIONS");
  headers.add("access-control-allow-headers",
              request.header("access-control-request-headers").value_or("*"));
  headers.add("access-control-max-age", "86400");
  responder.send(204, headers.view(), "");
}

// ---- what there is here -------------------------------------------------------------------------

void Gateway::answer_alive(const net::Request&, net::Responder responder) {
  send_json(responder, 200, R"({"status":"ok"})");
}

void Gateway::answer_ready(const net::Request&, net::Responder responder) {
  if (draining_) return send_json(responder, 503, R"({"status":"draining"})");
  if (table_ == nullptr) return send_json(responder, 503, R"({"status":"starting"})");
  if (!table_->serves(now_ns())) return send_json(responder, 503, R"({"status":"no replica"})");
  send_json(responder, 200, R"({"status":"ok"})");
}

void Gateway::list_models(const net::Request& request, net::Responder responder) {
  const Caller caller = authenticate(request);
  if (caller.refusal) return responder.send(error_reply(*caller.refusal, ""));
  std::vector<api::ModelCard> cards;
  for (const ModelEntry& entry : table_->directory().models())
    if (caller.key->may_use_model(entry)) cards.push_back(card_of(*table_, entry));
  send_json(responder, 200, api::model_list_json(cards));
}

void Gateway::show_model(const net::Request& request, net::Responder responder) {
  const Caller caller = authenticate(request);
  if (caller.refusal) return responder.send(error_reply(*caller.refusal, ""));
  const std::string id =
      net::percent_decode(request.path.substr(kModels.size())).value_or(std::string());
  const ModelEntry* entry = table_->directory().find_model(id);
  if (entry == nullptr || !caller.key->may_use_model(*entry))
    return responder.send(error_reply(api::model_not_found(id), ""));
  send_json(responder, 200, api::model_json(card_of(*table_, *entry)));
}

}  // namespace sluice::gateway
