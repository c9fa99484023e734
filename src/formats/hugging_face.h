// A Hugging Face folder in the terms of GGUF: config.json as metadata, tensors by GGUF's names.
// What reads a checkpoint then knows one set of keys and names.
//
//   config.json, generation_config.json, tokenizer_config.json, chat_template.jinja
//   model.safetensors, or model.safetensors.index.json and the files that it names
//
// What GGUF has no word for: "<architecture>.rope.layout" ("half_split" or "adjacent_pairs": dense
// models are not permuted here), the experts of a layer one by one ("blk.3.ffn_up_exps.17.weight"),
// the companions of a quantised matrix ("blk.3.ffn_up_exps.17.weight_scale_inv"), and how matrices
// of "qweight" are laid out (kInt4LayoutKey).
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "formats/gguf.h"
#include "formats/problems.h"
#include "formats/safetensors.h"

namespace sluice::formats {

// How AWQ's and GPTQ's matrices are to be read, and what is added to their zeros.
inline constexpr std::string_view kInt4LayoutKey = "sluice.int4.layout";
inline constexpr std::string_view kInt4ZeroOffsetKey = "sluice.int4.zero_offset";
inline constexpr std::string_view kAwqLayout = "awq", kGptqLayout = "gptq";

// Flags, set where the configuration says that tensors are there which other models do without: the
// output matrix, the routers' choice biases, and of every INT4 matrix its zeros and the groups of
// its inputs.
inline constexpr std::string_view kHasOutputKey = "sluice.has.output";
inline constexpr std::string_view kHasChoiceBiasesKey = "sluice.has.choice_biases";
inline constexpr std::string_view kHasZerosKey = "sluice.has.int4_zeros";
inline constexpr std::string_view kHasInputGroupsKey = "sluice.has.int4_input_groups";
bool says_has(const Metadata& metadata, std::string_view key);

struct HuggingFaceConfig {
  std::string_view config;              // config.json
  std::string_view generation = {};     // generation_config.json; empty: there is none
  std::string_view tokenizer = {};      // tokenizer_config.json; empty: there is none
  std::string_view chat_template = {};  // chat_template.jinja: goes before the tokenizer's
  std::string_view name = {};           // of the model, for general.name
  bool has_draft_layers = false;        // the tensors of multi-token prediction are there
};

// What could not be read of a configuration.
struct ConfigFaults {
  bool in_keys = false;  // of the architecture: some are missing or were passed over
  bool in_quantization = false;
};

// Metadata without tensors. The Error lists every key that is missing, of the wrong type, or asks
// for something that is not supported.
core::Result<GgufFile> metadata_of_config(const HuggingFaceConfig& files);
// What can be read of it; the same list goes to the problems.
GgufFile metadata_of_config(const HuggingFaceConfig& files, Problems* problems,
                            ConfigFaults* faults);

// "model.layers.3.self_attn.q_a_proj.weight" → "blk.3.attn_q_a.weight"; a name that is in no table
// stays as it is. And back.
std::string gguf_tensor_name(std::string_view stored);
std::string hugging_face_tensor_name(std::string_view tensor);

struct HuggingFaceFolder {
  GgufFile metadata;
  std::vector<SafetensorsFile> files;
  std::vector<std::string> names;  // of the files, for messages
  // Every tensor of the model: GGUF's name, as stored, and where.
  struct Tensor {
    std::string name;
    std::string_view stored;  // in `files`
    core::TensorView view;
  };
  std::vector<Tensor> tensors;

  // Of a folder with problems.
  std::set<std::string, std::less<>> lost;  // tensors that cannot be read, by GGUF's names
  ConfigFaults config_faults;
};

// All problems of the folder (files that are missing or broken, tensors that are not where the
// index says) in one Error.
core::Result<HuggingFaceFolder> read_hugging_face_folder(const std::string& path);
// What can be read of it; the same list goes to the problems.
HuggingFaceFolder read_hugging_face_folder(const std::string& path, Problems* problems);

}  // namespace sluice::formats
