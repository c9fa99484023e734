// The forward pass on a device, run by the reference device: goldens, batches, and what is refused.
#include "model/device_forward.h"

#include <gmock/gmock.h>

#include "kernels/ref/ref_device.h"
#include "tests/model/draft_passes.h"
#include "tests/model/golden_error.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<kernels::Device> reference_device() {
  return kernels::make_reference_device();
}

class DeviceModel : public ::testing::TestWithParam<std::string> {};

// bf16 weights and inputs of products, 8 bits each; keys and values f16.
TEST_P(DeviceModel, LogitsAreCloseToNumpy) {
  for (const int32_t chunk : {1, 7, 64})
    EXPECT_LE(
        worst_golden_error({.name = GetParam(), .chunk = chunk, .device = reference_device()}),
        0.03)
        << "chunk " << chunk;
}

// Decode steps too are prompts of one row, and padding a prompt of none.
TEST(DeviceModel, DeterministicStepsAreCloseToNumpy) {
  for (const char* name : {"llama-q8", "qwen3", "qwen3moe", "deepseek2"})
    for (const char* place : {"", "experts=cpu"})
      for (const int32_t chunk : {1, 7})
        EXPECT_LE(worst_golden_error({.name = name,
                                      .chunk = chunk,
                                      .device = reference_device(),
                                      .place = place,
                                      .is_deterministic = true}),
                  0.03)
            << name << ", " << place << ", chunk " << chunk;
}

INSTANTIATE_TEST_SUITE_P(All, DeviceModel, ::testing::ValuesIn(device_models()),
                         [](const auto& test) { return test_name(test.param); });

// Experts of the processor in steps of the device; of the second layer with experts alone, too.
TEST(DeviceModel, ExpertsMayStayOnTheHost) {
  for (const char* name : {"qwen3moe", "deepseek2", "deepseek2-joined-q8"})
    for (const char* place : {"experts=cpu", "experts[2-2]=cpu"})
      for (const int32_t chunk : {1, 7, 64})
        EXPECT_LE(worst_golden_error(
                      {.name = name, .chunk = chunk, .device = reference_device(), .place = place}),
                  0.03)
            << name << ", " << place << ", chunk " << chunk;
}

// Of layers without experts nothing is there to leave.
TEST(DeviceModel, ADenseLayerHasNoExpertsOnTheHost) {
  const auto device = [] { return reference_device(); };
  EXPECT_LE(worst_golden_error({.name = "qwen3", .device = device(), .place = "experts=cpu"}),
            0.03);
  EXPECT_LE(
      worst_golden_error({.name = "deepseek2", .device = device(), .place = "experts[0]=cpu"}),
      0.03);
}

// Steps that keep their states, and passes over them and over passes: 0.027. States of other rows
// are off by 0.29 to 0.32.
TEST(DeviceModel, DraftsAreCloseToTheProcessors) {
  EXPECT_LE(worst_draft_error({.device = reference_device()}), 0.06);
  EXPECT_LE(
      worst_draft_error({.device = reference_device(), .every_second = EverySecond::kIsForKeys}),
      0.06);
  EXPECT_LE(worst_draft_error({.device = reference_device(), .place = "experts=cpu"}), 0.06);
}

std::string load_error(const std::string& name, const LoadOptions& options) {
  const auto checkpoint = formats::Checkpoint::open(kModelFolder + name).value();
  const auto model = Model::load(*checkpoint, options);
  return model.ok() ? "no error" : model.error().message;
}

TEST(DeviceModel, WhatItCannotRunIsRefused) {
  const auto device = reference_device();
  EXPECT_THAT(load_error("llama.gguf", {.arithmetic = Arithmetic::kExact, .device = device}),
              HasSubstr("exact arithmetic on a device"));
  EXPECT_THAT(load_error("llama.gguf", {.kv_format = kernels::KvFormat::kInt8, .device = device}),
              HasSubstr("it keeps f16"));
  EXPECT_EQ(load_error("llama.gguf", {.device = device}), "no error");
}

