#include "api/relayed_request.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <iterator>
#include <tuple>
#include <utility>
#include <vector>

#include "api/json_scan.h"
#include "api/json_writer.h"

namespace sluice::api {
namespace {

namespace dom = simdjson::dom;

constexpr int kDepthMax = 64;
constexpr int64_t kTokensMax = 1 << 30;
constexpr int64_t kChoicesMax = 128;
constexpr int64_t kWishedPriorityMax = 1000;
constexpr double kMillisecondsMax = 1e9;
constexpr size_t kWishBytesMax = 256;
constexpr size_t kModelBytesMax = 256;

struct Allowed {
  int64_t least = 0;
  int64_t most = 0;
};

// The fields that are read; each at most once.
enum class Field : uint8_t {
  kModel,
  kStream,
  kStreamOptions,
  kMaxTokens,
  kMaxCompletionTokens,
  kChoices,
  kBestOf,
  kPrompt,  // messages, prompt or input, by the kind
  kText,    // what else a prompt is made of
  kWishes,
  kCacheSalt,
  kForm,  // it prescribes the answer's form, or continues a text itself
  kOther,
};

struct FieldRow {
  std::string_view key;
  Field field;
};
constexpr FieldRow kFields[] = {
    {"model", Field::kModel},
    {"stream", Field::kStream},
    {"stream_options", Field::kStreamOptions},
    {"max_tokens", Field::kMaxTokens},
    {"max_completion_tokens", Field::kMaxCompletionTokens},
    {"n", Field::kChoices},
    {"best_of", Field::kBestOf},
    {"tools", Field::kText},
    {"functions", Field::kText},
    {"response_format", Field::kText},
    {"suffix", Field::kText},
    {"guided_json", Field::kForm},
    {"guided_regex", Field::kForm},
    {"guided_choice", Field::kForm},
    {"guided_grammar", Field::kForm},
    {"structured_outputs", Field::kForm},
    {"json_schema", Field::kForm},
    {"regex", Field::kForm},
    {"ebnf", Field::kForm},
    {"echo", Field::kForm},
    {"add_generation_prompt", Field::kForm},
    {"continue_final_message", Field::kForm},
    {"sluice", Field::kWishes},
    {"cache_salt", Field::kCacheSalt},
};
constexpr std::string_view kFormTexts[] = {"response_format", "suffix"};     // of kText, the same
constexpr std::string_view kPromptKeys[] = {"messages", "prompt", "input"};  // by RelayedKind

// The member whose key begins at `begin`, with the comma behind it or the one before it.
ByteRange whole_member(std::string_view json, size_t begin) {
  const size_t colon = skip_blanks(json, string_end(json, begin));
  const size_t at = skip_blanks(json, colon + 1);
  ByteRange member = {begin, value_end(json, at)};
  const size_t next = skip_blanks(json, member.end);
  if (next < json.size() && json[next] == ',') return {member.begin, next + 1};
  size_t before = begin;
  while (before > 0 && is_json_blank(json[before - 1])) --before;
  if (before > 0 && json[before - 1] == ',') member.begin = before - 1;
  return member;
}

class BodyReader {
 public:
  BodyReader(RelayedKind kind, RelayedRequest* request) : kind_(kind), request_(*request) {}

  // What the values say; false: error() says why not.
  bool read(dom::element body) {
    dom::object object;
    if (body.get_object().get(object) != simdjson::SUCCESS)
      return fail(invalid_json("the request body is not a JSON object"));
    for (const dom::key_value_pair field : object)
      if (!read_field(field.key, field.value)) return false;
    if (!seen(Field::kPrompt))
      return fail(invalid_field(prompt_key(), fmt::format("'{}' is missing", prompt_key())));
    return true;
  }

