#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/f8_layout.h"

namespace sluice::kernels::amx {
namespace {

// One output's block, its scale before its codes, to its lane of a panel's block.
void pack_lane(const std::byte* from, int64_t lane, std::byte* block) {
  std::memcpy(block + F8Weights::kScalesAt + lane * 4, from, sizeof(float));
  from += sizeof(float);
  std::byte* to = block + lane / 4 * 16 + lane % 4 * 2;
  for (int64_t k = 0; k < F8Weights::kBlockValues; k += 2)
    std::memcpy(to + k / 4 * 64 + k % 4 / 2 * 8, from + k, 2);
}

}  // namespace

void pack_f8(const PackArgs& args, int thread, int threads) {
  const F8Weights layout{args.inputs};
  const int64_t row_bytes = core::bytes_of(args.type, args.inputs);
  const int64_t stored_bytes = core::info(args.type).block_bytes;
  const core::Range outputs = core::split(args.outputs, kPanel, thread, threads);
  for (int64_t first = outputs.begin; first < outputs.end; first += kPanel) {
    std::byte* panel = args.packed + first / kPanel * layout.panel_bytes();
    const int64_t lanes = std::min(kPanel, args.outputs - first);
    if (lanes < kPanel) std::memset(panel, 0, static_cast<size_t>(layout.panel_bytes()));
    for (int64_t lane = 0; lane < lanes; ++lane)
      for (int64_t b = 0; b < layout.blocks(); ++b)
        pack_lane(args.weights + (first + lane) * row_bytes + b * stored_bytes, lane,
                  panel + b * F8Weights::kBlockBytes);
  }
}

}  // namespace sluice::kernels::amx
