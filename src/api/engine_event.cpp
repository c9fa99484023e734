#include "api/engine_event.h"

#include <charconv>

#include <fmt/format.h>

#include "api/json.h"
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
  json->key("kv_pages_cached").integer(load.pages_cached);
  json->key("prefill_tokens_per_s").number(load.prefill_tokens_per_s);
  json->key("decode_tokens_per_s").number(load.decode_tokens_per_s);
  json->key("decode_step_ms").number(load.decode_step_ms);
  json->end_object();
}

// Members of one object; the first that is missing or of another type is remembered.
class Members {
 public:
  explicit Members(const Json& object) : object_(object) {}

  template <typename T>
  T read(std::string_view key) {
    const Json* const member = object_.find(key);
    const T* const value = member ? member->as<T>() : nullptr;
    if (!value && faulty_.empty()) faulty_ = key;
    return value ? *value : T{};
  }
  double number(std::string_view key) {
    const Json* const member = object_.find(key);
    if (member && member->as<int64_t>()) return static_cast<double>(*member->as<int64_t>());
    return read<double>(key);
  }
  uint64_t hexadecimal(std::string_view key) {
    return from_hexadecimal(read<std::string>(key), key);
  }
  std::vector<uint64_t> pages(std::string_view key) {
    std::vector<uint64_t> pages;
    for (const Json& page : read<Json::Array>(key)) {
      const auto* text = page.as<std::string>();
      pages.push_back(from_hexadecimal(text ? *text : "", key));
    }
    return pages;
  }
  const std::string& faulty() const { return faulty_; }

 private:
  uint64_t from_hexadecimal(std::string_view text, std::string_view key) {
    uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto read_to = std::from_chars(text.data(), end, number, 16);
    if ((text.size() != 16 || read_to.ptr != end) && faulty_.empty()) faulty_ = key;
    return number;
  }

  const Json& object_;
  std::string faulty_;
};

}  // namespace

Parsed<HeardEngineEvent> parse_engine_event(std::string_view text) {
  const Json json = TRY(parse_json_object(text));
  Members members(json);
  HeardEngineEvent event;
  event.epoch = members.read<std::string>("epoch");
  event.sequence = static_cast<uint64_t>(members.read<int64_t>("sequence"));
  event.snapshot = members.read<bool>("snapshot");
  event.name_space = members.hexadecimal("namespace");
  event.page_tokens = members.read<int64_t>("page_tokens");
  if (json.find("max_model_len")) event.context_tokens_max = members.read<int64_t>("max_model_len");
  event.draining = members.read<std::string>("state") == "draining";
  event.added = members.pages("added");
  event.removed = members.pages("removed");
  const Json* const load_object = json.find("load");
  Members load(load_object ? *load_object : json);
  event.load.running = load.read<int64_t>("running");
  event.load.waiting = load.read<int64_t>("waiting");
  event.load.queued_prompt_tokens = load.read<int64_t>("queued_prompt_tokens");
  event.load.pages = load.read<int64_t>("kv_pages");
  event.load.pages_used = load.read<int64_t>("kv_pages_used");
  event.load.pages_cached = load.read<int64_t>("kv_pages_cached");
  event.load.prefill_tokens_per_s = load.number("prefill_tokens_per_s");
  event.load.decode_tokens_per_s = load.number("decode_tokens_per_s");
  event.load.decode_step_ms = load.number("decode_step_ms");
  if (!members.faulty().empty()) return invalid_field(members.faulty(), "missing, or another type");
  if (!load.faulty().empty())
    return invalid_field("load." + load.faulty(), "missing, or another type");
  return event;
}

std::string to_json(const EngineEvent& event) {
  JsonWriter json;
  json.begin_object();
  json.key("epoch").string(event.epoch);
  json.key("sequence").integer(static_cast<int64_t>(event.sequence));
  json.key("snapshot").boolean(event.snapshot);
  json.key("namespace").string(hexadecimal(event.name_space));
  json.key("page_tokens").integer(event.page_tokens);
  json.key("max_model_len").integer(event.context_tokens_max);
  json.key("state").string(event.draining ? "draining" : "ready");
  write_load(&json, event.load);
  write_pages(&json, "added", event.added);
  write_pages(&json, "removed", event.removed);
  json.end_object();
  return json.take();
}

}  // namespace sluice::api
