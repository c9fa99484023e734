#include "model/spec.h"

#include "formats/hugging_face.h"
#include "model/arch/architecture.h"
#include "model/arch/keys.h"
#include "model/matrix_finder.h"

namespace sluice::model {
namespace {

// A folder's configuration says how many there are; of a GGUF file the tokens would.
int32_t checked_vocab(int32_t rows, const std::string& embedding, Keys& keys,
                      formats::Problems* problems) {
  if (!keys.is_folder() || !keys.has("vocab_size") || !keys.are_good({"vocab_size"})) return rows;
  if (const int32_t said = keys.count("vocab_size"); said != rows)
    problems->add("{}: {}, tensor '{}' has {} rows", keys.said("vocab_size"), said, embedding,
                  rows);
  return rows;
}

// The embedding's rows; what the metadata say where it is lost. 0: not known.
int32_t read_vocab(const formats::Checkpoint& checkpoint, Keys& keys, formats::Problems* problems) {
  constexpr int64_t kMost = 1 << 24;
  const core::TensorView* embedding = checkpoint.find(kEmbeddingTensor);
  if (embedding == nullptr && checkpoint.is_lost(kEmbeddingTensor))
    return keys.has("vocab_size") ? keys.count("vocab_size") : 0;
  const std::string name = checkpoint.stored_name(kEmbeddingTensor);
  if (embedding == nullptr)
    problems->add("tensor '{}' is missing", name);
  else if (embedding->rows() < 1 || embedding->rows() > kMost)
    problems->add("tensor '{}': a vocabulary of {}", name, embedding->rows());
  else
    return checked_vocab(static_cast<int32_t>(embedding->rows()), name, keys, problems);
  return 0;
}

}  // namespace

std::optional<Spec> read_spec(const formats::Checkpoint& checkpoint, formats::Problems* problems) {
  const formats::Metadata& metadata = checkpoint.metadata();
  const bool is_salvaged = checkpoint.config_faults().in_keys;
  const auto name = metadata.text("general.architecture");
  if (!name.ok()) {
    if (!is_salvaged) problems->add("{}", name.error().message);
    return std::nullopt;
  }
  const auto architecture = find_architecture(*name);
  if (!architecture.ok()) {
    problems->add("{}", architecture.error().message);
    return std::nullopt;
  }
  formats::Problems found;
  Keys keys({metadata, *name, is_salvaged, &found});
  Spec spec = (*architecture)->read_spec(keys);
  spec.architecture = *name;
  if (spec.experts.count == 0 && keys.count_or("expert_count", 0) > 0)
    keys.refuse("expert_count", "a mixture of experts is not supported in '{}'", *name);
  // A layer has at least one tensor: what comes next is bounded by the file.
  const int64_t layers = int64_t{spec.layers} + spec.draft_layers;
  if (keys.are_good({"block_count"}) && layers > checkpoint.tensors_max())
    keys.refuse("block_count", "{} layers, the file has {} tensors", layers,
                checkpoint.tensors().size());
  spec.vocab = read_vocab(checkpoint, keys, &found);
  spec.tied_embeddings = !has_matrix(checkpoint, kOutputTensor);
  problems->add_all(found);
  if (spec.tied_embeddings && formats::says_has(metadata, formats::kHasOutputKey))
    problems->add("tensor '{}' is missing, and config.json says 'tie_word_embeddings': false",
                  checkpoint.stored_name(kOutputTensor));
  if (!found.empty() || !keys.is_whole() || spec.vocab == 0) return std::nullopt;
  return spec;
}

core::Result<Spec> read_spec(const formats::Checkpoint& checkpoint) {
  formats::Problems problems;
  auto spec = read_spec(checkpoint, &problems);
  if (spec && problems.empty()) return std::move(*spec);
  return problems.error();
}

}  // namespace sluice::model
