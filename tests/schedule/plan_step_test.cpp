#include "schedule/plan_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::schedule {

void PrintTo(const PlannedPart& p, std::ostream* out) {
  *out << p.index << ":" << p.tokens << "+" << p.drafts;
}
bool operator==(const PlannedPart& a, const PlannedPart& b) {
  return a.index == b.index && a.tokens == b.tokens && a.drafts == b.drafts;
}

namespace {

constexpr int64_t kWidth = 16;  // tokens a page

// A running sequence with `known` ids, `computed` of them in pages.
SequenceState at(int64_t known, int64_t computed) {
  return {.known_tokens = known,
          .computed_tokens = computed,
          .pages = (computed + kWidth - 1) / kWidth,
          .page_hashes = {}};
}

// A waiting sequence without cached pages.
SequenceState wants(int64_t known) {
  return at(known, 0);
}

struct Row {
  const char* name;
  std::vector<SequenceState> running;
  std::vector<SequenceState> waiting;
  Budget budget = {.tokens = 100, .pages = 1000, .logit_rows = 8};
  std::vector<PlannedPart> want_running;
  std::vector<PlannedPart> want_admitted;
  std::optional<int64_t> want_preempt = std::nullopt;
};

void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name;
}

class PlanStepTable : public testing::TestWithParam<Row> {};

TEST_P(PlanStepTable, GivesTheBatchOfTheTable) {
  Row row = GetParam();
  int64_t arrival = 0;
  for (SequenceState& s : row.running) s.rank = arrival++;
  for (SequenceState& s : row.waiting) s.rank = arrival++;
  StepPlan plan;
  plan_step({.running = row.running,
             .waiting = row.waiting,
             .budget = row.budget,
             .limits = {.sequences_max = 4,
                        .chunk_tokens_max = 64,
                        .prefill_tokens_min = 16,
                        .page_tokens = kWidth},
             .cost = StepCost::straight(1000, 100, 0)},
            &plan);
  EXPECT_EQ(plan.running, row.want_running);
  EXPECT_EQ(plan.admitted, row.want_admitted);
  EXPECT_EQ(plan.preempt, row.want_preempt);
}

SequenceState all_rows(SequenceState s) {
  s.rows = LogitRows::kAll;
  return s;
}

SequenceState drafted(SequenceState s, int64_t drafts) {
  s.drafts = drafts;
  return s;
}

SequenceState cached(SequenceState s, int64_t pages, int64_t idle_pages) {
  s.pages = pages;
  s.idle_pages = idle_pages;
  s.computed_tokens = pages * kWidth;
  return s;
}

const std::vector<uint64_t> kHello = {1, 2, 3};
const std::vector<uint64_t> kHelp = {1, 2, 4};
SequenceState hashed(SequenceState s, const std::vector<uint64_t>& hashes) {
  s.page_hashes = hashes;
  return s;
}

