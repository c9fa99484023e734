#include "apps/bench/op_case.h"

#include <cmath>
#include <memory>

#include <fmt/core.h>

#include "apps/bench/random_weights.h"
#include "core/buffer.h"
#include "core/math.h"
#include "core/rng.h"
#include "kernels/kv_layout.h"

namespace sluice::apps {
namespace {

using core::DType;
using kernels::Ops;

constexpr uint64_t kSeed = 42;

int64_t copies_for(const OpShape& shape, int64_t bytes) {
  return std::max<int64_t>(1, core::div_ceil(shape.cold_bytes, std::max<int64_t>(1, bytes)));
}

// ---- linear
// --------------------------------------------------------------------------------------

struct LinearData {
  std::vector<float> x, y;
  core::Buffer packed_x, weights;
  int64_t copy_bytes = 0, copies = 1, next = 0;
};

OpUnit unit_of(kernels::ActivationForm form) {
  switch (form) {
    case kernels::ActivationForm::kF32:
      return OpUnit::kFloat;
    case kernels::ActivationForm::kBf16:
      return OpUnit::kBf16;
    case kernels::ActivationForm::kInt8:
    case kernels::ActivationForm::kPlanes:
    case kernels::ActivationForm::kWidePlanes:
    case kernels::ActivationForm::kInt8Rows:
      break;
  }
  return OpUnit::kInt8;
}

OpCase make_linear(const Ops& ops, core::ThreadPool& pool, const OpShape& shape) {
  auto data = std::make_shared<LinearData>();
  const auto blocks = random_weights(shape.type, shape.outputs * shape.inputs);
  data->x = random_values(kSeed + 1, shape.rows * shape.inputs);
  data->y.resize(static_cast<size_t>(shape.rows * shape.outputs));
  data->copy_bytes = core::round_up(ops.packed_bytes(shape.type, shape.outputs, shape.inputs), 64);
  data->copies = copies_for(shape, data->copy_bytes);
  data->weights = core::Buffer(data->copy_bytes * data->copies);
  for (int64_t c = 0; c < data->copies; ++c)
    pool.run([&](int thread, int threads) {
      ops.pack({shape.type, shape.outputs, shape.inputs, blocks.data(),
                data->weights.data() + c * data->copy_bytes},
               thread, threads);
    });
  const kernels::ActivationForm form = ops.activation_form(shape.type);
  if (form != kernels::ActivationForm::kF32) {
    data->packed_x = core::Buffer(ops.activation_bytes(form, shape.rows, shape.inputs));
    ops.quantize_activations(
        {form, data->x.data(), shape.rows, shape.inputs, data->packed_x.data()}, 0, 1);
  }
  return {
      .shape = fmt::format("{}×{} · {}×{} {}", shape.rows, shape.inputs, shape.outputs,
                           shape.inputs, core::info(shape.type).name),
      .bytes = static_cast<double>(blocks.size()),
      .operations = 2.0 * static_cast<double>(shape.rows * shape.outputs * shape.inputs),
      .unit = unit_of(form),
      .run =
          [data, &ops, shape](core::ThreadPool& on) {
            const std::byte* weights = data->weights.data() + data->next * data->copy_bytes;
            data->next = (data->next + 1) % data->copies;
            on.run([&](int thread, int threads) {
              ops.linear({.weights = {shape.type, shape.outputs, shape.inputs, weights},
                          .x = data->x.data(),
                          .x_packed = data->packed_x.data(),
                          .rows = shape.rows,
                          .y = data->y.data()},
                         thread, threads);
            });
          },
      .result = [data] { return data->y; },
  };
}

// ---- attention, kv_store
// -------------------------------------------------------------------------

struct AttentionData {
  std::vector<float> q, k, v, out;
  std::vector<int32_t> pages;
  core::Buffer arena, parts;
  kernels::KvLayer kv;
  int64_t copy_bytes = 0, copies = 1, next = 0;
};

std::shared_ptr<AttentionData> attention_data(const Ops& ops, const OpShape& shape) {
  auto data = std::make_shared<AttentionData>();
  const int64_t tokens = shape.depth + shape.rows;
  const int64_t pages = core::div_ceil(tokens, kernels::kPageTokens);
  for (int64_t p = 0; p < pages; ++p) data->pages.push_back(static_cast<int32_t>(p));
  const kernels::KvFormat format = ops.kv_format(shape.head_dim);
  const int64_t page_bytes = kernels::kv_page_bytes(format, shape.kv_heads, shape.head_dim);
  data->copy_bytes = pages * page_bytes;
  data->copies = copies_for(shape, data->copy_bytes);
  data->arena = core::Buffer(data->copy_bytes * data->copies);
  data->q = random_values(kSeed, shape.rows * shape.heads * shape.head_dim);
  data->k = random_values(kSeed + 1, tokens * shape.kv_heads * shape.head_dim);
  data->v = random_values(kSeed + 2, tokens * shape.kv_heads * shape.head_dim);
  data->out.resize(data->q.size());
  data->kv = {format, shape.kv_heads, shape.head_dim, data->arena.data()};
  const kernels::SequenceSpan all{0, static_cast<int32_t>(tokens), 0, data->pages.data()};
  ops.kv_store({data->kv, &all, 1, tokens, data->k.data(), data->v.data()}, 0, 1);
  for (int64_t c = 1; c < data->copies; ++c)
    std::memcpy(data->arena.data() + c * data->copy_bytes, data->arena.data(),
                static_cast<size_t>(data->copy_bytes));
  return data;
}

OpCase make_attention(const Ops& ops, core::ThreadPool& pool, const OpShape& shape) {
  const auto data = attention_data(ops, shape);
  const int64_t segments =
      core::div_ceil(shape.depth + shape.rows, kernels::kAttentionSegmentTokens);
  const int64_t parts_max = pool.threads() * segments * kernels::kAttentionPartQueries;
  data->parts = core::Buffer(parts_max * kernels::attention_part_floats(shape.head_dim) * 4);
  const double visited =
      static_cast<double>(shape.rows) * (static_cast<double>(shape.depth) + (shape.rows + 1) / 2.0);
  return {
      .shape = fmt::format("{} rows at {} · {}/{} heads of {}", shape.rows, shape.depth,
                           shape.heads, shape.kv_heads, shape.head_dim),
      .bytes =
          static_cast<double>((shape.depth + shape.rows) * shape.kv_heads * shape.head_dim) * 2 * 2,
      .operations = visited * shape.heads * shape.head_dim * 4,
      .unit = data->kv.format == kernels::KvFormat::kBf16 ? OpUnit::kBf16 : OpUnit::kFloat,
      .run =
          [data, &ops, shape, parts_max](core::ThreadPool& on) {
            const kernels::SequenceSpan span{0, static_cast<int32_t>(shape.rows), shape.depth,
                                             data->pages.data()};
            data->kv.base = data->arena.data() + data->next * data->copy_bytes;
            data->next = (data->next + 1) % data->copies;
            const kernels::AttentionArgs args{
                .kv = data->kv,
                .spans = &span,
                .span_count = 1,
                .heads = shape.heads,
                .scale = 1 / std::sqrt(static_cast<float>(shape.head_dim)),
                .q = data->q.data(),
                .out = data->out.data(),
                .parts = reinterpret_cast<float*>(data->parts.data()),
                .parts_max = parts_max};
            on.run([&](int thread, int threads) {
              ops.attention(args, thread, threads);
              on.meet(thread);
              ops.attention_join(args, thread, threads);
            });
          },
      .result = [data] { return data->out; },
  };
}

OpCase make_kv_store(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  const auto data = attention_data(ops, shape);
  const int64_t values = shape.rows * shape.kv_heads * shape.head_dim;
  return {
      .shape = fmt::format("{} rows at {} · {} heads of {}", shape.rows, shape.depth,
                           shape.kv_heads, shape.head_dim),
      .bytes = static_cast<double>(values) * 2 * (4 + 2),
      .run =
          [data, &ops, shape](core::ThreadPool& on) {
            const kernels::SequenceSpan span{0, static_cast<int32_t>(shape.rows), shape.depth,
                                             data->pages.data()};
            on.run([&](int thread, int threads) {
              ops.kv_store({data->kv, &span, 1, shape.rows, data->k.data(), data->v.data()}, thread,
                           threads);
            });
          },
      .result =
          [data] {
            const kernels::KvLayer& kv = data->kv;
            const DType type = kv.format == kernels::KvFormat::kBf16 ? DType::kBF16 : DType::kF16;
            std::vector<float> stored(static_cast<size_t>(data->copy_bytes / 2));
            kernels::decode(type, data->arena.data(), data->copy_bytes / 2, stored.data());
            // In one order, whatever the layout.
            std::vector<float> values_of;
            const int64_t head = kernels::kv_head_elements(kv);
            for (size_t at = 0; at < stored.size(); at += static_cast<size_t>(head)) {
              const bool is_key = static_cast<int64_t>(at) / head / kv.kv_heads % 2 == 0;
              for (int64_t token = 0; token < kernels::kPageTokens; ++token)
                for (int64_t d = 0; d < kv.head_dim; ++d)
                  values_of.push_back(
                      stored[at + static_cast<size_t>(is_key
                                                          ? kernels::kv_key_at(kv, d, token)
                                                          : kernels::kv_value_at(kv, token, d))]);
            }
            return values_of;
          },
  };
}

// ---- row-wise ops
// --------------------------------------------------------------------------------

struct RowsData {
  std::vector<float> a, b, out;
  std::vector<int32_t> ids;
  std::vector<std::byte> table;
  core::Buffer packed;
};

std::shared_ptr<RowsData> rows_data(const OpShape& shape) {
  auto data = std::make_shared<RowsData>();
  data->a = random_values(kSeed, shape.rows * shape.inputs);
  data->b = random_values(kSeed + 1, shape.rows * shape.inputs);
  data->out.resize(data->a.size());
  return data;
}

// A row-wise op that reads `reads` matrices of (rows, inputs) floats and writes one.
template <typename Call>
OpCase rows_case(const OpShape& shape, int reads, const std::shared_ptr<RowsData>& data,
                 const Call& call) {
  return {
      .shape = fmt::format("{}×{}", shape.rows, shape.inputs),
      .bytes = static_cast<double>(shape.rows * shape.inputs) * 4 * (reads + 1),
      .run = [call](core::ThreadPool& on) { on.run(call); },
      .result = [data] { return data->out; },
  };
}

OpCase make_rms_norm(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  const auto data = rows_data(shape);
  return rows_case(shape, 1, data, [data, &ops, shape](int thread, int threads) {
    ops.rms_norm(
        {data->a.data(), data->b.data(), 1e-5f, shape.rows, shape.inputs, data->out.data()}, thread,
        threads);
  });
}

OpCase make_add(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  const auto data = rows_data(shape);
  return rows_case(shape, 2, data, [data, &ops, shape](int thread, int threads) {
    ops.add({data->a.data(), data->b.data(), shape.rows, shape.inputs, data->out.data()}, thread,
            threads);
  });
}

OpCase make_silu_mul(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  const auto data = rows_data(shape);
  return rows_case(shape, 2, data, [data, &ops, shape](int thread, int threads) {
    ops.silu_mul({data->a.data(), data->b.data(), shape.rows, shape.inputs, data->out.data()},
                 thread, threads);
  });
}

OpCase make_rope(const Ops& ops, core::ThreadPool&, OpShape const& shape) {
  OpShape heads = shape;
  heads.inputs = int64_t{shape.heads} * shape.head_dim;
  const auto data = rows_data(heads);
  data->b = random_values(kSeed + 2, shape.rows * shape.head_dim);
  for (int32_t r = 0; r < shape.rows; ++r) data->ids.push_back(r);
  return rows_case(heads, 1, data, [data, &ops, heads](int thread, int threads) {
    const core::Range rows = core::split(heads.rows, 1, thread, threads);
    std::copy(data->a.begin() + rows.begin * heads.inputs,
              data->a.begin() + rows.end * heads.inputs,
              data->out.begin() + rows.begin * heads.inputs);
    ops.rope({data->out.data(), heads.rows, heads.heads, heads.head_dim, heads.head_dim,
              data->ids.data(), data->b.data(), data->b.data() + heads.rows * heads.head_dim / 2,
              kernels::RopeLayout::kHalfSplit},
             thread, threads);
  });
}

OpCase make_quantize(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  const auto data = rows_data(shape);
  const kernels::ActivationForm form = ops.activation_form(shape.type);
  data->packed = core::Buffer(ops.activation_bytes(form, shape.rows, shape.inputs) + 64);
  OpCase made = rows_case(shape, 1, data, [data, &ops, shape, form](int thread, int threads) {
    ops.quantize_activations({form, data->a.data(), shape.rows, shape.inputs, data->packed.data()},
                             thread, threads);
  });
  made.bytes = static_cast<double>(shape.rows * shape.inputs) * (4 + 1.375);
  made.result = nullptr;  // the packed form is the table's own; linear shows its error
  return made;
}

OpCase make_embed(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  const auto data = rows_data(shape);
  data->table = random_weights(shape.type, shape.outputs * shape.inputs);
  core::Rng rng(kSeed);
  for (int64_t r = 0; r < shape.rows; ++r)
    data->ids.push_back(static_cast<int32_t>(rng.below(shape.outputs)));
  return rows_case(shape, 1, data, [data, &ops, shape](int thread, int threads) {
    ops.embed({shape.type, data->table.data(), shape.inputs, data->ids.data(), shape.rows,
               data->out.data()},
              thread, threads);
  });
}

// ---- a row of logits
// -----------------------------------------------------------------------------

// `outputs` logits; the call leaves what it found in out.
template <typename Call>
OpCase logits_case(const OpShape& shape, const Call& call) {
  auto data = std::make_shared<RowsData>();
  data->a = random_values(kSeed, shape.outputs);
  data->out.resize(data->a.size());
  return {
      .shape = fmt::format("{}", shape.outputs),
      .bytes = static_cast<double>(shape.outputs) * 4,
      .run = [data, call](core::ThreadPool&) { call(data->a, data->out); },
      .result = [data] { return data->out; },
  };
}

OpCase make_argmax(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  return logits_case(shape, [&ops](const std::vector<float>& logits, std::vector<float>& out) {
    out[0] = static_cast<float>(ops.argmax(logits.data(), static_cast<int64_t>(logits.size())));
  });
}

OpCase make_logsumexp(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  return logits_case(shape, [&ops](const std::vector<float>& logits, std::vector<float>& out) {
    out[0] = static_cast<float>(ops.logsumexp(logits.data(), static_cast<int64_t>(logits.size())));
  });
}

OpCase make_softmax(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  return logits_case(shape, [&ops](const std::vector<float>& logits, std::vector<float>& out) {
    ops.softmax(logits.data(), static_cast<int64_t>(logits.size()), 1.25f, out.data());
  });
}

OpCase make_top_k(const Ops& ops, core::ThreadPool&, const OpShape& shape) {
  return logits_case(shape, [&ops](const std::vector<float>& logits, std::vector<float>& out) {
    kernels::ScoredId best[64];
    const auto count = static_cast<int64_t>(logits.size());
    const int64_t k = std::min<int64_t>(64, count);
    ops.top_k(logits.data(), count, k, best);
    for (int64_t i = 0; i < k; ++i) out[static_cast<size_t>(i)] = best[i].score;
  });
}

constexpr OpMaker kMakers[] = {
    {"linear", "y = x · W^T: --rows, --outputs, --inputs, --type", make_linear},
    {"attention", "over pages: --rows at --depth, --heads, --kv-heads, --head-dim", make_attention},
    {"kv_store", "keys and values to pages: --rows, --kv-heads, --head-dim", make_kv_store},
    {"quantize_activations", "--rows × --inputs floats to int8 blocks", make_quantize},
    {"rms_norm", "--rows × --inputs", make_rms_norm},
    {"rope", "--rows × --heads × --head-dim, copying included", make_rope},
    {"add", "--rows × --inputs", make_add},
    {"silu_mul", "--rows × --inputs", make_silu_mul},
    {"embed", "--rows of a table of --outputs × --inputs of --type", make_embed},
    {"argmax", "over --outputs logits", make_argmax},
    {"logsumexp", "over --outputs logits", make_logsumexp},
    {"softmax", "over --outputs logits", make_softmax},
    {"top_k", "the best 64 of --outputs logits", make_top_k},
};

}  // namespace

std::span<const OpMaker> op_makers() {
  return kMakers;
}

}  // namespace sluice::apps
