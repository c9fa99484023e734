#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/math.h"
#include "formats/problems.h"
#include "model/arch/architecture.h"
#include "model/stored_matrix.h"

namespace sluice::model {
namespace {

struct PlannedMatrix {
  std::string tensor;
  StoredMatrix stored;
  Matrix* matrix = nullptr;
  double token_share = 1;
};

struct PlannedVector {
  core::TensorView view;
  Vector* vector = nullptr;
};

// "blk.3.ffn_up_exps.weight" → "blk.3.ffn_up_exps.17.weight".
std::string member_name(const std::string& stack, int64_t member) {
  const size_t suffix = stack.rfind('.');
  return fmt::format("{}.{}{}", stack.substr(0, suffix), member, stack.substr(suffix));
}

// Finds every tensor of the architecture's tables in the checkpoint before anything is packed.
class Planner {
 public:
  explicit Planner(const WeightLoader& loader)
      : checkpoint_(loader.checkpoint), spec_(loader.spec), decoded_type_(loader.decoded_type) {}

  void add_embedding(Weights* weights) {
    // A tied output matrix is the embedding once more, in packed form.
    const TensorRow<Weights> output{
        .name = spec_.tied_embeddings ? kEmbeddingTensor : kOutputTensor,
        .columns = Extent::kHidden,
        .rows = Extent::kVocab,
        .matrix = &Weights::output};
    add(output, std::string(output.name), weights);
    const auto* view = find(std::string(kEmbeddingTensor), {1, spec_.vocab, spec_.hidden});
    if (view == nullptr) return;
    if (core::decodes_alone(view->type))
      weights->embedding = *view;
    else
      refuse_type(std::string(kEmbeddingTensor), view->type);
  }

  template <typename Owner>
  void add(const TensorRow<Owner>& row, const std::string& tensor, Owner* owner) {
    const bool optional = row.presence == Presence::kOptional;
    if (optional && checkpoint_.find(tensor) == nullptr) return;
    const Shape shape{1, extent_of(spec_, row.rows), extent_of(spec_, row.columns)};
    const core::TensorView* view = find(tensor, shape);
    if (view == nullptr) return;
    if (row.vector != nullptr) {
      if (!core::decodes_alone(view->type)) return refuse_type(tensor, view->type);
      return vectors_.push_back({*view, &(owner->*row.vector)});
    }
    plan({tensor, {.view = *view, .rows = shape.rows}, &(owner->*row.matrix)}, row.widen);
  }

  // Rows with several matrices: see Lie.
  void add_stack(const TensorRow<LayerWeights>& row, int32_t layer, LayerWeights* owner) {
    const std::string stack = fmt::format(fmt::runtime(row.name), layer);
    const std::string joined = fmt::format(kJoinedHeads, layer);
    const Shape shape{extent_of(spec_, row.count), extent_of(spec_, row.rows),
                      extent_of(spec_, row.columns)};
    std::vector<Matrix>& list = owner->*row.matrices;
    list.resize(static_cast<size_t>(shape.count));
    const bool experts = row.lie == Lie::kStack;
    if (!experts && checkpoint_.find(stack) == nullptr && checkpoint_.find(joined) != nullptr)
      return add_heads(row.lie, joined, &list);
    const double share = experts ? 1.0 * spec_.experts.used / spec_.experts.count : 1;
    if (!experts || checkpoint_.find(stack) != nullptr) {
      const core::TensorView* view = find(stack, shape);
      if (view == nullptr) return;
      for (int64_t i = 0; i < shape.count; ++i)
        plan({stack,
              {.view = *view, .first_row = i * shape.rows, .rows = shape.rows},
              &list[static_cast<size_t>(i)],
              share},
             row.widen);
      return;
    }
    for (int64_t i = 0; i < shape.count; ++i) {
      const std::string tensor = member_name(stack, i);
      const core::TensorView* view = find(tensor, {1, shape.rows, shape.columns});
      if (view != nullptr)
        plan({tensor, {.view = *view, .rows = shape.rows}, &list[static_cast<size_t>(i)], share},
             row.widen);
    }
  }

  // What is added from now on is no part of a step.
  void begin_drafts() { step_share_ = 0; }

  void refuse_unknown() {
    for (const auto& [name, view] : checkpoint_.tensors())
      if (!used_.contains(name) && !is_of_draft_layer(name))
        problems_.add("tensor '{}' is no part of architecture '{}'", checkpoint_.stored_name(name),
                      spec_.architecture);
  }

  const formats::Problems& problems() const { return problems_; }
  std::vector<PlannedMatrix>& matrices() { return matrices_; }
  std::vector<PlannedVector>& vectors() { return vectors_; }

