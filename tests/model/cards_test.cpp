// A model over several cards: what is split, what cannot be, and steps on reference devices.
#include "model/cards.h"

#include <gmock/gmock.h>

#include "kernels/ref/ref_device.h"
#include "tests/model/golden_error.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::shared_ptr<kernels::Device>> reference_devices(int32_t count,
                                                                int64_t free_bytes = 0) {
  std::vector<std::shared_ptr<kernels::Device>> devices;
  for (int32_t i = 0; i < count; ++i) devices.push_back(kernels::make_reference_device(free_bytes));
  return devices;
}

class Cards : public ::testing::TestWithParam<CardsOfModel> {};

// As one card: what is left out of a sum, or added twice, is off by more than a tenth.
TEST_P(Cards, LogitsAreCloseToNumpy) {
  for (const int32_t chunk : {1, 7, 64})
    EXPECT_LE(worst_golden_error({.name = GetParam().name,
                                  .chunk = chunk,
                                  .device = kernels::make_reference_device(),
                                  .other_cards = reference_devices(GetParam().cards - 1)}),
              0.03)
        << "chunk " << chunk;
}

INSTANTIATE_TEST_SUITE_P(All, Cards, ::testing::ValuesIn(models_of_cards()), [](const auto& test) {
  return test_name(fmt::format("{}_over_{}", test.param.name, test.param.cards));
});

TEST(CardSplit, DeterministicStepsAreCloseToNumpy) {
  for (const char* name : {"llama-q8", "qwen3"})
    for (const int32_t chunk : {1, 7})
      EXPECT_LE(worst_golden_error({.name = name,
                                    .chunk = chunk,
                                    .device = kernels::make_reference_device(),
                                    .other_cards = reference_devices(1),
                                    .is_deterministic = true}),
                0.03)
          << name << ", chunk " << chunk;
}

TEST(CardSplit, EachCardHasItsHeadsAndColumns) {
  Spec spec;
  spec.hidden = 64;
  spec.ffn = 96;
  spec.heads = 8;
  spec.kv_heads = 4;
  const Spec of_two = spec_of_card(spec, 2).value();
  EXPECT_EQ(of_two.heads, 4);
  EXPECT_EQ(of_two.kv_heads, 2);
  EXPECT_EQ(of_two.ffn, 48);
  EXPECT_EQ(of_two.hidden, 64);
  EXPECT_EQ(spec_of_card(spec, 1).value().heads, 8);
  EXPECT_EQ(spec_of_card(spec, 8).error().message,
            "a model over 8 cards: 4 heads of keys and values cannot be split evenly");
  EXPECT_EQ(spec_of_card(spec, 3).error().message,
            "a model over 3 cards: 8 heads, 4 heads of keys and values cannot be split evenly");
  // Of latent attention all heads read one latent vector; experts go by number.
  spec.latent.rank = 32;
  spec.kv_heads = 1;
  spec.experts.count = 6;
  spec.experts.shared_ffn = 64;
  EXPECT_EQ(spec_of_card(spec, 2).value().experts.count, 6);
  EXPECT_EQ(spec_of_card(spec, 2).value().experts.shared_ffn, 32);
  EXPECT_THAT(spec_of_card(spec, 4).error().message, HasSubstr(": 6 experts of a layer cannot"));
}

TEST(CardSplit, SharesAreRunsOfOneDimension) {
  const CardShare second{1, 3};
  EXPECT_EQ(second.of(12).begin, 4);
  EXPECT_EQ(second.of(12).end, 8);
  EXPECT_EQ(CardShare().of(5).end, 5);
  EXPECT_TRUE(CardShare().is_whole());
  EXPECT_FALSE(second.is_first());
}

TEST(CardSplit, DevicesAreReadByNumber) {
  EXPECT_THAT(parse_cards("cpu").value(), IsEmpty());
  EXPECT_THAT(parse_cards("cuda").value(), ElementsAre(0));
  EXPECT_THAT(parse_cards("cuda:3").value(), ElementsAre(3));
  EXPECT_THAT(parse_cards("cuda:1,cuda:0").value(), ElementsAre(1, 0));
  EXPECT_THAT(parse_cards("cuda:0,cuda:0").value(), ElementsAre(0, 0));
  for (const char* wrong :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:0,", "cuda:0,cpu", "cuda,cuda:1"})
    EXPECT_THAT(parse_cards(wrong).error().message, HasSubstr("expected 'cpu', 'cuda'")) << wrong;
}

std::string load_error(const std::string& name, const LoadOptions& options) {
  const auto checkpoint = formats::Checkpoint::open(kModelFolder + name).value();
  const auto model = Model::load(*checkpoint, options);
  return model.ok() ? "no error" : model.error().message;
}

TEST(CardSplit, WhatItCannotRunIsRefused) {
  const auto devices = reference_devices(4);
  LoadOptions options{.device = devices[0], .other_cards = {devices[1], devices[2], devices[3]}};
  EXPECT_THAT(load_error("llama.gguf", options),
              HasSubstr("over 4 cards: 2 heads of keys and values cannot be split evenly"));
  options.other_cards = {devices[1]};
  EXPECT_THAT(load_error("deepseek2-joined-q8.gguf", options),
              HasSubstr("tensor 'blk.1.ffn_down_shexp.weight' over 2 cards: 16 of 32 inputs are no "
                        "whole blocks of 32"));
  EXPECT_EQ(load_error("deepseek2.gguf", options), "no error");
  options.placement = Placement::parse("experts=cpu").value();
  EXPECT_THAT(load_error("deepseek2.gguf", options), HasSubstr("over several cards"));
  options.placement = std::nullopt;
  EXPECT_THAT(load_error("deepseek2.gguf", options), HasSubstr("over several cards"));
}

// qwen3moe has 97 kB for each of two cards, and the first its output matrix besides.
TEST(CardSplit, EachCardsMemoryIsPlannedBeforeLoading) {
  std::string said;
  LoadOptions options{.placed = [&](const std::string& line) { said += line; }};
  const auto load_with = [&](int64_t first_bytes, int64_t second_bytes) {
    options.device = kernels::make_reference_device(first_bytes);
    options.other_cards = {kernels::make_reference_device(second_bytes)};
    said.clear();
    return load_error("qwen3moe.gguf", options);
  };
  EXPECT_EQ(load_with(200'000, 200'000), "no error");
  EXPECT_EQ(said,
            "2 cards, each with 2 of 4 heads, 1 of 2 heads of keys and values, 4 of 8 experts of a "
            "layer: 0.00 + 0.00 GB of weights");
  EXPECT_THAT(load_with(50'000, 200'000), HasSubstr("card 0 of 2: its weights need 0.00 GB"));
  EXPECT_EQ(said, "");
  EXPECT_THAT(load_with(200'000, 50'000), HasSubstr("card 1 of 2: its weights need 0.00 GB"));
  options.kv_bytes = 300'000;  // half of it on each
  EXPECT_THAT(load_with(200'000, 1'000'000), HasSubstr("card 0 of 2"));
  EXPECT_EQ(load_with(400'000, 400'000), "no error");
}

}  // namespace
}  // namespace sluice::model::testing
