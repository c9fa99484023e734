#include "model/weights.h"

#include <cstring>
#include <set>

#include "core/math.h"
#include "formats/problems.h"
#include "model/arch/architecture.h"

namespace sluice::model {
namespace {

struct PlannedMatrix {
  std::string tensor;
  core::TensorView view;
  Matrix* matrix = nullptr;
};

struct PlannedVector {
  core::TensorView view;
  Vector* vector = nullptr;
};

// Finds every tensor of the architecture's tables in the checkpoint before anything is packed.
class Planner {
 public:
  Planner(const formats::Checkpoint& checkpoint, const Spec& spec)
      : checkpoint_(checkpoint), spec_(spec) {}

  void add_embedding(Weights* weights) {
    // A tied output matrix is the embedding once more, in packed form.
    const TensorRow<Weights> output{
        .name = spec_.tied_embeddings ? kEmbeddingTensor : kOutputTensor,
        .columns = Extent::kHidden,
        .rows = Extent::kVocab,
        .matrix = &Weights::output};
    add(output, std::string(output.name), weights);
    if (const auto* view = find(std::string(kEmbeddingTensor), {spec_.vocab, spec_.hidden}))
      weights->embedding = *view;
  }

  template <typename Owner>
  void add(const TensorRow<Owner>& row, const std::string& tensor, Owner* owner) {
    const bool optional = row.presence == Presence::kOptional;
    if (optional && checkpoint_.find(tensor) == nullptr) return;
    const core::TensorView* view =
        find(tensor, {extent_of(spec_, row.rows), extent_of(spec_, row.columns)});
    if (view == nullptr) return;
    if (row.matrix != nullptr)
      matrices_.push_back({tensor, *view, &(owner->*row.matrix)});
    else
      vectors_.push_back({*view, &(owner->*row.vector)});
  }

  void refuse_unknown() {
    for (const auto& [name, view] : checkpoint_.tensors())
      if (!used_.contains(name))
        problems_.add("tensor '{}' is no part of architecture '{}'", name, spec_.architecture);
  }

  const formats::Problems& problems() const { return problems_; }
  std::vector<PlannedMatrix>& matrices() { return matrices_; }
  std::vector<PlannedVector>& vectors() { return vectors_; }

 private:
  struct Shape {
    int64_t rows;
    int64_t columns;
  };

  const core::TensorView* find(const std::string& tensor, Shape expected) {
    const core::TensorView* view = checkpoint_.find(tensor);
    if (view == nullptr) {
      problems_.add("tensor '{}' is missing, expected {}", tensor, text(expected));
      return nullptr;
    }
    used_.insert(tensor);
    const int dims_max = expected.rows == 1 ? 1 : 2;
    if (view->columns() != expected.columns || view->rows() != expected.rows ||
        view->dims > dims_max) {
      problems_.add("tensor '{}': shape {}, expected {}", tensor, core::shape_text(*view),
                    text(expected));
      return nullptr;
    }
    return view;
  }

  static std::string text(Shape shape) {
    if (shape.rows == 1) return fmt::format("{}", shape.columns);
    return fmt::format("{}×{}", shape.rows, shape.columns);
  }

  const formats::Checkpoint& checkpoint_;
  const Spec& spec_;
  formats::Problems problems_;
  std::set<std::string, std::less<>> used_;
  std::vector<PlannedMatrix> matrices_;
  std::vector<PlannedVector> vectors_;
};

void add_layers(const Architecture& architecture, const Spec& spec, Planner* planner,
                Weights* weights) {
  weights->layers.resize(static_cast<size_t>(spec.layers));
  for (size_t layer = 0; layer < weights->layers.size(); ++layer) {
    const auto add_rows = [&](std::span<const TensorRow<LayerWeights>> rows) {
      for (const TensorRow<LayerWeights>& row : rows)
        planner->add(row, fmt::format(fmt::runtime(row.name), layer), &weights->layers[layer]);
    };
    add_rows(architecture.family_layer_tensors());
    add_rows(architecture.layer_tensors);
  }
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

// Packs in the order of the plan, every matrix by all threads.
void pack_matrices(const WeightLoader& loader, const std::vector<PlannedMatrix>& planned,
                   Weights* weights) {
  const auto packed_bytes = [&](const PlannedMatrix& p) {
    return core::round_up(loader.ops.packed_bytes(p.view.type, p.view.rows(), p.view.columns()),
                          core::kCacheLineBytes);
  };
  int64_t storage_bytes = 0;
  int64_t total_bytes = 0;
  for (const PlannedMatrix& p : planned) {
    storage_bytes += packed_bytes(p);
    total_bytes += p.view.bytes();
  }
  weights->matrices = core::Buffer(storage_bytes);
  std::byte* packed = weights->matrices.data();
  int64_t done_bytes = 0;
  for (const PlannedMatrix& p : planned) {
    const kernels::PackArgs args{.type = p.view.type,
                                 .outputs = p.view.rows(),
                                 .inputs = p.view.columns(),
                                 .weights = p.view.data,
                                 .packed = packed};
    loader.pool.run([&](int thread, int threads) { loader.ops.pack(args, thread, threads); });
    *p.matrix = {args.type, args.outputs, args.inputs, packed};
    weights->sources.push_back({p.tensor, p.matrix, p.view.bytes()});
    packed += packed_bytes(p);
    loader.checkpoint.release(p.view);
    done_bytes += p.view.bytes();
    if (loader.progress) loader.progress(done_bytes, total_bytes);
  }
}

}  // namespace

core::Result<void> WeightLoader::load(Weights* weights) const {
  const Architecture* architecture = TRY(find_architecture(spec.architecture));
  Planner planner(checkpoint, spec);
  planner.add_embedding(weights);
  for (const TensorRow<Weights>& row : model_tensors())
    planner.add(row, std::string(row.name), weights);
  add_layers(*architecture, spec, &planner, weights);
  planner.refuse_unknown();
  if (!planner.problems().empty()) return planner.problems().error();
  load_vectors(planner.vectors(), weights);
  pack_matrices(*this, planner.matrices(), weights);
  return {};
}

}  // namespace sluice::model
