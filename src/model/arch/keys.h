// Metadata keys that begin with the architecture's name, and what several architectures read alike.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"
#include "formats/metadata.h"
#include "model/spec.h"

namespace sluice::model {

// Every getter's Error names the key, what was found and what was expected.
class Keys {
 public:
  Keys(const formats::Metadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(fmt::format("{}.", architecture)) {}

  std::string name(std::string_view key) const { return prefix_ + std::string(key); }
  bool has(std::string_view key) const { return metadata_.has(name(key)); }

  core::Result<int32_t> count(std::string_view key) const;                       // from 1
  core::Result<int32_t> count_or(std::string_view key, int64_t fallback) const;  // from 0
  core::Result<double> positive(std::string_view key, double fallback) const;    // over 0
  core::Result<std::string_view> text_or(std::string_view key, std::string_view fallback) const;
  core::Result<bool> flag_or(std::string_view key, bool fallback) const;

 private:
  core::Result<int32_t> within(std::string_view key, int64_t value, int64_t least) const;

  const formats::Metadata& metadata_;
  std::string prefix_;
};

// All of RopeSpec but the layout.
core::Result<RopeSpec> read_rope(const Keys& keys, int32_t head_dim, int32_t context_length);

// The architecture's in GGUF, unless the checkpoint says that its weights are not permuted.
core::Result<kernels::RopeLayout> read_rope_layout(const Keys& keys, kernels::RopeLayout usual);

// The experts of a layer. `rule` comes with what the architecture takes for granted.
core::Result<ExpertSpec> read_experts(const Keys& keys, const kernels::RouterRule& rule);

// The kernels' limit on the inputs of every matrix.
core::Result<void> check_inputs(const Keys& keys, const Spec& spec);

}  // namespace sluice::model
