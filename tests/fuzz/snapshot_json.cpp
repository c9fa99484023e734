// Foreign bytes as a snapshot: what is accepted has one text, and reads back as itself.
#include "contract/snapshot_json.h"

#include <cstdint>
#include <string_view>

#include "core/assert.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::contract;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto document = parse_json_value(text);
  if (!document.ok()) return 0;
  Snapshot snapshot;
  Problems problems;
  read_into(*document, "", &snapshot, &problems);
  for (const Problem& problem : problems)
    ASSERT(!problem.message.empty(), "a problem says nothing");
  if (!problems.empty() || !validate(snapshot).empty()) return 0;
  const std::string written = to_json(snapshot);
  const auto back = parse_snapshot(written);
  ASSERT(back.ok(), "{}: {}", back.error().message, written);
  ASSERT(to_json(*back) == written, "two texts for one snapshot");
  return 0;
}
