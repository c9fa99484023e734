// The prompts of one data loop's requests by the vocabularies of their models: exact counts, and
// the blocks by which replicas are asked for a prefix.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/edge/exchange.h"
#include "gateway/prompts/model_texts.h"
#include "gateway/prompts/prompt_counter.h"
#include "gateway/prompts/prompt_reader.h"

namespace sluice::gateway {

class ModelPrompts {
 public:
  static constexpr int64_t kTextBytesMax = 32 << 10;     // with more a prompt is counted elsewhere
  static constexpr int64_t kBodyTextBytesMax = 1 << 20;  // with more it is not even rendered here

  ModelPrompts(const ModelTexts& texts, const core::Clock& clock, net::EventLoop& loop);

  void update(const Directory& directory);

  enum class Counting : uint8_t {
    kDone,        // exchange.prompt_tokens is set
    kLater,       // `done` will be called, on the loop
    kImpossible,  // no vocabulary, or none that tells: the estimate stands
  };
  // There is a vocabulary to count it by.
  bool can_count(const Exchange& exchange) { return row_of(exchange) != nullptr; }
  using Counted = std::function<void(std::optional<int64_t> tokens)>;
  Counting count(Exchange& exchange, Counted done);
  // At once or not at all.
  void count_small(Exchange& exchange);

  // Appends the hashes of the prompt's leading pages to exchange.chain and sets its block_tokens,
  // and prompt_tokens where that was the whole prompt. False: only its bytes are known.
  bool append_pages(Exchange& exchange, const PrefixGeometry& geometry, uint64_t name_space);

 private:
  struct Row {
    std::string model;
    std::shared_ptr<const prompt::ModelText> text;
    std::unique_ptr<PromptReader> reader;  // null: no vocabulary
  };
  Row* row_of(const Exchange& exchange);
  const std::string& engine_body(const Exchange& exchange);  // until the next call

  const ModelTexts& texts_;
  const core::Clock& clock_;
  net::EventLoop& loop_;
  std::vector<Row> rows_;  // by ModelEntry::index
  std::string body_;
  std::unique_ptr<PromptCounter> counter_;  // from its first use on
};

}  // namespace sluice::gateway