const Row kRows[] = {
    {.name = "nothing to do",
     .running = {},
     .waiting = {},
     .want_running = {},
     .want_admitted = {}},
    {.name = "a prompt starts",
     .running = {},
     .waiting = {wants(40)},
     .want_running = {},
     .want_admitted = {{0, 40}}},
    {.name = "a long prompt starts with a chunk",
     .running = {},
     .waiting = {wants(400)},
     .want_running = {},
     .want_admitted = {{0, 64}}},
    {.name = "decodes first, then the older prefill, then the younger, then who waits",
     .running = {at(300, 0), at(51, 50), at(20, 10)},
     .waiting = {wants(40)},
     .budget = {.tokens = 90, .pages = 1000, .logit_rows = 8},
     .want_running = {{1, 1}, {0, 64}, {2, 10}},
     .want_admitted = {{0, 15}}},
    {.name = "the token budget ends a chunk",
     .running = {at(300, 0), at(51, 50), at(300, 10)},
     .waiting = {wants(40)},
     .budget = {.tokens = 70, .pages = 1000, .logit_rows = 8},
     .want_running = {{1, 1}, {0, 64}, {2, 5}},
     .want_admitted = {}},
    {.name = "places are limited",
     .running = {at(51, 50), at(51, 50), at(51, 50)},
     .waiting = {wants(3), wants(3)},
     .want_running = {{0, 1}, {1, 1}, {2, 1}},
     .want_admitted = {{0, 3}}},
    {.name = "the one that waits first is not overtaken for want of pages",
     .running = {at(51, 50)},
     .waiting = {wants(160), wants(3)},
     .budget = {.tokens = 100, .pages = 10, .logit_rows = 8},
     .want_running = {{0, 1}},
     .want_admitted = {}},
    {.name = "pages of growth and of unfinished prompts are kept for those that run",
     .running = {at(160, 16)},
     .waiting = {wants(16)},
     .budget = {.tokens = 100, .pages = 11, .logit_rows = 8},
     .want_running = {{0, 64}},
     .want_admitted = {}},
    {.name = "one page more and there is room beside them",
     .running = {at(160, 16)},
     .waiting = {wants(16)},
     .budget = {.tokens = 100, .pages = 12, .logit_rows = 8},
     .want_running = {{0, 64}},
     .want_admitted = {{0, 16}}},
    {.name = "alone a sequence may need all pages",
     .running = {},
     .waiting = {wants(160)},
     .budget = {.tokens = 100, .pages = 10, .logit_rows = 8},
     .want_running = {},
     .want_admitted = {{0, 64}}},
    {.name = "a decode at the end of its page preempts the youngest",
     .running = {at(33, 32), at(50, 49), at(50, 49)},
     .waiting = {},
     .budget = {.tokens = 100, .pages = 0, .logit_rows = 8},
     .want_running = {},
     .want_admitted = {},
     .want_preempt = 2},
    {.name = "the youngest itself waits for a page, and nobody joins meanwhile",
     .running = {at(50, 49), at(33, 32)},
     .waiting = {wants(1)},
     .budget = {.tokens = 100, .pages = 0, .logit_rows = 8},
     .want_running = {{0, 1}},
     .want_admitted = {}},
    {.name = "a prefill takes the pages there are",
     .running = {at(300, 16)},
     .waiting = {},
     .budget = {.tokens = 100, .pages = 2, .logit_rows = 8},
     .want_running = {{0, 32}},
     .want_admitted = {}},
    {.name = "an older prefill without a page preempts a younger decode",
     .running = {at(300, 16), at(50, 49)},
     .waiting = {},
     .budget = {.tokens = 100, .pages = 0, .logit_rows = 8},
     .want_running = {},
     .want_admitted = {},
     .want_preempt = 1},
    {.name = "cached pages are not computed",
     .running = {},
     .waiting = {cached(wants(60), 3, 3)},
     .want_running = {},
     .want_admitted = {{0, 12}}},
    {.name = "idle cached pages count as used when taken",
     .running = {at(50, 49)},
     .waiting = {cached(wants(60), 3, 3)},
     .budget = {.tokens = 100, .pages = 4, .logit_rows = 8},
     .want_running = {{0, 1}},
     .want_admitted = {}},
    {.name = "cached pages that others hold cost nothing",
     .running = {at(50, 49)},
     .waiting = {cached(wants(60), 3, 0)},
     .budget = {.tokens = 100, .pages = 2, .logit_rows = 8},
     .want_running = {{0, 1}},
     .want_admitted = {{0, 12}}},
    {.name = "a time limit shrinks the prefill beside decodes",
     .running = {at(51, 50), at(300, 0)},
     .waiting = {},
     .budget = {.tokens = 100, .pages = 1000, .logit_rows = 8, .device_ns = 1000 + 100 + 3000},
     .want_running = {{0, 1}, {1, 30}},
     .want_admitted = {}},
    {.name = "but not below its minimum",
     .running = {at(51, 50), at(300, 0)},
     .waiting = {wants(30)},
     .budget = {.tokens = 100, .pages = 1000, .logit_rows = 8, .device_ns = 500},
     .want_running = {{0, 1}, {1, 16}},
     .want_admitted = {}},
    {.name = "without decodes there is no time limit",
     .running = {at(300, 0)},
     .waiting = {},
     .budget = {.tokens = 100, .pages = 1000, .logit_rows = 8, .device_ns = 500},
     .want_running = {{0, 64}},
     .want_admitted = {}},
    {.name = "all rows of a prompt are limited by the rows of logits",
     .running = {at(51, 50), all_rows(at(300, 0)), at(20, 10)},
     .waiting = {},
     .want_running = {{0, 1}, {1, 7}, {2, 9}},
     .want_admitted = {}},
    {.name = "a burst with one prefix computes it once; others may pass",
     .running = {},
     .waiting = {hashed(wants(60), kHello), hashed(wants(60), kHello), hashed(wants(60), kHelp),
                 wants(5), wants(5)},
     .want_running = {},
     .want_admitted = {{0, 60}, {3, 5}}},
    {.name = "who shares two pages waits while the older one computes them",
     .running = {hashed(at(60, 20), kHello)},
     .waiting = {hashed(cached(wants(60), 1, 0), kHelp)},
     .budget = {.tokens = 10, .pages = 1000, .logit_rows = 8},
     .want_running = {{0, 10}},
     .want_admitted = {}},
    {.name = "and goes on alone where the prompts part",
     .running = {hashed(at(90, 36), kHello)},
     .waiting = {hashed(cached(wants(60), 2, 0), kHelp)},
     .budget = {.tokens = 60, .pages = 1000, .logit_rows = 8},
     .want_running = {{0, 54}},
     .want_admitted = {{0, 6}}},
    {.name = "drafts take the rows of logits that are left, the oldest first",
     .running = {drafted(at(51, 50), 5), at(61, 60), drafted(at(71, 70), 3)},
     .waiting = {},
     .want_running = {{0, 1, 5}, {1, 1}, {2, 1}},
     .want_admitted = {}},
    {.name = "and the tokens",
     .running = {drafted(at(51, 50), 5)},
     .waiting = {},
     .budget = {.tokens = 5, .pages = 1000, .logit_rows = 8},
     .want_running = {{0, 1, 4}},
     .want_admitted = {}},
    {.name = "beside a prefill nothing is drafted",
     .running = {drafted(at(51, 50), 5), at(60, 50)},
     .waiting = {},
     .want_running = {{0, 1}, {1, 10}},
     .want_admitted = {}},
    {.name = "nor beside one that starts",
     .running = {drafted(at(51, 50), 5)},
     .waiting = {wants(20)},
     .want_running = {{0, 1}},
     .want_admitted = {{0, 20}}},
    {.name = "without pages to spare drafts stay within the page",
     .running = {drafted(at(46, 45), 5), drafted(at(30, 29), 5)},
     .waiting = {},
     .budget = {.tokens = 100, .pages = 2, .logit_rows = 20},
     .want_running = {{0, 1, 2}, {1, 1, 2}},
     .want_admitted = {}},
    {.name = "with one to spare the oldest takes it",
     .running = {drafted(at(46, 45), 5), drafted(at(30, 29), 5)},
     .waiting = {},
     .budget = {.tokens = 100, .pages = 3, .logit_rows = 20},
     .want_running = {{0, 1, 5}, {1, 1, 2}},
     .want_admitted = {}},
};

