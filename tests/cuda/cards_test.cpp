// Steps of a model over several devices that lie on one card, each with its streams, its memory and
// its share of the weights: everything of several cards but their speed and the reading of another
// card's memory.
#include <algorithm>
#include <cmath>
#include <map>

#include "model/single_sequence.h"
#include "quantize/synthesize.h"
#include "tests/cuda/support.h"
#include "tests/kernels/support.h"
#include "tests/model/draft_passes.h"
#include "tests/model/golden_error.h"
#include "tests/model/harness.h"

namespace sluice::model::testing {
namespace {

using kernels::card;
using kernels::OnDevice;

// They stay open, as card() does.
const Devices& devices_on_one_card(int32_t count) {
  static std::map<int32_t, Devices> opened;
  Devices& devices = opened[count];
  if (devices.empty())
    devices = kernels::open_cuda_cards(std::vector<int32_t>(static_cast<size_t>(count), 0)).value();
  return devices;
}
Devices others_of(const Devices& devices) {
  return {devices.begin() + 1, devices.end()};
}

class CudaCards : public ::testing::TestWithParam<CardsOfModel> {};

TEST_P(CudaCards, LogitsAreCloseToNumpy) {
  NEEDS_CARD();
  const Devices& devices = devices_on_one_card(GetParam().cards);
  for (const int32_t chunk : {1, 2, 7, 64})
    EXPECT_LE(worst_golden_error({.name = GetParam().name,
                                  .chunk = chunk,
                                  .device = devices.front(),
                                  .other_cards = others_of(devices)}),
              GetParam().name.ends_with("-q8") ? 0.05 : 0.03)  // as on one: model_test.cpp
        << "chunk " << chunk;
}

INSTANTIATE_TEST_SUITE_P(All, CudaCards, ::testing::ValuesIn(models_of_cards()),
                         [](const auto& test) {
                           return test_name(
                               fmt::format("{}_over_{}", test.param.name, test.param.cards));
                         });

TEST(CudaCards, ExpertsMayStayOnTheHost) {
  NEEDS_CARD();
  for (const CardsOfModel& model : expert_models_of_cards()) {
    const Devices& devices = devices_on_one_card(model.cards);
    for (const char* place : {"experts=cpu", "experts[2-2]=cpu"})
      for (const int32_t chunk : {1, 7, 64})
        EXPECT_LE(worst_golden_error({.name = model.name,
                                      .chunk = chunk,
                                      .device = devices.front(),
                                      .other_cards = others_of(devices),
                                      .place = place}),
                  0.03)
            << model.name << " over " << model.cards << ", " << place << ", chunk " << chunk;
  }
}

TEST(CudaCards, ResidualStreamsAreTheSameBits) {
  NEEDS_CARD();
  for (const CardsOfModel& model : models_of_cards()) {
    const Devices& devices = devices_on_one_card(model.cards);
    look_at_streams(
        {.name = model.name, .device = devices.front(), .other_cards = others_of(devices)});
  }
  for (const CardsOfModel& model : expert_models_of_cards()) {
    const Devices& devices = devices_on_one_card(model.cards);
    look_at_streams({.name = model.name,
                     .device = devices.front(),
                     .other_cards = others_of(devices),
                     .place = "experts[1]=cpu"});
  }
}

TEST(CudaCards, DraftsAreCloseToTheProcessors) {
  NEEDS_CARD();
  for (const int32_t cards : {2, 4})
    for (const char* place : {"", "experts=cpu", "experts[2]=cpu"}) {
      const Devices& devices = devices_on_one_card(cards);
      EXPECT_LE(worst_draft_error({.device = devices.front(),
                                   .other_cards = others_of(devices),
                                   .place = place,
                                   .folder = "hf-deepseek"}),
                0.1)
          << place << " over " << cards;
    }
}

TEST(CudaCards, ACardThatIsNotThereIsRefused) {
  NEEDS_CARD();
  const int32_t cards[] = {0, 99};
  const auto opened = kernels::open_cuda_cards(cards);
  ASSERT_FALSE(opened.ok());
  EXPECT_TRUE(opened.error().message.starts_with("no CUDA device 99: this machine has"))
      << opened.error().message;
  const int64_t whole = card().device->info().memory_bytes;
  for (const auto& device : devices_on_one_card(4)) EXPECT_LE(device->info().free_bytes, whole / 4);
}

TEST(CudaCards, SumsAreThoseOfTheReference) {
  NEEDS_CARD();
  core::Rng rng(20261124);
  const auto reference = kernels::make_reference_device();
  const auto floats = [&](int64_t count) { return kernels::normals(rng, count); };
  for (const int32_t cards : {2, 4, 8})
    for (const int64_t rows : {1, 3, 700})
      for (const bool has_bias : {false, true}) {
        const int64_t columns = 4096 - 4;
        const Devices& devices = devices_on_one_card(cards);
        std::vector<std::vector<float>> parts;
        std::vector<OnDevice<float>> there;
        for (int32_t c = 0; c < cards; ++c) {
          parts.push_back(floats(rows * columns));
          there.emplace_back(*devices[static_cast<size_t>(c)], parts.back());
        }
        std::vector<float> expected = floats(rows * columns);
        const std::vector<float> bias = floats(columns);
        const OnDevice<float> to(*devices[0], expected), bias_there(*devices[0], bias);
        kernels::DeviceSumArgs args{.to = expected.data(),
                                    .part_count = cards,
                                    .bias = has_bias ? bias.data() : nullptr,
                                    .rows = rows,
                                    .columns = columns};
        for (size_t c = 0; c < parts.size(); ++c) args.parts[c] = parts[c].data();
        reference->sum(args);
        args.to = to.data();
        if (has_bias) args.bias = bias_there.data();
        for (size_t c = 0; c < parts.size(); ++c) args.parts[c] = there[c].data();
        devices[0]->sum(args);
        EXPECT_EQ(to.values(), expected) << cards << " cards, " << rows << " rows";
      }
}

// A ring in which each device passes on what the one before has left: any that goes on before the
// others have met it passes on less. In a recording and without.
TEST(CudaCards, WhoMeetsWaits) {
  NEEDS_CARD();
  constexpr int64_t kColumns = 1 << 20;
  constexpr int kTurns = 40;
  for (const int32_t cards : {2, 4}) {
    const Devices& devices = devices_on_one_card(cards);
    std::vector<kernels::Device*> others;
    for (const auto& device : others_of(devices)) others.push_back(device.get());
    std::vector<OnDevice<float>> values;
    for (const auto& device : devices)
      values.emplace_back(*device, std::vector<float>(kColumns, 0.0f));
    const OnDevice<float> one(*devices[0], std::vector<float>(kColumns, 1.0f));
    // values[c] += the value before it; turn after turn that makes sums that only order gives.
    const auto work = [&] {
      for (int turn = 0; turn < kTurns; ++turn)
        for (size_t c = 0; c < devices.size(); ++c) {
          devices[0]->meet(others);
          devices[c]->clear(values[c].data(), kColumns);
          kernels::DeviceSumArgs args{
              .to = values[c].data(), .part_count = 2, .rows = 1, .columns = kColumns};
          args.parts[0] = values[(c + devices.size() - 1) % devices.size()].data();
          args.parts[1] = one.data();
          devices[c]->sum(args);
        }
    };
    const auto expect = [&](int turns) {
      devices[0]->meet(others);
      for (size_t c = 0; c < devices.size(); ++c) {
        const auto expected = static_cast<float>((turns - 1) * cards) + static_cast<float>(c) + 1;
        EXPECT_EQ(values[c].values(), std::vector<float>(kColumns, expected)) << "device " << c;
      }
    };
    work();
    expect(kTurns);
    const auto recording = devices[0]->record(work, others);
    for (int replay = 1; replay <= 3; ++replay) {
      devices[0]->meet(others);
      devices[0]->replay(*recording);
      expect(kTurns * (1 + replay));
    }
  }
}

struct Case {
  const char* geometry;
  core::DType type;
  int32_t cards;
  const char* place = nullptr;  // with it: 32 experts of a layer, in two layers behind a dense one
  MachineSpeeds speeds{};
};

// Prompts take the host's experts to the cards.
constexpr MachineSpeeds kFastLink{.host_tops = 1e-9, .link_gb_s = 1e6};

// A few layers of real shapes with random weights.
struct Synthetic {
  Synthetic(const Case& test, const Devices& devices, bool is_deterministic) {
    plan::Geometry geometry = plan::find_geometry(test.geometry).value();
    geometry.layers = 2;
    if (test.place != nullptr) {
      geometry.layers = 3;
      geometry.experts.dense_layers = 1;
      geometry.experts.count = 32;
    }
    geometry.vocab = kVocab;
    const char* const place = test.place != nullptr ? test.place : "";
    checkpoint =
        quantize::synthetic_checkpoint(geometry, {.rest = test.type, .output = core::DType::kQ6_K})
            .value();
    model = Model::load(*checkpoint, {.threads = 8,
                                      .step_tokens_max = kPrompt,
                                      .device = devices.front(),
                                      .other_cards = others_of(devices),
                                      .placement = Placement::parse(place).value(),
                                      .is_deterministic = is_deterministic,
                                      .speeds = test.speeds})
                .value();
    model->allocate_kv(kPositionsMax / kernels::kPageTokens).value();
    for (int32_t i = 0; i < kPrompt; ++i) ids.push_back(i * 37 % kVocab);
  }
  // (kLast, vocab)
  std::vector<float> in_steps_of(int32_t chunk) {
    std::vector<float> logits(static_cast<size_t>(kLast) * kVocab);
    SingleSequence(*model, 0, kPositionsMax)
        .append({.ids = ids, .chunk = chunk, .logit_count = kLast}, logits.data());
    return logits;
  }

