#include "jinja/loop.h"

#include "jinja/operators.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

bool is_iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kDict:
      return true;
    case Kind::kObject:
      return object_as<Generator>(value) != nullptr || object_as<LoopState>(value) != nullptr;
    default:
      return false;
  }
}

Result<Iterator> Iterator::over(const Value& iterable) {
  if (is_iterable(iterable)) return Iterator(iterable);
  return core::unsupported("'{}' object is not iterable", type_name(iterable));
}

Result<bool> Iterator::next(Value& item) {
  switch (iterable_.kind()) {
    case Kind::kList: {
      const std::vector<Value>& items = iterable_.as_list().items;
      if (at_ == items.size()) return false;
      item = items[at_++];
      return true;
    }
    case Kind::kDict: {
      const auto& entries = iterable_.as_dict().entries();
      if (at_ == entries.size()) return false;
      item = entries[at_++].key;
      return true;
    }
    case Kind::kString: {
      const std::string& text = iterable_.as_string();
      if (at_ >= text.size()) return false;
      const size_t begin = std::exchange(at_, next_offset(text, at_));
      item = Value::string(text.substr(begin, at_ - begin));
      return true;
    }
    case Kind::kObject: {
      if (auto* loop = object_as<LoopState>(iterable_)) {
        Value of_loop;
        if (!TRY(loop->next(of_loop))) return false;
        item = Value::tuple({std::move(of_loop), iterable_});
        return true;
      }
      std::optional<Value> next = TRY(object_as<Generator>(iterable_)->next());
      if (!next) return false;
      item = *std::move(next);
      return true;
    }
    default:
      return false;
  }
}

Result<std::optional<int64_t>> Iterator::length(Render& render) const {
  if (iterable_.is(Kind::kObject)) return std::optional<int64_t>();
  return charged_length(render, iterable_);
}

Result<std::vector<Value>> collect(Render& render, const Value& iterable) {
  if (iterable.is(Kind::kList)) {
    TRY(render.charge(static_cast<int64_t>(iterable.as_list().items.size())));
    return iterable.as_list().items;
  }
  Iterator iterator = TRY(Iterator::over(iterable));
  std::vector<Value> items;
  Value item;
  while (TRY(iterator.next(item))) {
    TRY(render.charge(1));
    items.push_back(std::move(item));
  }
  return items;
}

Result<bool> LoopState::pull(Value& item) {
  if (collected_at_) {
    if (*collected_at_ == collected_.size()) return false;
    item = collected_[(*collected_at_)++];
    return true;
  }
  while (!finished_ && TRY(source_.next(item))) {
    TRY(render_.charge(1));
    if (node_.filter == nullptr || TRY(render_.passes(node_, item, place_.home))) return true;
  }
  return false;
}

Result<bool> LoopState::next(Value& item) {
  if (after_) {
    item = *std::exchange(after_, std::nullopt);
  } else if (!TRY(pull(item))) {
    return false;
  }
  ++index0_;
  before_ = std::exchange(current_, item);
  return true;
}

Result<const Value*> LoopState::peek() {
  if (!after_) {
    Value item;
    if (!TRY(pull(item))) return nullptr;
    after_ = std::move(item);
  }
  return &*after_;
}

Result<int64_t> LoopState::length() {
  if (length_) return *length_;
  if (node_.filter == nullptr) length_ = TRY(source_.length(render_));
  if (length_) return *length_;
  std::vector<Value> rest;
  Value item;
  while (TRY(pull(item))) rest.push_back(std::move(item));
  length_ = static_cast<int64_t>(rest.size()) + index0_ + 1 + (after_ ? 1 : 0);
  collected_ = std::move(rest);
  collected_at_ = 0;
  return *length_;
}

Result<Value> LoopState::attribute(Render&, std::string_view name) {
  if (name == "index") return Value::integer(index0_ + 1);
  if (name == "index0") return Value::integer(index0_);
  if (name == "first") return Value::boolean(index0_ == 0);
  if (name == "last") return Value::boolean(TRY(peek()) == nullptr);
  if (name == "length") return Value::integer(TRY(length()));
  if (name == "revindex") return Value::integer(TRY(length()) - index0_);
  if (name == "revindex0") return Value::integer(TRY(length()) - index0_ - 1);
  if (name == "depth") return Value::integer(place_.depth0 + 1);
  if (name == "depth0") return Value::integer(place_.depth0);
  if (name == "previtem") {
    return index0_ == 0 ? Value::undefined("there is no previous item") : before_;
  }
  if (name == "nextitem") {
    const Value* next = TRY(peek());
    return next == nullptr ? Value::undefined("there is no next item") : *next;
  }
  return Value();
}

Result<Value> LoopState::call(Render& render, const Arguments& arguments) {
  if (!node_.is_recursive) {
    return core::unsupported("only a loop marked 'recursive' can be called");
  }
  if (arguments.positional.size() != 1 || !arguments.named.empty()) {
    return core::unsupported("loop() takes one argument: what to iterate over");
  }
  return Value::string(TRY(
      render.run_recursive_loop(node_, arguments.positional[0], place_.outer, place_.depth0 + 1)));
}

Result<std::string> LoopState::representation(Render&) {
  return fmt::format("<LoopContext {}/{}>", index0_ + 1, TRY(length()));
}

Result<Value> LoopState::cycle(const std::vector<Value>& values) const {
  if (values.empty()) return core::unsupported("no items for cycling given");
  return values[static_cast<size_t>(index0_) % values.size()];
}

Result<bool> LoopState::changed(const std::vector<Value>& values) {
  if (last_changed_ && TRY(equal(render_, Value::tuple(*last_changed_), Value::tuple(values)))) {
    return false;
  }
  last_changed_ = values;
  return true;
}

}  // namespace sluice::jinja
