// A small model checker for code over atomic words: it runs every order in which threads can take
// their steps, a step being one access to a word that is shared, and looks at an invariant after
// each.
//
// A thread's program is a row of stages. A stage depends on nothing but what the ones before left
// in its Local and the values that its own accesses saw. So a step runs the stage anew from there,
// feeds it what it saw before, lets it make one access for real and stops it at the next one by an
// exception. Orders that lead to equal words, Locals and sights have the same future: it is
// explored once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "gateway/limits/rate_word.h"

namespace sluice::gateway::exploring {

// What a thread keeps between its stages and tells the invariant.
struct Local {
  int64_t held = 0;  // of the word, as far as the thread knows
  RatePlace place;
  struct Use {
    int64_t time_ns = 0;
    int64_t tokens = 0;
  };
  std::vector<Use> uses;
  int64_t since_ns = -1;   // of the clock, when its operation began; -1: none is under way
  bool overtaken = false;  // by the clock, in an operation that has ended
};
using Stage = std::function<void(Local&)>;

class Explorer {
 public:
  static constexpr size_t kAccessesMax = 20;  // of one stage; more is a wait that found no end

  // The words of the last Explorer that was made belong to it.
  Explorer() { current_ = this; }
  ~Explorer() { current_ = nullptr; }
  Explorer(const Explorer&) = delete;

  void add_thread(std::vector<Stage> stages) { programs_.push_back(std::move(stages)); }
  using Check = std::function<void(const std::vector<Local>&)>;
  // After each step. Reads words freely.
  void set_invariant(Check invariant) { invariant_ = std::move(invariant); }
  // When all have come to their end.
  void set_at_end(Check at_end) { at_end_ = std::move(at_end); }
  void run();

  int64_t states() const { return static_cast<int64_t>(seen_.size()); }
  int64_t ends() const { return ends_; }
  int64_t endless() const { return endless_; }  // orders cut at kAccessesMax

  // ---- for Word ---------------------------------------------------------------------------

  static Explorer& current() { return *current_; }
  size_t add_cell(uint64_t value) {
    cells_.push_back(value);
    return cells_.size() - 1;
  }
  // `change` maps the cell's value to the one after; the value before is returned.
  template <typename Change>
  uint64_t access(size_t cell, Change change) {
    if (running_ != nullptr) {
      if (position_ < running_->seen.size()) return running_->seen[position_++];
      if (accessed_) throw Stop{};
      accessed_ = true;
      ++position_;
      running_->seen.push_back(cells_[cell]);
    }
    const uint64_t before = cells_[cell];
    cells_[cell] = change(before);
    return before;
  }

 private:
  struct Stop {};
  struct Thread {
    size_t stage = 0;
    Local local;                 // when the stage began
    std::vector<uint64_t> seen;  // by each access of the stage so far
    Local told;                  // now
  };
  struct State {
    std::vector<uint64_t> cells;
    std::vector<Thread> threads;
  };

  static std::string key_of(const State& state);
  static std::vector<Local> told_by(const State& state);
  void run_stages(Thread& thread, const std::vector<Stage>& stages);
  State step(const State& state, size_t thread);
  void explore(const State& state);

  inline static Explorer* current_ = nullptr;

  std::vector<std::vector<Stage>> programs_;
  Check invariant_ = [](const auto&) {};
  Check at_end_ = [](const auto&) {};
  std::vector<uint64_t> cells_;
  std::unordered_set<std::string> seen_;
  int64_t ends_ = 0;
  int64_t endless_ = 0;

  Thread* running_ = nullptr;  // null: set-up and invariants
  size_t position_ = 0;
  bool accessed_ = false;
};

// What std::atomic is in the product: every access is a step.
template <typename T>
class ExploredWord {
 public:
  ExploredWord(T value = 0)  // NOLINT: like std::atomic
      : cell_(Explorer::current().add_cell(static_cast<uint64_t>(value))) {}
  ExploredWord(const ExploredWord&) = delete;
  ExploredWord& operator=(const ExploredWord&) = delete;

  template <typename... Order>
  T load(Order...) const {
    return access([](uint64_t before) { return before; });
  }
  template <typename... Order>
  void store(T value, Order...) {
    access([value](uint64_t) { return static_cast<uint64_t>(value); });
  }
  T fetch_add(T value) {
    return access([value](uint64_t before) { return before + static_cast<uint64_t>(value); });
  }
  T fetch_sub(T value) {
    return access([value](uint64_t before) { return before - static_cast<uint64_t>(value); });
  }
  bool compare_exchange_weak(T& expected, T desired) {
    const auto wanted = static_cast<uint64_t>(expected);
    const T found = access([wanted, desired](uint64_t before) {
      return before == wanted ? static_cast<uint64_t>(desired) : before;
    });
    if (found == expected) return true;
    expected = found;
    return false;
  }

 private:
  template <typename Change>
  T access(Change change) const {
    return static_cast<T>(Explorer::current().access(cell_, change));
  }

  size_t cell_;
};

// Like std::atomic, but an access is no step: for what is set before the threads begin.
template <typename T>
class ConstantWord {
 public:
  ConstantWord(T value) : value_(value) {}  // NOLINT: like std::atomic
  template <typename... Order>
  T load(Order...) const {
    return value_;
  }
  void store(T value) { value_ = value; }

 private:
  T value_;
};

struct ExploredWords {
  template <typename T>
  using Atomic = ExploredWord<T>;
  template <typename T>
  using Parameter = ConstantWord<T>;
};
struct ExploredWordsAndParameters {
  template <typename T>
  using Atomic = ExploredWord<T>;
  template <typename T>
  using Parameter = ExploredWord<T>;
};

}  // namespace sluice::gateway::exploring
