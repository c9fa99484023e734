// Any body is either a request within its limits or a 400 that says why; what was read can be
// written again as JSON that reads the same.
#include "api/chat_request.h"

#include <cstddef>
#include <cstdint>

#include "api/completion_request.h"
#include "api/tokenize_request.h"

namespace sluice::api {
namespace {

template <typename T>
void check(const Parsed<T>& parsed) {
  if (parsed.ok()) return;
  ASSERT(parsed.error().status == 400, "status {}", parsed.error().status);
  ASSERT(!parsed.error().message.empty(), "an error without a message");
  ASSERT(parse_json(to_json(parsed.error())).ok(), "an error that is no JSON");
}

void check_round_trip(std::string_view body) {
  const Parsed<Json> json = parse_json(body);
  if (!json.ok()) return;
  std::string once;
  append_json(&once, json.value());
  const Parsed<Json> again = parse_json(once);
  ASSERT(again.ok(), "{}: {}", once, again.error().message);
  std::string twice;
  append_json(&twice, again.value());
  ASSERT(once == twice, "{} became {}", once, twice);
}

void run(std::string_view body) {
  const RequestLimits limits;
  check_round_trip(body);
  const Parsed<ChatRequest> chat = parse_chat_request(body, limits);
  check(chat);
  if (chat.ok()) {
    const GenerationFields& fields = chat.value().generation;
    ASSERT(!chat.value().messages.empty(), "no message");
    ASSERT(fields.n >= 1 && fields.n <= limits.n_max, "n {}", fields.n);
    ASSERT(fields.sampling.temperature >= 0 && fields.sampling.temperature <= 2, "temperature {}",
           fields.sampling.temperature);
    for (const std::string& stop : fields.stopping.stop) ASSERT(!stop.empty(), "an empty stop");
  }
  check(parse_completion_request(body, limits));
  check(parse_tokenize_request(body, limits));
  check(parse_detokenize_request(body, 1000));
}

}  // namespace
}  // namespace sluice::api

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  sluice::api::run({reinterpret_cast<const char*>(data), bytes});
  return 0;
}
