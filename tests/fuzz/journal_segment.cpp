// Any bytes in a segment are records, an end, nothing yet, or damage that is described; nothing is
// read behind them.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/assert.h"
#include "store/journal_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  std::vector<uint64_t> words(size / sizeof(uint64_t) + 1);  // as aligned as a mapping
  std::memcpy(words.data(), data, size);
  const std::span segment(reinterpret_cast<const std::byte*>(words.data()), size);
  const store::RecordDigest digest;
  store::RecordPlace place = {.offset = 0, .gateway = 1, .sequence = 1};
  while (true) {
    const store::RecordView view = store::read_record(segment, place, digest);
    ASSERT((view.found == store::Found::kDamaged) == !view.damage.empty(), "'{}'", view.damage);
    if (view.found != store::Found::kRecord) return 0;
    ASSERT(view.bytes.data() + view.bytes.size() <= segment.data() + segment.size(),
           "{} bytes at {}", view.bytes.size(), place.offset);
    place.offset += store::record_bytes(view.head.bytes);
    ++place.sequence;
  }
}
