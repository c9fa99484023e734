// Latent attention of every table: the absorbed form against the decompressed one in double, equal
// bits however rows are cut into chunks, whatever else is in the batch, whatever the threads.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

struct Shape {
  int32_t heads = 0;
  int32_t rank = 0;
  int32_t turned = 0;
  int32_t nope = 0;
  int32_t value = 0;
};
constexpr Shape kShapes[] = {{3, 512, 64, 64, 64}, {20, 128, 16, 32, 32}, {5, 24, 6, 16, 8}};

struct Part {
  int32_t sequence, first, rows;
};
using Step = std::vector<Part>;

// Sequences with random latent rows and queries; the pages of the cache start as not-a-number.
class World {
 public:
  World(const Shape& shape, KvFormat format, std::vector<int32_t> lengths, uint64_t seed)
      : shape_(shape), lengths_(std::move(lengths)) {
    core::Rng rng(seed);
    int32_t pages = 0;
    for (const int32_t length : lengths_) {
      first_rows_.push_back(rows_);
      rows_ += length;
      pages_.emplace_back();
      for (int32_t t = 0; t < length; t += kPageTokens) pages_.back().push_back(pages++);
    }
    std::reverse(pages_.front().begin(), pages_.front().end());
    kv_ = {.format = format,
           .kv_heads = 1,
           .head_dim = shape.rank + shape.turned,
           .latent_rank = shape.rank};
    arena_ = core::Buffer(pages * kv_page_bytes(kv_));
    std::memset(arena_.data(), 0xff, static_cast<size_t>(arena_.bytes()));
    kv_.base = arena_.data();
    latents_ = normals(rng, int64_t{rows_} * shape.rank);
    k_turned_ = normals(rng, int64_t{rows_} * shape.turned);
    q_nope_ = normals(rng, int64_t{rows_} * shape.heads * shape.nope);
    q_turned_ = normals(rng, int64_t{rows_} * shape.heads * shape.turned);
    k_b_ = normals(rng, int64_t{shape.heads} * shape.nope * shape.rank, 0.05f);
    v_b_ = normals(rng, int64_t{shape.heads} * shape.value * shape.rank, 0.05f);
  }

  // Absorbed, as the model runs it: (rows, heads, value).
  std::vector<float> run(const Ops& ops, const std::vector<Step>& steps, int threads) const {
    std::vector<float> out(static_cast<size_t>(rows_ * shape_.heads * shape_.value));
    for (const Step& step : steps) run_step(ops, step, threads, &out);
    return out;
  }

  std::vector<Step> whole() const {
    std::vector<Step> steps;
    for (size_t s = 0; s < lengths_.size(); ++s)
      steps.push_back({{static_cast<int32_t>(s), 0, lengths_[s]}});
    return steps;
  }

  // Every head's keys and values made from the latent vectors.
  std::vector<float> expected() const {
    std::vector<float> out;
    for (size_t s = 0; s < lengths_.size(); ++s)
      for (int32_t r = 0; r < lengths_[s]; ++r)
        for (int32_t h = 0; h < shape_.heads; ++h) append_expected(first_rows_[s], r, h, &out);
    return out;
  }

 private:
  float scale() const { return 1 / std::sqrt(static_cast<float>(shape_.nope + shape_.turned)); }

