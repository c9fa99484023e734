// Attention and the ops of rows on the card against the reference device: formats, odd shapes,
// fresh random values, outputs that begin as NaN. Linear layers: linear_test.cpp.
#include <cmath>

#include "core/clock.h"
#include "kernels/device_weights.h"
#include "kernels/half.h"
#include "tests/cuda/ops_fixture.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

// ---- Attention with the store before it ---------------------------------------------------------

struct Sequence {
  int32_t before = 0;  // positions stored by an earlier step
  int32_t rows = 0;    // of this step
};
struct AttentionShape {
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t dim = 0;
  int32_t rope_dims = 0;
  RopeLayout layout = RopeLayout::kHalfSplit;
  bool norms_and_biases = false;
  std::vector<Sequence> sequences{};
};

// The host's side of one step over all sequences.
struct StepNumbers {
  std::vector<int32_t> positions, tables, pages, singles;
  std::vector<PromptTile> tiles;
};
StepNumbers numbers_of(const AttentionShape& shape, bool earlier) {
  StepNumbers numbers;
  int32_t page = 0, row = 0;
  for (const Sequence& s : shape.sequences) {
    const int32_t pages = (s.before + s.rows + kPageTokens - 1) / kPageTokens;
    const auto table = static_cast<int32_t>(numbers.pages.size());
    // Pages of a sequence lie backwards: nothing may rely on their order.
    for (int32_t p = 0; p < pages; ++p) numbers.pages.push_back(page + pages - 1 - p);
    page += pages;
    const int32_t first = earlier ? 0 : s.before, count = earlier ? s.before : s.rows;
    for (int32_t i = 0; i < count; ++i) {
      numbers.positions.push_back(first + i);
      numbers.tables.push_back(table);
    }
    if (count == 1) numbers.singles.push_back(row);
    for (int32_t at = 0; at < count && count > 1; at += kPromptTileRows)
      numbers.tiles.push_back({row + at, std::min(count - at, kPromptTileRows)});
    row += count;
  }
  return numbers;
}

enum class Ops : uint8_t { kApart, kTogether };

// Keys and values of the rows of a step, from an arena.
std::vector<float> stored_rows(const std::vector<uint16_t>& arena, const KvLayer& kv,
                               const StepNumbers& numbers) {
  std::vector<float> rows;
  for (size_t row = 0; row < numbers.positions.size(); ++row) {
    const int32_t position = numbers.positions[row];
    const int64_t page =
        numbers.pages[static_cast<size_t>(numbers.tables[row] + position / kPageTokens)];
    for (int64_t head = 0; head < 2 * kv.kv_heads; ++head) {
      const int64_t at =
          ((page * 2 * kv.kv_heads + head) * kPageTokens + position % kPageTokens) * kv.head_dim;
      for (int64_t d = 0; d < kv.head_dim; ++d)
        rows.push_back(float_of_f16(arena[static_cast<size_t>(at + d)]));
    }
  }
  return rows;
}

