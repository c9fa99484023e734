#include "tests/gateway/limits_explorer.h"

namespace sluice::gateway::exploring {

std::string Explorer::key_of(const State& state) {
  std::string key;
  const auto add = [&key](auto value) {
    key.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  for (const uint64_t cell : state.cells) add(cell);
  for (const Thread& thread : state.threads) {
    add(thread.stage);
    add(thread.local.held);
    add(thread.local.place.cost);
    add(thread.local.place.start);
    add(thread.local.place.flowed);
    add(thread.local.since_ns);
    add(thread.local.overtaken);
    add(thread.local.uses.size());
    for (const Local::Use& use : thread.local.uses) add(use);
    add(thread.seen.size());
    for (const uint64_t value : thread.seen) add(value);
  }
  return key;
}

std::vector<Local> Explorer::told_by(const State& state) {
  std::vector<Local> told;
  for (const Thread& thread : state.threads) told.push_back(thread.told);
  return told;
}

// Goes on to the next access but one: a stage that ends before it is followed by the next.
void Explorer::run_stages(Thread& thread, const std::vector<Stage>& stages) {
  while (thread.stage < stages.size()) {
    position_ = 0;
    thread.told = thread.local;
    try {
      stages[thread.stage](thread.told);
    } catch (const Stop&) {
      return;
    }
    thread.local = thread.told;
    thread.seen.clear();
    ++thread.stage;
  }
}

Explorer::State Explorer::step(const State& state, size_t thread) {
  State next = state;
  cells_ = state.cells;
  running_ = &next.threads[thread];
  accessed_ = false;
  run_stages(*running_, programs_[thread]);
  running_ = nullptr;
  next.cells = cells_;
  return next;
}

void Explorer::explore(const State& state) {
  if (!seen_.insert(key_of(state)).second) return;
  cells_ = state.cells;
  invariant_(told_by(state));
  bool ended = true;
  for (size_t i = 0; i < programs_.size(); ++i) {
    if (state.threads[i].stage == programs_[i].size()) continue;
    ended = false;
    if (state.threads[i].seen.size() >= kAccessesMax) {
      ++endless_;
      continue;
    }
    explore(step(state, i));
  }
  if (!ended) return;
  cells_ = state.cells;
  at_end_(told_by(state));
  ++ends_;
}

void Explorer::run() {
  State start;
  start.cells = cells_;
  start.threads.resize(programs_.size());
  explore(start);
}

}  // namespace sluice::gateway::exploring
