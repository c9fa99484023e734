#include "quantize/synthesize.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "formats/gguf.h"
#include "model/model.h"
#include "model/single_sequence.h"
#include "quantize/convert_folder.h"
#include "quantize/random_tensors.h"
#include "quantize/synthesize_folder.h"
#include "quantize/tensor_source.h"

namespace sluice::quantize {
namespace {

namespace fs = std::filesystem;
using core::DType;

// DeepSeek's shapes, small.
plan::Geometry small_experts() {
  plan::Geometry g = plan::find_geometry("deepseek-v3").value();
  g.layers = 3;
  g.hidden = 256;
  g.heads = 2;
  g.ffn = 512;
  g.vocab = 64;
  g.experts.dense_layers = 1;
  g.experts.count = 8;
  g.experts.ffn = 256;
  g.latent.q_rank = 256;
  return g;
}

class SynthesizeTest : public ::testing::Test {
 protected:
  SynthesizeTest() : folder_(fs::temp_directory_path() / fmt::format("sluice-synth-{}", getpid())) {
    fs::create_directories(folder_);
  }
  ~SynthesizeTest() override { fs::remove_all(folder_); }

  std::string write(const char* name, uint64_t seed, DType rest = DType::kQ8_0) {
    const std::string path = folder_ / name;
    const auto bytes = synthesize(small_experts(), {.path = path, .rest = rest, .seed = seed});
    EXPECT_TRUE(bytes.ok()) << bytes.error().message;
    std::ifstream in(path, std::ios::binary);
    std::string found{std::istreambuf_iterator<char>(in), {}};
    EXPECT_EQ(*bytes, std::ssize(found));
    return found;
  }
  // Whether the options give the bytes that lie there.
  static bool is_same_again(SynthesisOptions options, const plan::Geometry& geometry) {
    const auto read_all = [](const std::string& path) {
      std::ifstream in(path, std::ios::binary);
      return std::string(std::istreambuf_iterator<char>(in), {});
    };
    const std::string first = read_all(options.path);
    options.path += ".again";
    return synthesize(geometry, options).ok() && read_all(options.path) == first;
  }
  formats::GgufFile read(const char* name) const {
    return formats::read_gguf(formats::map_file(folder_ / name).value()).value();
  }

