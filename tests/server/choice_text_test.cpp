#include "server/choice_text.h"

#include <cmath>

#include <gtest/gtest.h>

namespace sluice::server {
namespace {

using engine::FinishReason;
using engine::TokenKind;

// Token ids 0 … 255 are single bytes, 256 is the end of a turn, 257 "<think>", 258 "</think>".
constexpr int32_t kEnd = 256;
constexpr int32_t kThink = 257;
constexpr int32_t kEndThink = 258;

const tokenizer::Vocabulary& vocabulary() {
  static const tokenizer::Vocabulary* const kBytes = [] {
    // <0x41> of SentencePiece: a token for each byte.
    static std::vector<std::string> texts;
    tokenizer::VocabularySource source;
    source.algorithm = tokenizer::Algorithm::kSentencePieceBpe;
    for (int byte = 0; byte < 256; ++byte) {
      texts.push_back(fmt::format("<0x{:02X}>", byte));
      source.types.push_back(tokenizer::TokenType::kByte);
    }
    for (const char* text : {"<|im_end|>", "<think>", "</think>"}) texts.emplace_back(text);
    source.types.push_back(tokenizer::TokenType::kControl);
    source.types.push_back(tokenizer::TokenType::kUserDefined);
    source.types.push_back(tokenizer::TokenType::kUserDefined);
    source.tokens.assign(texts.begin(), texts.end());
    source.scores.assign(texts.size(), 0.0f);
    source.special.eos = kEnd;
    auto built = tokenizer::Vocabulary::build(source);
    ASSERT(built.ok(), "{}", built.error().message);
    return new tokenizer::Vocabulary(std::move(built).value());
  }();
  return *kBytes;
}

EventBatch::Token token(int32_t id, TokenKind kind = TokenKind::kText) {
  EventBatch::Token token;
  token.event.token_id = id;
  token.event.kind = kind;
  token.event.logprob = -0.5f;
  return token;
}

// Feeds the bytes of `text` as one token each and takes what comes after each.
struct Reader {
  explicit Reader(ChoiceTextOptions options) : choice(vocabulary(), std::move(options)) {}

  void feed(std::string_view bytes) {
    for (const char c : bytes) feed_id(static_cast<unsigned char>(c));
  }
  void feed_id(int32_t id, TokenKind kind = TokenKind::kText) {
    if (choice.add_token(token(id, kind)) == ChoiceText::Next::kStopped) ++stopped;
    take();
  }
  void end(FinishReason reason) {
    choice.end(reason);
    take();
  }
  void take() {
    auto part = choice.take();
    if (!part) return;
    pieces.push_back(part->text);
    text += part->text;
    reasoning += part->reasoning;
    if (part->logprobs)
      for (const api::TokenLogprobs& entry : *part->logprobs) logprobs += entry.token.bytes;
    if (part->finish) finish = part->finish;
  }

