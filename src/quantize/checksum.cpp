#include "quantize/checksum.h"

#include <xxhash.h>

#include <algorithm>

#include "core/hex.h"
#include "formats/problems.h"

namespace sluice::quantize {

Checksum::Checksum() : state_(XXH3_createState()) {
  XXH3_64bits_reset(state_);
}

Checksum::~Checksum() {
  XXH3_freeState(state_);
}

void Checksum::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(state_, bytes.data(), bytes.size());
}

std::string Checksum::digits() const {
  std::string text;
  core::append_hex(XXH3_64bits_digest(state_), &text);
  return text;
}

core::Result<void> verify_checksums(
    const formats::GgufFile& file,
    const std::function<void(int64_t done_bytes, int64_t total_bytes)>& progress) {
  const auto expected = TRY(file.metadata.strings(kChecksumsKey));
  if (expected.size() != file.tensors.size())
    return core::invalid("metadata '{}': {} checksums of {} tensors", kChecksumsKey,
                         expected.size(), file.tensors.size());
  formats::Problems problems;
  int64_t done_bytes = 0, total_bytes = 0;
  for (const formats::NamedTensor& t : file.tensors) total_bytes += t.view.bytes();
  for (size_t i = 0; i < expected.size(); ++i) {
    const core::TensorView& view = file.tensors[i].view;
    const std::span bytes(view.data, static_cast<size_t>(view.bytes()));
    Checksum found;
    found.add(bytes);
    if (found.digits() != expected[i])
      problems.add("tensor '{}': checksum {}, expected {}", file.tensors[i].name, found.digits(),
                   expected[i]);
    file.source->release(bytes);
    done_bytes += view.bytes();
    if (progress) progress(done_bytes, total_bytes);
  }
  if (!problems.empty()) return problems.error();
  return {};
}

}  // namespace sluice::quantize
