#include "contract/block_hash.h"

#include <xxhash.h>

#include <algorithm>

#include "core/rng.h"

namespace sluice::contract {

uint64_t model_namespace(std::string_view weights_digest, uint64_t kv_format) {
  return XXH3_64bits_withSeed(weights_digest.data(), weights_digest.size(), kv_format);
}

uint64_t salt_number(std::string_view salt) {
  if (salt.empty()) return 0;
  return std::max<uint64_t>(XXH3_64bits(salt.data(), salt.size()), 1);
}

uint64_t combine_namespace(uint64_t name_space, uint64_t salt) {
  return core::random_bits(name_space, salt);
}

uint64_t hash_page(uint64_t before, std::span<const int32_t> page_ids) {
  return XXH3_64bits_withSeed(page_ids.data(), page_ids.size_bytes(), before);
}

void extend_page_hashes(uint64_t name_space, std::span<const int32_t> ids, int32_t page_tokens,
                        std::vector<uint64_t>* hashes) {
  const auto width = static_cast<size_t>(page_tokens);
  while ((hashes->size() + 1) * width <= ids.size()) {
    const uint64_t before = hashes->empty() ? name_space : hashes->back();
    hashes->push_back(hash_page(before, ids.subspan(hashes->size() * width, width)));
  }
}

}  // namespace sluice::contract