// What attention gives, as floats, and the rotated queries, or what was stored, where both ops are
// one.
std::vector<float> run_attention(Device& device, const AttentionShape& shape, uint64_t seed,
                                 Ops ops = Ops::kApart) {
  core::Rng rng(seed);
  KvLayer kv{.format = KvFormat::kF16, .kv_heads = shape.kv_heads, .head_dim = shape.dim};
  const int64_t pages = std::ssize(numbers_of(shape, false).pages);
  const OnDevice<uint16_t> arena(
      device, std::vector<uint16_t>(static_cast<size_t>(pages * kv_page_bytes(kv) / 2), 0x7e00));
  kv.base = reinterpret_cast<std::byte*>(arena.data());
  std::vector<float> frequencies;
  for (int32_t i = 0; i < shape.rope_dims / 2; ++i)
    frequencies.push_back(
        std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(shape.rope_dims)));
  const OnDevice<float> frequencies_on(device, frequencies);
  const int64_t q_columns = shape.heads * shape.dim, kv_columns = shape.kv_heads * shape.dim;
  const OnDevice<float> q_bias(device, normals(rng, q_columns)),
      k_bias(device, normals(rng, kv_columns)), v_bias(device, normals(rng, kv_columns)),
      q_norm(device, normals(rng, shape.dim)), k_norm(device, normals(rng, shape.dim));
  const auto if_any = [&](const OnDevice<float>& values) {
    return shape.norms_and_biases ? values.data() : nullptr;
  };
  std::vector<float> result;
  for (const bool earlier : {true, false}) {
    const StepNumbers numbers = numbers_of(shape, earlier);
    const auto rows = std::ssize(numbers.positions);
    if (rows == 0) continue;
    const OnDevice<float> q(device, normals(rng, rows * q_columns)),
        k(device, normals(rng, rows * kv_columns)), v(device, normals(rng, rows * kv_columns));
    const OnDevice<int32_t> positions(device, numbers.positions), tables(device, numbers.tables),
        page_ids(device, numbers.pages), singles(device, numbers.singles);
    const OnDevice<PromptTile> tiles(device, numbers.tiles);
    const OnDevice<uint16_t> turned(
        device, std::vector<uint16_t>(static_cast<size_t>(rows * q_columns), 0x7e00)),
        out(device, std::vector<uint16_t>(static_cast<size_t>(rows * q_columns), 0x7fc0));
    const DeviceRows device_rows{rows, positions.data(), tables.data(), page_ids.data()};
    const DeviceTurnArgs turn{.rows = device_rows,
                              .kv = kv,
                              .q = {q.data(), if_any(q_bias), if_any(q_norm), shape.heads},
                              .k = {k.data(), if_any(k_bias), if_any(k_norm), shape.kv_heads},
                              .v = v.data(),
                              .v_bias = if_any(v_bias),
                              .epsilon = 1e-6f,
                              .rope = {frequencies_on.data(), 1.25f, shape.rope_dims, shape.layout},
                              .q_out = turned.data()};
    const DeviceAttentionArgs attention{.rows = device_rows,
                                        .kv = kv,
                                        .heads = shape.heads,
                                        .scale = 0.1f,
                                        .q = turned.data(),
                                        .out = out.data(),
                                        .single_rows = singles.data(),
                                        .singles = static_cast<int32_t>(numbers.singles.size()),
                                        .tiles = tiles.data(),
                                        .tile_count = static_cast<int32_t>(numbers.tiles.size())};
    const bool together = !earlier && ops == Ops::kTogether;
    if (together) {
      device.turn_and_attend(turn, attention);
    } else {
      device.turn(turn);
      if (!earlier) device.attention(attention);
    }
    device.wait();
    if (!earlier) {
      result = together ? stored_rows(arena.values(), kv, numbers)
                        : floats_of(turned.values(), float_of_f16);
      const auto attended = floats_of(out.values(), float_of_bf16);
      result.insert(result.end(), attended.begin(), attended.end());
    }
  }
  return result;
}

TEST_F(CudaOps, AttentionAgreesWithReference) {
  const std::vector<AttentionShape> shapes = {
      {.heads = 8,
       .kv_heads = 2,
       .dim = 128,
       .rope_dims = 128,
       .sequences = {{0, 1}, {31, 1}, {32, 1}, {63, 1}, {64, 1}, {700, 1}}},
      {.heads = 9,
       .kv_heads = 3,
       .dim = 64,
       .rope_dims = 64,
       .layout = RopeLayout::kAdjacentPairs,
       .sequences = {{0, 200}, {5, 1}, {100, 130}, {1000, 1}, {33, 2}}},
      {.heads = 4,
       .kv_heads = 4,
       .dim = 16,
       .rope_dims = 8,
       .norms_and_biases = true,
       .sequences = {{0, 1}, {10, 20}, {0, 65}}},
      {.heads = 32,
       .kv_heads = 1,
       .dim = 80,
       .rope_dims = 80,
       .norms_and_biases = true,
       .sequences = {{90, 1}, {0, 129}}},
      {.heads = 4, .kv_heads = 2, .dim = 256, .rope_dims = 64, .sequences = {{300, 1}, {70, 90}}}};
  uint64_t seed = 77;
  for (const AttentionShape& shape : shapes) {
    ++seed;
    EXPECT_LT(
        relative_error(run_attention(cuda(), shape, seed), run_attention(reference(), shape, seed)),
        0.004)
        << shape.heads << " heads of " << shape.dim << ", seed " << seed;
  }
}

