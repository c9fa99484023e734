#include "api/engine_event.h"

#include <charconv>

#include <fmt/format.h>

#include "api/field_reader.h"
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

Parsed<uint64_t> from_hexadecimal(std::string_view text, std::string_view where) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (text.empty() || error != std::errc() || end != text.data() + text.size())
    return invalid_field(where, fmt::format("'{}' is '{}', no hexadecimal number", where, text));
  return number;
}

Parsed<std::vector<uint64_t>> read_pages(const FieldReader& fields, std::string_view key) {
  std::vector<uint64_t> pages;
  const Json* json = fields.find(key);
  if (json == nullptr) return pages;
  const auto* array = json->as<Json::Array>();
  if (array == nullptr) return fields.wrong_type(key, "a list of pages", *json);
  for (const Json& item : *array) {
    const auto* text = item.as<std::string>();
    if (text == nullptr) return fields.wrong_type(key, "a list of pages", *json);
    pages.push_back(TRY(from_hexadecimal(*text, key)));
  }
  return pages;
}

constexpr IntegerRange kCount = {.least = 0, .most = INT64_MAX};
constexpr NumberRange kSpeed = {.least = 0, .most = 1e15};

Parsed<EngineLoad> read_load(const FieldReader& fields) {
  EngineLoad load;
  const Json* json = fields.find("load");
  if (json == nullptr) return load;
  const FieldReader reader(*json, "load.");
  load.running = TRY(reader.integer("running", kCount)).value_or(0);
  load.waiting = TRY(reader.integer("waiting", kCount)).value_or(0);
  load.queued_prompt_tokens = TRY(reader.integer("queued_prompt_tokens", kCount)).value_or(0);
  load.pages = TRY(reader.integer("kv_pages", kCount)).value_or(0);
  load.pages_used = TRY(reader.integer("kv_pages_used", kCount)).value_or(0);
  load.prefill_tokens_per_s = TRY(reader.number("prefill_tokens_per_s", kSpeed)).value_or(0);
  load.decode_tokens_per_s = TRY(reader.number("decode_tokens_per_s", kSpeed)).value_or(0);
  load.decode_step_ms = TRY(reader.number("decode_step_ms", kSpeed)).value_or(0);
  return load;
}

}  // namespace

Parsed<EngineNews> parse_engine_event(std::string_view text) {
  const Json json = TRY(parse_json_object(text));
  const FieldReader fields(json);
  EngineNews news;
  news.epoch = TRY(fields.string("epoch")).value_or("");
  news.sequence = static_cast<uint64_t>(TRY(fields.integer("sequence", kCount)).value_or(0));
  news.snapshot = TRY(fields.boolean("snapshot")).value_or(false);
  const std::string name_space = TRY(fields.string("namespace")).value_or("");
  news.name_space = TRY(from_hexadecimal(name_space, "namespace"));
  constexpr IntegerRange kPageTokens = {.least = 1, .most = 1 << 20};
  news.page_tokens = TRY(fields.integer("page_tokens", kPageTokens)).value_or(1);
  news.draining = TRY(fields.string("state")).value_or("") == "draining";
  news.load = TRY(read_load(fields));
  news.added = TRY(read_pages(fields, "added"));
  news.removed = TRY(read_pages(fields, "removed"));
  return news;
}

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
