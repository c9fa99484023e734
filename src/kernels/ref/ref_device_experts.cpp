// The ops of device_expert_args.h as plain loops.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/device_weights.h"
#include "kernels/half.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/ref_device_ops.h"

namespace sluice::kernels::ref {
namespace {

float rounded(float value) {
  return float_of_bf16(bf16_of_float(value));
}

// y = matrix · x
std::vector<float> product(const PackedWeights& matrix, const std::vector<float>& x) {
  std::vector<float> y, row(static_cast<size_t>(matrix.inputs));
  for (int64_t output = 0; output < matrix.outputs; ++output) {
    decode_packed_row(matrix, output, row.data());
    double sum = 0;
    for (size_t i = 0; i < row.size(); ++i) sum += double{row[i]} * double{x[i]};
    y.push_back(static_cast<float>(sum));
  }
  return y;
}

std::vector<float> expert(const DeviceExpertArgs& args, int32_t id, const std::vector<float>& x) {
  std::vector<float> gate = product(args.gate.matrix(id), x);
  const std::vector<float> up = product(args.up.matrix(id), x);
  silu_mul({.gate = gate.data(),
            .up = up.data(),
            .rows = 1,
            .columns = std::ssize(gate),
            .out = gate.data()},
           0, 1);
  std::transform(gate.begin(), gate.end(), gate.begin(), rounded);
  std::vector<float> out = product(args.down.matrix(id), gate);
  std::transform(out.begin(), out.end(), out.begin(), rounded);
  return out;
}

}  // namespace

namespace {

// Block `b` of a Q6_K matrix as device_weights.h has it.
void decode_split_codes(const PackedWeights& w, const std::byte* scales, int64_t b, float* out) {
  const auto* low = reinterpret_cast<const uint8_t*>(w.data) + b * 16;
  const auto* high = reinterpret_cast<const uint8_t*>(w.data) + w.outputs * w.inputs / 2 + b * 8;
  for (int i = 0; i < 32; ++i) {
    const int half = i / 16, upper = high[half * 4 + i % 4] >> (i % 16 / 4 * 2) & 3;
    const int code = (low[i % 16] >> (half * 4) & 15) | upper << 4;
    out[i] = load_f16(reinterpret_cast<const uint8_t*>(scales) + b * 4 + half * 2) *
             static_cast<float>(code - 32);
  }
}

}  // namespace

void decode_packed_row(const PackedWeights& w, int64_t row, float* out) {
  if (core::info(w.type).block_values == 1) {
    decode(w.type, w.data + row * core::bytes_of(w.type, w.inputs), w.inputs, out);
    return;
  }
  const int64_t block_values = w.type == core::DType::kF8_B128 ? 128 : 32;  // of Q6_K a run
  const int64_t blocks = w.inputs / block_values;
  const std::byte* scales = w.data + device_scales_at(w.type, w.outputs, w.inputs);
  if (w.type == core::DType::kQ6_K) {
    for (int64_t b = row * blocks; b < (row + 1) * blocks; ++b, out += block_values)
      decode_split_codes(w, scales, b, out);
    return;
  }
  const auto block_bytes = static_cast<size_t>(core::info(w.type).block_bytes);
  const bool is_wide = w.type == core::DType::kQ4_1 || w.type == core::DType::kF8_B128;
  const size_t scale_bytes = is_wide ? 4 : 2;
  const size_t code_bytes = block_bytes - scale_bytes;
  std::vector<std::byte> block(block_bytes);
  for (int64_t b = 0; b < blocks; ++b) {
    const auto index = static_cast<size_t>(row * blocks + b);
    std::memcpy(block.data(), scales + index * scale_bytes, scale_bytes);
    std::memcpy(block.data() + scale_bytes, w.data + index * code_bytes, code_bytes);
    decode(w.type, block.data(), block_values, out + b * block_values);
  }
}

void device_route(const DeviceRouteArgs& args) {
  std::vector<float> normed(static_cast<size_t>(args.inputs)),
      logits(static_cast<size_t>(args.experts));
  for (int64_t r = 0; r < args.rows; ++r) {
    rms_norm({.x = args.hidden + r * args.inputs,
              .weight = args.norm,
              .epsilon = args.epsilon,
              .rows = 1,
              .columns = args.inputs,
              .out = normed.data()},
             0, 1);
    std::transform(normed.begin(), normed.end(), args.normed + r * args.inputs, bf16_of_float);
    int32_t* ids = args.ids + r * args.used;
    if (args.tables != nullptr && args.tables[r] < 0) {
      std::fill_n(ids, args.used, -1);
      continue;
    }
    for (int32_t e = 0; e < args.experts; ++e) {
      double sum = 0;
      for (int64_t i = 0; i < args.inputs; ++i)
        sum += double{normed[static_cast<size_t>(i)]} * double{args.router[e * args.inputs + i]};
      logits[static_cast<size_t>(e)] = static_cast<float>(sum);
    }
    route({.rule = args.rule,
           .logits = logits.data(),
           .bias = args.bias,
           .slots = args.slots,
           .preference = args.preference,
           .rows = 1,
           .experts = args.experts,
           .used = args.used,
           .ids = ids,
           .weights = args.weights + r * args.used},
          0, 1);
  }
}

void device_experts(const DeviceExpertArgs& args) {
  const int64_t inputs = args.gate.first.inputs;
  std::vector<float> x(static_cast<size_t>(inputs));
  for (int64_t r = 0; r < args.rows; ++r) {
    std::transform(args.x + r * inputs, args.x + (r + 1) * inputs, x.begin(), float_of_bf16);
    for (int64_t choice = r * args.used; choice < (r + 1) * args.used; ++choice) {
      int32_t member = args.ids[choice];
      if (member >= 0 && args.slots != nullptr) member = args.slots[member];
      if (member < 0) continue;
      const std::vector<float> out = expert(args, member, x);
      for (int64_t i = 0; i < inputs; ++i)
        args.hidden[r * inputs + i] += args.weights[choice] * out[static_cast<size_t>(i)];
    }
  }
}

}  // namespace sluice::kernels::ref