// What decode steps alone do; elsewhere the same placements are fine.
TEST(DeviceModel, DeterministicStepsHaveNoExpertsThatMove) {
  const auto error = [](const char* place, const HybridOptions& hybrid) {
    return load_error("qwen3moe.gguf", {.device = reference_device(),
                                        .placement = Placement::parse(place).value(),
                                        .hybrid = hybrid,
                                        .is_deterministic = true});
  };
  for (const char* place : {"", "experts=cpu", "hot=0.5", "experts[1-2]=cpu,experts[0:0-1]=cuda"})
    EXPECT_EQ(error(place, {}), "no error") << place;
  for (const char* place :
       {"experts=cpu,hot=0.5", "experts[2-2]=cpu,hot=auto", "experts=cpu,experts[1:0-1]=cuda"})
    EXPECT_THAT(error(place, {}), HasSubstr("resident experts (hot=… or single ones in --place) "
                                            "with --deterministic"))
        << place;
  EXPECT_EQ(error("experts=cpu,link=0", {}), "no error");
  EXPECT_THAT(error("experts=cpu,link=0.2", {}), HasSubstr("link=… in --place with"));
  EXPECT_THAT(error("experts=cpu", {.deferred = 1}), HasSubstr("--defer-experts"));
  // Its experts are of a type that a device does not read.
  EXPECT_THAT(
      load_error("qwen3moe.gguf", {.device = reference_device(),
                                   .placement = Placement::parse("experts=cpu,link=0.2").value()}),
      HasSubstr("experts over the link (link=… in --place): prompts leave"));
  EXPECT_EQ(load_error("qwen3moe.gguf", {.is_deterministic = true}), "no error");
}

// Of qwen3moe, 48 kB are no experts and each of three layers has 49 kB of them.
TEST(DeviceModel, WhatDoesNotFitIsFoundBeforeLoading) {
  const auto device = [] {
    return std::shared_ptr<kernels::Device>(kernels::make_reference_device(160'000));
  };
  std::string said;
  LoadOptions options{.device = device(), .placed = [&](const std::string& line) { said += line; }};
  EXPECT_THAT(load_error("qwen3moe.gguf", options),
              HasSubstr("--place 'experts[2-2]=cpu,rest=cuda' fits"));
  EXPECT_EQ(said, "");
  options.placement = Placement::parse("experts[1-2]=cpu").value();
  EXPECT_EQ(load_error("qwen3moe.gguf", options), "no error");
  options.placement = std::nullopt;
  EXPECT_EQ(load_error("qwen3moe.gguf", options), "no error");
  EXPECT_THAT(said, HasSubstr("experts[2-2]=cpu,rest=cuda: 0.00 GB on the device"));
  options.host_bytes = 45'000;
  EXPECT_THAT(load_error("qwen3moe.gguf", options),
              HasSubstr("experts in the host's memory need 0.00 GB"));
}

// A prompt beside two decodes in one step, against each of them alone; with ids that come back.
TEST(DeviceModel, ABatchIsItsSequences) {
  const Loaded loaded = load_model(std::string(kModelFolder) + "qwen3.gguf",
                                   {.step_tokens_max = 64, .device = reference_device()}, 3 * 64);
  ASSERT_NE(loaded.model, nullptr);
  Model& model = *loaded.model;
  const auto vocab = static_cast<size_t>(model.spec().vocab);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 45; ++i) ids.push_back((i * 7 + 3) % model.spec().vocab);

  std::vector<float> alone(3 * vocab);
  std::vector<SingleSequence> sequences;
  for (int32_t s = 0; s < 3; ++s) sequences.emplace_back(model, 2 * s, 64);
  const int32_t before[] = {5, 40, 0}, rows[] = {1, 1, 40};
  for (size_t s = 0; s < 3; ++s) {
    const auto all = static_cast<size_t>(before[s] + rows[s]);
    sequences[s].append({.ids = std::span(ids).first(all), .chunk = 64, .logit_count = 1},
                        alone.data() + s * vocab);
    sequences[s].rewind(before[s]);
  }
  std::vector<int32_t> step_ids;
  std::vector<SequenceSpan> spans;
  std::vector<int32_t> logit_rows;
  for (size_t s = 0; s < 3; ++s) {
    spans.push_back(sequences[s].span(static_cast<int32_t>(step_ids.size()), rows[s]));
    step_ids.insert(step_ids.end(), ids.begin() + before[s], ids.begin() + before[s] + rows[s]);
    logit_rows.push_back(static_cast<int32_t>(step_ids.size()) - 1);
  }
  const StepBatch batch{.token_ids = step_ids, .sequences = spans, .logit_rows = logit_rows};
  std::vector<float> together(3 * vocab);
  model.forward(batch, together.data());
  EXPECT_EQ(together, alone);

  std::vector<int32_t> best(3);
  model.submit(batch, {.rows = {}, .vocab = model.spec().vocab});
  model.collect(best);
  for (size_t s = 0; s < 3; ++s) {
    const auto row = std::span(alone).subspan(s * vocab, vocab);
    EXPECT_EQ(best[s], std::max_element(row.begin(), row.end()) - row.begin());
  }
}

// Five steps of two sequences, each submitted before the ids of the last are read, against steps
// that wait; the sequences change places.
void expect_ids_of_the_step_before(const LoadOptions& options) {
  const Loaded loaded = load_model(std::string(kModelFolder) + "qwen3.gguf", options, 3 * 64);
  ASSERT_NE(loaded.model, nullptr);
  Model& model = *loaded.model;
  const int32_t prompt[] = {3, 10};
  std::vector<std::vector<int32_t>> waited, ahead;
  for (const bool waits : {true, false}) {
    std::vector<SingleSequence> sequences;
    for (int32_t s = 0; s < 2; ++s) sequences.emplace_back(model, 2 * s, 64);
    auto& ids = waits ? waited : ahead;
    for (int32_t step = 0; step < 5; ++step) {
      const auto first = static_cast<size_t>(step % 2);  // the sequence of row 0
      std::vector<SequenceSpan> spans;
      std::vector<int32_t> token_ids(2), sampled_rows(2, -1);
      std::vector<kernels::SampleRow> how(2);
      for (size_t row = 0; row < 2; ++row) {
        const size_t s = row == 0 ? first : 1 - first;
        spans.push_back(sequences[s].span(static_cast<int32_t>(row), 1));
        sequences[s].advance(1);
        how[row] = {.unit = 0.1 * (step + 1), .temperature = s == 0 ? 0.0f : 3.0f};
        token_ids[row] = prompt[s];
        if (step > 0 && waits) token_ids[row] = ids.back()[1 - row];
        if (step > 0 && !waits) sampled_rows[row] = static_cast<int32_t>(1 - row);
      }
      const int32_t rows[] = {0, 1};
      model.submit({.token_ids = token_ids,
                    .sequences = spans,
                    .logit_rows = rows,
                    .sampled_rows = sampled_rows},
                   {.rows = how, .vocab = model.spec().vocab});
      if (!waits && step == 0) continue;
      ids.emplace_back(2);
      model.collect(ids.back());
    }
    if (waits) continue;
    ids.emplace_back(2);
    model.collect(ids.back());
  }
  EXPECT_EQ(ahead, waited);
}

TEST(DeviceModel, AStepTakesTheIdsOfTheOneBefore) {
  expect_ids_of_the_step_before({.step_tokens_max = 64, .device = reference_device()});
  expect_ids_of_the_step_before(
      {.step_tokens_max = 64, .device = reference_device(), .other_cards = {reference_device()}});
}

TEST(DeviceModel, ObserversSeeEveryLayer) {
  const auto see = [](std::shared_ptr<kernels::Device> device) {
    const Loaded loaded = load_model(std::string(kModelFolder) + "llama.gguf",
                                     {.step_tokens_max = 8, .device = std::move(device)}, 32);
    std::vector<std::pair<int32_t, std::vector<float>>> seen;
    const HiddenObserver observer = [&](int32_t layer, std::span<const float> hidden) {
      seen.emplace_back(layer, std::vector<float>(hidden.begin(), hidden.end()));
    };
    std::vector<float> logits(static_cast<size_t>(loaded.model->spec().vocab));
    const int32_t ids[] = {1, 2, 3};
    SingleSequence sequence(*loaded.model, 0, 8);
    sequence.append({.ids = ids, .chunk = 8, .logit_count = 1, .observer = &observer},
                    logits.data());
    return seen;
  };
  const auto expected = see(nullptr), seen = see(reference_device());
  ASSERT_EQ(seen.size(), expected.size());
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].first, expected[i].first);
    ASSERT_EQ(seen[i].second.size(), expected[i].second.size());
    for (size_t j = 0; j < seen[i].second.size(); ++j)
      EXPECT_NEAR(seen[i].second[j], expected[i].second[j], 0.1) << "layer " << seen[i].first;
  }
}

