// One architecture: how its metadata becomes a Spec, and where its tensors go.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "model/cards.h"
#include "model/spec.h"
#include "model/weights.h"

namespace sluice::model {

class Keys;

enum class Extent {
  kOne,
  kVocab,
  kHidden,
  kHeads,
  kQ,
  kKv,
  kHeadDim,
  kAttended,
  kFfn,
  kRopePairs,
  kQueryRank,
  kLatentRank,
  kLatentRow,  // latent vector and the dimensions that turn
  kNopeDims,
  kValueDims,
  kExperts,
  kExpertFfn,
  kSharedFfn,
  kDraftInputs,  // an embedding and a hidden state
};
int64_t extent_of(const Spec& spec, Extent extent);

// What each of several cards keeps of a tensor with these dimensions, kOne being none.
struct TensorExtents {
  Extent columns = Extent::kOne;
  Extent rows = Extent::kOne;
  Extent count = Extent::kOne;
};
Cut cut_of(const TensorExtents& extents);

enum class Presence { kRequired, kOptional };

// Which layers of which specs have a tensor.
enum class Where { kAll, kDense, kExperts, kSharedExperts, kQueryRank, kNoQueryRank };
bool is_in_layer(const Spec& spec, Where where, int32_t layer);

// How a row's matrices lie in the checkpoint.
enum class Lie {
  kApart,       // one matrix, one tensor
  kStack,       // all in one tensor, or tensors of their own: "….weight" or "….17.weight"
  kHeadKeys,    // as kStack, or the transposed first rows of each head of "attn_kv_b"
  kHeadValues,  // as kStack, or the last rows of each head of "attn_kv_b"
};

enum class Widen { kNo, kF32 };  // whether a matrix is kept in float32 whatever it is stored in

inline constexpr std::string_view kJoinedHeads = "blk.{}.attn_kv_b.weight";

// A tensor of a layer (Owner LayerWeights, name with "{}" for the layer's number) or of the model
// (Owner Weights). Exactly one of `matrix`, `matrices` and `vector` says where it goes.
template <typename Owner>
struct TensorRow {
  std::string_view name;
  Presence presence = Presence::kRequired;
  Extent columns = Extent::kOne;  // inputs of a matrix, values of a vector
  Extent rows = Extent::kOne;     // outputs of a matrix
  Matrix Owner::*matrix = nullptr;
  Vector Owner::*vector = nullptr;
  std::vector<Matrix> Owner::*matrices = nullptr;
  Lie lie = Lie::kApart;
  Extent count = Extent::kOne;  // of `matrices`
  Where where = Where::kAll;
  Widen widen = Widen::kNo;
  std::string_view promise = {};  // metadata's flag under which an optional one is required
};
using LayerTable = std::span<const TensorRow<LayerWeights>>;

struct Architecture {
  std::string_view name;          // general.architecture
  Spec (*read_spec)(Keys& keys);  // but for the name, the vocabulary and tied_embeddings
  std::span<const LayerTable> (*layer_tables)();  // arch/tensors.h has what they share
};

inline constexpr std::string_view kEmbeddingTensor = "token_embd.weight";
inline constexpr std::string_view kOutputTensor = "output.weight";
std::span<const TensorRow<Weights>> model_tensors();
// Beside those of a layer.
std::span<const TensorRow<DraftWeights>> draft_tensors();

// Whether layers of `architecture` (false of one that is not known) need a tensor of GGUF's `name`:
// "blk.7.attn_q.bias".
bool needs_tensor(std::string_view architecture, std::string_view name);

// The table of architectures; an Error lists those that are known.
core::Result<const Architecture*> find_architecture(std::string_view name);

extern const Architecture kLlama;
extern const Architecture kQwen2;
extern const Architecture kQwen3;
extern const Architecture kQwen3Moe;
extern const Architecture kDeepseek2;

}  // namespace sluice::model