  // Where they stand. JSON lets a name be spelled with escapes, which hides it from this search.
  bool locate(std::string_view body) {
    const size_t begin = body.find('{');
    request_.object_begin = begin + 1;
    uint32_t found = 0;
    for_each_member(body.substr(begin), [&](std::string_view key, std::string_view value) {
      const Field field = field_of(unquoted(key));
      found |= bit(field);
      const auto at = static_cast<size_t>(value.data() - body.data());
      const ByteRange range = {at, at + value.size()};
      if (field == Field::kModel) request_.model_value = range;
      if (field == Field::kPrompt) request_.prompt_value = range;
      if (field == Field::kMaxTokens) request_.max_tokens_value = range;
      if (field == Field::kMaxCompletionTokens) request_.max_completion_tokens_value = range;
      if (field == Field::kStreamOptions) locate_include_usage(body, range);
      if (field == Field::kCacheSalt) request_.cache_salt_value = range;
      if (field == Field::kWishes)
        request_.wishes_member = whole_member(body, static_cast<size_t>(key.data() - body.data()));
      return true;
    });
    const uint32_t elsewhere = bit(Field::kForm) | bit(Field::kOther);
    const bool all = (seen_ & ~found & ~elsewhere) == 0 &&
                     request_.include_usage_value.found() == include_usage_seen_;
    return all || fail(invalid_json("a field's name is spelled with escapes"));
  }

  const Error& error() const { return error_; }

 private:
  static constexpr uint32_t bit(Field field) { return 1U << static_cast<int>(field); }
  bool seen(Field field) const { return (seen_ & bit(field)) != 0; }
  std::string_view prompt_key() const { return kPromptKeys[static_cast<size_t>(kind_)]; }

  Field field_of(std::string_view key) const {
    if (key == prompt_key()) return Field::kPrompt;
    for (const FieldRow& row : kFields)
      if (row.key == key) return row.field;
    return Field::kOther;
  }

  bool fail(Error error) {
    error_ = std::move(error);
    return false;
  }
  bool wrong_type(std::string_view key, std::string_view expected) {
    return fail(invalid_field(key, fmt::format("'{}' must be {}", key, expected)));
  }
  bool given_twice(std::string_view key) {
    return fail(invalid_field(key, fmt::format("'{}' is given more than once", key)));
  }

  bool read_field(std::string_view key, dom::element value) {
    const Field field = field_of(key);
    if (field == Field::kOther) return true;
    const bool once = field != Field::kText && field != Field::kForm;
    if (once && seen(field)) return given_twice(key);
    seen_ |= bit(field);
    if (value.is_null() && field != Field::kModel && field != Field::kPrompt) return true;
    switch (field) {
      case Field::kModel:
        return read_model(value);
      case Field::kStream:
        return value.get_bool().get(request_.stream) == simdjson::SUCCESS ||
               wrong_type(key, "true or false");
      case Field::kStreamOptions:
        return read_stream_options(value);
      case Field::kMaxTokens:
      case Field::kMaxCompletionTokens:
        return read_max_tokens(key, value);
      case Field::kChoices:
      case Field::kBestOf:
        return read_choices(key, value);
      case Field::kPrompt:
        return read_prompt(value);
      case Field::kText:
        if (std::ranges::find(kFormTexts, key) != std::end(kFormTexts))
          request_.continuable = false;
        return add_text(value, 1);
      case Field::kForm:
        request_.continuable = false;
        return true;
      case Field::kWishes:
        return read_wishes(value);
      case Field::kCacheSalt:
        return read_cache_salt(value);
      case Field::kOther:
        break;
    }
    return true;
  }

  bool read_model(dom::element value) {
    std::string_view name;
    if (value.get_string().get(name) != simdjson::SUCCESS) return wrong_type("model", "a string");
    if (name.empty() || name.size() > kModelBytesMax)
      return fail(invalid_field("model", fmt::format("'model' must have 1 to {} bytes, it has {}",
                                                     kModelBytesMax, name.size())));
    request_.model = name;
    return true;
  }

  bool read_cache_salt(dom::element value) {
    std::string_view salt;
    if (value.get_string().get(salt) != simdjson::SUCCESS)
      return wrong_type("cache_salt", "a string");
    request_.cache_salt = salt;
    return true;
  }

  bool read_stream_options(dom::element value) {
    dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS)
      return wrong_type("stream_options", "an object");
    for (const dom::key_value_pair field : object) {
      if (field.key != "include_usage") continue;
      if (std::exchange(include_usage_seen_, true))
        return given_twice("stream_options.include_usage");
      if (!field.value.is_null() &&
          field.value.get_bool().get(request_.include_usage) != simdjson::SUCCESS)
        return wrong_type("stream_options.include_usage", "true or false");
    }
    return true;
  }

  void locate_include_usage(std::string_view body, ByteRange range) {
    request_.stream_options = range;
    const std::string_view options = body.substr(range.begin, range.end - range.begin);
    if (const auto value = find_member(options, "include_usage")) {
      const auto at = static_cast<size_t>(value->data() - body.data());
      request_.include_usage_value = {at, at + value->size()};
    }
  }

