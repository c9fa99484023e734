#include "kernels/ref/ref_device.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/math.h"
#include "kernels/half.h"
#include "kernels/kv_layout.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/ref_device_ops.h"

namespace sluice::kernels {
namespace {

float rounded(float value) {
  return float_of_bf16(bf16_of_float(value));
}

// Spins with a device that has no clock to go by.
void wait_for_answer(const DeviceCollectArgs& args) {
  while (args.mailbox->answered.load(std::memory_order_acquire) != *args.turns)
    std::this_thread::yield();
}

thread_local bool is_replaying = false;  // this thread is a device's queue

struct RecordedOps final : Recording {
  explicit RecordedOps(std::function<void()> kept) : ops(std::move(kept)) {}
  std::function<void()> ops;
};

class RefDevice final : public Device {
 public:
  explicit RefDevice(int64_t free_bytes)
      : info_{.name = "reference",
              .backend = "ref",
              .memory_bytes = free_bytes,
              .free_bytes = free_bytes} {}
  ~RefDevice() override { RefDevice::wait(); }
  const DeviceInfo& info() const override { return info_; }
  DeviceRoof measure_roof() override { return {}; }

  core::Result<DeviceBuffer> allocate(int64_t bytes, MemoryKind kind) override {
    auto* data = static_cast<std::byte*>(
        std::aligned_alloc(64, static_cast<size_t>(core::round_up(bytes, 64))));
    ASSERT(data != nullptr, "no memory for {} bytes", bytes);
    std::memset(data, 0xff, static_cast<size_t>(bytes));  // NaN: what nobody wrote is seen
    return DeviceBuffer(this, kind, data, bytes);
  }
  core::Result<DeviceBuffer> adopt(std::byte* data, int64_t bytes) override {
    return DeviceBuffer(this, MemoryKind::kAdopted, data, bytes);
  }
  core::Result<void> reserve(const DeviceLimits&) override { return {}; }
  int64_t reserved_bytes() const override { return 0; }

