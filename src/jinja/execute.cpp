// Statements, variables and limits.
#include "jinja/loop.h"
#include "jinja/operators.h"
#include "jinja/render.h"
#include "jinja/text.h"

namespace sluice::jinja {

using core::Error;
using core::ErrorCode;
using core::Result;

namespace {

constexpr int64_t kBytesPerStep = 16;

// Sets a variable for as long as it lives.
template <typename T>
class Setting {
 public:
  Setting(T& variable, T value) : variable_(variable), before_(std::exchange(variable, value)) {}
  ~Setting() { variable_ = before_; }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  T& variable_;
  T before_;
};

}  // namespace

Render::Render(const Program& program, const Value& globals, const RenderOptions& options)
    : program_(program), globals_(globals), options_(options) {}

Result<std::string> Render::run() {
  if (nesting_depth(globals_) > kValueDepthMax) {
    return Error{ErrorCode::kLimit,
                 fmt::format("variables nested deeper than {} levels", kValueDepthMax)};
  }
  std::string output;
  const Setting<std::string*> writing(output_, &output);
  ActivationHolder activation = activate(program_.function, nullptr);
  current_ = &*activation;
  enter(program_.scope);
  const Result<Flow> flow = run_body(program_.body);
  if (flow.ok()) return output;
  const Error& error = flow.error();
  if (raised_) return error;
  return Error{error.code, fmt::format("line {}: {}", error_line_, error.message)};
}

Error Render::raise(std::string message) {
  raised_ = true;
  return {ErrorCode::kInvalid, std::move(message)};
}

// --- limits --------------------------------------------------------------------------------------

Result<void> Render::charge(int64_t steps) {
  if (steps >= 0 && steps <= options_.steps_max - steps_) {
    steps_ += steps;
    return {};
  }
  steps_ = options_.steps_max;
  return Error{ErrorCode::kLimit,
               fmt::format("the template takes more than {} steps", options_.steps_max)};
}

Result<void> Render::charge_bytes(int64_t bytes) {
  return charge(bytes < 0 ? bytes : bytes / kBytesPerStep);
}

Error Render::output_limit() const {
  return {ErrorCode::kLimit,
          fmt::format("the template makes more than {} bytes of text", options_.output_bytes_max)};
}

Result<void> Render::check_string(int64_t bytes) const {
  if (bytes < 0 || bytes > options_.output_bytes_max) return output_limit();
  return {};
}

Result<void> Render::charge_string(int64_t bytes, int64_t times) {
  int64_t total = 0;
  if (__builtin_mul_overflow(bytes, times, &total)) return output_limit();
  TRY(check_string(total));
  return charge_bytes(total);
}

Result<void> Render::charge_items(int64_t items, int64_t times) {
  int64_t total = 0;
  if (__builtin_mul_overflow(items, times, &total)) return output_limit();
  return charge(total);
}

Result<void> Render::Depth::check() const {
  if (render_.depth_ <= render_.options_.depth_max) return {};
  return Error{ErrorCode::kLimit, fmt::format("the template nests more than {} levels deep",
                                              render_.options_.depth_max)};
}

Result<void> Render::append(std::string_view text) {
  if (static_cast<int64_t>(output_->size() + text.size()) > options_.output_bytes_max) {
    return output_limit();
  }
  output_->append(text);
  return charge_bytes(text.size());
}

// --- variables -----------------------------------------------------------------------------------

Value& Render::slot(SlotRef ref) {
  Activation* activation = current_;
  for (int hop = 0; hop < ref.hops; ++hop) activation = activation->outer;
  return activation->slots[static_cast<size_t>(ref.index)];
}

Value Render::global(const Value& name) {
  if (globals_.is(Kind::kDict)) {
    if (const Value* found = globals_.as_dict().find(name.as_string())) return *found;
  }
  const Native* function = find_function(name.as_string());
  if (function == nullptr) return Value();
  for (const auto& [known, value] : functions_) {
    if (known == function) return value;
  }
  return functions_.emplace_back(function, make_value<NativeFunction>(*function, Value())).second;
}

void Render::enter(const Scope& scope) {
  for (const Load& load : scope.loads) {
    Value value;
    if (load.how == Load::How::kFromGlobals) value = global(load.name);
    if (load.how == Load::How::kFromOuter) value = slot(load.outer);
    slot({0, load.slot}) = std::move(value);
  }
}

void Render::leave(const Scope& scope) {
  for (const int index : scope.slots) slot({0, index}) = Value();
}

Render::ActivationHolder Render::activate(const Function& function, Activation* outer) {
  ActivationHolder holder;
  auto activation = std::make_unique<Activation>();
  activation->outer = outer;
  activation->slots.resize(static_cast<size_t>(function.slots));
  holder.held_ = activation.get();
  if (function.is_captured) {
    steps_ += kObjectSteps + function.slots;
    activations_.push_back(std::move(activation));
  } else {
    holder.own_ = std::move(activation);
  }
  return holder;
}

Result<void> Render::assign(const Target& target, const Value& value) {
  if (const auto* name = std::get_if<Name>(&target.to)) {
    slot(name->slot) = value;
    return {};
  }
  if (const auto* object = std::get_if<NamespaceTarget>(&target.to)) {
    auto* space = object_as<Namespace>(slot(object->object.slot));
    if (space == nullptr) {
      note_line(target.line);
      return core::unsupported("cannot assign attribute on non-namespace object");
    }
    space->set(object->attribute, value);
    return {};
  }
  const auto& targets = std::get<std::vector<Target>>(target.to);
  const std::vector<Value> values = TRY(collect(*this, value));
  if (values.size() != targets.size()) {
    return core::unsupported("expected {} values to unpack, got {}", targets.size(), values.size());
  }
  for (size_t i = 0; i < targets.size(); ++i) TRY(assign(targets[i], values[i]));
  return {};
}

// --- statements ----------------------------------------------------------------------------------

Result<Flow> Render::run_body(const Body& body) {
  const Depth depth(*this);
  TRY(depth.check());
  for (const Statement& statement : body) {
    const Flow flow = TRY(run_statement(statement));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Result<Flow> Render::run_statement(const Statement& statement) {
  TRY(charge(1));
  Result<Flow> flow = std::visit([&](const auto& node) { return run_node(node); }, statement.node);
  if (!flow.ok()) note_line(statement.line);
  return flow;
}

Result<Flow> Render::run_node(const TextOutput& node) {
  TRY(append(node.text));
  return Flow::kNext;
}

Result<Flow> Render::run_node(const Print& node) {
  const Value value = TRY(eval(*node.value));
  if (value.is_string()) {
    TRY(append(value.as_string()));
  } else {
    const std::string text = TRY(to_text(*this, value));
    TRY(append(text));
  }
  return Flow::kNext;
}

Result<Flow> Render::run_node(const If& node) {
  for (const If::Branch& branch : node.branches) {
    if (truth(TRY(eval(*branch.condition)))) return run_body(branch.body);
  }
  return run_body(node.otherwise);
}

Result<Flow> Render::run_node(const Set& node) {
  const Value value = TRY(eval(*node.value));
  TRY(assign(node.target, value));
  return Flow::kNext;
}

Result<std::string> Render::capture(const Body& body, Flow& flow) {
  std::string text;
  const Setting<std::string*> writing(output_, &text);
  flow = TRY(run_body(body));
  return text;
}

// A filter (or a chain of them) whose innermost input is the text.
Result<Value> Render::filter_text(const Expr& filter, const std::string& text) {
  const Setting<const std::string*> input(captured_, &text);
  return eval(filter);
}

Result<Flow> Render::run_node(const SetBlock& node) {
  enter(node.scope);
  Flow flow = Flow::kNext;
  std::string text = TRY(capture(node.body, flow));
  if (flow != Flow::kNext) return flow;
  Value value;
  if (node.filter == nullptr) {
    value = Value::string(std::move(text));
  } else {
    value = TRY(filter_text(*node.filter, text));
  }
  TRY(assign(node.target, value));
  leave(node.scope);
  return Flow::kNext;
}

Result<Flow> Render::run_node(const FilterBlock& node) {
  enter(node.scope);
  Flow flow = Flow::kNext;
  std::string text = TRY(capture(node.body, flow));
  if (flow != Flow::kNext) return flow;
  const Value filtered = TRY(filter_text(*node.filter, text));
  const std::string filtered_text = TRY(to_text(*this, filtered));
  TRY(append(filtered_text));
  leave(node.scope);
  return Flow::kNext;
}

Result<Flow> Render::run_node(const With& node) {
  enter(node.scope);
  for (const auto& [target, expr] : node.assignments) {
    const Value value = TRY(eval(*expr));
    TRY(assign(target, value));
  }
  const Flow flow = TRY(run_body(node.body));
  leave(node.scope);
  return flow;
}

Result<Flow> Render::run_node(const MacroDefinition& node) {
  slot(node.target.slot) = make_value<Macro>(*node.code, *current_);
  return Flow::kNext;
}

Result<Flow> Render::run_node(const CallBlock& node) {
  const Value caller = make_value<Macro>(*node.caller, *current_);
  const Value answer = TRY(call_node(std::get<Call>(node.call->node), &caller));
  const std::string text = TRY(to_text(*this, answer));
  TRY(append(text));
  return Flow::kNext;
}

// --- functions and loops -------------------------------------------------------------------------

Result<std::string> Render::run_macro(const MacroCode& code, Activation& activation) {
  const Depth depth(*this);
  TRY(depth.check());
  std::string text;
  const Setting<std::string*> writing(output_, &text);
  const Setting<Activation*> running(current_, &activation);
  enter(code.scope);
  for (const MacroCode::Parameter& parameter : code.parameters) {
    Value& value = activation.slots[static_cast<size_t>(parameter.slot)];
    if (!value.is_missing()) continue;
    value = parameter.otherwise != nullptr ? TRY(eval(*parameter.otherwise)) : parameter.missing;
  }
  TRY(run_body(code.body));
  return text;
}

Result<Flow> Render::run_node(const For& node) {
  const Value iterable = TRY(eval(*node.iterable));
  if (node.is_recursive) {
    const std::string text = TRY(run_recursive_loop(node, iterable, *current_, 0));
    TRY(append(text));
    return Flow::kNext;
  }
  Iterator iterator = TRY(Iterator::over(iterable));
  const LoopState::Place place{.home = *current_, .outer = *current_};
  if (node.loop) {
    return run_loop(node, make<LoopState>(*this, node, std::move(iterator), place));
  }
  LoopState unseen(*this, node, std::move(iterator), place);
  return run_loop(node, unseen);
}

Result<std::string> Render::run_recursive_loop(const For& node, const Value& iterable,
                                               Activation& outer, int depth) {
  const Depth nesting(*this);
  TRY(nesting.check());
  std::string text;
  const Setting<std::string*> writing(output_, &text);
  ActivationHolder activation = activate(node.function, &outer);
  const Setting<Activation*> running(current_, &*activation);
  Iterator iterator = TRY(Iterator::over(iterable));
  const LoopState::Place place{.home = *activation, .outer = outer, .depth0 = depth};
  LoopState& loop = make<LoopState>(*this, node, std::move(iterator), place);
  TRY(run_loop(node, loop));
  return text;
}

Result<Flow> Render::run_loop(const For& node, LoopState& loop) {
  if (node.filter != nullptr) enter(node.filter_scope);
  // As in jinja2, `else` also runs where the first round ended with break or continue.
  bool completed = false;
  const Flow flow = TRY(run_iterations(node, loop, completed));
  loop.finish();
  leave(node.scope);
  if (node.filter != nullptr) leave(node.filter_scope);
  if (completed || node.otherwise.empty() || flow != Flow::kNext) return flow;
  enter(node.else_scope);
  const Flow after = TRY(run_body(node.otherwise));
  leave(node.else_scope);
  return after;
}

Result<Flow> Render::run_iterations(const For& node, LoopState& loop, bool& completed) {
  Value item;
  while (TRY(loop.next(item))) {
    TRY(charge(1));
    if (node.loop) slot(*node.loop) = Value::object(loop);
    TRY(assign(node.target, item));
    enter(node.scope);
    const Flow flow = TRY(run_body(node.body));
    if (flow == Flow::kNext) completed = true;
    if (flow == Flow::kBreakLoop) break;
  }
  return Flow::kNext;
}

// `loop.length` may ask from inside of a macro that got the loop as argument.
Result<bool> Render::passes(const For& loop, const Value& item, Activation& home) {
  const Setting<Activation*> running(current_, &home);
  TRY(assign(loop.filter_target, item));
  return truth(TRY(eval(*loop.filter)));
}

}  // namespace sluice::jinja
