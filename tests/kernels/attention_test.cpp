// kv_store and attention of every table: error against plain attention in double, equal bits
// however rows are cut into chunks, whatever else is in the batch, whatever the threads.
#include <gtest/gtest.h>

#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

struct Shape {
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
};
constexpr Shape kShapes[] = {{9, 3, 64}, {12, 2, 128}, {4, 4, 8},
                             {6, 1, 72}, {71, 1, 64},  {8, 2, 256}};

constexpr KvFormat kFormats[] = {KvFormat::kF32, KvFormat::kF16, KvFormat::kBf16, KvFormat::kInt8};

constexpr int32_t kLengthMax = 2100;  // three segments
constexpr int64_t kSegmentsMax = (kLengthMax - 1) / kAttentionSegmentTokens + 1;

// Sequences of given lengths with random q, k, v, and an arena whose pages are in random order.
class World {
 public:
  World(const Shape& shape, KvFormat format, std::vector<int32_t> lengths, uint64_t seed)
      : shape_(shape), lengths_(std::move(lengths)) {
    core::Rng rng(seed);
    int32_t pages = 0;
    for (int32_t length : lengths_) {
      first_rows_.push_back(rows_);
      rows_ += length;
      pages += (length + kPageTokens - 1) / kPageTokens;
    }
    std::vector<int32_t> order(static_cast<size_t>(pages));
    for (size_t i = 0; i < order.size(); ++i) {
      const auto j = static_cast<size_t>(rng.below(static_cast<int64_t>(i) + 1));
      order[i] = order[j];
      order[j] = static_cast<int32_t>(i);
    }
    for (int32_t length : lengths_) {
      const auto count = static_cast<size_t>((length + kPageTokens - 1) / kPageTokens);
      pages_.emplace_back(order.end() - static_cast<int64_t>(count), order.end());
      order.resize(order.size() - count);
    }
    q_ = normals(rng, int64_t{rows_} * shape.heads * shape.head_dim, 2);
    k_ = normals(rng, int64_t{rows_} * shape.kv_heads * shape.head_dim);
    v_ = normals(rng, int64_t{rows_} * shape.kv_heads * shape.head_dim);
    arena_ = core::Buffer(pages * kv_page_bytes(format, shape.kv_heads, shape.head_dim));
    // What a page held before must not matter: not-a-number everywhere.
    std::memset(arena_.data(), 0xff, static_cast<size_t>(arena_.bytes()));
    kv_ = {format, shape.kv_heads, shape.head_dim, arena_.data()};
  }

  // Stores and attends in the steps given: each step is a list of (sequence, first, rows).
  struct Part {
    int32_t sequence, first, rows;
  };
  std::vector<float> run(const Ops& ops, const std::vector<std::vector<Part>>& steps,
                         int threads) const {
    const int64_t q_row = int64_t{shape_.heads} * shape_.head_dim;
    const int64_t kv_row = int64_t{shape_.kv_heads} * shape_.head_dim;
    std::vector<float> out(q_.size());
    for (const std::vector<Part>& step : steps) {
      std::vector<SequenceSpan> spans;
      std::vector<float> q, k, v;
      int32_t rows = 0;
      for (const Part& part : step) {
        const auto s = static_cast<size_t>(part.sequence);
        spans.push_back({rows, part.rows, part.first, pages_[s].data()});
        const int64_t row = first_rows_[s] + part.first;
        const auto append = [&](std::vector<float>& to, const std::vector<float>& from, int64_t n) {
          to.insert(to.end(), from.begin() + row * n, from.begin() + (row + part.rows) * n);
        };
        append(q, q_, q_row);
        append(k, k_, kv_row);
        append(v, v_, kv_row);
        rows += part.rows;
      }
      const auto count = static_cast<int32_t>(spans.size());
      run_all(ops.kv_store, KvStoreArgs{kv_, spans.data(), count, rows, k.data(), v.data()},
              threads);
      std::vector<float> step_out(q.size());
      // Room for three divided sequences, so that some find none.
      const int64_t parts_max = 3 * kSegmentsMax * (shape_.heads / shape_.kv_heads);
      core::Buffer parts(parts_max * attention_part_floats(shape_.head_dim) * 4);
      const AttentionArgs args{.kv = kv_,
                               .spans = spans.data(),
                               .span_count = count,
                               .heads = shape_.heads,
                               .scale = scale(),
                               .q = q.data(),
                               .out = step_out.data(),
                               .parts = reinterpret_cast<float*>(parts.data()),
                               .parts_max = parts_max};
      run_all(ops.attention, args, threads);
      run_all(ops.attention_join, args, threads);
      for (size_t p = 0; p < step.size(); ++p) {
        const int64_t row = first_rows_[static_cast<size_t>(step[p].sequence)] + step[p].first;
        const int64_t from = spans[p].first_row * q_row;
        std::copy_n(step_out.begin() + from, step[p].rows * q_row, out.begin() + row * q_row);
      }
    }
    return out;
  }

