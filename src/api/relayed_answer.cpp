#include "api/relayed_answer.h"

#include <algorithm>

#include "api/json_scan.h"

namespace sluice::api {
namespace {

int64_t count_of(std::string_view object, std::string_view name) {
  const auto text = find_member(object, name);
  return text ? read_count(*text).value_or(0) : 0;
}

std::optional<RelayedUsage> read_usage(std::string_view json) {
  // Most chunks have none, or null.
  if (json.find("\"usage\"") == std::string_view::npos) return std::nullopt;
  const std::string_view usage = find_member(json, "usage").value_or("");
  if (!usage.starts_with('{')) return std::nullopt;
  RelayedUsage out;
  out.prompt_tokens = count_of(usage, "prompt_tokens");
  out.completion_tokens = count_of(usage, "completion_tokens");
  if (const auto details = find_member(usage, "prompt_tokens_details"))
    out.cached_tokens = std::min(count_of(*details, "cached_tokens"), out.prompt_tokens);
  if (const auto details = find_member(usage, "completion_tokens_details"))
    out.reasoning_tokens = std::min(count_of(*details, "reasoning_tokens"), out.completion_tokens);
  return out;
}

bool is_text(std::optional<std::string_view> value) {
  return value && value->size() > 2 && value->front() == '"';
}

bool has_output(std::string_view choice) {
  const std::string_view delta =
      find_member(choice, "delta").value_or(find_member(choice, "message").value_or(""));
  if (delta.empty()) return is_text(find_member(choice, "text"));
  for (std::string_view name : {"content", "reasoning_content", "reasoning", "refusal"})
    if (is_text(find_member(delta, name))) return true;
  return find_member(delta, "tool_calls").value_or("").starts_with("[{");
}

void read_token_ids(std::string_view choice, std::vector<int32_t>* ids) {
  if (choice.find("\"token_ids\"") == std::string_view::npos) return;
  for_each_element(find_member(choice, "token_ids").value_or(""), [&](std::string_view element) {
    const auto id = read_count(element);
    if (id && *id <= INT32_MAX) ids->push_back(static_cast<int32_t>(*id));
    return id.has_value();
  });
}

void replace(std::string_view name, std::string_view value, std::string* out) {
  const auto found = find_member(*out, name);
  if (!found || value.empty()) return;
  const auto at = static_cast<size_t>(found->data() - out->data());
  out->replace(at, found->size(), value);
}

}  // namespace

RelayedAnswer read_relayed_answer(std::string_view json, std::vector<int32_t>* token_ids) {
  json = json.substr(skip_blanks(json, 0));
  RelayedAnswer answer;
  answer.usage = read_usage(json);
  const auto choices = find_member(json, "choices");
  if (!choices) {
    answer.is_error = find_member(json, "error").value_or("null") != "null";
    answer.has_output = find_member(json, "data").has_value();
    return answer;
  }
  for_each_element(*choices, [&](std::string_view choice) {
    if (!answer.has_choices) read_token_ids(choice, token_ids);
    answer.has_choices = true;
    answer.has_output = answer.has_output || has_output(choice);
    if (answer.finish_reason.empty())
      answer.finish_reason = unquoted(find_member(choice, "finish_reason").value_or(""));
    return true;
  });
  return answer;
}

StreamIdentity stream_identity(std::string_view json) {
  json = json.substr(skip_blanks(json, 0));
  return {.id = std::string(find_member(json, "id").value_or("")),
          .created = std::string(find_member(json, "created").value_or(""))};
}

std::string with_identity(std::string_view json, const StreamIdentity& identity) {
  std::string out(json);
  replace("id", identity.id, &out);
  replace("created", identity.created, &out);
  return out;
}

}  // namespace sluice::api
