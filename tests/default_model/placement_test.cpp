// Same output whatever the placement: a model's greedy and seeded outputs are the same alone, among
// others, in chunks, from a warm cache and after a preemption. The default model (SLUICE_MODEL
// names its file), and tiny ones with latent attention and experts.
#include <algorithm>
#include <cstdlib>
#include <map>

#include <gtest/gtest.h>

#include "core/math.h"
#include "formats/checkpoint.h"
#include "model/model.h"
#include "tests/engine/harness.h"

namespace sluice::engine::testing {
namespace {

constexpr int32_t kStepTokens = 1024;
constexpr int64_t kPages = 64;
constexpr int64_t kPageTokens = kernels::kPageTokens;
constexpr int64_t kOutput = 40;

constexpr const char* kDefaultModel = "default";

// Every step takes as long as any other: as many drafts as there are rows for.
class FlatRunner final : public StepRunner {
 public:
  FlatRunner(model::Model& model, core::ManualClock& clock) : runner_(model), clock_(clock) {}
  RunnerShape shape() const override { return runner_.shape(); }
  void run(const model::StepBatch& batch, float* logits) override {
    runner_.run(batch, logits);
    clock_.advance_ns(1'000'000);
  }
  void draft(const model::DraftBatch& batch, float* logits) override {
    runner_.draft(batch, logits);
    clock_.advance_ns(1'000);
  }

 private:
  ModelRunner runner_;
  core::ManualClock& clock_;
};

class Placement : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string path = std::string(SLUICE_TESTS_DIR "/data/models/") + GetParam();
    if (GetParam() == kDefaultModel) {
      const char* named = std::getenv("SLUICE_MODEL");
      if (named == nullptr)
        FAIL() << "SLUICE_MODEL is not set: `make model` fetches it, `make test` sets it";
      path = named;
    }
    if (loaded().model != nullptr) return;
    auto checkpoint = formats::Checkpoint::open(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    auto& shared = loaded();
    shared.checkpoint = std::move(*checkpoint);
    auto model = model::Model::load(
        *shared.checkpoint,
        {.threads = 2, .step_tokens_max = kStepTokens, .drafts = model::DraftLayers::kLoad});
    ASSERT_TRUE(model.ok()) << model.error().message;
    shared.model = std::move(*model);
    shared.model->allocate_kv(kPages).value();
  }

  struct Loaded {
    std::unique_ptr<formats::Checkpoint> checkpoint;
    std::unique_ptr<model::Model> model;
  };
  static Loaded& loaded() {
    static std::map<std::string, Loaded> shared;
    return shared[GetParam()];
  }

  static EngineConfig config() {
    EngineConfig c;
    c.limits.sequences_max = 8;
    c.limits.context_tokens_max = 512;
    c.limits.step_tokens_max = kStepTokens;
    c.limits.chunk_tokens_max = kStepTokens;
    c.limits.kv_pages = kPages;
    c.limits.logit_rows_max = 32;
    c.vocab_tokens = loaded().model->spec().vocab;
    return c;
  }

  struct Run {
    Outcomes outcomes;
    std::vector<LoggedStep> steps;
    EngineStats stats;
  };

  // Runs `rounds` one after the other in one engine; all requests of a round arrive together.
  static void run(const EngineConfig& c, const std::vector<std::vector<Request>>& rounds,
                  Run* result) {
    core::ManualClock clock;
    FlatRunner runner(*loaded().model, clock);
    const EngineParts parts{.runner = &runner,
                            .pool = &loaded().model->pool(),
                            .ops = &loaded().model->ops(),
                            .clock = &clock,
                            .sink = [&](const StepEvents& e) { result->outcomes.take(e); },
                            .observer =
                                [&](const StepRecord& r) {
                                  result->steps.push_back({r, {r.parts.begin(), r.parts.end()}});
                                }};
    Loop loop(c, parts);
    int64_t arrival = 0;
    for (const std::vector<Request>& round : rounds) {
      Messages messages;
      for (const Request& r : round) {
        messages.arrivals.push_back(make_sequence(r, c, kPageTokens));
        messages.arrivals.back()->arrival = arrival++;
      }
      do {
        loop.step(&messages);
        messages = {};
        loop.cache().check();
      } while (loop.has_work());
    }
    result->stats = loop.stats();
  }

