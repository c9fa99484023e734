// Experts whose home is the host's memory and which a device has besides, for prompts or for good,
// against the same with the experts on the processor and on the device. The models are synthetic:
// tiny ones of tests/data have no 4-bit experts.
#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "kernels/device_bring.h"
#include "kernels/ref/ref_device.h"
#include "model/model.h"
#include "model/single_sequence.h"
#include "quantize/synthesize.h"
#include "quantize/synthesize_folder.h"
#include "tests/quantize/small_geometries.h"

namespace sluice::quantize {
namespace {

plan::Geometry small_experts() {
  plan::Geometry g = plan::find_geometry("deepseek-v3").value();
  g.layers = 5;
  g.hidden = 256;
  g.heads = 2;
  g.ffn = 512;
  g.vocab = 64;
  g.experts.dense_layers = 1;
  g.experts.count = 16;
  g.experts.ffn = 128;
  g.latent.q_rank = 256;
  return g;
}

struct Answer {
  std::vector<float> logits;  // of the last token
  std::string said;
};

enum class Experts { kQ4, kE4m3 };
std::unique_ptr<formats::Checkpoint> checkpoint_of(Experts experts) {
  if (experts == Experts::kE4m3)
    return synthetic_folder(small_experts(),
                            {.path = {}, .recipe = folder_recipe(FolderType::kFp8)})
        .value();
  return synthetic_checkpoint(small_experts(), {}).value();
}

std::vector<std::shared_ptr<kernels::Device>> other_cards(int32_t cards) {
  std::vector<std::shared_ptr<kernels::Device>> others;
  for (int32_t card = 1; card < cards; ++card) others.push_back(kernels::make_reference_device());
  return others;
}

Answer run(const char* place, const model::MachineSpeeds& speeds, Experts experts = Experts::kQ4,
           int32_t cards = 1) {
  const auto checkpoint = checkpoint_of(experts);
  Answer answer;
  const auto model =
      model::Model::load(*checkpoint,
                         {.threads = 2,
                          .step_tokens_max = 32,
                          .device = kernels::make_reference_device(),
                          .other_cards = other_cards(cards),
                          .placement = model::Placement::parse(place).value(),
                          .placed = [&](const std::string& line) { answer.said = line; },
                          .speeds = speeds})
          .value();
  model->allocate_kv(4).value();
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 50; ++i) ids.push_back(i * 7 % 64);
  answer.logits.resize(static_cast<size_t>(model->spec().vocab));
  model::SingleSequence sequence(*model, 0, 64);
  sequence.append({.ids = ids, .chunk = 32, .logit_count = 1}, answer.logits.data());
  return answer;
}

double difference(const Answer& a, const Answer& b) {
  double differences = 0, squares = 0;
  for (size_t i = 0; i < a.logits.size(); ++i) {
    differences += std::pow(double{a.logits[i]} - double{b.logits[i]}, 2);
    squares += std::pow(double{b.logits[i]}, 2);
  }
  return std::sqrt(differences / squares);
}

// The second step has 18 rows, the last layer one.
TEST(StreamedExperts, GiveWhatTheOthersGive) {
  const model::MachineSpeeds fast_link{.host_tops = 1e-9, .link_gb_s = 1e6};
  for (const Experts experts : {Experts::kQ4, Experts::kE4m3}) {
    const Answer on_device = run("rest=cuda", {}, experts),
                 on_host = run("experts=cpu", {}, experts),
                 streamed = run("experts=cpu", fast_link, experts),
                 some_streamed = run("experts[2-3]=cpu", fast_link, experts);
    EXPECT_LT(difference(on_host, on_device), 0.05);
    if (!streamed.said.starts_with("steps of 1 tokens or more"))
      GTEST_SKIP() << "no table of this machine has a layout that a device reads: "
                   << streamed.said;
    EXPECT_LT(difference(streamed, on_device), experts == Experts::kE4m3 ? 1e-6 : 0.01);
    EXPECT_LT(difference(some_streamed, on_device), 0.01);
  }
}

// Each card takes its run of a layer's experts.
TEST(StreamedExperts, GoToTheCardsTheyAreCutOver) {
  const model::MachineSpeeds fast_link{.host_tops = 1e-9, .link_gb_s = 1e6};
  const Answer on_device = run("rest=cuda", {}),
               streamed = run("experts=cpu", fast_link, Experts::kQ4, 2),
               some_streamed = run("experts[2-3]=cpu", fast_link, Experts::kQ4, 2);
  if (!streamed.said.starts_with("steps of 1 tokens or more"))
    GTEST_SKIP() << "no table of this machine has a layout that a device reads: " << streamed.said;
  EXPECT_LT(difference(streamed, on_device), 0.01);
  EXPECT_LT(difference(some_streamed, on_device), 0.01);
}

constexpr int32_t kSteps = 24;

struct Decoded {
  Answer answer;  // of all steps
  model::ResidentCounts counts;
};

// kSteps steps of `streams` sequences, behind a prompt of 8 tokens each.
std::optional<Decoded> decode(const char* place, const model::HybridOptions& hybrid,
                              int32_t streams, int32_t cards = 1, Experts experts = Experts::kQ4) {
  const auto checkpoint = experts == Experts::kQ4
                              ? synthetic_checkpoint(small_experts(), {.router_skew = 1}).value()
                              : checkpoint_of(experts);
  Decoded decoded;
  const auto loaded = model::Model::load(
      *checkpoint, {.threads = 2,
                    .step_tokens_max = 32,
                    .device = kernels::make_reference_device(),
                    .other_cards = other_cards(cards),
                    .placement = model::Placement::parse(place).value(),
                    .placed = [&](const std::string& line) { decoded.answer.said += line; },
                    .hybrid = hybrid});
  // No table of this machine has a layout that a device reads; anything else ends the test.
  if (!loaded.ok() && loaded.error().message.starts_with("resident experts: ")) return std::nullopt;
  model::Model& model = *loaded.value();
  model.allocate_kv(3 * streams).value();
  const auto vocab = static_cast<size_t>(model.spec().vocab);
  std::vector<float> logits(static_cast<size_t>(streams) * vocab);
  std::vector<model::SingleSequence> sequences;
  for (int32_t s = 0; s < streams; ++s) {
    sequences.emplace_back(model, 3 * s, 80);
    const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, s};
    sequences.back().append({.ids = ids, .chunk = 32}, nullptr);
  }
  for (int32_t step = 0; step < kSteps; ++step) {
    std::vector<int32_t> ids, rows;
    std::vector<model::SequenceSpan> spans;
    for (int32_t s = 0; s < streams; ++s) {
      ids.push_back((step * 7 + s * 11) % 64);
      rows.push_back(s);
      spans.push_back(sequences[static_cast<size_t>(s)].span(s, 1));
      sequences[static_cast<size_t>(s)].advance(1);
    }
    model.forward({.token_ids = ids, .sequences = spans, .logit_rows = rows}, logits.data());
    decoded.answer.logits.insert(decoded.answer.logits.end(), logits.begin(), logits.end());
  }
  decoded.counts = model.resident_counts();
  return decoded;
}

