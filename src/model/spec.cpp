#include "model/spec.h"

#include "model/arch/architecture.h"

namespace sluice::model {

core::Result<Spec> read_spec(const formats::Checkpoint& checkpoint) {
  const auto name = TRY(checkpoint.metadata().text("general.architecture"));
  const Architecture* architecture = TRY(find_architecture(name));
  Spec spec = TRY(architecture->read_spec(checkpoint.metadata()));
  const std::string experts = spec.architecture + ".expert_count";
  if (spec.experts.count == 0 && TRY(checkpoint.metadata().integer_or(experts, 0)) > 0)
    return core::unsupported("metadata '{}': a mixture of experts is not supported in '{}'",
                             experts, spec.architecture);
  const core::TensorView* embedding = checkpoint.find(kEmbeddingTensor);
  if (embedding == nullptr) return core::invalid("tensor '{}' is missing", kEmbeddingTensor);
  if (embedding->rows() > (int64_t{1} << 24))
    return core::invalid("tensor '{}': a vocabulary of {}", kEmbeddingTensor, embedding->rows());
  // A layer has at least one tensor: what comes next is bounded by the file.
  const int64_t layers = int64_t{spec.layers} + spec.draft_layers;
  if (layers > std::ssize(checkpoint.tensors()))
    return core::invalid("metadata '{}.block_count': {} layers, the file has {} tensors",
                         spec.architecture, layers, checkpoint.tensors().size());
  spec.vocab = static_cast<int32_t>(embedding->rows());
  spec.tied_embeddings = checkpoint.find(kOutputTensor) == nullptr;
  return spec;
}

}  // namespace sluice::model
