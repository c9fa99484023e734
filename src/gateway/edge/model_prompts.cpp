#include "gateway/edge/model_prompts.h"

#include <utility>

#include "contract/block_hash.h"

namespace sluice::gateway {

ModelPrompts::ModelPrompts(const ModelTexts& texts, const core::Clock& clock, net::EventLoop& loop)
    : texts_(texts), clock_(clock), loop_(loop) {}

void ModelPrompts::update(const Directory& directory) {
  rows_.clear();
  for (const ModelEntry& entry : directory.models()) {
    Row row{.model = entry.model->id,
            .text = texts_.find(entry.model->vocabulary_file),
            .reader = nullptr};
    if (row.text != nullptr) row.reader = std::make_unique<PromptReader>(row.text, clock_);
    rows_.push_back(std::move(row));
  }
}

// Null also where the request began with an older directory in which the model stood elsewhere.
ModelPrompts::Row* ModelPrompts::row_of(const Exchange& exchange) {
  const auto index = static_cast<size_t>(exchange.model->index);
  if (index >= rows_.size() || rows_[index].reader == nullptr ||
      rows_[index].model != exchange.model->model->id)
    return nullptr;
  return &rows_[index];
}

const std::string& ModelPrompts::engine_body(const Exchange& exchange) {
  api::change_body(exchange.body, exchange.asked, {}, &body_);
  return body_;
}

void ModelPrompts::count_small(Exchange& exchange) {
  Row* const row = row_of(exchange);
  if (row == nullptr || exchange.asked.text_bytes > kTextBytesMax) return;
  exchange.prompt_tokens = row->reader->count(exchange.kind, engine_body(exchange));
}

ModelPrompts::Counting ModelPrompts::count(Exchange& exchange, Counted done) {
  Row* const row = row_of(exchange);
  if (row == nullptr) return Counting::kImpossible;
  if (exchange.asked.text_bytes <= kTextBytesMax) {
    count_small(exchange);
    return exchange.prompt_tokens ? Counting::kDone : Counting::kImpossible;
  }
  if (counter_ == nullptr) counter_ = std::make_unique<PromptCounter>(clock_);
  const bool queued = counter_->push(
      {.text = row->text,
       .kind = exchange.kind,
       .body = engine_body(exchange),
       .done = [&loop = loop_, done = std::move(done)](std::optional<int64_t> tokens) {
         loop.post([done, tokens] { done(tokens); });
       }});
  return queued ? Counting::kLater : Counting::kImpossible;
}

bool ModelPrompts::append_pages(Exchange& exchange, const PrefixGeometry& geometry,
                                uint64_t name_space) {
  Row* const row = row_of(exchange);
  if (row == nullptr || exchange.asked.text_bytes > kBodyTextBytesMax) return false;
  const auto head = row->reader->head(exchange.kind, engine_body(exchange));
  if (!head) return false;
  contract::extend_page_hashes(name_space, head->ids, geometry.page_tokens, &exchange.chain);
  exchange.block_tokens = geometry.page_tokens;
  const bool whole = head->extent == prompt::PromptHead::Extent::kWhole;
  if (whole && exchange.asked.prompts == 1) exchange.prompt_tokens = std::ssize(head->ids);
  return true;
}

}  // namespace sluice::gateway