struct Routing {
  int32_t layer = 0;
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

// Of a prompt of 9 tokens whose last is wanted, then of a step of 5 sequences.
std::vector<Routing> see_routing(const std::string& name, std::shared_ptr<kernels::Device> device) {
  const Loaded loaded = load_model(std::string(kModelFolder) + name,
                                   {.step_tokens_max = 16, .device = std::move(device)}, 5 * 32);
  std::vector<Routing> seen;
  const RoutingObserver observer = [&](int32_t layer, std::span<const int32_t> ids,
                                       std::span<const float> weights) {
    seen.push_back({layer, {ids.begin(), ids.end()}, {weights.begin(), weights.end()}});
  };
  std::vector<float> logits(5 * static_cast<size_t>(loaded.model->spec().vocab));
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::vector<SequenceSpan> spans;
  std::vector<SingleSequence> sequences;
  for (int32_t s = 0; s < 5; ++s) sequences.emplace_back(*loaded.model, s, 32);
  spans.push_back(sequences[0].span(0, 9));
  const int32_t last[] = {8}, all[] = {0, 1, 2, 3, 4};
  loaded.model->forward(
      {.token_ids = ids, .sequences = spans, .logit_rows = last, .routing_observer = &observer},
      logits.data());
  spans.clear();
  for (int32_t s = 0; s < 5; ++s) spans.push_back(sequences[static_cast<size_t>(s)].span(s, 1));
  loaded.model->forward({.token_ids = std::span(ids).first(5),
                         .sequences = spans,
                         .logit_rows = all,
                         .routing_observer = &observer},
                        logits.data());
  return seen;
}

TEST(DeviceModel, RoutingIsThatOfTheProcessor) {
  for (const char* name : {"qwen3moe.gguf", "deepseek2.gguf"}) {
    const auto expected = see_routing(name, nullptr), seen = see_routing(name, reference_device());
    ASSERT_EQ(seen.size(), expected.size()) << name;
    for (size_t i = 0; i < seen.size(); ++i) {
      EXPECT_EQ(seen[i].layer, expected[i].layer);
      EXPECT_EQ(seen[i].ids, expected[i].ids) << name << ", layer " << seen[i].layer;
      ASSERT_EQ(seen[i].weights.size(), expected[i].weights.size());
      for (size_t j = 0; j < seen[i].weights.size(); ++j)
        EXPECT_NEAR(seen[i].weights[j], expected[i].weights[j], 0.02);
    }
  }
}

// Clocks in the queue of a decode step: every part that the model has, none that it has not, and no
// other logits.
TEST(DeviceModel, AProfiledStepSaysWhatItsQueueDid) {
  using enum QueuePart;
  struct Case {
    const char* name;
    const char* place;
    std::vector<QueuePart> parts;
  };
  const Case cases[] = {
      {"qwen3", "", {kAttentionProducts, kAttention, kFfn, kOutput}},
      {"qwen3moe", "", {kAttentionProducts, kAttention, kRouter, kExperts, kOutput}},
      {"deepseek2",
       "experts=cpu",
       {kAttentionProducts, kAttention, kFfn, kRouter, kSharedExperts, kHandOver, kAnswer,
        kOutput}},
  };
  for (const Case& c : cases) {
    LoadOptions options{.step_tokens_max = 64, .device = reference_device()};
    if (*c.place != 0) options.placement = Placement::parse(c.place).value();
    const Loaded loaded =
        load_model(std::string(kModelFolder) + c.name + ".gguf", std::move(options), 64);
    ASSERT_NE(loaded.model, nullptr);
    Model& model = *loaded.model;
    const auto vocab = static_cast<size_t>(model.spec().vocab);
    SingleSequence sequence(model, 0, 64);
    std::vector<float> logits(vocab), profiled(vocab);
    const std::vector<int32_t> prompt = {3, 5, 7}, next = {9}, rows = {0};
    sequence.append({.ids = prompt, .chunk = 64, .logit_count = 1}, logits.data());
    const std::vector<SequenceSpan> spans = {sequence.span(0, 1)};
    StepBatch batch{.token_ids = next, .sequences = spans, .logit_rows = rows};
    model.forward(batch, logits.data());
    const core::SystemClock clock;
    StepProfile profile{
        .clock = clock,
        .threads = std::vector<StepTimes>(static_cast<size_t>(model.pool().threads()))};
    batch.profile = &profile;
    const int64_t begin_ns = clock.now_ns();
    model.forward(batch, profiled.data());
    const int64_t took_ns = clock.now_ns() - begin_ns;
    EXPECT_EQ(profiled, logits) << c.name;
    int64_t sum_ns = 0;
    for (int p = 0; p < kQueueParts; ++p) {
      const int64_t ns = profile.queue_ns[static_cast<size_t>(p)];
      sum_ns += ns;
      const bool is_there =
          std::find(c.parts.begin(), c.parts.end(), static_cast<QueuePart>(p)) != c.parts.end();
      EXPECT_EQ(ns > 0, is_there) << c.name << ", part " << p;
    }
    EXPECT_LE(sum_ns, took_ns) << c.name;
  }
}

TEST(DeviceModel, DecodeStepsArePaddedToFewSizes) {
  EXPECT_EQ(recorded_rows(1), 1);
  EXPECT_EQ(recorded_rows(3), 3);
  EXPECT_EQ(recorded_rows(5), 8);
  EXPECT_EQ(recorded_rows(64), 64);
  EXPECT_EQ(recorded_rows(65), 96);
  EXPECT_EQ(recorded_rows(256), 256);
  EXPECT_EQ(recorded_rows(257), 0);
}

// On the processor, to the bit.
TEST(DraftPasses, ForKeysAloneChangeNoOther) {
  EXPECT_EQ(worst_draft_error({.every_second = EverySecond::kIsForKeys}), 0);
}

}  // namespace
}  // namespace sluice::model::testing
