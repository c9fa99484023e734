#include "model/spec.h"

#include "model/arch/architecture.h"

namespace sluice::model {
namespace {

// The embedding's rows; what the metadata say where it is lost.
core::Result<int32_t> read_vocab(const formats::Checkpoint& checkpoint,
                                 const std::string& architecture) {
  const core::TensorView* embedding = checkpoint.find(kEmbeddingTensor);
  if (embedding == nullptr && !checkpoint.is_lost(kEmbeddingTensor))
    return core::invalid("tensor '{}' is missing", checkpoint.stored_name(kEmbeddingTensor));
  const int64_t rows = embedding != nullptr
                           ? embedding->rows()
                           : TRY(checkpoint.metadata().integer(architecture + ".vocab_size"));
  if (rows < 1 || rows > (int64_t{1} << 24))
    return core::invalid("tensor '{}': a vocabulary of {}",
                         checkpoint.stored_name(kEmbeddingTensor), rows);
  return static_cast<int32_t>(rows);
}

}  // namespace

core::Result<Spec> read_spec(const formats::Checkpoint& checkpoint) {
  const auto name = TRY(checkpoint.metadata().text("general.architecture"));
  const Architecture* architecture = TRY(find_architecture(name));
  Spec spec = TRY(architecture->read_spec(checkpoint.metadata()));
  const std::string experts = spec.architecture + ".expert_count";
  if (spec.experts.count == 0 && TRY(checkpoint.metadata().integer_or(experts, 0)) > 0)
    return core::unsupported("metadata '{}': a mixture of experts is not supported in '{}'",
                             experts, spec.architecture);
  // A layer has at least one tensor: what comes next is bounded by the file.
  const int64_t layers = int64_t{spec.layers} + spec.draft_layers;
  if (layers > checkpoint.tensors_max())
    return core::invalid("metadata '{}.block_count': {} layers, the file has {} tensors",
                         spec.architecture, layers, checkpoint.tensors().size());
  spec.vocab = TRY(read_vocab(checkpoint, spec.architecture));
  spec.tied_embeddings =
      checkpoint.find(kOutputTensor) == nullptr && !checkpoint.is_lost(kOutputTensor);
  return spec;
}

}  // namespace sluice::model