  // A whole number in its range; false: an error is set.
  bool read_integer(std::string_view key, dom::element value, Allowed allowed, int64_t* out) {
    double number = 0;
    if (value.get_double().get(number) != simdjson::SUCCESS || number != std::floor(number))
      return wrong_type(key, "a whole number");
    if (number < static_cast<double>(allowed.least) || number > static_cast<double>(allowed.most))
      return fail(invalid_field(key, fmt::format("'{}' is {}, allowed are {} to {}", key, number,
                                                 allowed.least, allowed.most)));
    *out = static_cast<int64_t>(number);
    return true;
  }

  // Given under both names: which one an engine prefers is not known, the larger is safe.
  bool read_max_tokens(std::string_view key, dom::element value) {
    int64_t tokens = 0;
    if (!read_integer(key, value, {0, kTokensMax}, &tokens)) return false;
    request_.output_tokens_max = std::max(request_.output_tokens_max.value_or(0), tokens);
    return true;
  }

  bool read_choices(std::string_view key, dom::element value) {
    int64_t choices = 0;
    if (!read_integer(key, value, {1, kChoicesMax}, &choices)) return false;
    request_.choices = std::max(request_.choices, choices);
    return true;
  }

  bool read_prompt(dom::element value) {
    dom::array array;
    if (value.get_array().get(array) == simdjson::SUCCESS) return read_prompt_list(array);
    if (kind_ == RelayedKind::kChat) return wrong_type("messages", "a list of messages");
    if (!value.is_string()) return wrong_type(prompt_key(), "a string or a list");
    return add_text(value, 1);
  }

  bool read_prompt_list(dom::array array) {
    int64_t items = 0;
    bool ids = false;
    std::string_view role;  // of the last message
    for (const dom::element item : array) {
      if (kind_ == RelayedKind::kChat && !item.is_object())
        return wrong_type(fmt::format("messages[{}]", items), "an object");
      ids = ids || item.is_number();
      ++items;
      role = {};
      if (kind_ == RelayedKind::kChat) std::ignore = item["role"].get_string().get(role);
      if (!add_text(item, 2)) return false;
    }
    if (items == 0) return fail(invalid_field(prompt_key(), "the list is empty"));
    if (kind_ != RelayedKind::kChat || role == "assistant") request_.continuable = false;
    if (kind_ == RelayedKind::kChat)
      request_.messages = items;
    else if (!ids)
      request_.prompts = items;
    return true;
  }

  // The texts of a value of whatever form.
  bool add_text(dom::element value, int depth) {
    if (depth > kDepthMax)
      return fail(
          invalid_json(fmt::format("the request body is nested over {} levels", kDepthMax)));
    std::string_view text;
    dom::array array;
    dom::object object;
    if (value.get_string().get(text) == simdjson::SUCCESS) {
      request_.text_bytes += static_cast<int64_t>(text.size());
    } else if (value.get_array().get(array) == simdjson::SUCCESS) {
      for (const dom::element item : array)
        if (!add_text(item, depth + 1)) return false;
    } else if (value.get_object().get(object) == simdjson::SUCCESS) {
      for (const dom::key_value_pair field : object)
        if (!add_text(field.value, depth + 1)) return false;
    } else {
      request_.text_bytes += 1;
    }
    return true;
  }

  // ---- the client's object "sluice"

  bool read_wishes(dom::element value) {
    dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS)
      return wrong_type("sluice", "an object");
    RelayedWishes& wishes = request_.wishes.emplace();
    for (const dom::key_value_pair field : object)
      if (!read_wish(field.key, field.value, &wishes)) return false;
    return true;
  }