  // Every sequence whole, each in a step of its own.
  std::vector<float> run_whole(const Ops& ops, int threads) const {
    std::vector<std::vector<Part>> steps;
    for (size_t s = 0; s < lengths_.size(); ++s)
      steps.push_back({{static_cast<int32_t>(s), 0, lengths_[s]}});
    return run(ops, steps, threads);
  }

  // The definition, in double.
  std::vector<float> expected() const {
    std::vector<float> out;
    const int32_t group = shape_.heads / shape_.kv_heads;
    for (size_t s = 0; s < lengths_.size(); ++s)
      for (int32_t r = 0; r < lengths_[s]; ++r)
        for (int32_t h = 0; h < shape_.heads; ++h) {
          const auto dim = static_cast<size_t>(shape_.head_dim);
          const auto row = static_cast<size_t>(first_rows_[s] + r);
          const float* q =
              &q_[(row * static_cast<size_t>(shape_.heads) + static_cast<size_t>(h)) * dim];
          std::vector<double> sums(dim), weights;
          double total = 0;
          for (int32_t t = 0; t <= r; ++t) {
            const float* k = kv_at(k_, s, t, h / group);
            double score = 0;
            for (size_t d = 0; d < dim; ++d) score += double{q[d]} * double{k[d]};
            const double weight = std::exp(score * double{scale()});
            total += weight;
            const float* v = kv_at(v_, s, t, h / group);
            for (size_t d = 0; d < dim; ++d) sums[d] += weight * double{v[d]};
          }
          for (size_t d = 0; d < dim; ++d) out.push_back(static_cast<float>(sums[d] / total));
        }
    return out;
  }

 private:
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)); }
  const float* kv_at(const std::vector<float>& of, size_t sequence, int32_t token,
                     int32_t head) const {
    const auto row = static_cast<size_t>(first_rows_[sequence] + token);
    return &of[(row * static_cast<size_t>(shape_.kv_heads) + static_cast<size_t>(head)) *
               static_cast<size_t>(shape_.head_dim)];
  }

  Shape shape_;
  std::vector<int32_t> lengths_, first_rows_;
  std::vector<std::vector<int32_t>> pages_;
  int32_t rows_ = 0;
  std::vector<float> q_, k_, v_;
  core::Buffer arena_;
  KvLayer kv_;
};

std::string text(const Shape& shape) {
  return std::to_string(shape.heads) + "/" + std::to_string(shape.kv_heads) + " heads of " +
         std::to_string(shape.head_dim);
}

// Whether a table's attention reads pages of `format`.
bool reads(const Ops& ops, KvFormat format, const Shape& shape) {
  return ops.reads_kv(format, shape.head_dim);
}

// Rounding of keys, values and, in bf16, of queries and weights too.
double limit_of(const Ops& ops, KvFormat format) {
  if (format == KvFormat::kF32) return 1e-6;
  if (format == KvFormat::kF16) return 1e-3;
  if (format == KvFormat::kInt8) return 2e-2;
  return ops.name == "ref" ? 6e-3 : 1e-2;
}

TEST(Attention, EveryShapeAgreesWithTheDefinition) {
  for (const Shape& shape : kShapes)
    for (KvFormat format : kFormats) {
      const World world(shape, format, {1, 31, 33, 150}, 77);
      const std::vector<float> expected = world.expected();
      for (const Ops* ops : runnable_ops()) {
        if (!reads(*ops, format, shape)) continue;
        EXPECT_LT(relative_error(world.run_whole(*ops, 1), expected), limit_of(*ops, format))
            << ops->name << ' ' << text(shape);
      }
    }
}