  void run_step(const Ops& ops, const Step& step, int threads, std::vector<float>* out) const {
    std::vector<SequenceSpan> spans;
    std::vector<int64_t> at;  // the world's row, by row of the step
    for (const Part& p : step) {
      const auto s = static_cast<size_t>(p.sequence);
      spans.push_back({static_cast<int32_t>(at.size()), p.rows, p.first, pages_[s].data()});
      for (int32_t i = 0; i < p.rows; ++i) at.push_back(first_rows_[s] + p.first + i);
    }
    const auto rows = static_cast<int64_t>(at.size());
    const int64_t heads = shape_.heads, rank = shape_.rank, turned = shape_.turned;
    std::vector<float> latents, k_turned, q_turned;
    std::vector<float> q_latent(static_cast<size_t>(heads * rows * rank)), attended(q_latent);
    const auto append = [](std::vector<float>* to, const std::vector<float>& from, int64_t row,
                           int64_t n) {
      to->insert(to->end(), from.begin() + row * n, from.begin() + (row + 1) * n);
    };
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t row = at[static_cast<size_t>(i)];
      append(&latents, latents_, row, rank);
      append(&k_turned, k_turned_, row, turned);
      append(&q_turned, q_turned_, row, heads * turned);
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t d = 0; d < rank; ++d) {
          double sum = 0;
          for (int64_t n = 0; n < shape_.nope; ++n)
            sum += double{q_nope_[static_cast<size_t>((row * heads + h) * shape_.nope + n)]} *
                   double{k_b_[static_cast<size_t>((h * shape_.nope + n) * rank + d)]};
          q_latent[static_cast<size_t>((h * rows + i) * rank + d)] = static_cast<float>(sum);
        }
    }
    const auto count = static_cast<int32_t>(spans.size());
    run_all(ops.latent_store,
            LatentStoreArgs{kv_, spans.data(), count, rows, latents.data(), k_turned.data()},
            threads);
    run_all(ops.latent_attention,
            LatentAttentionArgs{.kv = kv_,
                                .spans = spans.data(),
                                .span_count = count,
                                .rows = rows,
                                .heads = shape_.heads,
                                .scale = scale(),
                                .q_latent = q_latent.data(),
                                .q_turned = q_turned.data(),
                                .out = attended.data()},
            threads);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t v = 0; v < shape_.value; ++v) {
          double sum = 0;
          for (int64_t d = 0; d < rank; ++d)
            sum += double{attended[static_cast<size_t>((h * rows + i) * rank + d)]} *
                   double{v_b_[static_cast<size_t>((h * shape_.value + v) * rank + d)]};
          (*out)[static_cast<size_t>((at[static_cast<size_t>(i)] * heads + h) * shape_.value + v)] =
              static_cast<float>(sum);
        }
  }

  double from_latent(const std::vector<float>& matrix, int64_t matrix_row, int64_t row) const {
    double sum = 0;
    for (int64_t d = 0; d < shape_.rank; ++d)
      sum += double{matrix[static_cast<size_t>(matrix_row * shape_.rank + d)]} *
             double{latents_[static_cast<size_t>(row * shape_.rank + d)]};
    return sum;
  }

  void append_expected(int64_t first_row, int64_t r, int64_t h, std::vector<float>* out) const {
    const int64_t query = (first_row + r) * shape_.heads + h;
    std::vector<double> values(static_cast<size_t>(shape_.value));
    double total = 0;
    for (int64_t t = first_row; t <= first_row + r; ++t) {
      double score = 0;
      for (int64_t n = 0; n < shape_.nope; ++n)
        score += double{q_nope_[static_cast<size_t>(query * shape_.nope + n)]} *
                 from_latent(k_b_, h * shape_.nope + n, t);
      for (int64_t d = 0; d < shape_.turned; ++d)
        score += double{q_turned_[static_cast<size_t>(query * shape_.turned + d)]} *
                 double{k_turned_[static_cast<size_t>(t * shape_.turned + d)]};
      const double weight = std::exp(score * double{scale()});
      total += weight;
      for (int64_t v = 0; v < shape_.value; ++v)
        values[static_cast<size_t>(v)] += weight * from_latent(v_b_, h * shape_.value + v, t);
    }
    for (const double v : values) out->push_back(static_cast<float>(v / total));
  }

  Shape shape_;
  std::vector<int32_t> lengths_;
  std::vector<int64_t> first_rows_;
  std::vector<std::vector<int32_t>> pages_;
  int64_t rows_ = 0;
  KvLayer kv_;
  core::Buffer arena_;
  std::vector<float> latents_, k_turned_, q_nope_, q_turned_, k_b_, v_b_;
};

TEST(LatentAttention, AbsorbedIsDecompressed) {
  for (const Shape& shape : kShapes)
    for (const KvFormat format : {KvFormat::kF32, KvFormat::kF16}) {
      const World world(shape, format, {37, 3}, 7);
      const std::vector<float> expected = world.expected();
      for (const Ops* ops : runnable_ops())
        EXPECT_LT(relative_error(world.run(*ops, world.whole(), 1), expected),
                  format == KvFormat::kF32 ? 2e-6 : 1e-3)
            << ops->name << " rank " << shape.rank;
    }
}

TEST(LatentAttention, BitsDoNotDependOnChunksBatchOrThreads) {
  for (const Shape& shape : kShapes) {
    const World world(shape, KvFormat::kF16, {70, 33}, 8);
    // Chunks of both sequences side by side, down to single rows.
    const std::vector<Step> steps = {
        {{1, 0, 5}}, {{0, 0, 33}, {1, 5, 1}}, {{1, 6, 27}, {0, 33, 36}}, {{0, 69, 1}}};
    for (const Ops* ops : runnable_ops()) {
      const std::vector<float> whole = world.run(*ops, world.whole(), 1);
      for (const int threads : {1, 3}) {
        const std::vector<float> cut = world.run(*ops, steps, threads);
        EXPECT_TRUE(same_bits(cut.data(), whole.data(), whole.size()))
            << ops->name << " rank " << shape.rank << ", " << threads << " threads";
      }
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