TEST_F(CudaOps, TurnAndAttendAgreesWithReference) {
  const std::vector<AttentionShape> shapes = {
      {.heads = 8,
       .kv_heads = 2,
       .dim = 128,
       .rope_dims = 128,
       .sequences = {{0, 1}, {31, 1}, {32, 1}, {63, 1}, {64, 1}, {127, 1}, {128, 1}, {5000, 1}}},
      {.heads = 9,
       .kv_heads = 3,
       .dim = 64,
       .rope_dims = 64,
       .layout = RopeLayout::kAdjacentPairs,
       .norms_and_biases = true,
       .sequences = {{200, 1}}},
      {.heads = 4,
       .kv_heads = 4,
       .dim = 16,
       .rope_dims = 8,
       .norms_and_biases = true,
       .sequences = {{0, 1}, {10, 1}, {65, 1}}},
      {.heads = 40, .kv_heads = 2, .dim = 80, .rope_dims = 80, .sequences = {{90, 1}, {640, 1}}},
      {.heads = 4, .kv_heads = 2, .dim = 256, .rope_dims = 64, .sequences = {{300, 1}}},
      // One that is alone among rows of a prompt.
      {.heads = 4, .kv_heads = 2, .dim = 64, .rope_dims = 64, .sequences = {{9, 1}, {3, 40}}}};
  uint64_t seed = 177;
  for (const AttentionShape& shape : shapes) {
    ++seed;
    EXPECT_LT(relative_error(run_attention(cuda(), shape, seed, Ops::kTogether),
                             run_attention(reference(), shape, seed, Ops::kTogether)),
              0.004)
        << shape.heads << " heads of " << shape.dim << ", seed " << seed;
  }
}

// So many rows that no part of a sequence is shared out: one block reads all pages of the last one.
TEST_F(CudaOps, AttentionOfOneLongSequenceAmongMany) {
  AttentionShape shape{.heads = 32, .kv_heads = 32, .dim = 64, .rope_dims = 64};
  shape.sequences.assign(40, {3, 1});
  shape.sequences.push_back({4500, 1});
  for (const Ops ops : {Ops::kApart, Ops::kTogether}) {
    std::vector<std::vector<float>> last_rows;
    for (Device* device : {&cuda(), &reference()}) {
      const std::vector<float> all = run_attention(*device, shape, 277, ops);
      last_rows.emplace_back(all.end() - ptrdiff_t{shape.heads} * shape.dim, all.end());
    }
    EXPECT_LT(relative_error(last_rows[0], last_rows[1]), 0.02);
  }
}

// The counters by which the parts of a long sequence are joined are as before after each step.
TEST_F(CudaOps, AttentionGivesTheSameAgain) {
  const AttentionShape shape{
      .heads = 8, .kv_heads = 2, .dim = 64, .rope_dims = 64, .sequences = {{4000, 1}, {100, 1}}};
  const auto first = run_attention(cuda(), shape, 3);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(run_attention(cuda(), shape, 3), first);
  const auto together = run_attention(cuda(), shape, 3, Ops::kTogether);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(run_attention(cuda(), shape, 3, Ops::kTogether), together);
}

// ---- Rows ---------------------------------------------------------------------------------------

