#include "api/engine_event.h"

#include <fmt/format.h>

#include "api/json_writer.h"

namespace sluice::api {
namespace {

std::string hexadecimal(uint64_t number) {
  return fmt::format("{:016x}", number);
}

void write_pages(JsonWriter* json, std::string_view key, std::span<const uint64_t> pages) {
  json->key(key).begin_array();
  for (const uint64_t page : pages) json->string(hexadecimal(page));
  json->end_array();
}

void write_load(JsonWriter* json, const EngineLoad& load) {
  json->key("load").begin_object();
  json->key("running").integer(load.running);
  json->key("waiting").integer(load.waiting);
  json->key("queued_prompt_tokens").integer(load.queued_prompt_tokens);
  json->key("kv_pages").integer(load.pages);
  json->key("kv_pages_used").integer(load.pages_used);
  json->key("prefill_tokens_per_s").number(load.prefill_tokens_per_s);
  json->key("decode_tokens_per_s").number(load.decode_tokens_per_s);
  json->key("decode_step_ms").number(load.decode_step_ms);
  json->end_object();
}

}  // namespace

std::string to_json(const EngineEvent& event) {
  JsonWriter json;
  json.begin_object();
  json.key("epoch").string(event.epoch);
  json.key("sequence").integer(static_cast<int64_t>(event.sequence));
  json.key("snapshot").boolean(event.snapshot);
  json.key("namespace").string(hexadecimal(event.name_space));
  json.key("page_tokens").integer(event.page_tokens);
  json.key("state").string(event.draining ? "draining" : "ready");
  write_load(&json, event.load);
  write_pages(&json, "added", event.added);
  write_pages(&json, "removed", event.removed);
  json.end_object();
  return json.take();
}

}  // namespace sluice::api
