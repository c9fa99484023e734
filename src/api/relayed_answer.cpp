#include "api/relayed_answer.h"

#include <algorithm>

#include <fmt/format.h>

#include "api/json_scan.h"

namespace sluice::api {
namespace {

int64_t count_of(std::string_view object, std::string_view name) {
  const auto text = find_member(object, name);
  return text ? read_count(*text).value_or(0) : 0;
}

// No answer has more: beyond it, it is no count. A price times this fits (contract/validate.cpp).
constexpr int64_t kTokensMax = int64_t{1} << 30;

// nullopt: it counts neither prompt nor output, which is no statement that both are 0, or something
// in it cannot be.
std::optional<RelayedUsage> read_usage(std::string_view usage) {
  RelayedUsage out;
  bool counts = false;
  bool possible = true;
  const auto count = [&](std::string_view value, int64_t* tokens) {
    if (value == "null") return;
    const bool is_power = value.find_first_of("eE") != std::string_view::npos;
    const int64_t stated = is_power ? -1 : read_count(value).value_or(-1);
    possible &= stated >= 0 && stated <= kTokensMax;
    counts = true;
    *tokens = stated;
  };
  for_each_member(usage, [&](std::string_view key, std::string_view value) {
    const std::string_view name = unquoted(key);
    if (name == "prompt_tokens") count(value, &out.prompt_tokens);
    if (name == "completion_tokens") count(value, &out.completion_tokens);
    if (name == "prompt_tokens_details") out.cached_tokens = count_of(value, "cached_tokens");
    if (name == "completion_tokens_details")
      out.reasoning_tokens = count_of(value, "reasoning_tokens");
    return true;
  });
  out.cached_tokens = std::min(out.cached_tokens, out.prompt_tokens);
  out.reasoning_tokens = std::min(out.reasoning_tokens, out.completion_tokens);
  if (!counts || !possible) return std::nullopt;
  return out;
}

// 0 for what is no text.
int64_t text_bytes(std::string_view value) {
  return value.size() > 2 && value.front() == '"' ? static_cast<int64_t>(value.size()) - 2 : 0;
}

int64_t message_bytes(std::string_view message) {
  int64_t bytes = 0;
  for_each_member(message, [&](std::string_view key, std::string_view value) {
    const std::string_view name = unquoted(key);
    const bool is_said = name == "content" || name == "reasoning_content" || name == "reasoning" ||
                         name == "refusal";
    if (is_said) bytes += text_bytes(value);
    if (name == "tool_calls" && value.starts_with("[{"))
      bytes += static_cast<int64_t>(value.size());
    return true;
  });
  return bytes;
}

void read_token_ids(std::string_view array, std::vector<int32_t>* ids) {
  for_each_element(array, [&](std::string_view element) {
    const auto id = read_count(element);
    if (id && *id <= INT32_MAX) ids->push_back(static_cast<int32_t>(*id));
    return id.has_value();
  });
}

void read_choice(std::string_view choice, RelayedAnswer* answer, std::vector<int32_t>* ids) {
  for_each_member(choice, [&](std::string_view key, std::string_view value) {
    const std::string_view name = unquoted(key);
    if (name == "delta" || name == "message")
      answer->text_bytes += message_bytes(value);
    else if (name == "text")
      answer->text_bytes += text_bytes(value);
    else if (name == "finish_reason" && !unquoted(value).empty()) {
      ++answer->finished;
      if (answer->finish_reason.empty()) answer->finish_reason = unquoted(value);
    } else if (name == "token_ids") {
      answer->has_token_ids = true;
      if (!answer->has_choices) read_token_ids(value, ids);
    }
    return true;
  });
  answer->has_choices = true;
  answer->has_output = answer->has_output || answer->text_bytes > 0;
}

void replace(std::string_view name, std::string_view value, std::string* out) {
  const auto found = find_member(*out, name);
  if (!found || value.empty()) return;
  const auto at = static_cast<size_t>(found->data() - out->data());
  out->replace(at, found->size(), value);
}

// Where the member with this key and value begins, with the comma that parts it from its neighbour.
std::pair<const char*, const char*> member_and_comma(std::string_view object, std::string_view key,
                                                     std::string_view value) {
  const char* begin = key.data();
  const char* end = value.data() + value.size();
  while (begin > object.data() && is_json_blank(begin[-1])) --begin;
  if (begin > object.data() && begin[-1] == ',') return {begin - 1, end};
  const char* const object_end = object.data() + object.size();
  while (end < object_end && is_json_blank(*end)) ++end;
  return {begin, end < object_end && *end == ',' ? end + 1 : end};
}

}  // namespace

RelayedAnswer read_relayed_answer(std::string_view json, std::vector<int32_t>* token_ids) {
  RelayedAnswer answer;
  for_each_member(json.substr(skip_blanks(json, 0)),
                  [&](std::string_view key, std::string_view value) {
                    const std::string_view name = unquoted(key);
                    if (name == "choices")
                      for_each_element(value, [&](std::string_view choice) {
                        read_choice(choice, &answer, token_ids);
                        return true;
                      });
                    else if (name == "usage" && value.starts_with('{'))
                      answer.usage = read_usage(value);
                    else if (name == "error")
                      answer.is_error = value != "null";
                    else if (name == "data")
                      answer.has_output = true;
                    return true;
                  });
  return answer;
}

StreamIdentity stream_identity(std::string_view json) {
  json = json.substr(skip_blanks(json, 0));
  const auto text = [&](std::string_view name) {
    return std::string(find_member(json, name).value_or(""));
  };
  return {.id = text("id"),
          .object = text("object"),
          .created = text("created"),
          .model = text("model")};
}

std::string with_identity(std::string_view json, const StreamIdentity& identity) {
  std::string out(json);
  replace("id", identity.id, &out);
  replace("created", identity.created, &out);
  replace("model", identity.model, &out);
  return out;
}

std::string usage_chunk(const StreamIdentity& identity, const RelayedUsage& usage) {
  std::string out = "{";
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) out.append(fmt::format("\"{}\":{},", name, value));
  };
  add("id", identity.id);
  add("object", identity.object);
  add("created", identity.created);
  add("model", identity.model);
  return out.append(fmt::format(
      "\"choices\":[],\"usage\":{{\"prompt_tokens\":{},\"completion_tokens\":{},"
      "\"total_tokens\":{},\"prompt_tokens_details\":{{\"cached_tokens\":{}}},"
      "\"completion_tokens_details\":{{\"reasoning_tokens\":{}}}}}}}",
      usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens + usage.completion_tokens,
      usage.cached_tokens, usage.reasoning_tokens));
}

