// With drafts or without: the same tokens, the same log probabilities, the model's distribution.
#include "engine/speculation.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "core/math.h"
#include "tests/engine/harness.h"

namespace sluice::engine::testing {
namespace {

EngineConfig drafting(Speculation speculation) {
  EngineConfig c = fake_config();
  c.limits.logit_rows_max = 40;
  c.speculation = speculation;
  return c;
}

DraftCounts counts(const LoopHarness& h, DraftKind kind) {
  return h.loop.stats().drafts[static_cast<size_t>(kind)];
}

// Prompts with repeated parts, so that own tokens are worth a draft.
std::vector<Request> mixed_requests(uint64_t seed) {
  core::Rng random(seed);
  std::vector<Request> all;
  for (uint64_t i = 0; i < 12; ++i) {
    Request r{.prompt_ids = prompt(seed + i, 5 + random.below(20))};
    const std::vector<int32_t> once = r.prompt_ids;
    for (int copy = 0; copy < 2; ++copy)
      r.prompt_ids.insert(r.prompt_ids.end(), once.begin(), once.end());
    r.sampling = {.temperature = i % 3 == 0 ? 0.0f : 0.6f, .seed = random.bits()};
    r.sampling.max_tokens = 1 + random.below(70);
    r.sampling.logprobs_top = static_cast<int32_t>(i % 4) - 1;
    if (i % 2 == 0) r.sampling.repetition_penalty = 0.7f;  // likes what it has said
    if (i % 4 == 1) r.sampling.frequency_penalty = -0.4f;
    if (i % 5 == 0) r.sampling.min_tokens = 20;
    if (i % 6 == 0) r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
    if (i % 7 == 0) r.sampling.stop_token_ids = {7, 11};
    if (i % 3 == 1) r.sampling.top_p = 0.7f;
    all.push_back(r);
  }
  return all;
}

class Drafts : public ::testing::TestWithParam<Speculation> {};

TEST_P(Drafts, ChangeNothingButTheNumberOfSteps) {
  DraftCounts sum;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    LoopHarness plain(drafting(Speculation::kOff));
    LoopHarness with(drafting(GetParam()));
    for (const Request& r : mixed_requests(seed)) {
      plain.add(r);
      with.add(r);
    }
    plain.run();
    with.run();
    for (const auto& [id, want] : plain.outcomes.all()) {
      const Outcome& found = with.outcomes.of({id});
      ASSERT_EQ(found.ids, want.ids) << "request " << id;
      EXPECT_EQ(found.kinds, want.kinds);
      EXPECT_EQ(found.logprobs, want.logprobs);
      for (size_t i = 0; i < want.tops.size(); ++i)
        for (size_t t = 0; t < want.tops[i].size(); ++t) {
          EXPECT_EQ(found.tops[i][t].token_id, want.tops[i][t].token_id);
          EXPECT_EQ(found.tops[i][t].logprob, want.tops[i][t].logprob);
        }
      EXPECT_EQ(found.finish->reason, want.finish->reason);
      EXPECT_EQ(found.finish->completion_tokens, want.finish->completion_tokens);
      sum.accepted += found.finish->accepted_draft_tokens;
      sum.drafted += found.finish->accepted_draft_tokens + found.finish->rejected_draft_tokens;
    }
    EXPECT_EQ(plain.loop.stats().generation_tokens, with.loop.stats().generation_tokens);
    EXPECT_EQ(counts(plain, DraftKind::kMtp).drafted, 0);
    EXPECT_EQ(counts(with, DraftKind::kMtp).drafted > 0, GetParam() != Speculation::kNgram);
  }
  EXPECT_GT(sum.accepted, 20);
  EXPECT_GT(sum.drafted - sum.accepted, 50);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Drafts,
                         ::testing::Values(Speculation::kNgram, Speculation::kMtp,
                                           Speculation::kAuto));

TEST(Drafts, AreCountedByKindAndByRequest) {
  LoopHarness h(drafting(Speculation::kMtp));
  for (const Request& r : mixed_requests(3)) h.add(r);
  h.run();
  DraftCounts sum;
  for (const auto& [id, o] : h.outcomes.all()) {
    sum.accepted += o.finish->accepted_draft_tokens;
    sum.drafted += o.finish->accepted_draft_tokens + o.finish->rejected_draft_tokens;
  }
  const DraftCounts mtp = counts(h, DraftKind::kMtp);
  EXPECT_EQ(mtp.drafted, sum.drafted);
  EXPECT_EQ(mtp.accepted, sum.accepted);
  EXPECT_GT(mtp.accepted, mtp.drafted / 8);
  EXPECT_LT(mtp.accepted, mtp.drafted);
  // Every token but a step's first comes from a draft.
  int64_t decoded = 0;
  for (const LoggedStep& s : h.steps) decoded += std::ssize(s.parts);
  EXPECT_LT(decoded, h.loop.stats().generation_tokens);
}

TEST(Drafts, LeaveNoPageBehind) {
  LoopHarness h(drafting(Speculation::kMtp));
  Request r{.prompt_ids = prompt(1, 30), .sampling = greedy(120)};
  r.sampling.end_tokens = SamplingParams::EndTokens::kNever;
  h.add(r);
  int64_t wider = 0;
  for (;;) {
    h.step();
    if (!h.loop.has_work()) break;
    const int64_t computed = 30 + h.loop.stats().generation_tokens - 1;
    ASSERT_EQ(h.loop.cache().counts().used, core::div_ceil(computed, kFakePageTokens));
    wider += h.steps.back().parts.front().tokens > 1 && computed > 30;
  }
  EXPECT_GT(wider, 10);
}

TEST(Drafts, TakeNoPageThatSomebodyNeeds) {
  EngineConfig c = drafting(Speculation::kMtp);
  c.limits.kv_pages = 30;
  LoopHarness h(c);
  std::vector<Request> all;
  for (uint64_t i = 0; i < 6; ++i) {
    all.push_back({.prompt_ids = prompt(i, 20), .sampling = greedy(100)});
    all.back().sampling.end_tokens = SamplingParams::EndTokens::kNever;
  }
  for (Request& r : all) r.id = h.add(r);
  h.run();
  for (const Request& r : all)
    EXPECT_EQ(h.outcomes.of(r.id).ids, expected_output(r, c)) << r.id.value;
  EXPECT_GT(h.loop.stats().preemptions, 0);
}

// The third token of a continuation comes from a row behind a draft, or, where the draft was wrong,
// from a step of its own. Over many seeds, beside the exact probabilities of the whole tree.
TEST(Drafts, SampledTokensHaveTheModelsDistribution) {
  constexpr uint64_t kSeeds = 20'000;
  constexpr uint64_t kFirstSeed = 77'000;
  SCOPED_TRACE(::testing::Message() << "seeds from " << kFirstSeed);
  EngineConfig c = drafting(Speculation::kMtp);
  c.end_token_ids = {};
  const std::vector<int32_t> start = prompt(9, 6);
  const SamplingParams params{.temperature = 0.8f, .max_tokens = 3};

  std::vector<double> want(kFakeVocab, 0.0);  // of the third token
  const auto probabilities = [&](const std::vector<int32_t>& ids) {
    std::vector<float> logits(kFakeColumns);
    fake_logits(ids, logits.data());
    std::vector<double> p;
    for (int32_t i = 0; i < kFakeVocab; ++i)
      p.push_back(std::exp(static_cast<double>(logits[static_cast<size_t>(i)]) / 0.8));
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
    return p;
  };
  const std::vector<double> first = probabilities(start);
  for (int32_t a = 0; a < kPoison; ++a) {
    std::vector<int32_t> ids = start;
    ids.push_back(a);
    const std::vector<double> second = probabilities(ids);
    for (int32_t b = 0; b < kPoison; ++b) {
      ids.push_back(b);
      const std::vector<double> third = probabilities(ids);
      for (size_t i = 0; i < want.size(); ++i)
        want[i] += first[static_cast<size_t>(a)] * second[static_cast<size_t>(b)] * third[i];
      ids.pop_back();
    }
  }

  LoopHarness h(c);
  std::vector<int64_t> found(kFakeVocab, 0);
  for (uint64_t i = 0; i < kSeeds; ++i) {
    Request r{.prompt_ids = start, .sampling = params};
    r.sampling.seed = kFirstSeed + i;
    ++found[static_cast<size_t>(h.outcome(r).ids[2])];
  }
  const DraftCounts mtp = counts(h, DraftKind::kMtp);
  EXPECT_GT(mtp.accepted, static_cast<int64_t>(kSeeds) / 20);
  EXPECT_GT(mtp.drafted - mtp.accepted, static_cast<int64_t>(kSeeds) / 20);
  double chi_square = 0;
  int cells = 0;
  double rare_want = 0, rare_found = 0;
  const auto add = [&](double n, double expected) {
    chi_square += (n - expected) * (n - expected) / expected;
    ++cells;
  };
  for (int32_t id = 0; id < kFakeVocab; ++id) {
    const auto i = static_cast<size_t>(id);
    const double expected = want[i] * static_cast<double>(kSeeds);
    const auto n = static_cast<double>(found[i]);
    if (expected >= 10) {
      add(n, expected);
    } else {
      rare_want += expected;
      rare_found += n;
    }
  }
  if (rare_want >= 5) add(rare_found, rare_want);
  // Mean cells − 1, deviation √(2 · (cells − 1)): five deviations.
  EXPECT_LT(chi_square, cells - 1 + 5 * std::sqrt(2.0 * (cells - 1))) << cells << " cells";
  EXPECT_GT(cells, 20);
}

TEST(StepTimes, EstimateBetweenAndBeyondWhatWasMeasured) {
  StepTimes times(16);
  EXPECT_EQ(times.of(4), 0);
  EXPECT_TRUE(times.is_old(1));
  times.add(1, 1000);
  times.add(5, 2000);
  EXPECT_FALSE(times.is_old(1));
  EXPECT_DOUBLE_EQ(times.of(1), 1000);
  EXPECT_DOUBLE_EQ(times.of(3), 1500);
  EXPECT_DOUBLE_EQ(times.of(9), 2000 * (1 + 4.0 / 32));
  times.add(1, 100'000);  // another program's time
  EXPECT_LT(times.of(1), 1100);
  for (int i = 0; i < 64; ++i) times.add(5, 2000);
  EXPECT_TRUE(times.is_old(1));
}

TEST(StepTimes, AWidthThatWasSlowIsTriedAgain) {
  StepTimes times(8);
  times.add(4, 1'000'000);
  for (int i = 0; i < 1023; ++i) times.add(1, 1000);
  EXPECT_GT(times.of(4), 100'000);
  times.add(1, 1000);
  EXPECT_LT(times.of(4), 2000);
}

TEST(StepTimes, AFirstStepThatIsLongerDoesNotCount) {
  StepTimes times(8, StepTimes::First::kIsLonger);
  for (const int64_t ns : {900'000, 1000}) times.add(1, ns);
  EXPECT_DOUBLE_EQ(times.of(1), 1000);
  times.add(4, 1'000'000);
  EXPECT_LT(times.of(4), 1200);
  times.add(4, 1500);
  EXPECT_DOUBLE_EQ(times.of(4), 1500);
}

struct Chosen {
  std::vector<DraftOffer> offers;
  std::vector<int32_t> wanted() const {
    std::vector<int32_t> all;
    for (const DraftOffer& o : offers) all.push_back(o.wanted);
    return all;
  }
};

StepTimes linear_times(double row_share) {
  StepTimes times(80);
  for (int64_t rows = 80; rows >= 1; --rows)
    times.add(rows, std::llround(1e6 * (1 + row_share * static_cast<double>(rows - 1))));
  return times;
}

TEST(ChooseDrafts, VerifiesMoreTheLikelierAndTheCheaper) {
  const auto wanted = [](double rate, double row_share) {
    const StepTimes times = linear_times(row_share);
    std::vector<DraftOffer> offers = {{.rate = rate, .tokens = kDraftTokensMax}};
    choose_drafts({.sequences = 1, .times = times}, offers);
    return offers.front().wanted;
  };
  EXPECT_EQ(wanted(0.9, 1.0), 0);   // a row costs a step
  EXPECT_EQ(wanted(0.05, 0.2), 0);  // hardly ever right
  EXPECT_GE(wanted(0.95, 0.01), 14);
  EXPECT_LT(wanted(0.6, 0.1), wanted(0.9, 0.1));
  EXPECT_LT(wanted(0.9, 0.2), wanted(0.9, 0.05));
  // The best of all lengths: (1 − a^(k+1)) / (1 − a) tokens in 1 + 0.1 k.
  int best = 0;
  double most = 1.02;
  for (int k = 1; k <= kDraftTokensMax; ++k) {
    const double speed = (1 - std::pow(0.8, k + 1)) / (1 - 0.8) / (1 + 0.1 * k);
    if (speed <= most) continue;
    most = speed;
    best = k;
  }
  EXPECT_EQ(wanted(0.8, 0.1), best);
}

// Rows of a tile cost the same: the width is at its end or draws no row.
TEST(ChooseDrafts, JumpsOverWidthsThatDoNotPay) {
  StepTimes times(80);
  for (int64_t rows = 80; rows >= 1; --rows)
    times.add(rows, rows == 1 ? 1'000'000 : rows < 4 ? 2'500'000 : 1'200'000);
  std::vector<DraftOffer> offers = {{.rate = 0.7, .tokens = 8}};
  choose_drafts({.sequences = 1, .times = times}, offers);
  EXPECT_GE(offers.front().wanted, 3);
}

TEST(ChooseDrafts, RowsGoToTheLikeliest) {
  const StepTimes times = linear_times(0.15);
  Chosen c{{{.rate = 0.2, .tokens = 8}, {.rate = 0.9, .tokens = 8}, {.rate = 0.0, .tokens = 0}}};
  choose_drafts({.sequences = 3, .times = times}, c.offers);
  EXPECT_EQ(c.wanted()[2], 0);
  EXPECT_GT(c.wanted()[1], c.wanted()[0]);
}

TEST(ChooseDrafts, NothingBeforeAPlainStepWasMeasured) {
  StepTimes times(80);
  std::vector<DraftOffer> offers = {{.rate = 0.9, .tokens = 8}};
  choose_drafts({.sequences = 1, .times = times}, offers);
  EXPECT_EQ(offers.front().wanted, 0);
}

TEST(ChooseDrafts, PassesOfTheDraftLayerAreCounted) {
  const StepTimes times = linear_times(0.02);
  const auto wanted = [&](double keys_ns, double pass_ns) {
    std::vector<DraftOffer> offers = {{.rate = 0.8, .kind = DraftKind::kMtp, .tokens = 4}};
    choose_drafts({.sequences = 1, .times = times, .keys_ns = keys_ns, .pass_ns = pass_ns}, offers);
    return offers.front().wanted;
  };
  EXPECT_EQ(wanted(0, 0), 4);
  EXPECT_EQ(wanted(1e5, 7e5), 1);  // 1.8 tokens in 1.72 ms, 2.44 in 2.44, one in 1.1
  EXPECT_EQ(wanted(1e5, 1e6), 0);  // 1.8 in 2.02
  EXPECT_EQ(wanted(1e6, 1e6), 1);  // the first pass takes no longer than one for keys
  // The text's own tokens need keys alone.
  std::vector<DraftOffer> offers = {{.rate = 0.8, .tokens = 1}};
  choose_drafts({.sequences = 1, .times = times, .keys_ns = 1e5, .pass_ns = 9e6}, offers);
  EXPECT_EQ(offers.front().wanted, 1);
}

// Passes that cost more than they save: but for one in seventeen they are for keys alone, also
// where prompts are computed. When they are cheap again the layer guesses as before: what
// FakeRunner guesses depends on the keys of all rows.
void expect_guesses_where_they_pay(FakeSampling sampling) {
  EngineConfig c = drafting(Speculation::kMtp);
  c.end_token_ids = {};
  LoopHarness h(c, 1, sampling);
  int64_t pass_ns = 60'000, guesses = 0, keys = 0;
  h.runner.pass_ns = [&] { return pass_ns; };
  h.runner.on_draft = [&](const model::DraftBatch& batch) {
    const bool guess = batch.purpose == model::DraftBatch::Purpose::kGuess;
    h.clock.advance_ns(guess ? pass_ns : 500);
    ++(guess ? guesses : keys);
  };
  const auto run = [&](uint64_t seed) {
    Request r{.prompt_ids = prompt(seed, 30), .sampling = greedy(150)};
    EXPECT_EQ(h.outcome(r).ids, expected_output(r, c));
  };
  for (uint64_t seed = 1; seed <= 4; ++seed) run(seed);
  const int64_t guesses_before = guesses, keys_before = keys;
  const int64_t drafted_before = counts(h, DraftKind::kMtp).drafted;
  for (uint64_t seed = 5; seed <= 8; ++seed) run(seed);
  EXPECT_EQ(counts(h, DraftKind::kMtp).drafted, drafted_before);
  EXPECT_NEAR(static_cast<double>(guesses - guesses_before), (keys - keys_before) / 16.0, 2.0);
  EXPECT_GT(keys - keys_before, 500);
  pass_ns = 500;
  for (uint64_t seed = 9; seed <= 14; ++seed) run(seed);
  const DraftCounts before = counts(h, DraftKind::kMtp);
  for (uint64_t seed = 15; seed <= 18; ++seed) run(seed);
  const DraftCounts after = counts(h, DraftKind::kMtp);
  EXPECT_GT(after.drafted - before.drafted, 200);
  EXPECT_GT(after.accepted - before.accepted, (after.drafted - before.drafted) / 3);
}

// Where they pay, a pass for keys is one before a step that only measures; where they do not, there
// are ever more between guesses.
TEST(DraftPasses, GuessAgainSoon) {
  EngineConfig c = drafting(Speculation::kMtp);
  c.end_token_ids = {};
  LoopHarness h(c);
  int64_t keys = 0, pass_ns = 500;
  std::vector<int64_t> keys_between;
  h.runner.on_draft = [&](const model::DraftBatch& batch) {
    const bool guess = batch.purpose == model::DraftBatch::Purpose::kGuess;
    h.clock.advance_ns(guess ? pass_ns : 500);
    if (guess && keys > 0) keys_between.push_back(keys);
    keys = guess ? 0 : keys + 1;
  };
  const auto run = [&](uint64_t seed) {
    Request r{.prompt_ids = prompt(seed, 30), .sampling = greedy(150)};
    EXPECT_EQ(h.outcome(r).ids, expected_output(r, c));
  };
  for (uint64_t seed = 1; seed <= 8; ++seed) run(seed);
  for (const int64_t count : keys_between) EXPECT_LE(count, 2);
  pass_ns = 60'000;
  run(9);
  const std::vector<int64_t> doubling = {1, 2, 4, 8, 16, 16};
  EXPECT_NE(std::search(keys_between.begin(), keys_between.end(), doubling.begin(), doubling.end()),
            keys_between.end());
}

TEST(DraftPasses, AreForKeysAloneWhereGuessesDoNotPay) {
  expect_guesses_where_they_pay(FakeSampling::kHost);
}

TEST(DraftPasses, OfADeviceTheSame) {
  expect_guesses_where_they_pay(FakeSampling::kDevice);
}

TEST(DraftLayerUse, RestsWhereItCostsMoreThanItSaves) {
  DraftLayerUse use;
  for (int i = 0; i < 1000; ++i) use.add_step(100, 50);
  EXPECT_TRUE(use.is_on());
  for (int i = 0; i < 128; ++i) use.add_step(50, 100);
  EXPECT_FALSE(use.is_on());
  for (int i = 0; i < 4096; ++i) use.add_step(0, 0);
  EXPECT_TRUE(use.is_on());
}

}  // namespace
}  // namespace sluice::engine::testing
