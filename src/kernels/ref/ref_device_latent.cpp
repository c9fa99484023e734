// Latent attention of a device as plain loops.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/half.h"
#include "kernels/kv_layout.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/ref_device_ops.h"

namespace sluice::kernels::ref {
namespace {

using Floats = std::vector<float>;

uint16_t* cache_row(const DeviceLatentArgs& args, int64_t row, int64_t position) {
  const int32_t page = args.rows.pages[args.rows.tables[row] + position / kPageTokens];
  return reinterpret_cast<uint16_t*>(latent_page(args.kv, page)) +
         position % kPageTokens * args.kv.head_dim;
}

void store(const DeviceLatentArgs& args, int64_t row) {
  const int32_t rank = args.kv.latent_rank;
  const float* low = args.kv_low + row * args.kv.head_dim;
  Floats values(low, low + args.kv.head_dim);
  rms_norm({.x = low,
            .weight = args.norm,
            .epsilon = args.epsilon,
            .rows = 1,
            .columns = rank,
            .out = values.data()},
           0, 1);
  turn_to(args.rope, args.rows.positions[row], 1, args.rope.dims, values.data() + rank);
  std::transform(values.begin(), values.end(), cache_row(args, row, args.rows.positions[row]),
                 f16_of_float);
}

Floats product(const PackedWeights& matrix, const Floats& x) {
  Floats y, weights(static_cast<size_t>(matrix.inputs));
  for (int64_t output = 0; output < matrix.outputs; ++output) {
    decode_packed_row(matrix, output, weights.data());
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i)
      sum += double{weights[i]} * double{float_of_bf16(bf16_of_float(x[i]))};
    y.push_back(static_cast<float>(sum));
  }
  return y;
}

// The head's part of the softmax over the cache, in the latent space.
Floats attend(const DeviceLatentArgs& args, int64_t row, const Floats& query) {
  const int64_t count = args.rows.positions[row] + 1;
  std::vector<double> scores, sums(static_cast<size_t>(args.kv.latent_rank));
  for (int64_t p = 0; p < count; ++p) {
    const uint16_t* key = cache_row(args, row, p);
    double dot = 0;
    for (size_t d = 0; d < query.size(); ++d)
      dot += double{float_of_f16(f16_of_float(query[d]))} * double{float_of_f16(key[d])};
    scores.push_back(dot * double{args.scale});
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (int64_t p = 0; p < count; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p)] - largest);
    total += weight;
    const uint16_t* value = cache_row(args, row, p);
    for (size_t d = 0; d < sums.size(); ++d) sums[d] += weight * double{float_of_f16(value[d])};
  }
  Floats out;
  for (const double sum : sums) out.push_back(static_cast<float>(sum / total));
  return out;
}

void attend_head(const DeviceLatentArgs& args, int64_t row, int32_t head) {
  const int64_t nope = args.k_b.first.inputs, values = args.v_b.first.outputs;
  const float* q = args.q + (row * args.heads + head) * (nope + args.rope.dims);
  Floats turned(q + nope, q + nope + args.rope.dims);
  turn_to(args.rope, args.rows.positions[row], 1, args.rope.dims, turned.data());
  Floats query = product(args.k_b.matrix(head), Floats(q, q + nope));
  query.insert(query.end(), turned.begin(), turned.end());
  const Floats out = product(args.v_b.matrix(head), attend(args, row, query));
  std::transform(out.begin(), out.end(), args.out + (row * args.heads + head) * values,
                 bf16_of_float);
}

}  // namespace

void turn_to(const DeviceRope& rope, int32_t position, int32_t heads, int32_t head_dim, float* x) {
  std::vector<float> cosines, sines;
  for (int32_t i = 0; i < rope.dims / 2; ++i) {
    const double angle = static_cast<float>(position) * rope.frequencies[i];
    cosines.push_back(rope.magnitude * static_cast<float>(std::cos(angle)));
    sines.push_back(rope.magnitude * static_cast<float>(std::sin(angle)));
  }
  const int32_t zero = 0;
  ref::rope({.x = x,
             .rows = 1,
             .heads = heads,
             .head_dim = head_dim,
             .rope_dims = rope.dims,
             .positions = &zero,
             .cosines = cosines.data(),
             .sines = sines.data(),
             .layout = rope.layout},
            0, 1);
}

void device_latent_attention(const DeviceLatentArgs& args) {
  for (int64_t row = 0; row < args.rows.rows; ++row)
    if (args.rows.tables[row] >= 0) store(args, row);
  for (int64_t row = 0; row < args.rows.rows; ++row)
    for (int32_t head = 0; head < args.heads && args.rows.tables[row] >= 0; ++head)
      attend_head(args, row, head);
}

}  // namespace sluice::kernels::ref
