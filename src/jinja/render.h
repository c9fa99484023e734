// One rendering of a template: its variables, its output and what it has used of its limits.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/result.h"
#include "jinja/ast.h"
#include "jinja/objects.h"
#include "jinja/template.h"

namespace sluice::jinja {

// What comes after a statement.
enum class Flow { kNext, kBreakLoop, kContinueLoop };

class LoopState;

// What an object that lives until the end of the rendering costs: memory is limited by steps, too.
constexpr int64_t kObjectSteps = 16;

class Render {
 public:
  Render(const Program& program, const Value& globals, const RenderOptions& options);

  core::Result<std::string> run();

  // --- for filters, methods and objects ---
  const RenderOptions& options() const { return options_; }

  // Counts work; an error when the limit is reached. 16 bytes of text count as one step. A negative
  // count, which only a sum that overflowed can be, is over every limit.
  core::Result<void> charge(int64_t steps);
  core::Result<void> charge_bytes(int64_t bytes);
  // An error where a string of `bytes` would be over the limit of the output. Charges nothing: for
  // one that grows by parts, each of which is charged.
  core::Result<void> check_string(int64_t bytes) const;
  // For looking for `wanted` in a text: at worst each place compares all of it, 64 bytes at a time.
  core::Result<void> charge_search(std::string_view text, std::string_view wanted) {
    return charge_bytes(std::ssize(text) * (1 + std::ssize(wanted) / 64));
  }
  // For a new string of `bytes` × `times`, a new list of `items` × `times`: also an error where it
  // would be over the limit of the output.
  core::Result<void> charge_string(int64_t bytes, int64_t times = 1);
  core::Result<void> charge_items(int64_t items, int64_t times = 1);
  core::Error output_limit() const;
  // The value; an error where its lists and dicts are nested too deep.
  core::Result<Value> checked_depth(Value value) const;

  // An object that lives as long as this rendering.
  template <typename T, typename... Args>
  T& make(Args&&... args) {
    steps_ += kObjectSteps;
    objects_.push_back(std::make_unique<T>(std::forward<Args>(args)...));
    return static_cast<T&>(*objects_.back());
  }
  template <typename T, typename... Args>
  Value make_value(Args&&... args) {
    return Value::object(make<T>(std::forward<Args>(args)...));
  }

  core::Result<std::string> run_macro(const MacroCode& code, Activation& activation);
  core::Result<std::string> run_recursive_loop(const For& loop, const Value& iterable,
                                               Activation& outer, int depth);

  // Slots for one run of a function. Those that a macro inside may use later live as long as the
  // rendering, the others as long as the caller keeps them.
  class ActivationHolder {
   public:
    Activation& operator*() { return *held_; }

   private:
    friend class Render;
    std::unique_ptr<Activation> own_;
    Activation* held_ = nullptr;
  };
  ActivationHolder activate(const Function& function, Activation* outer);

  core::Result<void> assign(const Target& target, const Value& value);
  // Runs the filter of a loop, whose variables live in `home`, on the next item.
  core::Result<bool> passes(const For& loop, const Value& item, Activation& home);

  // The error of raise_exception goes out as it is; others get the line where they happened.
  core::Error raise(std::string message);

  // Counts nested calls while it lives.
  class Depth {
   public:
    explicit Depth(Render& render) : render_(render) { ++render_.depth_; }
    ~Depth() { --render_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

    core::Result<void> check() const;

   private:
    Render& render_;
  };

 private:
  core::Result<Flow> run_body(const Body& body);
  core::Result<Flow> run_statement(const Statement& statement);
  core::Result<Flow> run_node(const TextOutput& node);
  core::Result<Flow> run_node(const Print& node);
  core::Result<Flow> run_node(const If& node);
  core::Result<Flow> run_node(const For& node);
  core::Result<Flow> run_node(const Set& node);
  core::Result<Flow> run_node(const SetBlock& node);
  core::Result<Flow> run_node(const FilterBlock& node);
  core::Result<Flow> run_node(const With& node);
  core::Result<Flow> run_node(const MacroDefinition& node);
  core::Result<Flow> run_node(const CallBlock& node);
  core::Result<Flow> run_node(const Break&) { return Flow::kBreakLoop; }
  core::Result<Flow> run_node(const Continue&) { return Flow::kContinueLoop; }

  core::Result<Flow> run_loop(const For& node, LoopState& loop);
  core::Result<Flow> run_iterations(const For& node, LoopState& loop, bool& completed);
  // The text that a body writes.
  core::Result<std::string> capture(const Body& body, Flow& flow);
  core::Result<Value> filter_text(const Expr& filter, const std::string& text);

  core::Result<Value> eval(const Expr& expr);
  core::Result<Value> eval_node(const Constant& node) { return node.value; }
  core::Result<Value> eval_node(const Name& node);
  core::Result<Value> eval_node(const ListLiteral& node);
  core::Result<Value> eval_node(const DictLiteral& node);
  core::Result<Value> eval_node(const Unary& node);
  core::Result<Value> eval_node(const Binary& node);
  core::Result<Value> eval_node(const Logic& node);
  core::Result<Value> eval_node(const Compare& node);
  core::Result<Value> eval_node(const Concat& node);
  core::Result<Value> eval_node(const Conditional& node);
  core::Result<Value> eval_node(const Attribute& node);
  core::Result<Value> eval_node(const Subscript& node);
  core::Result<Value> eval_node(const Slice& node);
  core::Result<Value> eval_node(const Call& node);
  core::Result<Value> eval_node(const Filter& node);
  core::Result<Value> eval_node(const Test& node);
  core::Result<Arguments> eval_arguments(const CallArguments& arguments);
  core::Result<Value> call_node(const Call& node, const Value* caller);
  core::Result<Value> call(const Value& callee, const Arguments& arguments);

  void enter(const Scope& scope);
  void leave(const Scope& scope);
  Value& slot(SlotRef ref);
  Value global(const Value& name);
  core::Result<void> append(std::string_view text);
  // Notes the line of the innermost part of the template that failed.
  void note_line(int line) {
    if (error_line_ == 0) error_line_ = line;
  }

  const Program& program_;
  const Value& globals_;
  const RenderOptions& options_;

  std::deque<std::unique_ptr<Activation>> activations_;
  std::vector<std::unique_ptr<Object>> objects_;
  std::vector<std::pair<const Native*, Value>> functions_;  // those used so far
  Activation* current_ = nullptr;
  std::string* output_ = nullptr;          // what is being written: the answer, or a captured text
  const std::string* captured_ = nullptr;  // input of a filter block

  int64_t steps_ = 0;
  int depth_ = 0;
  int error_line_ = 0;  // of the innermost statement or expression that failed; 0 = none yet
  bool raised_ = false;
};

}  // namespace sluice::jinja