  static constexpr int32_t kVocab = 1000, kPrompt = 300, kLast = 70, kPositionsMax = 512;
  std::unique_ptr<formats::Checkpoint> checkpoint;
  std::unique_ptr<Model> model;
  std::vector<int32_t> ids;
};

// The largest difference of each row as a share of the range of all, the largest first; more than
// any where one is no number.
std::vector<double> row_differences(const std::vector<float>& a, const std::vector<float>& b) {
  const auto [low, high] = std::minmax_element(a.begin(), a.end());
  std::vector<double> rows;
  for (size_t first = 0; first < a.size(); first += Synthetic::kVocab) {
    double worst = 0;
    for (size_t i = first; i < first + Synthetic::kVocab; ++i)
      worst = std::max(worst, std::isfinite(b[i]) ? double{std::abs(a[i] - b[i])} : INFINITY);
    rows.push_back(worst / double{*high - *low});
  }
  std::sort(rows.rbegin(), rows.rend());
  return rows;
}

TEST(CudaCards, RealShapesGiveWhatOneCardGives) {
  NEEDS_CARD();
  for (const Case& test :
       {Case{"llama3-8b", core::DType::kBF16, 2}, Case{"llama3-8b", core::DType::kQ8_0, 4},
        Case{"llama3-8b", core::DType::kQ4_K, 2}, Case{"llama3-8b", core::DType::kQ4_0, 8},
        Case{"deepseek-v3", core::DType::kQ8_0, 2}, Case{"deepseek-v3", core::DType::kQ8_0, 4},
        Case{"deepseek-v3", core::DType::kQ8_0, 2, ""},
        Case{"deepseek-v3", core::DType::kQ8_0, 2, "experts=cpu"},
        Case{"deepseek-v3", core::DType::kQ8_0, 4, "experts[2]=cpu"},
        Case{"deepseek-v3", core::DType::kQ8_0, 2, "experts=cpu", kFastLink}}) {
    Synthetic one(test, {card().device}, false);
    Synthetic split(test, devices_on_one_card(test.cards), false);
    for (const int32_t chunk : {1, 8, Synthetic::kPrompt}) {
      const auto rows = row_differences(one.in_steps_of(chunk), split.in_steps_of(chunk));
      const std::string name =
          fmt::format("{} {} over {}{}{}, steps of {}", test.geometry, core::info(test.type).name,
                      test.cards, test.place != nullptr ? ", experts: " : "",
                      test.place != nullptr ? test.place : "", chunk);
      // Rounding sends a token to another expert here and there, which later rows may read.
      const size_t others = test.place != nullptr ? rows.size() / 5 : 0;
      fmt::print("{}: {:.4f}, of all rows {:.4f}\n", name, rows[others], rows.front());
      EXPECT_LE(rows[others], 0.03) << name;
    }
  }
}

// A quarter of the host's experts on the cards besides; only decode steps use them.
TEST(CudaCards, ResidentExpertsLieOnSeveralCards) {
  NEEDS_CARD();
  const Case on_host{"deepseek-v3", core::DType::kQ8_0, 2, "experts=cpu"};
  Case resident = on_host;
  resident.place = "experts=cpu,hot=0.25";
  const Devices& devices = devices_on_one_card(2);
  Synthetic none(on_host, devices, false);
  const std::vector<float> expected = none.in_steps_of(1);
  Synthetic some(resident, devices, false);
  const auto rows = row_differences(expected, some.in_steps_of(1));
  EXPECT_LE(rows[rows.size() / 5], 0.03);
  EXPECT_GT(some.model->resident_counts().hits, 0);
}

// The bits are those of this number of cards, whatever the steps.
TEST(CudaCards, DeterministicBitsDoNotDependOnSteps) {
  NEEDS_CARD();
  for (const Case& test :
       {Case{"llama3-8b", core::DType::kBF16, 2}, Case{"llama3-8b", core::DType::kQ8_0, 4},
        Case{"deepseek-v3", core::DType::kQ8_0, 2, ""}}) {
    Synthetic split(test, devices_on_one_card(test.cards), true);
    const std::vector<float> whole = split.in_steps_of(Synthetic::kPrompt);
    EXPECT_EQ(std::count(whole.begin(), whole.end(), 0.0f), 0);
    for (const int32_t chunk : {1, 7, 129})
      EXPECT_EQ(split.in_steps_of(chunk), whole) << "over " << test.cards << ", chunk " << chunk;
  }
}

}  // namespace
}  // namespace sluice::model::testing