  ChoiceText choice;
  std::vector<std::string> pieces;
  std::string text;
  std::string reasoning;
  std::string logprobs;  // the texts of the tokens that they are of
  std::optional<api::Finish> finish;
  int stopped = 0;
};

TEST(ChoiceText, NeverHalfACharacter) {
  Reader reader({});
  reader.feed("a水🙂");
  reader.end(FinishReason::kLength);
  EXPECT_EQ(reader.text, "a水🙂");
  EXPECT_EQ(reader.pieces, (std::vector<std::string>{"a", "水", "🙂", ""}));
  EXPECT_EQ(reader.finish->reason, api::FinishReason::kLength);
  EXPECT_EQ(reader.choice.completion_tokens(), 8);
}

TEST(ChoiceText, AnIncompleteCharacterAtTheEndIsReplaced) {
  Reader reader({});
  reader.feed("a\xe6\xb0");
  reader.end(FinishReason::kLength);
  EXPECT_EQ(reader.text, "a\xef\xbf\xbd");
}

TEST(ChoiceText, StopsAcrossTokensAndCountsThem) {
  Reader reader({.stops = {"END"}, .logprobs = true});
  reader.feed("the ENDING");
  reader.end(FinishReason::kStop);
  EXPECT_EQ(reader.stopped, 1);
  EXPECT_EQ(reader.text, "the ");
  EXPECT_EQ(reader.logprobs, "the ");
  EXPECT_EQ(reader.choice.completion_tokens(), 7);
  EXPECT_EQ(reader.finish->reason, api::FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(reader.finish->stop_reason), "END");
}

TEST(ChoiceText, WhatWasHeldComesAtTheEnd) {
  Reader reader({.stops = {"ENDING"}, .logprobs = true});
  reader.feed("the END");
  EXPECT_EQ(reader.text, "the ");
  EXPECT_EQ(reader.logprobs, "the ");
  reader.end(FinishReason::kLength);
  EXPECT_EQ(reader.text, "the END");
  EXPECT_EQ(reader.logprobs, "the END");
}

TEST(ChoiceText, StopsAreNotLookedForBeforeMinTokens) {
  Reader reader({.stops = {"b"}, .min_tokens = 3});
  reader.feed("abcab");
  reader.end(FinishReason::kStop);
  EXPECT_EQ(reader.text, "abca");
  EXPECT_EQ(reader.stopped, 1);
}

TEST(ChoiceText, KeepsTheStopWhereAsked) {
  Reader reader({.stops = {"END"}, .include_stop_text = true});
  reader.feed("an END");
  reader.end(FinishReason::kStop);
  EXPECT_EQ(reader.text, "an END");
}

TEST(ChoiceText, EndTokens) {
  for (const auto report : {EndTokenLogprobs::kOmit, EndTokenLogprobs::kReport}) {
    Reader reader({.logprobs = true, .end_tokens = report});
    reader.feed("hi");
    reader.feed_id(kEnd, TokenKind::kEnd);
    reader.end(FinishReason::kStop);
    EXPECT_EQ(reader.text, "hi");
    EXPECT_EQ(reader.choice.completion_tokens(), 3);
    EXPECT_EQ(reader.logprobs, report == EndTokenLogprobs::kReport ? "hi<|im_end|>" : "hi");
    EXPECT_TRUE(std::holds_alternative<std::monostate>(reader.finish->stop_reason));
  }
  Reader reader({});
  reader.feed_id('x', TokenKind::kEnd);  // one of stop_token_ids
  reader.end(FinishReason::kStop);
  EXPECT_EQ(std::get<int64_t>(reader.finish->stop_reason), 'x');
}

TEST(ChoiceText, SplitsAndCountsThoughts) {
  Reader reader({.reasoning = ReasoningSplitter::Start::kUnknown});
  reader.feed_id(kThink);
  reader.feed("hm");
  reader.feed_id(kEndThink);
  reader.feed("yes");
  reader.end(FinishReason::kStop);
  EXPECT_EQ(reader.reasoning, "hm");
  EXPECT_EQ(reader.text, "yes");
  EXPECT_EQ(reader.choice.reasoning_tokens(), 3);
  EXPECT_EQ(reader.choice.completion_tokens(), 7);
}

// Three streams whose tokens come in turns: each has its own place in its own thoughts.
TEST(ChoiceText, ThoughtsOfInterleavedStreamsStayApart) {
  using Start = ReasoningSplitter::Start;
  struct Stream {
    Reader reader;
    std::vector<int32_t> ids;
    std::string_view reasoning;
    std::string_view text;
    int64_t reasoning_tokens;
  };
  Stream streams[] = {
      // The prompt has opened the thoughts; so has the model itself; a model that does not think.
      {Reader({.reasoning = Start::kOpened}), {'a', 'b', 'c', kEndThink, 'x'}, "abc", "x", 4},
      {Reader({.reasoning = Start::kUnknown}), {kThink, 'd', kEndThink, 'y', 'z'}, "d", "yz", 2},
      {Reader({.reasoning = Start::kUnknown}), {'n', 'o', 't', 'h', 'x'}, "", "nothx", 0},
      {Reader({.reasoning = Start::kOpened}), {'o', 'n', 'l', 'y', 't'}, "onlyt", "", 5},
  };
  for (size_t i = 0; i < 5; ++i)
    for (Stream& s : streams) s.reader.feed_id(s.ids[i]);
  for (Stream& s : streams) {
    s.reader.end(FinishReason::kLength);
    EXPECT_EQ(s.reader.reasoning, s.reasoning);
    EXPECT_EQ(s.reader.text, s.text);
    EXPECT_EQ(s.reader.choice.reasoning_tokens(), s.reasoning_tokens) << s.text;
    EXPECT_EQ(s.reader.choice.completion_tokens(), 5);
  }
}

TEST(ChoiceText, EchoComesFirstWithItsScores) {
  Reader reader({.logprobs = true});
  reader.choice.add_echo("pq");
  for (const char c : {'p', 'q'}) {
    EventBatch::PromptToken prompt_token;
    prompt_token.event.token_id = c;
    prompt_token.event.logprob = c == 'p' ? std::nanf("") : -1.0f;
    reader.choice.add_prompt_token(prompt_token);
  }
  reader.feed("r");
  reader.end(FinishReason::kLength);
  EXPECT_EQ(reader.text, "pqr");
  EXPECT_EQ(reader.logprobs, "pqr");
}

}  // namespace
}  // namespace sluice::server