constexpr const char* kNoLayout = "no table of this machine has a layout that a device reads";

// A quarter of the experts, which changes as they are used: most of the choices are theirs.
TEST(ResidentExperts, GiveWhatTheHostGives) {
  for (const int32_t streams : {1, 3}) {
    const auto none = decode("experts=cpu", {}, streams),
               some = decode("experts=cpu,hot=0.25", {}, streams),
               all = decode("experts=cpu,hot=auto", {}, streams),
               on_device = decode("rest=cuda", {}, streams);
    EXPECT_EQ(none->counts.choices, 0);
    if (!some) GTEST_SKIP() << kNoLayout;
    EXPECT_EQ(some->counts.choices, int64_t{streams} * kSteps * 4 * 8);
    EXPECT_GT(some->counts.hits, some->counts.choices / 3);
    EXPECT_GT(some->counts.exchanges, 4);
    EXPECT_LT(difference(some->answer, none->answer), 0.05);
    EXPECT_EQ(all->counts.hits, all->counts.choices);
    EXPECT_LT(difference(all->answer, on_device->answer), 0.01);
  }
}

// Of two cards each has half of them, of three named ones the first two. The least of what is
// wrong, cards that prefer other experts, is off by 0.019.
TEST(ResidentExperts, MayLieOnSeveralCards) {
  for (const int32_t streams : {1, 3}) {
    const auto none = decode("experts=cpu", {}, streams, 2),
               some = decode("experts=cpu,hot=0.25", {}, streams, 2),
               all = decode("experts=cpu,hot=auto", {}, streams, 2),
               on_cards = decode("rest=cuda", {}, streams, 2);
    if (!some) GTEST_SKIP() << kNoLayout;
    EXPECT_GT(some->counts.hits, some->counts.choices / 3);
    EXPECT_GT(some->counts.exchanges, 4);
    EXPECT_LT(difference(some->answer, none->answer), 0.01);
    EXPECT_EQ(all->counts.hits, all->counts.choices);
    EXPECT_LT(difference(all->answer, on_cards->answer), 0.01);
  }
  const auto named = decode("experts=cpu,experts[2-3:4-6]=cuda", {}, 1, 2),
             preferred = decode("experts=cpu,hot=0.25", {.preference = 1}, 1, 2),
             plain = decode("experts=cpu,hot=0.25", {}, 1, 2);
  EXPECT_GT(named->counts.hits, 0);
  EXPECT_LT(difference(named->answer, decode("experts=cpu", {}, 1)->answer), 0.01);
  EXPECT_GT(preferred->counts.hits, plain->counts.hits);
  EXPECT_LT(
      difference(preferred->answer, decode("experts=cpu,hot=0.25", {.preference = 1}, 1)->answer),
      0.01);
}

