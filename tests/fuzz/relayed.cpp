// Foreign bytes as a client's body and as an upstream's answer. What the gateway takes for a
// request is still one when its model has been changed and our object put in and taken out again.
#include <cstdint>
#include <string>
#include <string_view>

#include "api/relayed_answer.h"
#include "api/relayed_request.h"
#include "core/assert.h"

namespace sluice::api {
namespace {

void check_request(RelayedKind kind, std::string_view body) {
  static RelayedRequestParser parser;
  const auto first = parser.parse(kind, body);
  if (!first.ok()) {
    ASSERT(first.error().status == 400, "status {}", first.error().status);
    return;
  }
  const RelayedExtension extension = {.ttft_ns = 5'000'000, .cache_salt = "salt"};
  for (const RelayedExtension* ours : {&extension, static_cast<const RelayedExtension*>(nullptr)}) {
    std::string sent;
    const BodyChanges changes = {
        .model = "other", .extension = ours, .cache_salt = ours == nullptr ? "mine" : ""};
    change_body(body, *first, changes, &sent);
    const bool has_salt = sent.find("\"cache_salt\":\"salt\"") != std::string::npos;
    ASSERT(ours == nullptr || has_salt, "our object is missing: {}", sent);
    if (ours != nullptr) continue;  // it is not for clients: no request of theirs has it
    const auto again = parser.parse(kind, sent);
    ASSERT(again.ok(), "{}: {}", again.error().message, sent);
    ASSERT(again->model == "other" && !again->wishes, "{}", sent);
    ASSERT(again->cache_salt == "mine", "{}", sent);
    ASSERT(again->stream == first->stream && again->choices == first->choices, "{}", sent);
    ASSERT(!again->stream || again->include_usage, "no usage is asked for: {}", sent);
    ASSERT(again->text_bytes == first->text_bytes, "{}", sent);
  }
}

void check_answer(std::string_view body) {
  std::vector<int32_t> ids;
  const RelayedAnswer answer = read_relayed_answer(body, &ids);
  ASSERT(answer.text_bytes >= 0 && answer.text_bytes <= static_cast<int64_t>(body.size()), "{}",
         answer.text_bytes);
  if (answer.usage) {
    ASSERT(answer.usage->cached_tokens >= 0 && answer.usage->reasoning_tokens >= 0, "below 0");
    ASSERT(answer.usage->cached_tokens <= answer.usage->prompt_tokens, "cached");
    ASSERT(answer.usage->reasoning_tokens <= answer.usage->completion_tokens, "reasoning");
  }
  with_identity(body, stream_identity(body));
}

}  // namespace
}  // namespace sluice::api

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::api;
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr RelayedKind kKinds[] = {RelayedKind::kChat, RelayedKind::kCompletion,
                                    RelayedKind::kEmbedding};
  check_request(kKinds[data[0] % 3], body);
  check_answer(body);
  return 0;
}
