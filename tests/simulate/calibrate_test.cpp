// An engine's model out of bench rows that a known engine would have given.
#include "simulate/calibrate.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::simulate {
namespace {

using ::testing::HasSubstr;

struct Bench {
  double prompt = 0, generated = 0, depth = 0, streams = 1;
};

// Of an engine whose steps take 4 ms, 200 µs a stream, 30 ns a token in KV and 150 µs a prompt
// token.
std::string row(const Bench& bench, std::string_view kernels = "amx") {
  const double step_us =
      4000.0 + 200.0 * bench.streams + 0.03 * bench.streams * (bench.depth + 0.5 * bench.generated);
  const double tokens_per_s =
      bench.generated > 0 ? 1e6 * bench.streams / step_us : 1e6 / (150.0 + 4000.0 / 512);
  return fmt::format(
      R"({{"model_digest":"d","kernels":"{}","n_threads":2,"n_batch":512,"n_prompt":{},"n_gen":{},)"
      R"("n_depth":{},"n_streams":{},"avg_ts":{}}})",
      kernels, bench.prompt, bench.generated, bench.depth, bench.streams, tokens_per_s);
}

TEST(calibrate, finds_the_engine_that_was_measured) {
  std::string runs = "[" + row({.prompt = 512}) + "]\n";
  for (const double depth : {0.0, 2048.0, 8192.0})
    for (const double streams : {1.0, 8.0, 32.0})
      runs += "[" + row({.generated = 128, .depth = depth, .streams = streams}) + "]\n";
  EngineModel model;
  const auto done = calibrate(runs, &model);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_NEAR(model.step_ns, 4e6, 4e3);
  EXPECT_NEAR(model.step_stream_ns, 2e5, 2e2);
  EXPECT_NEAR(model.step_context_ns, 30.0, 0.1);
  EXPECT_NEAR(model.prompt_token_ns, 150e3, 200.0);
}

TEST(calibrate, one_run_says_what_it_can) {
  EngineModel model;
  ASSERT_TRUE(
      calibrate("[" + row({.prompt = 512}) + "," + row({.generated = 128}) + "]", &model).ok());
  EXPECT_NEAR(model.step_ns, 4.202e6, 1e3) << "nothing tells a stream's part from the rest";
  EXPECT_EQ(model.step_stream_ns, 0.0);
  EXPECT_EQ(model.step_context_ns, 0.0);
}

TEST(calibrate, says_what_is_wrong) {
  const auto message = [](std::string_view text) {
    EngineModel model;
    const auto done = calibrate(text, &model);
    return done.ok() ? std::string("fine") : done.error().message;
  };
  const std::string decode = row({.generated = 128});
  EXPECT_THAT(message("["), HasSubstr("no JSON"));
  EXPECT_THAT(message("{}"), HasSubstr("not the array"));
  EXPECT_THAT(message("[{}]"), HasSubstr("n_prompt"));
  EXPECT_THAT(message(""), HasSubstr("no row of a decode"));
  EXPECT_THAT(message("[" + decode + "]"), HasSubstr("no row of a prefill"));
  EXPECT_THAT(message("[" + decode + "," + row({.prompt = 512}, "avx2") + "]"),
              HasSubstr("rows of two engines"));
}

}  // namespace
}  // namespace sluice::simulate