  fs::path folder_;
};

TEST_F(SynthesizeTest, AFileIsAFunctionOfItsSeed) {
  const std::string one = write("a.gguf", 1);
  EXPECT_EQ(one, write("b.gguf", 1));
  EXPECT_NE(one, write("c.gguf", 2));
}

TEST_F(SynthesizeTest, TensorsHaveTheGeometrysShapesAndTheirTypes) {
  write("k.gguf", 1, DType::kQ4_K);
  const formats::GgufFile file = read("k.gguf");
  const auto expected = plan::tensors_of(small_experts());
  ASSERT_EQ(file.tensors.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const core::TensorView& view = file.tensors[i].view;
    EXPECT_EQ(file.tensors[i].name, expected[i].name);
    EXPECT_EQ(std::vector(view.shape.begin(), view.shape.begin() + view.dims), expected[i].shape);
    DType type = DType::kQ4_K;
    if (expected[i].part == plan::Part::kExperts) type = DType::kQ4_0;
    if (expected[i].part == plan::Part::kOutput) type = DType::kQ8_0;
    if (expected[i].name.ends_with("attn_k_b.weight")) type = DType::kQ5_0;  // rows of 128
    if (expected[i].part == plan::Part::kVectors || expected[i].part == plan::Part::kRouter)
      type = DType::kF32;
    EXPECT_EQ(core::info(view.type).name, core::info(type).name) << expected[i].name;
  }
  EXPECT_EQ(file.metadata.integer("deepseek2.expert_count").value(), 8);
  EXPECT_EQ(file.metadata.text("tokenizer.ggml.model").value(), "none");
}

struct Moments {
  double mean = 0;
  double deviation = 0;  // from 0
};

// Of the first rows.
Moments moments_of(const std::vector<TensorSource>& sources, std::string_view name) {
  const auto source = std::find_if(sources.begin(), sources.end(),
                                   [&](const TensorSource& s) { return s.name == name; });
  if (source == sources.end()) return {};
  const RowReader reader(*source);
  constexpr int64_t kRows = 64;
  std::vector<float> row(static_cast<size_t>(source->shape.columns()));
  double sum = 0, squares = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    reader.read(r, row.data());
    for (const float x : row) {
      sum += double{x};
      squares += double{x} * double{x};
    }
  }
  const auto count = static_cast<double>(kRows * std::ssize(row));
  return {sum / count, std::sqrt(squares / count)};
}

// What a model can be loaded from can be made, and has weights of the size of the other types'.
TEST_F(SynthesizeTest, FilesOfEveryTypeLoadAndGiveNumbers) {
  plan::Geometry geometry = small_experts();
  geometry.experts.groups = geometry.experts.groups_used = 1;
  geometry.latent.nope_dim = geometry.latent.value_dim = geometry.latent.kv_rank = 256;
  int types = 0;
  for (uint32_t id = 0; id < 64; ++id) {
    const auto type = core::dtype_from_gguf(id);
    if (!type) continue;
    ++types;
    SCOPED_TRACE(core::info(*type).name);
    ASSERT_TRUE(can_synthesize(*type));
    const SynthesisOptions options{
        .path = folder_ / "t.gguf", .rest = *type, .experts = *type, .output = *type};
    const auto bytes = synthesize(geometry, options);
    ASSERT_TRUE(bytes.ok()) << bytes.error().message;
    EXPECT_TRUE(is_same_again(options, geometry));
    const auto opened = formats::Checkpoint::open(options.path);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const auto found = tensor_sources(**opened);
    ASSERT_TRUE(found.ok()) << found.error().message;
    for (const char* name : {"token_embd.weight", "blk.1.ffn_up_exps.weight", "output.weight"}) {
      EXPECT_EQ((*opened)->find(name)->type, *type) << name;
      EXPECT_NEAR(moments_of(*found, name).deviation, kWeightDeviation, 0.05 * kWeightDeviation)
          << name;
      EXPECT_NEAR(moments_of(*found, name).mean, 0, 0.02 * kWeightDeviation) << name;
    }
    auto model = model::Model::load(**opened, {.threads = 2, .step_tokens_max = 4});
    ASSERT_TRUE(model.ok()) << model.error().message;
    ASSERT_TRUE((*model)->allocate_kv(4).ok());
    std::vector<float> logits(static_cast<size_t>(geometry.vocab));
    model::SingleSequence sequence(**model, 0, 64);
    const std::vector<int32_t> ids = {3, 1, 60};
    sequence.append({.ids = ids, .chunk = 4, .logit_count = 1}, logits.data());
    double squares = 0;
    for (const float x : logits) squares += double{x} * double{x};
    // A normalised state of 256 numbers against weights of this deviation: 16 · 0.02.
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(logits.size())), 0.32, 0.1);
  }
  EXPECT_EQ(types, 16);
}

TEST_F(SynthesizeTest, TensorsOfOneTypeDiffer) {
  write("a.gguf", 1);
  const formats::GgufFile file = read("a.gguf");
  const auto bytes = [&](std::string_view name) {
    for (const auto& t : file.tensors)
      if (t.name == name)
        return std::string(reinterpret_cast<const char*>(t.view.data),
                           static_cast<size_t>(t.view.bytes()));
    return std::string();
  };
  ASSERT_FALSE(bytes("blk.1.ffn_gate_exps.weight").empty());
  EXPECT_NE(bytes("blk.1.ffn_gate_exps.weight"), bytes("blk.1.ffn_up_exps.weight"));
  EXPECT_NE(bytes("blk.1.ffn_gate_exps.weight"), bytes("blk.2.ffn_gate_exps.weight"));
}

std::string_view packed_type(const model::Model& model, std::string_view tensor) {
  for (const model::MatrixSource& source : model.weights().sources)
    if (source.tensor == tensor) return core::info(source.matrix->type).name;
  return "none";
}

