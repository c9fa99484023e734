// Prompts by the vocabulary of their model: what is counted, and where they are sent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contract/block_hash.h"
#include "core/hex.h"
#include "gateway/prompts/prompt_reader.h"
#include "tests/gateway/edge_harness.h"
#include "tests/gateway/tiny_model_file.h"

namespace sluice::gateway {
namespace {

using contract::EventKind;
using net::Request;
using net::Responder;
using net::ServerThread;
using ::testing::Each;
using ::testing::HasSubstr;

contract::Snapshot with_vocabulary(contract::Snapshot snapshot, const TinyModelFile& file) {
  snapshot.models[0].vocabulary_file = file.path();
  return snapshot;
}

void answer(const Request&, Responder responder) {
  const net::Header headers[] = {{"Content-Type", "application/json"}};
  responder.send(200, headers, kAnswer);
}

TEST(ModelTexts, ReadsWhatItCanAndSaysWhatItCannot) {
  const TinyModelFile file;
  const core::Logger log(core::LogLevel::kError);
  ModelTexts texts(log);
  contract::Snapshot snapshot = with_vocabulary(edge_snapshot({}), file);
  contract::Model other;
  other.vocabulary_file = file.path() + ".none";
  snapshot.models.push_back(other);
  texts.update(snapshot);
  const auto text = texts.find(file.path());
  ASSERT_NE(text, nullptr);
  EXPECT_EQ(text->vocabulary.size(), 5);
  EXPECT_TRUE(text->chat_template);
  EXPECT_EQ(texts.find(other.vocabulary_file), nullptr);
  texts.update(snapshot);
  EXPECT_EQ(texts.find(file.path()), text) << "read once";
  texts.update(edge_snapshot({}));
  EXPECT_EQ(texts.find(file.path()), nullptr);
}

class PromptReaderTest : public ::testing::Test {
 protected:
  PromptReaderTest() { texts_.update(with_vocabulary(edge_snapshot({}), file_)); }