  bool read_text_wish(std::string_view path, dom::element value, std::string* out) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS || text.size() > kWishBytesMax)
      return wrong_type(path, fmt::format("a string of at most {} bytes", kWishBytesMax));
    *out = text;
    return true;
  }

  bool read_milliseconds(std::string_view path, dom::element value, std::optional<int64_t>* out) {
    double ms = 0;
    if (value.get_double().get(ms) != simdjson::SUCCESS || !(ms >= 0) || ms > kMillisecondsMax)
      return wrong_type(path, "milliseconds, 0 to 1e9");
    *out = std::llround(ms * 1e6);
    return true;
  }

  bool read_wish(std::string_view key, dom::element value, RelayedWishes* wishes) {
    const std::string path = fmt::format("sluice.{}", key);
    if (key == "target") return read_target(value, wishes);
    if (key == "deadline_ms") return read_milliseconds(path, value, &wishes->deadline_ns);
    if (key == "session") return read_text_wish(path, value, &wishes->session);
    if (key == "policy") return read_text_wish(path, value, &wishes->policy.emplace());
    if (key == "data_class") return read_text_wish(path, value, &wishes->data_class.emplace());
    if (key == "priority") {
      int64_t priority = 0;
      if (!read_integer(path, value, {-kWishedPriorityMax, kWishedPriorityMax}, &priority))
        return false;
      wishes->priority = static_cast<int32_t>(priority);
      return true;
    }
    return fail(invalid_field(path, fmt::format("'{}' is not for clients", path)));
  }

  bool read_target(dom::element value, RelayedWishes* wishes) {
    dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS)
      return wrong_type("sluice.target", "an object");
    for (const dom::key_value_pair field : object) {
      const std::string path = fmt::format("sluice.target.{}", field.key);
      const size_t name_end = std::min(field.key.rfind('_'), field.key.size());
      const std::string_view name = field.key.substr(0, name_end);
      const std::string_view what = field.key.substr(name_end);
      WishedPart* part = name == "ttft"    ? &wishes->ttft
                         : name == "tpot"  ? &wishes->tpot
                         : name == "total" ? &wishes->total
                                           : nullptr;
      if (part == nullptr || (what != "_ms" && what != "_statistic"))
        return fail(invalid_field(path, fmt::format("'{}' is not known", path)));
      const bool read = what == "_ms"
                            ? read_milliseconds(path, field.value, &part->limit_ns)
                            : read_text_wish(path, field.value, &part->statistic.emplace());
      if (!read) return false;
    }
    return true;
  }

  const RelayedKind kind_;
  RelayedRequest& request_;
  Error error_;
  uint32_t seen_ = 0;
  bool include_usage_seen_ = false;
};

bool options_have_members(std::string_view body, ByteRange options) {
  return body[options.begin] == '{' && body[skip_blanks(body, options.begin + 1)] != '}';
}

struct Splice {
  ByteRange range;  // empty at a place: an insertion
  std::string text;
};

// The text behind the prompt, and so many tokens fewer; `front`: what is said before all others.
std::vector<Splice> continuing(std::string_view body, const RelayedRequest& request,
                               const TextContinuation& from, std::string* front) {
  std::vector<Splice> splices;
  const ByteRange prompt = request.prompt_value;
  const ByteRange behind = {prompt.end - 1, prompt.end - 1};
  if (body[prompt.begin] == '[') {
    const bool prefix = from.form == TextContinuation::Form::kPrefix;
    splices.push_back({behind, fmt::format(R"(,{{"role":"assistant","content":"{}"{}}})", from.text,
                                           prefix ? R"(,"prefix":true)" : "")});
    if (!prefix) front->append(R"("add_generation_prompt":false,"continue_final_message":true,)");
  } else {
    splices.push_back({behind, std::string(from.text)});
  }
  for (const ByteRange value : {request.max_tokens_value, request.max_completion_tokens_value}) {
    if (!value.found()) continue;
    const auto most = read_count(body.substr(value.begin, value.end - value.begin));
    if (most)  // else null
      splices.push_back(
          {value, fmt::format("{}", std::max<int64_t>(1, *most - from.output_tokens))});
  }
  return splices;
}

void append_ms(std::string_view key, int64_t ns, JsonWriter* json) {
  if (ns > 0) json->key(key).number(static_cast<double>(ns) / 1e6);
}

std::string extension_json(const RelayedExtension& extension) {
  JsonWriter json;
  json.begin_object();
  if (extension.ttft_ns > 0 || extension.tpot_ns > 0 || extension.total_ns > 0) {
    json.key("target").begin_object();
    append_ms("ttft_ms", extension.ttft_ns, &json);
    append_ms("tpot_ms", extension.tpot_ns, &json);
    append_ms("total_ms", extension.total_ns, &json);
    json.end_object();
  }
  if (extension.priority != 0) json.key("priority").integer(extension.priority);
  append_ms("deadline_ms", extension.deadline_ns, &json);
  if (!extension.session.empty()) json.key("session").string(extension.session);
  if (!extension.cache_salt.empty()) json.key("cache_salt").string(extension.cache_salt);
  if (!extension.resume_ids.empty()) {
    json.key("resume_ids").begin_array();
    for (int32_t id : extension.resume_ids) json.integer(id);
    json.end_array();
  }
  if (extension.token_ids) json.key("token_ids").boolean(true);
  json.end_object();
  return json.take();
}

}  // namespace

