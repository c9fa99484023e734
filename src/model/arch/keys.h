// Metadata keys that begin with the architecture's name, and what several architectures read alike.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>

#include "formats/metadata.h"
#include "formats/problems.h"
#include "model/spec.h"

namespace sluice::model {

// What is wrong goes to the problems: the key (that of config.json where the metadata are a
// folder's), what was found and what was expected. The getter then gives a stand-in, which is no
// cause of a crash, and what is checked of several values is not checked of stand-ins: are_good().
class Keys {
 public:
  struct Parts {
    const formats::Metadata& metadata;
    std::string_view architecture;
    // Keys may lack because of problems that are listed already: a key that is absent is none.
    bool is_salvaged;
    formats::Problems* problems;
  };
  explicit Keys(const Parts& parts);

  std::string name(std::string_view key) const { return prefix_ + std::string(key); }
  bool has(std::string_view key) const { return metadata_.has(name(key)); }

  int32_t count(std::string_view key);                       // from 1
  int32_t count_or(std::string_view key, int64_t fallback);  // from 0
  double positive(std::string_view key, double fallback);    // over 0
  std::string_view text_or(std::string_view key, std::string_view fallback);
  bool flag_or(std::string_view key, bool fallback);

  bool are_good(std::initializer_list<std::string_view> keys) const;
  // "metadata 'llama.key': " and the text; the key is no longer good.
  template <typename... Args>
  void refuse(std::string_view key, fmt::format_string<Args...> format, Args&&... args) {
    problems_.add("{}: {}", said(key), fmt::format(format, std::forward<Args>(args)...));
    mark(key);
  }
  // Nothing is said of the key, and it is not good: its value comes from one that is not.
  void pass_over(std::string_view key) { faulty_.emplace(key); }
  bool is_folder() const { return is_folder_; }
  // The key as the user knows it.
  std::string said(std::string_view key) const;

  // Whether a Spec of these values can be used.
  bool is_whole() const { return is_whole_; }

 private:
  template <typename T>
  T value_or(core::Result<T> found, std::string_view key, T stand_in);
  int32_t within(std::string_view key, int64_t value, int64_t least, int64_t stand_in);
  // False, and not good, where it lacks in what was salvaged.
  bool is_there(std::string_view key);
  void mark(std::string_view key);

  const formats::Metadata& metadata_;
  const std::string_view architecture_;
  const std::string prefix_;
  const bool is_salvaged_;
  const bool is_folder_;
  formats::Problems& problems_;
  std::set<std::string, std::less<>> faulty_;
  bool is_whole_ = true;
};

// All of RopeSpec but the layout.
RopeSpec read_rope(Keys& keys, int32_t head_dim, int32_t context_length);

// The architecture's in GGUF, unless the checkpoint says that its weights are not permuted.
kernels::RopeLayout read_rope_layout(Keys& keys, kernels::RopeLayout usual);

// The experts of a layer. `rule` comes with what the architecture takes for granted.
ExpertSpec read_experts(Keys& keys, const kernels::RouterRule& rule);

// The kernels' limit on the inputs of every matrix.
void check_inputs(Keys& keys, const Spec& spec);

}  // namespace sluice::model