// A folder of every type loads: its tensors are what the formats' finder expects, in each module.
TEST_F(SynthesizeTest, FoldersHaveTheGeometrysMatrices) {
  FolderRecipe mixed = folder_recipe(FolderType::kInt8);
  mixed.modules[static_cast<size_t>(Module::kExperts)] = FolderType::kInt4;
  FolderRecipe mixed_4 = folder_recipe(FolderType::kInt8);
  mixed_4.modules[static_cast<size_t>(Module::kExperts)] = FolderType::kMxfp4;
  const std::pair<const char*, FolderRecipe> kRecipes[] = {
      {"bf16", folder_recipe(FolderType::kAsStored)},
      {"fp8", folder_recipe(FolderType::kFp8)},
      {"awq", folder_recipe(FolderType::kAwq)},
      {"gptq", folder_recipe(FolderType::kGptq)},
      {"gptq-act-order", folder_recipe(FolderType::kGptqActOrder)},
      {"f16", folder_recipe(FolderType::kF16)},
      {"f32", folder_recipe(FolderType::kF32)},
      {"mxfp4", folder_recipe(FolderType::kMxfp4)},
      {"mixed", mixed},
      {"mixed_4", mixed_4}};
  const std::map<std::string_view, std::string_view> types = {
      {"bf16", "BF16"},   {"fp8", "F8_B128"},  {"awq", "I4_Z32"},    {"gptq", "I4_B32"},
      {"mxfp4", "MXFP4"}, {"mixed", "I4_B32"}, {"mixed_4", "MXFP4"}, {"gptq-act-order", "I4_B32"},
      {"f16", "F16"},     {"f32", "F32"}};
  for (const auto& [name, recipe] : kRecipes) {
    SCOPED_TRACE(name);
    plan::Geometry geometry = small_experts();
    geometry.experts.groups = geometry.experts.groups_used = 1;
    const std::string path = folder_ / name;
    const auto bytes =
        synthesize_folder(geometry, {.path = path, .recipe = recipe, .shard_bytes_max = 1'000'000});
    ASSERT_TRUE(bytes.ok()) << bytes.error().message;
    const auto checked = verify_folder(path, {});
    EXPECT_TRUE(checked.ok()) << checked.error().message;
    const auto opened = formats::Checkpoint::open(path);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const auto found = tensor_sources(**opened);
    ASSERT_TRUE(found.ok()) << found.error().message;
    std::map<std::string, std::vector<int64_t>> shapes;
    for (const TensorSource& t : *found)
      shapes[t.name] = {t.shape.shape.begin(), t.shape.shape.begin() + t.shape.dims};
    for (const plan::GeometryTensor& t : plan::tensors_of(geometry))
      EXPECT_EQ(shapes[t.name], t.shape) << t.name;
    EXPECT_NEAR(moments_of(*found, "blk.1.ffn_up_exps.weight").deviation, kWeightDeviation,
                0.1 * kWeightDeviation);
    const auto model = model::Model::load(**opened, {.threads = 2, .step_tokens_max = 1});
    ASSERT_TRUE(model.ok()) << model.error().message;
    EXPECT_EQ(packed_type(**model, "blk.1.ffn_up_exps.5.weight"), types.at(name));
  }
}

// Folders whose output matrix is quantised: it has no tensor "lm_head.weight".
TEST_F(SynthesizeTest, TheOutputMatrixOfAFolderMayHaveAnyType) {
  for (const FolderType type : {FolderType::kInt4, FolderType::kInt8, FolderType::kFp8,
                                FolderType::kAwq, FolderType::kGptq, FolderType::kMxfp4}) {
    SCOPED_TRACE(name_of(type));
    plan::Geometry geometry = small_experts();
    geometry.experts.groups = geometry.experts.groups_used = 1;
    FolderRecipe recipe = folder_recipe(type);
    recipe.modules[static_cast<size_t>(Module::kOutput)] = type;
    const std::string path = folder_ / name_of(type);
    ASSERT_TRUE(synthesize_folder(geometry, {.path = path, .recipe = recipe}).ok());
    const auto opened = formats::Checkpoint::open(path).value();
    const auto model = model::Model::load(*opened, {.threads = 2, .step_tokens_max = 1});
    ASSERT_TRUE(model.ok()) << model.error().message;
    EXPECT_FALSE((*model)->spec().tied_embeddings);
    EXPECT_EQ(packed_type(**model, "output.weight"), packed_type(**model, "blk.0.ffn_up.weight"));
  }
}