struct RelayedRequestParser::Impl {
  dom::parser parser;
  std::unique_ptr<char[]> padded;
  size_t capacity = 0;
};

RelayedRequestParser::RelayedRequestParser() : impl_(std::make_unique<Impl>()) {}
RelayedRequestParser::~RelayedRequestParser() = default;

Parsed<RelayedRequest> RelayedRequestParser::parse(RelayedKind kind, std::string_view body) {
  constexpr size_t kKeptBytesMax = 1 << 20;
  Impl& impl = *impl_;
  const size_t needed = body.size() + simdjson::SIMDJSON_PADDING;
  if (impl.capacity < needed) {
    impl.capacity = std::max<size_t>(needed, 16 << 10);
    impl.padded = std::make_unique<char[]>(impl.capacity);
  }
  std::memcpy(impl.padded.get(), body.data(), body.size());
  std::memset(impl.padded.get() + body.size(), ' ', simdjson::SIMDJSON_PADDING);

  RelayedRequest request;
  BodyReader reader(kind, &request);
  std::optional<Error> error;
  dom::element root;
  const bool valid =
      impl.parser.parse(impl.padded.get(), body.size(), false).get(root) == simdjson::SUCCESS;
  if (!valid)
    error = invalid_json("the request body is not valid JSON in UTF-8");
  else if (!reader.read(root) || !reader.locate(body))
    error = reader.error();
  if (impl.capacity > kKeptBytesMax) *impl_ = Impl();  // a large one does not stay
  if (error) return *error;
  return request;
}

void change_body(std::string_view body, const RelayedRequest& request, const BodyChanges& changes,
                 std::string* out) {
  std::array<Splice, 8> splices;
  size_t count = 0;
  std::string front;
  if (changes.continuation != nullptr)
    for (Splice& splice : continuing(body, request, *changes.continuation, &front))
      splices[count++] = std::move(splice);
  if (changes.extension != nullptr)
    front.append("\"sluice\":").append(extension_json(*changes.extension)).append(",");
  const bool rename = !changes.model.empty() && changes.model != request.model;
  std::string name;
  if (rename) append_json_string(&name, changes.model);
  if (rename && !request.model_value.found()) front.append("\"model\":").append(name).append(",");
  std::string salt;
  if (!changes.cache_salt.empty()) append_json_string(&salt, changes.cache_salt);
  if (!salt.empty() && !request.cache_salt_value.found())
    front.append("\"cache_salt\":").append(salt).append(",");
  if (request.stream && !request.stream_options.found())
    front.append("\"stream_options\":{\"include_usage\":true},");
  if (!front.empty())
    splices[count++] = {{request.object_begin, request.object_begin}, std::move(front)};
  if (request.stream && request.stream_options.found() && !request.include_usage) {
    const ByteRange options = request.stream_options;
    if (request.include_usage_value.found())
      splices[count++] = {request.include_usage_value, "true"};
    else if (options_have_members(body, options))
      splices[count++] = {{options.begin + 1, options.begin + 1}, "\"include_usage\":true,"};
    else
      splices[count++] = {options, "{\"include_usage\":true}"};
  }
  if (rename && request.model_value.found())
    splices[count++] = {request.model_value, std::move(name)};
  if (!salt.empty() && request.cache_salt_value.found())
    splices[count++] = {request.cache_salt_value, std::move(salt)};
  if (request.wishes_member.found()) splices[count++] = {request.wishes_member, ""};
  const std::span<Splice> used = std::span(splices).first(count);
  std::sort(used.begin(), used.end(), [](const Splice& a, const Splice& b) {
    return a.range.begin != b.range.begin ? a.range.begin < b.range.begin
                                          : a.range.end < b.range.end;
  });
  out->clear();
  size_t at = 0;
  for (const Splice& splice : used) {
    out->append(body.substr(at, splice.range.begin - at)).append(splice.text);
    at = splice.range.end;
  }
  out->append(body.substr(at));
}

}  // namespace sluice::api