std::string_view text_in_chunk(std::string_view json) {
  std::string_view text;
  const auto choices = find_member(json.substr(skip_blanks(json, 0)), "choices");
  for_each_element(choices.value_or(""), [&](std::string_view choice) {
    const auto delta = find_member(choice, "delta");
    text = unquoted(
        (delta ? find_member(*delta, "content") : find_member(choice, "text")).value_or(""));
    return false;
  });
  return text;
}

std::string with_answer_tokens(std::string_view json, int64_t tokens) {
  const auto usage = find_member(json.substr(skip_blanks(json, 0)), "usage");
  std::string out;
  const char* copied = json.data();
  for_each_member(usage.value_or(""), [&](std::string_view key, std::string_view value) {
    const std::string_view name = unquoted(key);
    const int64_t more = name == "prompt_tokens"       ? -tokens
                         : name == "completion_tokens" ? tokens
                                                       : 0;
    const auto count = read_count(value);
    if (more == 0 || !count) return true;
    out.append(copied, value.data()).append(std::to_string(std::max<int64_t>(0, *count + more)));
    copied = value.data() + value.size();
    return true;
  });
  return out.append(copied, json.data() + json.size());
}

std::string without_token_ids(std::string_view json) {
  std::string out;
  const char* copied = json.data();
  const auto choices = find_member(json, "choices");
  for_each_element(choices.value_or(""), [&](std::string_view choice) {
    for_each_member(choice, [&](std::string_view key, std::string_view value) {
      if (unquoted(key) != "token_ids") return true;
      const auto [begin, end] = member_and_comma(choice, key, value);
      out.append(copied, begin);
      copied = end;
      return true;
    });
    return true;
  });
  return out.append(copied, json.data() + json.size());
}

}  // namespace sluice::api
