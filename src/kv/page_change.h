// What the prefix cache gains and loses, for whoever keeps a picture of it elsewhere.
#pragma once

#include <cstdint>

namespace sluice::kv {

struct PageChange {
  uint64_t hash = 0;  // contract/block_hash.h: of the page and all before it
  enum class Kind : uint8_t { kAdded, kRemoved } kind = Kind::kAdded;
};

}  // namespace sluice::kv