TEST(Attention, BitsDoNotDependOnChunksBatchOrThreads) {
  for (const Shape& shape : kShapes) {
    for (const Ops* ops : runnable_ops()) {
      for (KvFormat format : {ops->kv_format(shape.head_dim), KvFormat::kInt8}) {
        const World world(shape, format, {130, 70, 5}, 78);
        const std::vector<float> whole = world.run_whole(*ops, 1);
        for (int threads : {2, 3}) ASSERT_EQ(world.run_whole(*ops, threads), whole) << ops->name;
        for (int32_t chunk : {1, 16, 37}) {
          // All sequences together, `chunk` rows of each in a step.
          std::vector<std::vector<World::Part>> steps;
          for (int32_t first = 0; first < 130; first += chunk) {
            steps.emplace_back();
            for (int32_t s : {2, 0, 1}) {
              const int32_t length = s == 0 ? 130 : s == 1 ? 70 : 5;
              const int32_t rows = std::min(chunk, length - first);
              if (rows > 0) steps.back().push_back({s, first, rows});
            }
          }
          for (int threads : {1, 2})
            ASSERT_EQ(world.run(*ops, steps, threads), whole)
                << ops->name << ' ' << text(shape) << ", chunks of " << chunk;
        }
      }
    }
  }
}

// Decode of long sequences: a border between threads goes through their segments.
TEST(Attention, BitsDoNotDependOnWhoHasWhichSegment) {
  constexpr Shape kFew[] = {{3, 1, 64}, {12, 2, 128}, {6, 1, 72}};
  const std::vector<int32_t> lengths = {kLengthMax, 1300, 1025};
  std::vector<std::vector<World::Part>> steps;
  for (int32_t s : {0, 1, 2}) steps.push_back({{s, 0, lengths[static_cast<size_t>(s)] - 4}});
  for (int32_t i = 4; i > 0; --i) {
    steps.emplace_back();
    for (int32_t s : {0, 1, 2}) steps.back().push_back({s, lengths[static_cast<size_t>(s)] - i, 1});
  }
  for (const Shape& shape : kFew) {
    for (const Ops* ops : runnable_ops()) {
      if (ops->name == "ref") continue;
      const KvFormat format =
          shape.head_dim == 128 ? KvFormat::kInt8 : ops->kv_format(shape.head_dim);
      const World world(shape, format, lengths, 81);
      const std::vector<float> whole = world.run_whole(*ops, 1);
      for (int threads : {1, 2, 3, 8})
        ASSERT_EQ(world.run(*ops, steps, threads), whole)
            << ops->name << ' ' << text(shape) << ", threads " << threads;
    }
  }
}

TEST(Attention, SegmentsAgreeWithTheDefinition) {
  const Shape shape{2, 1, 64};
  const std::vector<float> expected = World(shape, KvFormat::kF32, {kLengthMax}, 82).expected();
  for (KvFormat format : kFormats) {
    const World world(shape, format, {kLengthMax}, 82);
    for (const Ops* ops : runnable_ops())
      if (reads(*ops, format, shape)) {
        EXPECT_LT(relative_error(world.run_whole(*ops, 2), expected), limit_of(*ops, format))
            << ops->name;
      }
  }
}

TEST(Attention, TablesReadEachOthersPages) {
  const World world({9, 3, 64}, KvFormat::kF16, {100}, 79);
  const std::vector<float> expected = world.run_whole(reference_ops(), 1);
  for (const Ops* ops : runnable_ops()) {
    Ops mixed = *ops;
    mixed.kv_store = reference_ops().kv_store;
    EXPECT_EQ(world.run_whole(mixed, 1), world.run_whole(*ops, 1)) << ops->name;
    EXPECT_LT(relative_error(world.run_whole(*ops, 1), expected), 1e-6) << ops->name;
  }
}

TEST(Attention, PagesForTilesAreThoseOfTheReference) {
  const Shape shape{9, 3, 64};
  for (KvFormat format : {KvFormat::kBf16, KvFormat::kInt8}) {
    const World world(shape, format, {100}, 80);
    for (const Ops* ops : runnable_ops()) {
      if (!reads(*ops, format, shape)) continue;
      Ops mixed = *ops;
      mixed.kv_store = reference_ops().kv_store;
      EXPECT_EQ(world.run_whole(mixed, 1), world.run_whole(*ops, 1)) << ops->name;
    }
  }
}

TEST(Attention, PageBytesHoldKeysAndValues) {
  EXPECT_EQ(kv_page_bytes(KvFormat::kF16, 3, 64), 2 * 3 * 64 * kPageTokens * 2);
  EXPECT_EQ(kv_page_bytes(KvFormat::kF32, 1, 8) % 64, 0);
  EXPECT_EQ(kv_page_bytes(KvFormat::kInt8, 3, 64), 2 * 3 * (64 + 4) * kPageTokens);
}

}  // namespace
}  // namespace sluice::kernels