  const TinyModelFile file_;
  const core::Logger log_{core::LogLevel::kError};
  const core::SystemClock clock_;
  ModelTexts texts_{log_};
};

TEST_F(PromptReaderTest, CountsWhatAnEngineWould) {
  PromptReader reader(texts_.find(file_.path()), clock_);
  const auto count = [&](EventKind kind, std::string_view body) {
    return reader.count(kind, body).value_or(-1);
  };
  EXPECT_EQ(count(EventKind::kChatCompletion, TinyModelFile::chat(20)), 21);
  EXPECT_EQ(count(EventKind::kChatCompletion,
                  R"({"messages":[{"role":"user","content":"ab"},{"role":"user","content":"a"}]})"),
            3);
  EXPECT_EQ(count(EventKind::kCompletion, R"({"prompt":"abb"})"), 2);
  EXPECT_EQ(count(EventKind::kCompletion, R"({"prompt":["ab","abab"]})"), 3);
  EXPECT_EQ(count(EventKind::kCompletion, R"({"prompt":[2,3,4,2]})"), 4);
  EXPECT_EQ(count(EventKind::kChatCompletion, R"({"messages":[]})"), -1) << "an engine refuses it";
  EXPECT_EQ(count(EventKind::kEmbedding, R"({"input":"ab"})"), -1);
}

TEST_F(PromptReaderTest, TheHeadOfALongPromptIsCut) {
  PromptReader reader(texts_.find(file_.path()), clock_);
  using Extent = prompt::PromptHead::Extent;
  const auto whole = reader.head(EventKind::kChatCompletion, TinyModelFile::chat(2));
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->ids, (std::vector<int32_t>{TinyModelFile::kAb, TinyModelFile::kAb, 0}));
  EXPECT_EQ(whole->extent, Extent::kWhole);
  const auto cut = reader.head(EventKind::kChatCompletion, TinyModelFile::chat(20'000));
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->ids.size(), PromptReader::kHeadBytesMax / 2);
  EXPECT_THAT(cut->ids, Each(TinyModelFile::kAb));
  EXPECT_EQ(cut->extent, Extent::kCut);
}

// By bytes the prompt may have over 200 tokens, it has 101 and 40,001: what counts is the count.
TEST(EdgePrompts, WhereTheEstimateWouldDecideThePromptIsCounted) {
  const TinyModelFile file;
  ServerThread upstream(answer);
  for (const int64_t abs : {100, 40'000}) {  // on the loop; on the counter's thread
    contract::Snapshot snapshot = edge_snapshot({upstream.port()});
    snapshot.models[0].context_tokens = 0;
    snapshot.keys[0].limits.input_tokens_per_minute = abs + 20;
    EXPECT_EQ(Edge(snapshot).post(TinyModelFile::chat(abs)).status, 429) << abs;
    Edge edge(with_vocabulary(snapshot, file));
    EXPECT_EQ(edge.post(TinyModelFile::chat(abs)).status, 200) << abs;
    Edge exact(with_vocabulary(snapshot, file));
    EXPECT_EQ(exact.post(TinyModelFile::chat(abs + 20)).status, 429) << "one token more " << abs;
    exact.records().expect_balanced();
  }
}

// Prompts of two bytes a token were learnt; "aaa…" has one for each byte, and what is left of the
// quota is enough for the first kind alone.
TEST(EdgePrompts, APromptDenserThanThoseLearntIsCountedBeforeItPasses) {
  constexpr int64_t kAbs = 100;
  constexpr int64_t kLearnt = PromptEstimate::kSamplesMin;
  constexpr int64_t kUsed = kAbs + 1 + 1;
  constexpr int64_t kLeft = 150;
  const TinyModelFile file;
  ServerThread upstream([](const Request&, Responder responder) {
    const net::Header headers[] = {{"Content-Type", "application/json"}};
    responder.send(200, headers,
                   fmt::format(R"({{"choices":[{{"message":{{"content":"a"}}}}],"usage":)"
                               R"({{"prompt_tokens":{},"completion_tokens":1}}}})",
                               kAbs + 1));
  });
  contract::Snapshot snapshot = edge_snapshot({upstream.port()});
  snapshot.keys[0].limits.tokens_per_day = kLearnt * kUsed + kLeft;
  Edge edge(with_vocabulary(snapshot, file));
  for (int64_t i = 0; i < kLearnt; ++i)
    ASSERT_EQ(edge.post(TinyModelFile::chat(kAbs)).status, 200) << i;
  const net::Response refused = edge.post(
      fmt::format(R"({{"model":"m","messages":[{{"role":"user","content":"{}"}}],"max_tokens":8}})",
                  std::string(2 * kAbs, 'a')));
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.body, HasSubstr("insufficient_quota"));
  EXPECT_EQ(edge.post(TinyModelFile::chat(kAbs)).status, 200);
  edge.records().expect_balanced();
}

// Nobody says what the answer has used: its prompt is billed as the model's vocabulary counts it.
TEST(EdgePrompts, APromptThatNoReplicaStatesIsCounted) {
  const TinyModelFile file;
  ServerThread upstream([](const Request&, Responder responder) {
    const net::Header headers[] = {{"Content-Type", "application/json"}};
    responder.send(200, headers, R"({"choices":[{"message":{"content":"a"}}]})");
  });
  for (const bool known : {false, true}) {
    contract::Snapshot snapshot = edge_snapshot({upstream.port()});
    snapshot.models[0].context_tokens = 0;
    Edge edge(known ? with_vocabulary(snapshot, file) : snapshot);
    EXPECT_EQ(edge.post(TinyModelFile::chat(50)).status, 200);
    const contract::UsageEvent event = edge.records().events(1)[0];
    EXPECT_EQ(event.outcome, contract::Outcome::kCompleteUsageMissing);
    EXPECT_EQ(quantity(event, contract::Unit::kPromptToken) == 51, known);
  }
}

// An engine has told of the pages of a prompt: requests that begin so go there, by token ids.
TEST(EdgePrompts, RequestsGoWhereTheirPagesAre) {
  const TinyModelFile file;
  ServerThread one(answer);
  ServerThread two(answer);
  constexpr int32_t kPageTokens = 4;
  constexpr uint64_t kNamespace = 77;
  for (const size_t holder : {0, 1}) {
    Edge edge(with_vocabulary(edge_snapshot({one.port(), two.port()}), file));
    const RoutedReplica& replica = edge.table().replicas()[holder];
    edge.table().on_geometry(*replica.entry,
                             {PrefixGeometry::Kind::kTokens, kPageTokens, kNamespace});
    std::string salt;
    core::append_hex(contract::model_namespace("acme", 0), &salt);
    std::vector<uint64_t> pages;
    contract::extend_page_hashes(
        contract::combine_namespace(kNamespace, contract::salt_number(salt)),
        std::vector<int32_t>(64, TinyModelFile::kAb), kPageTokens, &pages);
    ASSERT_TRUE(edge.table().prefixes().on_pages(
        replica.slot,
        {.kind = PageNews::Kind::kSnapshot, .epoch = "e", .added = pages, .removed = {}}, 0));
    for (int i = 0; i < 4; ++i)
      EXPECT_EQ(header_of(edge.post(TinyModelFile::chat(60 + i)), "x-sluice-replica"),
                replica.entry->replica->id);
  }
}

}  // namespace
}  // namespace sluice::gateway