TEST_F(CudaOps, EmbedDecodesEveryTable) {
  core::Rng rng(11);
  constexpr int64_t kColumns = 96, kRows = 50;
  const std::vector<int32_t> ids = {0, 49, 7, 7, 23};
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    const auto blocks = random_blocks(rng, type, kColumns * kRows);
    std::vector<std::vector<float>> results;
    for (Device* device : {&reference(), &cuda()}) {
      const OnDevice<std::byte> table(*device, blocks);
      const OnDevice<int32_t> ids_on(*device, ids);
      const OnDevice<float> out(*device, std::vector<float>(ids.size() * kColumns, NAN));
      device->embed({.type = type,
                     .table = table.data(),
                     .columns = kColumns,
                     .ids = ids_on.data(),
                     .rows = std::ssize(ids),
                     .out = out.data()});
      device->wait();
      results.push_back(out.values());
    }
    EXPECT_EQ(results[1], results[0]) << core::info(type).name;
  }
}

TEST_F(CudaOps, ArgmaxTakesTheSmallestOfEquals) {
  core::Rng rng(12);
  for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
           {5, 1}, {5, 33}, {5, 1024}, {5, 49152}, {5, 128256}, {64, 49152}, {256, 5000}}) {
    auto logits = normals(rng, rows * columns);
    if (columns > 40) logits[7] = logits[31] = logits[static_cast<size_t>(columns - 1)] = 100;
    const OnDevice<float> on(cuda(), logits);
    const OnDevice<int32_t> ids(cuda(), std::vector<int32_t>(rows, -1));
    cuda().sample({.logits = on.data(),
                   .rows = rows,
                   .stride = columns,
                   .columns = columns,
                   .ids = ids.data()});
    cuda().wait();
    std::vector<int32_t> expected(rows);
    reference().sample({.logits = logits.data(),
                        .rows = rows,
                        .stride = columns,
                        .columns = columns,
                        .ids = expected.data()});
    EXPECT_EQ(ids.values(), expected) << rows << " rows of " << columns;
  }
}

// A recorded step runs again with what stands at its addresses then.
TEST_F(CudaOps, ARecordedStepReadsItsInputsAnew) {
  const OnDevice<int32_t> ids(cuda(), std::vector<int32_t>{-1});
  std::vector<float> logits(100, 0.0f);
  const OnDevice<float> on(cuda(), logits);
  const auto recording = cuda().record(
      [&] {
        cuda().sample(
            {.logits = on.data(), .rows = 1, .stride = 100, .columns = 100, .ids = ids.data()});
      },
      {});
  for (const int32_t best : {42, 17}) {
    logits.assign(100, 0.0f);
    logits[static_cast<size_t>(best)] = 1;
    cuda().upload(reinterpret_cast<std::byte*>(on.data()),
                  reinterpret_cast<const std::byte*>(logits.data()), 400);
    cuda().replay(*recording);
    cuda().wait();
    EXPECT_EQ(ids.values(), std::vector<int32_t>{best});
  }
}

// Of a long queue and a short one, in every replay anew.
TEST_F(CudaOps, ClocksInARecordingTellItsPartsApart) {
  constexpr int kOps = 64;
  const OnDevice<int32_t> ids(cuda(), std::vector<int32_t>{-1});
  const OnDevice<float> on(cuda(), std::vector<float>(100, 0.0f));
  const auto sample = [&] {
    cuda().sample(
        {.logits = on.data(), .rows = 1, .stride = 100, .columns = 100, .ids = ids.data()});
  };
  const auto recording = cuda().record(
      [&] {
        cuda().stamp(0);
        sample();
        cuda().stamp(1);
        for (int i = 0; i < kOps; ++i) sample();
        cuda().stamp(2);
      },
      {});
  const core::SystemClock clock;
  for (int turn = 0; turn < 3; ++turn) {
    const int64_t begin_ns = clock.now_ns();
    cuda().replay(*recording);
    cuda().wait();
    const int64_t took_ns = clock.now_ns() - begin_ns;
    const int64_t one_ns = cuda().stamped_ns(0, 1), many_ns = cuda().stamped_ns(1, 2);
    EXPECT_GT(one_ns, 0);
    EXPECT_GT(many_ns, 4 * one_ns);
    EXPECT_LT(one_ns + many_ns, took_ns);
  }
}

}  // namespace
}  // namespace sluice::kernels
