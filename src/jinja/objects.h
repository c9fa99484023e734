// Values with a state or with code: they belong to one rendering (Render::make) and end with it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "jinja/ast.h"
#include "jinja/native.h"
#include "jinja/value.h"

namespace sluice::jinja {

class Render;

class Object {
 public:
  virtual ~Object() = default;
  virtual std::string_view type_name() const = 0;
  virtual std::optional<MethodOwner> method_owner() const { return std::nullopt; }
  // Missing where it has no such attribute.
  virtual core::Result<Value> attribute(Render&, std::string_view) { return Value(); }
  virtual bool is_callable() const { return false; }
  virtual core::Result<Value> call(Render& render, const Arguments& arguments);
  virtual core::Result<std::string> representation(Render& render);
};

// namespace(): the one thing that a template can change.
class Namespace final : public Object {
 public:
  explicit Namespace(Dict attributes) : attributes_(std::move(attributes)) {}
  std::string_view type_name() const override { return "Namespace"; }
  core::Result<Value> attribute(Render&, std::string_view name) override;
  core::Result<std::string> representation(Render& render) override;
  void set(const Value& name, Value value) { attributes_.set(name, std::move(value)); }

 private:
  Dict attributes_;
};

// The slots of one run of a function's code. Slots that hold Value() have no value.
struct Activation {
  Activation* outer = nullptr;  // where the function was defined
  std::vector<Value> slots;
};

class Macro final : public Object {
 public:
  Macro(const MacroCode& code, Activation& outer) : code_(code), outer_(outer) {}
  std::string_view type_name() const override { return "Macro"; }
  core::Result<Value> attribute(Render&, std::string_view name) override;
  bool is_callable() const override { return true; }
  core::Result<Value> call(Render& render, const Arguments& arguments) override;
  core::Result<std::string> representation(Render& render) override;

 private:
  core::Result<void> bind(Render& render, const Arguments& arguments, Activation& activation) const;

  const MacroCode& code_;
  Activation& outer_;
};

// A filter, method or function as a value: `"a".join`, `range`.
class NativeFunction final : public Object {
 public:
  NativeFunction(const Native& native, Value self) : native_(native), self_(std::move(self)) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  bool is_callable() const override { return true; }
  core::Result<Value> call(Render& render, const Arguments& arguments) override;

 private:
  const Native& native_;
  Value self_;
};

// What Python's lazy functions return (map, select …): can be walked through once, has no length.
// The items are computed at once; an error among them shows when the walk gets there.
class Generator final : public Object {
 public:
  explicit Generator(std::vector<Value> items) : items_(std::move(items)) {}
  Generator(std::vector<Value> items, core::Error error)
      : items_(std::move(items)), error_(std::move(error)) {}
  std::string_view type_name() const override { return "generator"; }
  // Nothing at the end.
  core::Result<std::optional<Value>> next();

 private:
  std::vector<Value> items_;
  size_t next_ = 0;
  std::optional<core::Error> error_;
};

class Cycler final : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string_view type_name() const override { return "Cycler"; }
  std::optional<MethodOwner> method_owner() const override { return MethodOwner::kCycler; }
  core::Result<Value> attribute(Render&, std::string_view name) override;
  Value next();
  void reset() { next_ = 0; }

 private:
  std::vector<Value> items_;
  size_t next_ = 0;
};

class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string_view type_name() const override { return "Joiner"; }
  bool is_callable() const override { return true; }
  core::Result<Value> call(Render& render, const Arguments& arguments) override;

 private:
  Value separator_;
  bool used_ = false;
};

// The object's own type where the value holds one, else null.
template <typename T>
T* object_as(const Value& value) {
  return value.is(Kind::kObject) ? dynamic_cast<T*>(&value.as_object()) : nullptr;
}

}  // namespace sluice::jinja
