// Walking through values: iterators, and the `loop` variable of a for.
#pragma once

#include <optional>
#include <vector>

#include "jinja/objects.h"

namespace sluice::jinja {

// The items of a list, the keys of a dict, the characters of a string, what is left of a generator;
// nothing for undefined.
class Iterator {
 public:
  // An error for values that cannot be iterated.
  static core::Result<Iterator> over(const Value& iterable);

  // False at the end, and `item` is left alone.
  core::Result<bool> next(Value& item);
  // Of the whole; nothing where Python's len() fails.
  core::Result<std::optional<int64_t>> length(Render& render) const;

 private:
  explicit Iterator(Value iterable) : iterable_(std::move(iterable)) {}

  Value iterable_;
  size_t at_ = 0;  // an item's number, or a byte offset
};

bool is_iterable(const Value& value);

// All items that are left. Counts them as steps.
core::Result<std::vector<Value>> collect(Render& render, const Value& iterable);

// The state of a for, and the template's variable `loop`.
class LoopState final : public Object {
 public:
  // Where a loop runs.
  struct Place {
    Activation& home;   // holds its variables
    Activation& outer;  // around the function of a recursive loop; else as home
    int depth0 = 0;     // of recursive calls
  };

  LoopState(Render& render, const For& node, Iterator source, Place place)
      : render_(render), node_(node), source_(std::move(source)), place_(place) {}

  // Moves on to the next item that passes the loop's filter; false at the end.
  core::Result<bool> next(Value& item);
  // Its variables are about to go: there are no more items.
  void finish() { finished_ = true; }

  std::string_view type_name() const override { return "LoopContext"; }
  std::optional<MethodOwner> method_owner() const override { return MethodOwner::kLoop; }
  core::Result<Value> attribute(Render&, std::string_view name) override;
  bool is_callable() const override { return true; }
  core::Result<Value> call(Render& render, const Arguments& arguments) override;
  core::Result<std::string> representation(Render& render) override;

  core::Result<int64_t> length();
  core::Result<Value> cycle(const std::vector<Value>& values) const;
  core::Result<bool> changed(const std::vector<Value>& values);

 private:
  core::Result<bool> pull(Value& item);
  // The next item without moving on; null at the end.
  core::Result<const Value*> peek();

  Render& render_;
  const For& node_;
  Iterator source_;
  Place place_;
  bool finished_ = false;

  int64_t index0_ = -1;
  Value current_, before_;
  std::optional<Value> after_;    // peeked
  std::vector<Value> collected_;  // the rest, once the length was asked for
  std::optional<size_t> collected_at_;
  std::optional<int64_t> length_;
  std::optional<std::vector<Value>> last_changed_;
};

}  // namespace sluice::jinja
