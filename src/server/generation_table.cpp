#include "server/generation_table.h"

#include <algorithm>
#include <utility>

#include "core/assert.h"

namespace sluice::server {

void GenerationTable::add(std::shared_ptr<Generation> generation) {
  size_t choice = 0;
  for (const engine::RequestId id : generation->engine_ids()) {
    const bool added = slots_.emplace(id.value, Slot{generation, choice++}).second;
    ASSERT(added, "the engine's request id {} is in use", id.value);
  }
}

GenerationTable::Slot* GenerationTable::find(engine::RequestId id) {
  const auto slot = slots_.find(id.value);
  return slot == slots_.end() ? nullptr : &slot->second;
}

void GenerationTable::on_events(const EventBatch& batch, int64_t now_ns) {
  std::vector<std::shared_ptr<Generation>> touched;
  const auto slot_of = [&](engine::RequestId id) {
    Slot* slot = find(id);
    if (slot != nullptr) touched.push_back(slot->generation);
    return slot;
  };
  for (const EventBatch::PromptToken& token : batch.prompt_tokens)
    if (Slot* slot = slot_of(token.event.id))
      slot->generation->add_prompt_token(slot->choice, token);
  for (const EventBatch::Token& token : batch.tokens) {
    Slot* slot = slot_of(token.event.id);
    if (slot == nullptr) continue;
    const ChoiceText::Next next = slot->generation->add_token(slot->choice, token);
    if (next == ChoiceText::Next::kStopped) engine_.finish_early(token.event.id);
  }
  for (const engine::FinishEvent& event : batch.finished)
    if (Slot* slot = slot_of(event.id)) slot->generation->add_finish(slot->choice, event);

  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  for (const std::shared_ptr<Generation>& generation : touched) {
    const Generation::State state = generation->flush(now_ns);
    if (state == Generation::State::kFailed) cancel(*generation);
    if (state != Generation::State::kOpen) forget(*generation);
  }
}

void GenerationTable::cancel(const Generation& generation) {
  for (const engine::RequestId id : generation.engine_ids()) engine_.cancel(id);
}

void GenerationTable::forget(const Generation& generation) {
  const std::vector<engine::RequestId> ids = generation.engine_ids();  // it may go with its slots
  for (const engine::RequestId id : ids) slots_.erase(id.value);
}

void GenerationTable::abandon(const Generation& generation) {
  if (find(generation.engine_ids().front()) == nullptr) return;
  cancel(generation);
  forget(generation);
}

void GenerationTable::cancel_all() {
  for (const auto& [id, slot] : slots_) engine_.cancel({id});
}

void GenerationTable::ping(int64_t before_ns, int64_t now_ns) {
  for (const std::shared_ptr<Generation>& generation : all()) generation->ping(before_ns, now_ns);
}

std::vector<std::shared_ptr<Generation>> GenerationTable::all() const {
  std::vector<std::shared_ptr<Generation>> generations;
  for (const auto& [id, slot] : slots_)
    if (slot.choice == 0) generations.push_back(slot.generation);
  return generations;
}

}  // namespace sluice::server