// What is alone in its configuration, or not encoded from values, is refused.
TEST_F(SynthesizeTest, TypesThatNoFolderHasTogetherAreRefused) {
  FolderRecipe recipe = folder_recipe(FolderType::kAwq);
  recipe.modules[static_cast<size_t>(Module::kExperts)] = FolderType::kMxfp4;
  const auto both = check(recipe);
  ASSERT_FALSE(both.ok());
  EXPECT_EQ(both.error().message, "awq beside mxfp4: no configuration says both");
  const auto encoded = check_encodes(folder_recipe(FolderType::kGptq));
  ASSERT_FALSE(encoded.ok());
  EXPECT_EQ(encoded.error().message,
            "type 'gptq' is written of random models alone; others: int4, w8a8, fp8");
  EXPECT_TRUE(check_encodes(folder_recipe(FolderType::kInt4)).ok());
}

// The share of tokens that choose each expert, most popular first, when router logits are normal.
std::vector<double> popularity(RouterShape shape, double skew, uint64_t seed) {
  const std::vector<float> biases = router_biases(shape, skew, seed);
  std::vector<double> chosen(static_cast<size_t>(shape.experts));
  core::Rng rng(seed);
  constexpr int kTokens = 4000;
  for (int token = 0; token < kTokens; ++token) {
    std::vector<std::pair<double, size_t>> scores;
    for (size_t e = 0; e < chosen.size(); ++e) {
      double logit = -6;  // a sum of twelve uniform numbers is nearly normal
      for (int i = 0; i < 12; ++i) logit += rng.unit();
      scores.emplace_back(1 / (1 + std::exp(-logit)) + double{biases[e]}, e);
    }
    std::partial_sort(scores.begin(), scores.begin() + shape.used, scores.end(), std::greater<>());
    for (int i = 0; i < shape.used; ++i) ++chosen[scores[static_cast<size_t>(i)].second];
  }
  std::sort(chosen.begin(), chosen.end(), std::greater<>());
  for (double& c : chosen) c /= kTokens;
  return chosen;
}

// Both kinds of files have them in GGUF's words when they are open; a pass takes what a step left.
TEST_F(SynthesizeTest, ADraftLayerStandsBehindTheOthers) {
  plan::Geometry geometry = small_experts();
  geometry.draft_layers = 1;
  geometry.experts.groups = geometry.experts.groups_used = 1;
  const auto file = synthetic_checkpoint(geometry, {}).value();
  const auto folder =
      synthetic_folder(geometry, {.path = {}, .recipe = folder_recipe(FolderType::kFp8)}).value();
  for (const formats::Checkpoint* checkpoint : {file.get(), folder.get()}) {
    const auto loaded = model::Model::load(
        *checkpoint, {.threads = 1, .step_tokens_max = 8, .drafts = model::DraftLayers::kLoad});
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    model::Model& model = **loaded;
    ASSERT_TRUE(model.has_drafts());
    EXPECT_EQ(model.spec().layers, geometry.layers);
    ASSERT_TRUE(model.allocate_kv(1).ok());
    const int32_t page = 0;
    const std::vector<int32_t> ids = {3, 1, 4, 1}, next = {1, 4, 1, 5}, rows = {0, 1, 2, 3};
    const std::vector<model::SequenceSpan> spans = {{.rows = 4, .pages = &page}};
    const auto vocab = static_cast<size_t>(geometry.vocab);
    std::vector<float> logits(vocab, NAN), drafted(vocab, NAN);
    const std::vector<int32_t> last = {3};
    model.forward({.token_ids = ids,
                   .sequences = spans,
                   .logit_rows = last,
                   .hidden = model::KeepHidden::kYes},
                  logits.data());
    model.draft({.next_ids = next, .sequences = spans, .hidden_rows = rows}, drafted.data());
    for (const float value : drafted) EXPECT_TRUE(std::isfinite(value));
    EXPECT_NE(drafted, logits);
  }
}