TEST(ResidentExperts, NamedOnesStay) {
  const auto some = decode("experts=cpu,experts[2-3:4-7]=cuda", {}, 1);
  if (!some) GTEST_SKIP() << kNoLayout;
  EXPECT_EQ(some->counts.exchanges, 0);
  EXPECT_GT(some->counts.hits, 0);
  EXPECT_LT(difference(some->answer, decode("experts=cpu", {}, 1)->answer), 0.05);
}

TEST(ResidentExperts, MayBePreferred) {
  const auto plain = decode("experts=cpu,hot=0.25", {}, 1),
             preferred = decode("experts=cpu,hot=0.25", {.preference = 1}, 1);
  if (!plain) GTEST_SKIP() << kNoLayout;
  EXPECT_GT(preferred->counts.hits, plain->counts.hits);
  EXPECT_LT(difference(preferred->answer, plain->answer), 0.5);
}

// Over the link comes what the processor leaves out: all of it, as if all were resident; half; a
// share of what is not resident; to each of two cards some.
TEST(PulledExperts, GiveWhatTheHostGives) {
  if (!decode("experts=cpu,hot=0.25", {}, 1)) GTEST_SKIP() << kNoLayout;
  struct Case {
    Experts experts;
    int32_t cards, streams;
  };
  for (const Case& c :
       {Case{Experts::kQ4, 1, 1}, Case{Experts::kQ4, 2, 3}, Case{Experts::kE4m3, 1, 3}}) {
    SCOPED_TRACE(fmt::format("{} streams, {} cards", c.streams, c.cards));
    model::ResidentCounts counts;
    const auto answer = [&](const char* place) {
      const auto decoded = decode(place, {}, c.streams, c.cards, c.experts);
      counts = decoded->counts;
      return decoded->answer;
    };
    const Answer on_host = answer("experts=cpu"), resident = answer("experts=cpu,hot=auto");
    const double rounding = difference(resident, on_host);
    EXPECT_GT(rounding, 0);
    EXPECT_LT(difference(answer("experts=cpu,link=1"), resident), c.cards == 1 ? 1e-9 : 1e-5);
    EXPECT_EQ(counts.read, 0);
    EXPECT_GE(counts.pulled, kSteps * 4 * 8);
    for (const char* place :
         {"experts=cpu,link=0.5", "experts[2-3]=cpu,link=0.5", "experts=cpu,hot=0.25,link=0.5"}) {
      const double error = difference(answer(place), on_host);
      EXPECT_GT(error, 0) << place;
      EXPECT_LT(error, 3 * rounding) << place;
      EXPECT_GT(counts.pulled, counts.read / 2) << place;
      EXPECT_LE(counts.pulled, counts.read) << place;
    }
    // Deferral is of those that are left to the host.
    const model::HybridOptions deferring{.deferred = 2};
    const auto deferred = [&](const char* place) {
      return decode(place, deferring, c.streams, c.cards, c.experts)->answer;
    };
    EXPECT_LT(difference(deferred("experts=cpu,link=1"), resident), c.cards == 1 ? 1e-9 : 1e-5);
    EXPECT_GT(difference(deferred("experts=cpu,link=0.5"), on_host), 2 * rounding);
    EXPECT_EQ(answer("experts=cpu,link=0").logits, on_host.logits);
    EXPECT_EQ(counts.pulled, 0);
  }
}

