// Any bytes are either the one form of a record or an Error.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "contract/record_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  if (size == 0) return 0;
  const std::span bytes(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  const auto record =
      contract::decode(static_cast<contract::RecordKind>(data[0]), contract::kRecordVersion, bytes);
  if (!record.ok()) {
    ASSERT(!record.error().message.empty(), "an error without a message");
    return 0;
  }
  std::vector<std::byte> again(bytes.size());
  const auto written =
      std::visit([&](const auto& each) { return contract::encode(each, again); }, *record);
  ASSERT(written == bytes.size() && std::equal(bytes.begin(), bytes.end(), again.begin()),
         "{} bytes are a record whose form is another", bytes.size());
  return 0;
}
