#include "api/model_list.h"

#include "api/json_writer.h"

namespace sluice::api {
namespace {

void write_model(JsonWriter* json, const ModelCard& card) {
  json->begin_object();
  json->key("id").string(card.id);
  json->key("object").string("model");
  json->key("created").integer(card.created_s);
  json->key("owned_by").string("sluice");
  json->key("root").string(card.root);
  json->key("parent").null();
  if (card.context_tokens_max > 0) json->key("max_model_len").integer(card.context_tokens_max);
  json->key("permission").begin_array().end_array();
  json->end_object();
}

}  // namespace

std::string model_json(const ModelCard& card) {
  JsonWriter json;
  write_model(&json, card);
  return json.take();
}

std::string model_list_json(const std::vector<ModelCard>& cards) {
  JsonWriter json;
  json.begin_object().key("object").string("list").key("data").begin_array();
  for (const ModelCard& card : cards) write_model(&json, card);
  json.end_array().end_object();
  return json.take();
}

std::string version_json(const std::string& version) {
  JsonWriter json;
  json.begin_object().key("version").string(version).end_object();
  return json.take();
}

std::string server_info_json(const ServerInfo& info) {
  JsonWriter json;
  json.begin_object();
  json.key("version").string(info.version);
  json.key("model_path").string(info.model.root);
  json.key("served_model_name").string(info.model.id);
  json.key("model_digest").string(info.model_digest);
  json.key("context_length").integer(info.model.context_tokens_max);
  json.key("settings").begin_object();
  for (const Setting& setting : info.settings) json.key(setting.name).string(setting.value);
  json.end_object().end_object();
  return json.take();
}

}  // namespace sluice::api