// Looking up a prefix costs as much as it is long.
TEST(PlanStep, PrefixesAreLookedUpUpToTheFirstWhoCannotStart) {
  const std::vector<SequenceState> running = {at(100, 99)};
  std::vector<SequenceState> waiting = {wants(20), wants(500), wants(20), wants(20)};
  for (size_t i = 0; i < waiting.size(); ++i) waiting[i].rank = static_cast<int64_t>(1 + i);
  std::vector<int64_t> asked;
  StepInput input;
  input.running = running;
  input.waiting = waiting;
  input.look_up = [&](int64_t index, SequenceState* s) {
    asked.push_back(index);
    s->pages = 1;
    s->computed_tokens = kWidth;
  };
  input.budget = {.tokens = 100, .pages = 20, .logit_rows = 8};
  input.limits = {
      .sequences_max = 8, .chunk_tokens_max = 64, .prefill_tokens_min = 16, .page_tokens = kWidth};
  StepPlan plan;
  plan_step(input, &plan);
  EXPECT_THAT(asked, testing::ElementsAre(0, 1)) << "500 tokens do not fit";
  EXPECT_THAT(plan.admitted, testing::ElementsAre(PlannedPart{0, 4})) << "16 of 20 were cached";
}

// A decode has 2,000 ns left of its target. The first 32 tokens of a step come for nothing on this
// surface, the next 96 cost 100 ns each, those behind 50.
TEST(PlanStep, ChunkFillsTheTimeThatTheMeasuredSurfaceLeaves) {
  const std::vector<SequenceState> running = {at(300, 299), at(400, 10)};
  StepInput input;
  input.running = running;
  input.cost = {.fixed_ns = 1000, .token_ns = {0, 0, 0, 100, 50, 50}};
  input.budget = {.tokens = 500, .pages = 1000, .logit_rows = 8, .device_ns = 3000};
  input.limits = {
      .sequences_max = 8, .chunk_tokens_max = 512, .prefill_tokens_min = 16, .page_tokens = kWidth};
  StepPlan plan;
  plan_step(input, &plan);
  EXPECT_THAT(plan.running, testing::ElementsAre(PlannedPart{0, 1}, PlannedPart{1, 51}));
  input.budget.device_ns = 1000 + 96 * 100 + 100 * 50;
  plan_step(input, &plan);
  EXPECT_THAT(plan.running, testing::ElementsAre(PlannedPart{0, 1}, PlannedPart{1, 227}));
}

INSTANTIATE_TEST_SUITE_P(Rows, PlanStepTable, testing::ValuesIn(kRows));

}  // namespace
}  // namespace sluice::schedule