  // Any of the model's ids that is not special.
  static int32_t random_id(uint64_t text, uint64_t position) {
    const int32_t vocab = loaded().model->spec().vocab;
    const int32_t first = std::min(100, vocab / 8);
    return first + static_cast<int32_t>(std::min(20'000, vocab - first) *
                                        core::random_unit(text, position));
  }

  // Half of them greedy, half sampled; the ids from a seed, most prompts with a shared beginning.
  static std::vector<Request> requests() {
    std::vector<Request> all;
    for (uint64_t i = 0; i < 8; ++i) {
      Request r{.id = {i + 1}, .prompt_ids = {}};
      const int64_t tokens = 50 + 19 * static_cast<int64_t>(i);
      for (int64_t t = 0; t < tokens; ++t) {
        const uint64_t text = t < 40 ? i / 4 : i;
        r.prompt_ids.push_back(random_id(text, static_cast<uint64_t>(t)));
      }
      r.sampling.max_tokens = kOutput;
      r.sampling.seed = 1234 + i;
      r.sampling.logprobs_top = 2;
      if (i % 2 == 0) {
        r.sampling.temperature = 0.0f;
      } else {
        r.sampling.temperature = 0.9f;
        r.sampling.top_p = 0.95f;
        r.sampling.repetition_penalty = 1.1f;
      }
      all.push_back(r);
    }
    return all;
  }

  // Every request in an engine of its own.
  static const Outcomes& alone() {
    static std::map<std::string, Outcomes> made;
    const auto [entry, is_new] = made.try_emplace(GetParam());
    Outcomes& all = entry->second;
    if (!is_new) return all;
    for (const Request& r : requests()) {
      Run one;
      run(config(), {{r}}, &one);
      const Outcome& o = one.outcomes.of(r.id);
      EXPECT_EQ(o.ids.size(), static_cast<size_t>(kOutput));
      EXPECT_EQ(o.finish->cached_tokens, 0);
      all.put(r.id, o);
    }
    return all;
  }

  static void expect_same(const Run& found) {
    for (const auto& [id, o] : found.outcomes.all()) {
      const Outcome& want = alone().all().at(id);
      EXPECT_EQ(o.ids, want.ids) << "request " << id;
      EXPECT_EQ(o.logprobs, want.logprobs) << "request " << id << ": not the same bits";
    }
  }
  static int64_t most_together(const Run& found) {
    size_t most = 0;
    for (const LoggedStep& s : found.steps) most = std::max(most, s.parts.size());
    return static_cast<int64_t>(most);
  }
};

TEST_P(Placement, InABatchOfEight) {
  Run found;
  run(config(), {requests()}, &found);
  expect_same(found);
  EXPECT_EQ(most_together(found), 8);
}

TEST_P(Placement, CutIntoChunksOf16) {
  EngineConfig c = config();
  c.limits.chunk_tokens_max = 16;
  Run found;
  run(c, {requests()}, &found);
  expect_same(found);
  int64_t cut = 0;
  for (const LoggedStep& s : found.steps)
    for (const StepPart& p : s.parts) {
      EXPECT_LE(p.tokens, 16);
      cut += p.kind == StepPart::Kind::kPrefill && p.context_before > 0;
    }
  EXPECT_GE(cut, 40) << "chunks that continue a prompt";
  EXPECT_EQ(most_together(found), 8);
}

// Greedy, sampled with penalties and log probabilities, in a batch, in chunks, with few pages and
// from a warm cache.
TEST_P(Placement, WithDrafts) {
  EngineConfig c = config();
  c.speculation = Speculation::kAuto;
  c.limits.logit_rows_max = 8 + kDraftRowsMax;
  c.limits.context_tokens_max = 300;
  constexpr std::pair<int64_t, int64_t> kPagesAndChunks[] = {
      {kPages, kStepTokens}, {kPages, 16}, {19, kStepTokens}};
  for (const auto& [pages, chunk] : kPagesAndChunks) {
    SCOPED_TRACE(::testing::Message() << pages << " pages, chunks of " << chunk);
    c.limits.kv_pages = pages;
    c.limits.chunk_tokens_max = chunk;
    std::vector<Request> again = requests();
    for (Request& r : again) r.id.value += 100;
    Run found;
    run(c, {requests(), again}, &found);
    int64_t verified = 0;
    for (const auto& [id, o] : found.outcomes.all()) {
      const Outcome& want = alone().all().at(id % 100);
      EXPECT_EQ(o.ids, want.ids) << "request " << id;
      EXPECT_EQ(o.logprobs, want.logprobs) << "request " << id << ": not the same bits";
      verified += o.finish->accepted_draft_tokens + o.finish->rejected_draft_tokens;
    }
    EXPECT_GT(verified, 20);
    EXPECT_GT(found.stats.prompt_cached_tokens, 0);
    EXPECT_EQ(found.stats.preemptions > 0, pages < kPages);
  }
}

// More tokens than a chunk has by default: whole, in chunks of that, and in small ones.
TEST_P(Placement, ALongPromptInAnyChunks) {
  Request r = requests()[1];
  for (uint64_t t = r.prompt_ids.size(); t < 700; ++t) r.prompt_ids.push_back(random_id(77, t));
  std::optional<Outcome> whole;
  for (const int64_t chunk : {int64_t{kStepTokens}, int64_t{512}, int64_t{16}}) {
    SCOPED_TRACE(::testing::Message() << "chunks of " << chunk);
    EngineConfig c = config();
    c.limits.context_tokens_max = 800;
    c.limits.chunk_tokens_max = chunk;
    Run found;
    run(c, {{r}}, &found);
    EXPECT_EQ(found.steps.front().parts.front().tokens, std::min<int64_t>(chunk, 700));
    const Outcome& o = found.outcomes.of(r.id);
    EXPECT_EQ(o.ids.size(), static_cast<size_t>(kOutput));
    if (!whole) whole = o;
    EXPECT_EQ(o.ids, whole->ids);
    EXPECT_EQ(o.logprobs, whole->logprobs) << "not the same bits";
  }
}

TEST_P(Placement, FromAWarmCache) {
  std::vector<Request> again = requests();
  for (Request& r : again) r.id.value += 100;
  Run found;
  run(config(), {requests(), again}, &found);
  for (uint64_t id = 1; id <= 8; ++id) {
    const Outcome& cold = found.outcomes.of({id});
    const Outcome& warm = found.outcomes.of({id + 100});
    EXPECT_EQ(cold.ids, alone().all().at(id).ids);
    EXPECT_EQ(warm.ids, cold.ids);
    EXPECT_EQ(warm.logprobs, cold.logprobs);
    EXPECT_GT(warm.finish->cached_tokens, 0);
  }
  EXPECT_GT(found.stats.prefix_hit_tokens, 8 * kPageTokens);
}

TEST_P(Placement, AfterAPreemption) {
  EngineConfig c = config();
  c.limits.kv_pages = 22;  // for eight sequences that end with 3 to 8 pages each
  c.limits.context_tokens_max = 300;
  Run found;
  run(c, {requests()}, &found);
  expect_same(found);
  EXPECT_GT(found.stats.preemptions, 0);
  int64_t preempted = 0;
  for (const auto& [id, o] : found.outcomes.all()) preempted += o.finish->preemptions > 0;
  EXPECT_GT(preempted, 0);
}

TEST_P(Placement, LogProbabilitiesOfAPromptInAnyChunks) {
  Request r = requests()[5];
  r.prompt_logprobs_top = 1;
  r.sampling.max_tokens = 0;
  Run whole;
  EngineConfig c = config();
  c.limits.logit_rows_max = 200;
  run(c, {{r}}, &whole);
  Run cut;
  run(config(), {{r}}, &cut);
  EXPECT_GT(cut.steps.size(), whole.steps.size());
  const Outcome& a = whole.outcomes.of(r.id);
  const Outcome& b = cut.outcomes.of(r.id);
  ASSERT_EQ(a.prompt.size(), r.prompt_ids.size());
  ASSERT_EQ(b.prompt.size(), r.prompt_ids.size());
  for (size_t i = 1; i < a.prompt.size(); ++i) EXPECT_EQ(a.prompt[i].logprob, b.prompt[i].logprob);
}

INSTANTIATE_TEST_SUITE_P(All, Placement,
                         ::testing::Values(kDefaultModel, "deepseek2.gguf",
                                           "deepseek2-joined-q8.gguf", "qwen3moe.gguf"),
                         [](const auto& test) {
                           std::string name = test.param.substr(0, test.param.find('.'));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace sluice::engine::testing