TEST(RouterBiases, PopularityFollowsZipfsLaw) {
  constexpr uint64_t kSeed = 20261122;
  const RouterShape shape{.experts = 64, .used = 4};
  for (const double skew : {0.0, 0.5, 1.0}) {
    double sum = 0;
    for (int rank = 1; rank <= shape.experts; ++rank) sum += std::pow(rank, -skew);
    const auto found = popularity(shape, skew, kSeed);
    for (const int rank : {3, 8, 32}) {
      const double expected = shape.used * std::pow(rank, -skew) / sum;
      EXPECT_NEAR(found[static_cast<size_t>(rank - 1)], expected, 0.25 * expected)
          << "skew " << skew << ", rank " << rank << ", seed " << kSeed;
    }
  }
}

TEST(RouterBiases, RanksAreDealtAtRandom) {
  const auto one = router_biases({64, 4}, 1, 1), two = router_biases({64, 4}, 1, 2);
  EXPECT_NE(one, two);
  EXPECT_EQ(one, router_biases({64, 4}, 1, 1));
}

TEST_F(SynthesizeTest, InMemoryItIsTheFolder) {
  plan::Geometry geometry = small_experts();
  geometry.experts.groups = geometry.experts.groups_used = 1;
  for (const FolderType type : {FolderType::kInt4, FolderType::kFp8, FolderType::kGptqActOrder}) {
    const FolderSynthesis options{
        .path = folder_ / name_of(type), .recipe = folder_recipe(type), .seed = 3};
    ASSERT_TRUE(synthesize_folder(geometry, options).ok());
    const auto in_files = formats::Checkpoint::open(options.path).value();
    const auto in_memory = synthetic_folder(geometry, options);
    ASSERT_TRUE(in_memory.ok()) << in_memory.error().message;
    ASSERT_EQ((*in_memory)->tensors().size(), in_files->tensors().size());
    for (const auto& [name, expected] : in_files->tensors()) {
      const core::TensorView* view = (*in_memory)->find(name);
      ASSERT_NE(view, nullptr) << name;
      ASSERT_EQ(view->type, expected.type) << name;
      ASSERT_EQ(core::shape_text(*view), core::shape_text(expected)) << name;
      EXPECT_EQ(std::memcmp(view->data, expected.data, static_cast<size_t>(view->bytes())), 0)
          << name;
    }
    const auto model = model::Model::load(**in_memory, {.threads = 2, .step_tokens_max = 1});
    EXPECT_TRUE(model.ok()) << model.error().message;
  }
}

TEST_F(SynthesizeTest, InMemoryItIsTheFile) {
  write("file.gguf", 3);
  const auto in_file = formats::Checkpoint::open(folder_ / "file.gguf").value();
  const auto in_memory = synthetic_checkpoint(small_experts(), {.seed = 3});
  ASSERT_TRUE(in_memory.ok()) << in_memory.error().message;
  ASSERT_EQ((*in_memory)->tensors().size(), in_file->tensors().size());
  for (const auto& [name, expected] : in_file->tensors()) {
    const core::TensorView* view = (*in_memory)->find(name);
    ASSERT_NE(view, nullptr) << name;
    ASSERT_EQ(view->type, expected.type) << name;
    ASSERT_EQ(view->bytes(), expected.bytes()) << name;
    EXPECT_EQ(std::memcmp(view->data, expected.data, static_cast<size_t>(view->bytes())), 0)
        << name;
  }
}

}  // namespace
}  // namespace sluice::quantize
