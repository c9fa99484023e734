// Linear layers on the card against the reference device: every format and kernel, odd shapes,
// fresh random values, outputs that begin as NaN.
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <future>

#include "core/math.h"
#include "kernels/device_weights.h"
#include "kernels/half.h"
#include "tests/cuda/ops_fixture.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

struct LinearShape {
  DType type = DType::kBF16;
  int64_t outputs = 0;
  int64_t inputs = 0;
  int64_t rows = 0;
  bool through_norm = false;
  DeviceResult result = DeviceResult::kStore;
  bool is_poisoned = false;  // a value of the first row is NaN
  int products = 3;          // of kStore
};

// All that the op writes, as floats.
std::vector<float> run_linear(Device& device, const LinearShape& shape, uint64_t seed) {
  core::Rng rng(seed);
  const DType kept = device_weight_type(shape.type);
  auto hidden = normals(rng, shape.rows * shape.inputs, 3);
  if (shape.is_poisoned) hidden[5] = NAN;
  const auto norm = normals(rng, shape.inputs), bias = normals(rng, shape.outputs);
  const int count = shape.result == DeviceResult::kSiluMul ? 2
                    : shape.result == DeviceResult::kAdd   ? 1
                                                           : shape.products;
  const OnDevice<float> hidden_on(device, hidden), norm_on(device, norm), bias_on(device, bias);
  const OnDevice<uint16_t> x_on(device, bf16_of(hidden));
  DeviceLinearArgs args{.rows = shape.rows, .product_count = count, .result = shape.result};
  if (shape.through_norm) {
    args.hidden = hidden_on.data();
    args.norm = norm_on.data();
    args.epsilon = 1e-5f;
  } else {
    args.x = x_on.data();
  }
  if (shape.result == DeviceResult::kAdd) args.bias = bias_on.data();
  std::vector<OnDevice<std::byte>> weights;
  std::vector<OnDevice<float>> ys;
  for (int p = 0; p < count; ++p) {
    // Products of different heights share a launch.
    const int64_t outputs =
        shape.result == DeviceResult::kStore && p > 0 ? shape.outputs / 2 + 4 * p : shape.outputs;
    weights.emplace_back(device, packed_of(rng, shape.type, outputs, shape.inputs));
    const auto before = shape.result == DeviceResult::kAdd
                            ? normals(rng, shape.rows * outputs)
                            : std::vector<float>(static_cast<size_t>(shape.rows * outputs), NAN);
    ys.emplace_back(device, before);
    args.products[static_cast<size_t>(p)] = {{kept, outputs, shape.inputs, weights.back().data()},
                                             ys.back().data()};
  }
  const OnDevice<uint16_t> activated(
      device, std::vector<uint16_t>(static_cast<size_t>(shape.rows * shape.outputs), 0x7fc0));
  args.activated = activated.data();
  device.linear(args);
  device.wait();
  if (shape.result == DeviceResult::kSiluMul) return floats_of(activated.values(), float_of_bf16);
  std::vector<float> all;
  for (const auto& y : ys) {
    const auto values = y.values();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

// bf16 inputs differ by rounding where the norm's last bit does; int8 ones lose 1/sqrt(12) of a
// step, max/127 of 32 values: about 0.008 of normal values, more where minima nearly cancel a sum.
// Where rows are many blocks become bf16. e4m3 meets inputs of f16, and sums in f16 lose less than
// their rounding to bf16 has. silu(gate) · up has the errors of both, relative to a value that is
// small where gate is negative.
double limit_of(const LinearShape& shape) {
  const DType kept = device_weight_type(shape.type);
  const bool blocks = kept != DType::kBF16 && kept != DType::kF8_B128;
  if (shape.result == DeviceResult::kSiluMul) return blocks ? 0.06 : 0.012;
  return blocks ? 0.02 : 0.004;
}

TEST_F(CudaOps, LinearAgreesWithReference) {
  const uint64_t seed = 20261123;
  int shapes = 0;
  for (const DType type : {DType::kBF16, DType::kF16, DType::kF32, DType::kQ8_0, DType::kQ4_0,
                           DType::kQ4_1, DType::kQ4_K, DType::kQ6_K, DType::kF8_B128})
    for (const int64_t inputs : {256, 768, 4096})
      for (const int64_t outputs : {8, 130, 1024})
        for (const int64_t rows : {1, 2, 3, 4, 5, 17, 64})
          for (const DeviceResult result :
               {DeviceResult::kStore, DeviceResult::kAdd, DeviceResult::kSiluMul}) {
            if (inputs == 4096 && (rows > 5 || outputs > 130))
              continue;                                  // the reference takes long
            if (rows > 4 && outputs % 8 != 0) continue;  // cuBLASLt's rows are whole 16 bytes
            // A few products of silu may all be near zero: no measure for an error.
            if (result == DeviceResult::kSiluMul && outputs * rows < 100) continue;
            const LinearShape shape{
                type,  outputs, inputs, rows, result != DeviceResult::kAdd && shapes % 3 != 0,
                result};
            const auto expected = run_linear(reference(), shape, seed + shapes);
            const auto got = run_linear(cuda(), shape, seed + shapes);
            EXPECT_LT(relative_error(got, expected), limit_of(shape))
                << core::info(type).name << ' ' << rows << " rows, " << outputs << "×" << inputs
                << ", result " << static_cast<int>(result) << ", seed " << seed + shapes;
            ++shapes;
          }
}

// Small models: rows of fewer inputs than a warp reads at once.
TEST_F(CudaOps, LinearOfShortRows) {
  for (const int64_t inputs : {8, 16, 32, 64})
    for (const int64_t rows : {1, 4, 9}) {
      const LinearShape shape{DType::kBF16, 24, inputs, rows, false, DeviceResult::kAdd};
      EXPECT_LT(relative_error(run_linear(cuda(), shape, 5), run_linear(reference(), shape, 5)),
                0.004)
          << inputs << " inputs, " << rows << " rows";
    }
}

TEST_F(CudaOps, LinearKeepsNotANumber) {
  for (const DType type :
       {DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K, DType::kF8_B128})
    for (const int64_t rows : {1, 3, 8, 40})
      for (const bool through_norm : {false, true}) {
        const LinearShape shape{type, 24, 256, rows, through_norm, DeviceResult::kStore, true};
        const auto y = run_linear(cuda(), shape, 7);
        for (int64_t i = 0; i < rows * shape.outputs; ++i)
          EXPECT_EQ(std::isnan(y[static_cast<size_t>(i)]), i < shape.outputs)
              << core::info(type).name << ", row " << i / shape.outputs << " of " << rows
              << ", through the norm: " << through_norm;
      }
}

// Rows that have no room together in a block's shared memory.
TEST_F(CudaOps, LinearOfLongRows) {
  for (const DType type : {DType::kBF16, DType::kQ8_0, DType::kF8_B128})
    for (const DeviceResult result : {DeviceResult::kAdd, DeviceResult::kSiluMul}) {
      const LinearShape shape{type, 40, 65536, 4, result != DeviceResult::kAdd, result};
      EXPECT_LT(relative_error(run_linear(cuda(), shape, 6), run_linear(reference(), shape, 6)),
                limit_of(shape))
          << core::info(type).name << ", result " << static_cast<int>(result);
    }
}

// More columns than the norm keeps in registers.
TEST_F(CudaOps, LinearThroughTheNormOfLongRows) {
  for (const int64_t rows : {5, 40}) {
    const LinearShape shape{DType::kBF16, 72, 8456, rows, true, DeviceResult::kSiluMul};
    EXPECT_LT(relative_error(run_linear(cuda(), shape, 7), run_linear(reference(), shape, 7)),
              limit_of(shape))
        << rows << " rows";
  }
}

// Rows straight from blocks: tiles of rows and outputs, and rows of blocks, that are not whole.
TEST_F(CudaOps, LinearOfManyBlockRows) {
  uint64_t seed = 9;
  for (const DType type : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kF8_B128})
    for (const int64_t rows : {5, 8, 9, 16, 17, 40})
      for (const DeviceResult result :
           {DeviceResult::kStore, DeviceResult::kAdd, DeviceResult::kSiluMul}) {
        const int64_t inputs = type == DType::kF8_B128 ? 384 : 352;
        const LinearShape shape{type, 72, inputs, rows, result != DeviceResult::kAdd, result};
        ++seed;
        EXPECT_LT(
            relative_error(run_linear(cuda(), shape, seed), run_linear(reference(), shape, seed)),
            limit_of(shape))
            << core::info(type).name << ' ' << rows << " rows, result " << static_cast<int>(result);
      }
}

// Tiles of outputs and steps of inputs that are not whole, and products that share a tile.
TEST_F(CudaOps, LinearOfRowsByTiles) {
  uint64_t seed = 90;
  for (const int64_t outputs : {8, 72, 1000})
    for (const int64_t inputs : {8, 72, 520})
      for (const int64_t rows : {5, 16, 33, 64})
        for (const DeviceResult result :
             {DeviceResult::kStore, DeviceResult::kAdd, DeviceResult::kSiluMul}) {
          const LinearShape shape{DType::kBF16, outputs, inputs, rows, result != DeviceResult::kAdd,
                                  result};
          ++seed;
          EXPECT_LT(
              relative_error(run_linear(cuda(), shape, seed), run_linear(reference(), shape, seed)),
              limit_of(shape))
              << rows << " rows, " << outputs << "×" << inputs << ", result "
              << static_cast<int>(result);
        }
}

// For each of them another tile, or another number of blocks that share the inputs, is the best on
// 132 multiprocessors: choose() of rows_by_tiles.cu. The sums have one order.
TEST_F(CudaOps, LinearOfEveryTile) {
  constexpr struct {
    int64_t outputs, inputs;
  } kMatrices[] = {{64, 64},    {8512, 64},   {12736, 64},  {14848, 64}, {3136, 512},
                   {4160, 512}, {4288, 1024}, {6400, 1024}, {7424, 2048}};
  for (const auto& [outputs, inputs] : kMatrices) {
    const LinearShape shape{DType::kBF16, outputs, inputs, 7, true, DeviceResult::kSiluMul};
    const auto got = run_linear(cuda(), shape, 8);
    EXPECT_LT(relative_error(got, run_linear(reference(), shape, 8)), limit_of(shape))
        << outputs << "×" << inputs;
    EXPECT_EQ(run_linear(cuda(), shape, 8), got) << outputs << "×" << inputs;
  }
}

// Added to y by blocks that share tiles: shapes whose tiles are 2 to 8 parts on 132 multiprocessors
// (parts_of_tile() of card.h), with outputs, inputs and parts that are not whole. The sums have one
// order, also where blocks do not wait for each other and the last one adds all shares.
TEST_F(CudaOps, LinearOfTilesInParts) {
  constexpr struct {
    int64_t outputs, inputs;
  } kMatrices[] = {{8200, 520},  {5506, 1032}, {4096, 1024}, {4000, 1352},
                   {2816, 1544}, {2176, 1800}, {2048, 2056}};
  const auto hasty = open_cuda(0, 2).value();
  DeviceLimits limits = kOpLimits;
  limits.tile_looks = 0;
  ASSERT_TRUE(hasty->reserve(limits).ok());
  uint64_t seed = 110;
  for (const auto& [outputs, inputs] : kMatrices)
    for (const int64_t rows : {5, 33, 64}) {
      if (rows == 64 && outputs != 2048) continue;  // the reference takes long
      const LinearShape shape{DType::kBF16, outputs, inputs, rows, false, DeviceResult::kAdd};
      const auto got = run_linear(cuda(), shape, ++seed);
      EXPECT_LT(relative_error(got, run_linear(reference(), shape, seed)), limit_of(shape))
          << rows << " rows, " << outputs << "×" << inputs;
      for (Device* device : {&cuda(), hasty.get()})
        EXPECT_EQ(run_linear(*device, shape, seed), got)
            << rows << " rows, " << outputs << "×" << inputs;
    }
}

// Blocks that wait for each other, of two devices that take each other's places on the card: both
// end, with the bits that each has alone.
TEST_F(CudaOps, LinearOfTilesInPartsOnTwoDevicesAtOnce) {
  constexpr int64_t kOutputs = 4096, kInputs = 1024, kRows = 40;
  constexpr int kOps = 50, kReplays = 40;
  const auto second = open_cuda(0, 2).value();
  ASSERT_TRUE(second->reserve(kOpLimits).ok());
  Device* const devices[] = {&cuda(), second.get()};
  core::Rng rng(31);
  const auto weights = packed_of(rng, DType::kBF16, kOutputs, kInputs);
  const auto x = bf16_of(normals(rng, kRows * kInputs));
  const std::vector<float> zeros(static_cast<size_t>(kRows * kOutputs));
  struct Work {
    OnDevice<std::byte> weights;
    OnDevice<uint16_t> x;
    OnDevice<float> y;
    std::unique_ptr<Recording> steps;
  };
  std::vector<Work> works;
  for (Device* device : devices) {
    works.push_back({{*device, weights}, {*device, x}, {*device, zeros}, nullptr});
    Work& work = works.back();
    DeviceLinearArgs args{
        .x = work.x.data(), .rows = kRows, .product_count = 1, .result = DeviceResult::kAdd};
    args.products[0] = {{DType::kBF16, kOutputs, kInputs, work.weights.data()}, work.y.data()};
    const auto steps = [device, args] {
      for (int op = 0; op < kOps; ++op) device->linear(args);
    };
    work.steps = device->record(steps, {});
  }
  const auto clear = [&] {
    for (int d = 0; d < 2; ++d) devices[d]->clear(works[d].y.data(), kRows * kOutputs);
  };
  clear();
  for (int d = 0; d < 2; ++d) {
    for (int i = 0; i < kReplays; ++i) devices[d]->replay(*works[d].steps);
    devices[d]->wait();
  }
  const auto alone = works[0].y.values();
  EXPECT_EQ(works[1].y.values(), alone);

  clear();
  auto ended = std::async(std::launch::async, [&] {
    for (int i = 0; i < kReplays; ++i)
      for (int d = 0; d < 2; ++d) devices[d]->replay(*works[d].steps);
    for (Device* device : devices) device->wait();
  });
  if (ended.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
    fmt::print(stderr, "two devices wait for each other\n");
    std::_Exit(1);  // what waits for them never ends
  }
  for (const Work& work : works) EXPECT_EQ(work.y.values(), alone);
}

// As the output matrix: a block has one tile after another.
TEST_F(CudaOps, LinearOfOneTallMatrixByTiles) {
  const LinearShape shape{
      .outputs = 40002, .inputs = 136, .rows = 7, .through_norm = true, .products = 1};
  EXPECT_LT(relative_error(run_linear(cuda(), shape, 8), run_linear(reference(), shape, 8)),
            limit_of(shape));
}

// Blocks as they lie by more than 16 rows: whole tiles, one tile after another in a block, and
// tiles that blocks share, whose sums have one order: choose() of rows_by_codes.cu.
TEST_F(CudaOps, LinearOfRowsByCodes) {
  constexpr struct {
    int64_t outputs, inputs;
    DeviceResult result;
    int products;
  } kMatrices[] = {{72, 4096, DeviceResult::kAdd, 1},      {1000, 1536, DeviceResult::kStore, 3},
                   {4104, 768, DeviceResult::kSiluMul, 2}, {8456, 512, DeviceResult::kSiluMul, 2},
                   {17000, 256, DeviceResult::kAdd, 1},    {40008, 256, DeviceResult::kStore, 1}};
  uint64_t seed = 70;
  for (const DType type : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kF8_B128})
    for (const auto& [outputs, of_row, result, products] : kMatrices)
      for (const int64_t rows : {3, 7, 17, 32, 49}) {
        if (rows < 5 && type != DType::kF8_B128) continue;  // narrow.cuh
        const int64_t inputs = type == DType::kF8_B128 ? core::round_up(of_row, 512) : of_row;
        const LinearShape shape{.type = type,
                                .outputs = outputs,
                                .inputs = inputs,
                                .rows = rows,
                                .through_norm = result != DeviceResult::kAdd,
                                .result = result,
                                .products = products};
        ++seed;
        const auto got = run_linear(cuda(), shape, seed);
        EXPECT_LT(relative_error(got, run_linear(reference(), shape, seed)), limit_of(shape))
            << core::info(type).name << ' ' << rows << " rows, " << outputs << "×" << inputs;
        EXPECT_EQ(run_linear(cuda(), shape, seed), got)
            << core::info(type).name << ' ' << rows << " rows, " << outputs << "×" << inputs;
      }
}

}  // namespace
}  // namespace sluice::kernels