 private:
  struct Shape {
    int64_t count;  // 1: no dimension of its own
    int64_t rows;
    int64_t columns;
    // A vector is no matrix of one row; a table of scales may be.
    int dims = count > 1 ? 3 : rows > 1 ? 2 : 1;
  };

  const core::TensorView* find(const std::string& tensor, Shape expected) {
    const core::TensorView* view = checkpoint_.find(tensor);
    if (view == nullptr) {
      problems_.add("tensor '{}' is missing, expected {}", checkpoint_.stored_name(tensor),
                    text(expected));
      return nullptr;
    }
    used_.insert(tensor);
    if (view->columns() != expected.columns || view->rows() != expected.count * expected.rows ||
        view->dims > expected.dims || (expected.count > 1 && view->shape[0] != expected.count)) {
      problems_.add("tensor '{}': shape {}, expected {}", checkpoint_.stored_name(tensor),
                    core::shape_text(*view), text(expected));
      return nullptr;
    }
    return view;
  }

  // Keys or values of every head, out of the matrix that has both.
  void add_heads(Lie lie, const std::string& joined, std::vector<Matrix>* list) {
    const int64_t keys = spec_.latent.nope_dims, values = spec_.latent.value_dims;
    const core::TensorView* view =
        find(joined, {1, spec_.heads * (keys + values), spec_.latent.rank});
    if (view == nullptr) return;
    for (int64_t head = 0; head < spec_.heads; ++head) {
      StoredMatrix stored{.view = *view, .first_row = head * (keys + values), .rows = keys};
      if (lie == Lie::kHeadKeys) {
        stored.order = Order::kTransposed;
      } else {
        stored.first_row += keys;
        stored.rows = values;
      }
      plan({joined, stored, &(*list)[static_cast<size_t>(head)]}, Widen::kNo);
    }
  }

  // Decides in which blocks the matrix is packed.
  void plan(PlannedMatrix planned, Widen widen) {
    StoredMatrix& stored = planned.stored;
    stored.type = stored.view.type;
    if (stored.type == core::DType::kF8_E4M3) {
      stored.scales = find_scales(planned.tensor, stored.view);
      if (stored.scales == nullptr) return;
      stored.type = core::DType::kF8_B128;
    } else if (!core::decodes_alone(stored.type)) {
      return refuse_type(planned.tensor, stored.type);
    }
    const bool is_float = core::info(stored.type).block_values == 1;
    if (stored.order == Order::kTransposed && !is_float) stored.type = decoded_type_;
    if (widen == Widen::kF32) stored.type = core::DType::kF32;
    planned.token_share *= step_share_;
    matrices_.push_back(std::move(planned));
  }

  const float* find_scales(const std::string& tensor, const core::TensorView& view) {
    const std::string name = tensor + "_scale_inv";
    if (view.columns() % kScaleBlock != 0) {
      problems_.add("tensor '{}': FP8 rows of {} values, expected whole blocks of {}",
                    checkpoint_.stored_name(tensor), view.columns(), kScaleBlock);
      return nullptr;
    }
    const core::TensorView* scales =
        find(name, {1, core::div_ceil(view.rows(), kScaleBlock), view.columns() / kScaleBlock, 2});
    if (scales == nullptr) return nullptr;
    if (scales->type != core::DType::kF32) {
      refuse_type(name, scales->type);
      return nullptr;
    }
    const auto* values = reinterpret_cast<const float*>(scales->data);
    if (!std::all_of(values, values + scales->values(), [](float x) { return std::isfinite(x); })) {
      problems_.add("tensor '{}': holds scales that are not finite", checkpoint_.stored_name(name));
      return nullptr;
    }
    return values;
  }

  void refuse_type(const std::string& tensor, core::DType type) {
    problems_.add("tensor '{}': values of type {} have no meaning here",
                  checkpoint_.stored_name(tensor), core::info(type).name);
  }

  // The layers of multi-token prediction are behind the model's own.
  bool is_of_draft_layer(std::string_view tensor) const {
    for (int32_t i = 0; i < spec_.draft_layers; ++i)
      if (tensor.starts_with(fmt::format("blk.{}.", spec_.layers + i))) return true;
    return false;
  }

  static std::string text(Shape shape) {
    if (shape.count > 1) return fmt::format("{}×{}×{}", shape.count, shape.rows, shape.columns);
    if (shape.rows == 1) return fmt::format("{}", shape.columns);
    return fmt::format("{}×{}", shape.rows, shape.columns);
  }