// Gate and up of four experts, in every layer's turn: what the layer before it says is mostly
// right. Experts that the host does not have are not fetched.
TEST(FetchedExperts, AreMostlyThoseThatAreChosen) {
  constexpr int64_t kFetched = 2 * 4 * kSteps;  // of a layer
  for (const int32_t streams : {1, 3}) {
    const auto expect = [&](const char* place, int64_t layers) {
      const auto decoded = decode(place, {}, streams);
      if (!decoded) return;
      EXPECT_EQ(decoded->counts.fetched, layers * kFetched) << place;
      EXPECT_GE(decoded->counts.fetched_used, decoded->counts.fetched / 2) << place;
      EXPECT_LE(decoded->counts.fetched_used, decoded->counts.fetched) << place;
    };
    expect("experts=cpu", 4);
    expect("experts=cpu,experts[2]=cuda", 3);
    expect("experts=cpu,hot=0.25", 4);
    expect("experts=cpu,hot=auto", 0);
    expect("rest=cuda", 0);
  }
}

// What is deferred is added later, and all of it: more deferred, more difference.
TEST(DeferredExperts, AreAddedALayerLater) {
  for (const int32_t streams : {1, 3}) {
    const Answer now = decode("experts=cpu", {}, streams)->answer;
    const auto deferred = [&](int32_t count) {
      return difference(decode("experts=cpu", {.deferred = count}, streams)->answer, now);
    };
    const double one = deferred(1), four = deferred(4);
    EXPECT_GT(one, 0);
    EXPECT_GT(four, one);
    EXPECT_LT(four, 0.5);
  }
  // With a single layer on the host nothing is left for a later one.
  const Answer now = decode("experts[2]=cpu", {}, 1)->answer;
  EXPECT_EQ(decode("experts[2]=cpu", {.deferred = 3}, 1)->answer.logits, now.logits);
}

// In steps of any length, with a link by which every step would stream; and beside others. The
// reference device computes each row alone: what is shown is the hand-over and the processor.
TEST(DeterministicSteps, GiveTheSameBitsHoweverTheyAreCut) {
  constexpr int32_t kTokens = 36, kLast = 20;
  for (const plan::Geometry& geometry : {small_experts(), small_qwen3moe()})
    for (const char* place : {"rest=cuda", "experts[2-3]=cpu"}) {
      SCOPED_TRACE(std::string(geometry.architecture) + ", " + place);
      const auto checkpoint = synthetic_checkpoint(geometry, {}).value();
      std::string said;
      const auto model =
          model::Model::load(*checkpoint, {.threads = 2,
                                           .step_tokens_max = kTokens,
                                           .device = kernels::make_reference_device(),
                                           .placement = model::Placement::parse(place).value(),
                                           .placed = [&](const std::string& line) { said = line; },
                                           .is_deterministic = true,
                                           .speeds = {.host_tops = 1e-9, .link_gb_s = 1e6}})
              .value();
      EXPECT_EQ(said.ends_with("(--deterministic)"), std::string_view(place) != "rest=cuda");
      model->allocate_kv(3 * 2).value();
      std::vector<int32_t> ids;
      for (int32_t i = 0; i < kTokens; ++i) ids.push_back(i * 7 % 64);
      const auto vocab = static_cast<size_t>(model->spec().vocab);
      const auto in_steps_of = [&](int32_t chunk) {
        std::vector<float> logits(kLast * vocab);
        model::SingleSequence(*model, 0, 64)
            .append({.ids = ids, .chunk = chunk, .logit_count = kLast}, logits.data());
        return logits;
      };
      const std::vector<float> whole = in_steps_of(kTokens);
      for (const int32_t chunk : {1, 7, 17})
        EXPECT_TRUE(in_steps_of(chunk) == whole) << "steps of " << chunk;

      // The last token, beside one that decodes and a prompt.
      std::vector<model::SingleSequence> sequences;
      for (int32_t s = 0; s < 3; ++s) sequences.emplace_back(*model, 2 * s, 64);
      sequences[0].append({.ids = std::span(ids).first(kTokens - 1), .chunk = 7}, nullptr);
      sequences[1].append({.ids = std::span(ids).first(3), .chunk = 7}, nullptr);
      for (const int32_t prompt : {1, 30}) {
        std::vector<int32_t> step_ids = {ids.back(), 5};
        step_ids.insert(step_ids.end(), ids.begin(), ids.begin() + prompt);
        const std::vector<model::SequenceSpan> spans = {
            sequences[0].span(0, 1), sequences[1].span(1, 1), sequences[2].span(2, prompt)};
        const std::vector<int32_t> rows = {0, 1, 1 + prompt};
        std::vector<float> logits(3 * vocab);
        model->forward({.token_ids = step_ids, .sequences = spans, .logit_rows = rows},
                       logits.data());
        EXPECT_TRUE(std::equal(whole.end() - static_cast<std::ptrdiff_t>(vocab), whole.end(),
                               logits.begin()))
            << "beside a prompt of " << prompt;
      }
    }
}

}  // namespace
}  // namespace sluice::quantize
