#include "plan/traffic.h"

#include <fstream>

#include <gtest/gtest.h>

#include "plan/sizing.h"

namespace sluice::plan {
namespace {

constexpr double kTolerance = 0.02;

ModelSize deepseek(const char* experts) {
  const double fp8 = bytes_per_value("FP8").value();
  return size_of(find_geometry("deepseek-v3").value(),
                 {.rest_bytes = fp8, .expert_bytes = bytes_per_value(experts).value()});
}

struct Cell {
  double serial = 0;
  double overlapped = 0;
};

void expect_cell(const char* gpu, double memory_gb_s, const char* experts, Cell expected) {
  const ModelSize model = deepseek(experts);
  const Machine machine{.memory_gb_s = memory_gb_s, .gpu = find_gpu(gpu).value()};
  const Placement placement = choose_placement(model, machine, 0);
  EXPECT_EQ(placement, Placement::kHybrid);
  const Load one{};
  const StepLimits limits = step_limits(model, machine, placement, one);
  const auto where = std::string(gpu) + " " + experts + " " + std::to_string(memory_gb_s);
  EXPECT_NEAR(limits.serial_tok_s(one), expected.serial, kTolerance * expected.serial) << where;
  EXPECT_NEAR(limits.overlapped_tok_s(one), expected.overlapped, kTolerance * expected.overlapped)
      << where;
}

// Single-stream ceilings, routed experts on the CPU, the rest in FP8 on one GPU.
TEST(Traffic, CeilingsOfOneStream) {
  const struct {
    double memory_gb_s;
    Cell h100_fp8, h100_int4, h200_fp8, h200_int4, rtx4090_int4;
  } kTable[] = {
      {300, {13.9, 14.7}, {25.5, 28.5}, {14.1, 14.7}, {26.3, 28.5}, {20.6, 28.5}},
      {450, {20.2, 22.0}, {36.4, 42.7}, {20.7, 22.0}, {38.1, 42.7}, {27.1, 42.7}},
      {600, {26.2, 29.4}, {46.2, 56.9}, {27.1, 29.4}, {49.0, 56.9}, {32.2, 56.9}},
      {1000, {40.8, 48.9}, {68.5, 94.9}, {43.0, 48.9}, {74.8, 94.9}, {41.6, 62.3}},
      {1150, {45.8, 56.3}, {75.6, 109}, {48.5, 56.3}, {83.3, 109}, {44.1, 62.3}},
  };
  for (const auto& row : kTable) {
    expect_cell("h100", row.memory_gb_s, "FP8", row.h100_fp8);
    expect_cell("h100", row.memory_gb_s, "INT4", row.h100_int4);
    expect_cell("h200", row.memory_gb_s, "FP8", row.h200_fp8);
    expect_cell("h200", row.memory_gb_s, "INT4", row.h200_int4);
    expect_cell("4090", row.memory_gb_s, "INT4", row.rtx4090_int4);
  }
}

// Total tok/s of n streams, 600 GB/s and one H100, cache not counted.
TEST(Traffic, StreamsShareExperts) {
  const struct {
    int64_t streams;
    double distinct, int4, fp8;
  } kTable[] = {{1, 8, 46.2, 26.2},    {2, 15.75, 51.8, 28.1}, {4, 30.5, 56.3, 29.8},
                {8, 57.4, 61.5, 32.2}, {16, 102, 70.2, 36.5},  {32, 163, 88.3, 45.8},
                {64, 222, 130, 67.3},  {128, 252, 230, 119}};
  const Machine machine{.memory_gb_s = 600, .gpu = find_gpu("h100").value()};
  for (const auto& row : kTable) {
    const Load load{.streams = row.streams};
    const auto int4 = step_limits(deepseek("INT4"), machine, Placement::kHybrid, load);
    const auto fp8 = step_limits(deepseek("FP8"), machine, Placement::kHybrid, load);
    EXPECT_NEAR(int4.distinct_experts, row.distinct, kTolerance * row.distinct) << row.streams;
    EXPECT_NEAR(int4.serial_tok_s(load), row.int4, kTolerance * row.int4) << row.streams;
    EXPECT_NEAR(fp8.serial_tok_s(load), row.fp8, kTolerance * row.fp8) << row.streams;
  }
}

TEST(Traffic, HotExpertsOnTheGpuAndAllOnGpus) {
  const auto serial = [](const char* gpu, double hits) {
    const Machine machine{
        .memory_gb_s = 600, .gpu = find_gpu(gpu).value(), .gpu_expert_hits = hits};
    return step_limits(deepseek("INT4"), machine, Placement::kHybrid, {}).serial_tok_s({});
  };
  EXPECT_NEAR(serial("h100", 0.15), 52.6, kTolerance * 52.6);
  EXPECT_NEAR(serial("h200", 0.33), 68.5, kTolerance * 68.5);
  const Machine eight{.memory_gb_s = 600, .gpu = find_gpu("h200").value(), .gpus = 8};
  ASSERT_EQ(choose_placement(deepseek("FP8"), eight, 0), Placement::kGpu);
  const auto limits = step_limits(deepseek("FP8"), eight, Placement::kGpu, {});
  EXPECT_NEAR(limits.serial_tok_s({}), 1050, kTolerance * 1050);
}

TEST(Traffic, ACacheIsReadByEveryStream) {
  const ModelSize model = deepseek("FP8");
  EXPECT_NEAR(model.kv_token_bytes, 70'272, 1e-6);
  const Load load{.context = 32'768, .streams = 4};
  const auto limits = step_limits(model, {.memory_gb_s = 600}, Placement::kCpu, load);
  EXPECT_NEAR(limits.cache_bytes * 1e-9, 4 * 2.30, 0.02);
}

// 8 × 64 GB less 350 GB of weights hold 16 requests of 2,048 tokens.
TEST(Traffic, RequestsThatFitBesideTheWeights) {
  EXPECT_EQ(requests_that_fit(8 * 64e9, 350e9, 12'288.0 * 96 * 2 * 2, 2048), 16);
  EXPECT_EQ(requests_that_fit(300e9, 350e9, 4.5e6, 2048), 0);
}

TEST(Traffic, ACheckpointOfTrainingIsSixTimesTheWeights) {
  EXPECT_DOUBLE_EQ(checkpoint_bytes(175'000'000'000, 2), 175e9 * 2 * 6);
}

TEST(Traffic, FormatsCountTheirScales) {
  EXPECT_DOUBLE_EQ(bytes_per_value("Q4_K").value(), 0.5625);
  EXPECT_DOUBLE_EQ(bytes_per_value("INT4").value(), 0.515625);
  EXPECT_DOUBLE_EQ(bytes_per_value("w8a8").value(), bytes_per_value("INT8").value());
  EXPECT_FALSE(bytes_per_value("FP5").ok());
}

// The rules of thumb are those published.
TEST(Sizing, RowsAreThoseOfTheFile) {
  std::ifstream in("tests/data/sizing/sizing.csv");
  std::string line;
  std::getline(in, line);
  for (const SizingRow& row : sizing_rows()) {
    ASSERT_TRUE(std::getline(in, line)) << row.model_b;
    EXPECT_EQ(fmt::format("{},{},{},{},{},{},{},{}", row.model_b, row.fp16_gb,
                          row.inference_hardware, row.inference_gb_low, row.inference_gb_high,
                          row.training_hardware, row.training_gb_low, row.training_gb_high),
              line);
  }
  EXPECT_FALSE(std::getline(in, line)) << line;
}

TEST(Sizing, EveryRowHasAGeometryBesideIt) {
  const struct {
    const char* geometry;
    double model_b;
    const char* explanation;  // of the inference figure, one stream of 4,096 tokens
  } kRows[] = {{"qwen2-1.5b", 1.5, "GB more for runtime"}, {"qwen2-7b", 7, "GB more for runtime"},
               {"llama3-8b", 8, "GB more for runtime"},    {"qwen2-14b", 14, "GB more for runtime"},
               {"qwen2-32b", 32, "narrower format"},       {"llama3-70b", 70, "narrower format"},
               {"deepseek-v3", 671, "narrower format"}};
  for (const auto& expected : kRows) {
    const ModelSize model = size_of(find_geometry(expected.geometry).value(), {});
    const SizingRow* row = find_sizing(model.values());
    ASSERT_NE(row, nullptr) << expected.geometry;
    EXPECT_EQ(row->model_b, expected.model_b);
    const ComputedSize computed = computed_size(model, {.context = 4096});
    EXPECT_NEAR(computed.fp16_gb, row->fp16_gb, 0.1 * row->fp16_gb) << expected.geometry;
    const auto notes = sizing_notes(*row, computed);
    ASSERT_EQ(notes.size(), 3u);
    EXPECT_NE(notes[1].find(expected.explanation), std::string::npos) << notes[1];
    EXPECT_NE(notes[1].find(row->inference_hardware), std::string::npos) << notes[1];
    EXPECT_NE(notes[2].find(row->training_hardware), std::string::npos) << notes[2];
  }
  EXPECT_EQ(find_sizing(135'000'000), nullptr);
}

}  // namespace
}  // namespace sluice::plan