  const formats::Checkpoint& checkpoint_;
  const Spec& spec_;
  const core::DType decoded_type_;
  formats::Problems problems_;
  std::set<std::string, std::less<>> used_;
  std::vector<PlannedMatrix> matrices_;
  std::vector<PlannedVector> vectors_;
  double step_share_ = 1;
};

void add_layer(const WeightLoader& loader, const Architecture& architecture, int32_t layer,
               Planner* planner, LayerWeights* owner) {
  for (const LayerTable& table : architecture.layer_tables())
    for (const TensorRow<LayerWeights>& row : table) {
      if (!is_in_layer(loader.spec, row.where, layer)) continue;
      if (row.matrices != nullptr)
        planner->add_stack(row, layer, owner);
      else
        planner->add(row, fmt::format(fmt::runtime(row.name), layer), owner);
    }
}

void add_layers(const WeightLoader& loader, const Architecture& architecture, Planner* planner,
                Weights* weights) {
  const Spec& spec = loader.spec;
  weights->layers.resize(static_cast<size_t>(spec.layers));
  for (int32_t layer = 0; layer < spec.layers; ++layer)
    add_layer(loader, architecture, layer, planner, &weights->layers[static_cast<size_t>(layer)]);
  if (loader.drafts == DraftLayers::kLeave || spec.draft_layers == 0) return;
  planner->begin_drafts();
  weights->drafts.resize(1);
  add_layer(loader, architecture, spec.layers, planner, &weights->drafts[0].layer);
  for (const TensorRow<DraftWeights>& row : draft_tensors())
    planner->add(row, fmt::format(fmt::runtime(row.name), spec.layers), &weights->drafts[0]);
}

void load_vectors(const std::vector<PlannedVector>& planned, Weights* weights) {
  int64_t values = 0;
  for (const PlannedVector& p : planned) {
    values += core::round_up(p.view.values(), core::kCacheLineBytes / 4);
    weights->vector_file_bytes += p.view.bytes();
  }
  weights->vectors = core::Buffer(values * static_cast<int64_t>(sizeof(float)));
  auto* out = weights->vectors.as<float>();
  for (const PlannedVector& p : planned) {
    kernels::decode(p.view.type, p.view.data, p.view.values(), out);
    *p.vector = out;
    out += core::round_up(p.view.values(), core::kCacheLineBytes / 4);
  }
}

// What pack() reads: the matrix where it lies, or assembled in `scratch`.
const std::byte* blocks_of(const StoredMatrix& stored, core::ThreadPool& pool,
                           std::vector<std::byte>* scratch) {
  if (const std::byte* in_place = stored.in_place()) return in_place;
  scratch->resize(
      static_cast<size_t>(stored.outputs() * core::bytes_of(stored.type, stored.inputs())));
  pool.run([&](int thread, int threads) {
    assemble(stored, core::split(stored.rows, 1, thread, threads), scratch->data());
  });
  return scratch->data();
}

// Packs in the order of the plan, every matrix by all threads.
void pack_matrices(const WeightLoader& loader, const std::vector<PlannedMatrix>& planned,
                   Weights* weights) {
  const auto packed_bytes = [&](const StoredMatrix& m) {
    return core::round_up(loader.ops.packed_bytes(m.type, m.outputs(), m.inputs()),
                          core::kCacheLineBytes);
  };
  int64_t storage_bytes = 0;
  int64_t total_bytes = 0;
  for (const PlannedMatrix& p : planned) {
    storage_bytes += packed_bytes(p.stored);
    total_bytes += p.stored.bytes();
  }
  weights->matrices = core::Buffer(storage_bytes);
  std::byte* packed = weights->matrices.data();
  int64_t done_bytes = 0;
  std::vector<std::byte> scratch;
  for (const PlannedMatrix& p : planned) {
    const kernels::PackArgs args{.type = p.stored.type,
                                 .outputs = p.stored.outputs(),
                                 .inputs = p.stored.inputs(),
                                 .weights = blocks_of(p.stored, loader.pool, &scratch),
                                 .packed = packed};
    loader.pool.run([&](int thread, int threads) { loader.ops.pack(args, thread, threads); });
    *p.matrix = {args.type, args.outputs, args.inputs, packed};
    weights->sources.push_back({p.tensor, p.matrix, p.stored.bytes(), p.token_share});
    packed += packed_bytes(p.stored);
    loader.checkpoint.release(p.stored.stored_rows());
    done_bytes += p.stored.bytes();
    if (loader.progress) loader.progress(done_bytes, total_bytes);
  }
}

}  // namespace

core::Result<void> WeightLoader::load(Weights* weights) const {
  const Architecture* architecture = TRY(find_architecture(spec.architecture));
  Planner planner(*this);
  planner.add_embedding(weights);
  for (const TensorRow<Weights>& row : model_tensors())
    planner.add(row, std::string(row.name), weights);
  add_layers(*this, *architecture, &planner, weights);
  planner.refuse_unknown();
  if (!planner.problems().empty()) return planner.problems().error();
  load_vectors(planner.vectors(), weights);
  pack_matrices(*this, planner.matrices(), weights);
  return {};
}

}  // namespace sluice::model
