// Foreign bytes into the HTTP and SSE parsers. The first byte says how the rest is cut into pieces:
// the result must be the same as in one piece.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "../net/parse_outcome.h"
#include "core/assert.h"
#include "core/rng.h"

namespace sluice::net {
namespace {

// Small enough that a fuzzer reaches them.
MessageLimits small_limits() {
  MessageLimits limits;
  limits.header_bytes_max = 400;
  limits.target_bytes_max = 100;
  limits.headers_max = 8;
  limits.body_bytes_max = 300;
  limits.chunk_line_bytes_max = 20;
  limits.chunk_extension_bytes_max = 40;
  limits.trailer_bytes_max = 60;
  return limits;
}

std::vector<size_t> random_cuts(uint64_t seed, size_t size) {
  core::Rng rng(seed);
  const int64_t piece_most = int64_t{1} << rng.below(8);
  std::vector<size_t> cuts;
  for (size_t at = 0; at < size; at += static_cast<size_t>(1 + rng.below(piece_most)))
    cuts.push_back(at);
  return cuts;
}

void check(std::string_view bytes, uint64_t seed) {
  const MessageLimits limits = small_limits();
  const std::vector<size_t> cuts = random_cuts(seed, bytes.size());
  const std::string whole = request_outcome(bytes, {}, limits);
  const std::string pieces = request_outcome(bytes, cuts, limits);
  ASSERT(whole == pieces, "request: whole\n{}\npieces\n{}", whole, pieces);
  const Method method = seed % 8 == 0 ? Method::kHead : Method::kGet;
  const std::string whole_response = response_outcome(bytes, {}, limits, method);
  const std::string response_pieces = response_outcome(bytes, cuts, limits, method);
  ASSERT(whole_response == response_pieces, "response: whole\n{}\npieces\n{}", whole_response,
         response_pieces);
}

}  // namespace
}  // namespace sluice::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  sluice::net::check({reinterpret_cast<const char*>(data) + 1, size - 1}, data[0]);
  return 0;
}