  void upload(std::byte* to, const std::byte* from, int64_t bytes) override {
    wait();
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void send(std::byte* to, const std::byte* from, int64_t bytes) override {
    upload(to, from, bytes);
  }
  void fetch(std::byte* to, const std::byte* from, int64_t bytes) override {
    upload(to, from, bytes);
  }
  void wait() override {
    if (is_replaying) return;  // copies in a recording
    if (replayed_.joinable()) replayed_.join();
  }
  void mark(int) override {}
  void await(int) override { wait(); }
  void check_alive() override {}
  void bring(const DeviceBringArgs& args) override {
    wait();
    for (const BroughtMatrix& matrix : args.matrices) ref::device_unpack(matrix);
  }
  bool has_brought(int32_t) override { return true; }
  void await_brought(int32_t) override {}
  void meet(std::span<Device* const> others) override {
    if (is_replaying) return;  // all ops of a recording run on one thread
    wait();
    for (Device* other : others) other->wait();
  }
  std::unique_ptr<Recording> record(std::function<void()> ops, std::span<Device* const>) override {
    return std::make_unique<RecordedOps>(std::move(ops));
  }
  // On a thread of its own, beside the host's, as a queue is.
  void replay(const Recording& recording) override {
    wait();
    replayed_ = std::thread([&ops = static_cast<const RecordedOps&>(recording).ops] {
      is_replaying = true;
      ops();
    });
  }
  void stamp(int32_t slot) override {
    const auto at = static_cast<size_t>(slot);
    if (at >= stamps_ns_.size()) stamps_ns_.resize(at + 1);
    stamps_ns_[at] = clock_.now_ns();
  }
  int64_t stamped_ns(int32_t from, int32_t to) override {
    wait();
    return stamps_ns_.at(static_cast<size_t>(to)) - stamps_ns_.at(static_cast<size_t>(from));
  }

  void embed(const EmbedArgs& args) override { ref::embed(args, 0, 1); }
  void join(const DeviceJoinArgs& args) override;
  void linear(const DeviceLinearArgs& args) override;
  void turn(const DeviceTurnArgs& args) override;
  void attention(const DeviceAttentionArgs& args) override;
  void latent_attention(const DeviceLatentArgs& args) override {
    ref::device_latent_attention(args);
  }
  void route(const DeviceRouteArgs& args) override { ref::device_route(args); }
  void experts(const DeviceExpertArgs& args) override { ref::device_experts(args); }
  void pick(const DevicePickArgs& args) override { ref::device_pick(args); }
  void pull(const DevicePullArgs& args) override { ref::device_pull(args); }
  void await_pulled() override {}
  void post(const DevicePostArgs& args) override {
    std::copy_n(args.x, args.rows * args.inputs, args.host_x);
    std::copy_n(args.ids, args.rows * args.used, args.host_ids);
    std::copy_n(args.own, args.rows * args.used, args.host_own);
    std::copy_n(args.weights, args.rows * args.used, args.host_weights);
    args.mailbox->posted.store(++*args.turns, std::memory_order_release);
  }
  void post_guess(const DeviceGuessArgs& args) override {
    const uint32_t turn = *args.turns + 1;
    std::copy_n(args.ids, args.choices, args.host_ids + turn % 2 * args.choices_max);
    args.mailbox->guessed[turn % 2].store(turn, std::memory_order_release);
  }
  void collect(const DeviceCollectArgs& args) override {
    wait_for_answer(args);
    add(args.to, args.answer, args.count);
  }
  void add(float* to, const float* from, int64_t count) override {
    for (int64_t i = 0; i < count; ++i) to[i] += from[i];
  }
  void clear(float* to, int64_t count) override { std::fill_n(to, count, 0.0f); }
  void sum(const DeviceSumArgs& args) override {
    for (int64_t i = 0; i < args.rows * args.columns; ++i) {
      float sum = args.bias != nullptr ? args.bias[i % args.columns] : 0;
      for (int32_t p = 0; p < args.part_count; ++p) sum += args.parts[static_cast<size_t>(p)][i];
      args.to[i] += sum;
    }
  }
  void sample(const DeviceSampleArgs& args) override { ref::device_sample(args); }
  void take_sampled(int32_t* ids, int64_t rows, const int32_t* sampled) override {
    wait();
    for (int64_t r = 0; r < rows; ++r)
      if (ids[r] < 0) ids[r] = std::max(sampled[-1 - ids[r]], 0);
  }

 private:
  void release(std::byte* data, MemoryKind kind) override {
    if (kind != MemoryKind::kAdopted) std::free(data);
  }

  static std::vector<float> input_of(const DeviceLinearArgs& args);
  static void turn_heads(const DeviceTurnArgs& args, const DeviceHeads& heads,
                         std::vector<float>* out);
  static void attend_row(const DeviceAttentionArgs& args, int64_t row);

  const DeviceInfo info_;
  std::thread replayed_;
  const core::SystemClock clock_;
  std::vector<int64_t> stamps_ns_;
};

std::vector<float> RefDevice::input_of(const DeviceLinearArgs& args) {
  const int64_t inputs = args.products[0].weights.inputs;
  std::vector<float> x(static_cast<size_t>(args.rows * inputs));
  if (args.hidden != nullptr) {
    ref::rms_norm({.x = args.hidden,
                   .weight = args.norm,
                   .epsilon = args.epsilon,
                   .rows = args.rows,
                   .columns = inputs,
                   .out = x.data()},
                  0, 1);
    std::transform(x.begin(), x.end(), x.begin(), rounded);
  } else {
    std::transform(args.x, args.x + args.rows * inputs, x.begin(), float_of_bf16);
  }
  return x;
}

void RefDevice::join(const DeviceJoinArgs& args) {
  std::vector<float> row(static_cast<size_t>(args.columns));
  const auto normalize = [&](const float* x, const float* weight) {
    ref::rms_norm({.x = x,
                   .weight = weight,
                   .epsilon = args.epsilon,
                   .rows = 1,
                   .columns = args.columns,
                   .out = row.data()},
                  0, 1);
  };
  for (int64_t r = 0; r < args.rows; ++r) {
    uint16_t* const out = args.out + r * 2 * args.columns;
    normalize(args.embedded + r * args.columns, args.embedding_norm);
    std::transform(row.begin(), row.end(), out, bf16_of_float);
    normalize(args.states + args.state_rows[r] * args.columns, args.output_norm);
    normalize(row.data(), args.state_norm);
    std::transform(row.begin(), row.end(), out + args.columns, bf16_of_float);
  }
}

void RefDevice::linear(const DeviceLinearArgs& args) {
  const std::vector<float> x = input_of(args);
  const PackedWeights& first = args.products[0].weights;
  std::vector<float> row(static_cast<size_t>(first.inputs));
  std::array<std::vector<float>, kDeviceProductsMax> results;
  for (int32_t p = 0; p < args.product_count; ++p) {
    const PackedWeights& w = args.products[static_cast<size_t>(p)].weights;
    std::vector<float>& result = results[static_cast<size_t>(p)];
    result.resize(static_cast<size_t>(args.rows * w.outputs));
    for (int64_t output = 0; output < w.outputs; ++output) {
      ref::decode_packed_row(w, output, row.data());
      for (int64_t r = 0; r < args.rows; ++r) {
        double sum = args.bias != nullptr ? double{args.bias[output]} : 0;
        for (int64_t i = 0; i < w.inputs; ++i)
          sum += double{x[static_cast<size_t>(r * w.inputs + i)]} *
                 double{row[static_cast<size_t>(i)]};
        result[static_cast<size_t>(r * w.outputs + output)] = static_cast<float>(sum);
      }
    }
    float* y = args.products[static_cast<size_t>(p)].y;
    for (size_t i = 0; i < result.size() && args.result != DeviceResult::kSiluMul; ++i)
      y[i] = args.result == DeviceResult::kAdd ? y[i] + result[i] : result[i];
  }
  if (args.result != DeviceResult::kSiluMul) return;
  ref::silu_mul({.gate = results[0].data(),
                 .up = results[1].data(),
                 .rows = args.rows,
                 .columns = first.outputs,
                 .out = results[0].data()},
                0, 1);
  std::transform(results[0].begin(), results[0].end(), args.activated, bf16_of_float);
}

// (rows, heads, head_dim), turned.
void RefDevice::turn_heads(const DeviceTurnArgs& args, const DeviceHeads& heads,
                           std::vector<float>* out) {
  const int64_t dim = args.kv.head_dim, columns = heads.heads * dim, rows = args.rows.rows;
  out->assign(heads.x, heads.x + rows * columns);
  for (int64_t i = 0; i < rows * columns && heads.bias != nullptr; ++i)
    (*out)[static_cast<size_t>(i)] += heads.bias[i % columns];
  if (heads.norm != nullptr)
    ref::rms_norm({.x = out->data(),
                   .weight = heads.norm,
                   .epsilon = args.epsilon,
                   .rows = rows * heads.heads,
                   .columns = dim,
                   .out = out->data()},
                  0, 1);
  for (int64_t row = 0; row < rows; ++row)
    ref::turn_to(args.rope, args.rows.positions[row], heads.heads, args.kv.head_dim,
                 out->data() + row * columns);
}

// Keys of a page and head, (kPageTokens, head_dim); the values lie kv_side_bytes() behind.
uint16_t* device_keys(const KvLayer& kv, int32_t page, int32_t head) {
  return reinterpret_cast<uint16_t*>(page_keys(kv, page, head));
}

void RefDevice::turn(const DeviceTurnArgs& args) {
  const KvLayer& kv = args.kv;
  const int64_t dim = kv.head_dim;
  std::vector<float> q, k;
  turn_heads(args, args.q, &q);
  turn_heads(args, args.k, &k);
  std::transform(q.begin(), q.end(), args.q_out, f16_of_float);
  for (int64_t row = 0; row < args.rows.rows; ++row) {
    if (args.rows.tables[row] < 0) continue;
    const int32_t position = args.rows.positions[row];
    const int32_t page = args.rows.pages[args.rows.tables[row] + position / kPageTokens];
    for (int32_t head = 0; head < kv.kv_heads; ++head) {
      uint16_t* keys = device_keys(kv, page, head) + position % kPageTokens * dim;
      uint16_t* values = keys + kv_side_bytes(kv) / 2;
      for (int64_t d = 0; d < dim; ++d) {
        const int64_t column = head * dim + d, at = row * kv.kv_heads * dim + column;
        keys[d] = f16_of_float(k[static_cast<size_t>(at)]);
        values[d] =
            f16_of_float(args.v[at] + (args.v_bias != nullptr ? args.v_bias[column] : 0.0f));
      }
    }
  }
}

void RefDevice::attend_row(const DeviceAttentionArgs& args, int64_t row) {
  const KvLayer& kv = args.kv;
  const int64_t dim = kv.head_dim, count = args.rows.positions[row] + 1;
  const int32_t group = args.heads / kv.kv_heads;
  std::vector<double> weights(static_cast<size_t>(count)), sums(static_cast<size_t>(dim));
  const auto keys_at = [&](int64_t position, int32_t head) {
    const int32_t page = args.rows.pages[args.rows.tables[row] + position / kPageTokens];
    return device_keys(kv, page, head) + position % kPageTokens * dim;
  };
  for (int32_t head = 0; head < args.heads; ++head) {
    const uint16_t* q = args.q + (row * args.heads + head) * dim;
    double largest = -INFINITY, total = 0;
    for (int64_t p = 0; p < count; ++p) {
      const uint16_t* key = keys_at(p, head / group);
      double dot = 0;
      for (int64_t d = 0; d < dim; ++d)
        dot += double{float_of_f16(q[d])} * double{float_of_f16(key[d])};
      weights[static_cast<size_t>(p)] = dot * double{args.scale};
      largest = std::max(largest, weights[static_cast<size_t>(p)]);
    }
    std::fill(sums.begin(), sums.end(), 0);
    for (int64_t p = 0; p < count; ++p) {
      const double weight = std::exp(weights[static_cast<size_t>(p)] - largest);
      const uint16_t* value = keys_at(p, head / group) + kv_side_bytes(kv) / 2;
      total += weight;
      for (int64_t d = 0; d < dim; ++d)
        sums[static_cast<size_t>(d)] += weight * double{float_of_f16(value[d])};
    }
    for (int64_t d = 0; d < dim; ++d)
      args.out[(row * args.heads + head) * dim + d] =
          bf16_of_float(static_cast<float>(sums[static_cast<size_t>(d)] / total));
  }
}

void RefDevice::attention(const DeviceAttentionArgs& args) {
  for (int32_t i = 0; i < args.singles; ++i)
    if (args.rows.tables[args.single_rows[i]] >= 0) attend_row(args, args.single_rows[i]);
  for (int32_t t = 0; t < args.tile_count; ++t)
    for (int32_t i = 0; i < args.tiles[t].rows; ++i) attend_row(args, args.tiles[t].first_row + i);
}

}  // namespace

std::unique_ptr<Device> make_reference_device(int64_t free_bytes) {
  return std::make_unique<RefDevice>(free_bytes);
}

}  // namespace sluice::kernels
