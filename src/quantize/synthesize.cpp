#include "quantize/synthesize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "core/math.h"
#include "core/rng.h"
#include "formats/gguf_writer.h"
#include "formats/output_file.h"
#include "quantize/encode.h"
#include "quantize/random_blocks.h"
#include "quantize/random_tensors.h"
#include "quantize/recipe.h"

namespace sluice::quantize {
namespace {

using core::DType;
using formats::GgufWriter;
using plan::Geometry;
using plan::GeometryTensor;
using plan::Part;

constexpr int64_t kPieceBytes = int64_t{4} << 20;
constexpr double kYarnOriginalContext = 4096;
constexpr float kYarnLogMultiplier = 0.1f;
constexpr uint32_t kSigmoidGating = 2;

// Box and Muller's transformation of two uniform numbers.
float normal(core::Rng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.unit()));
  return static_cast<float>(radius * std::cos(2 * M_PI * rng.unit()));
}

// Random weights. An odd number of blocks: rows of a power of two begin elsewhere each time.
std::vector<std::byte> make_pattern(DType type, uint64_t seed) {
  const int64_t block = core::info(type).block_values;
  const int64_t values = (kPatternValues / block + 1) * block;
  std::vector<std::byte> pattern(static_cast<size_t>(core::bytes_of(type, values)));
  if (!can_encode(type)) {
    fill_random_blocks(type, seed, pattern);
    return pattern;
  }
  const std::vector<float> drawn = normals(seed, values, 0, kWeightDeviation);
  encode(type, drawn.data(), values, pattern.data());
  return pattern;
}

void set_attention(const Geometry& g, const std::string& prefix, GgufWriter* writer) {
  const auto set = [&](const char* key, int32_t value) {
    writer->set_integer(prefix + key, static_cast<uint32_t>(value));
  };
  set("attention.head_count", g.heads);
  writer->set_number(prefix + "attention.layer_norm_rms_epsilon", g.norm_epsilon);
  if (!g.has_latent_attention()) {
    set("attention.head_count_kv", g.kv_heads);
    set("attention.key_length", g.head_dim);
    set("attention.value_length", g.head_dim);
    set("rope.dimension_count", g.head_dim);
    return;
  }
  const plan::LatentAttention& l = g.latent;
  set("attention.head_count_kv", 1);
  set("attention.q_lora_rank", l.q_rank);
  set("attention.kv_lora_rank", l.kv_rank);
  set("attention.key_length", l.kv_rank + l.rope_dim);
  set("attention.value_length", l.kv_rank);
  set("attention.key_length_mla", l.nope_dim + l.rope_dim);
  set("attention.value_length_mla", l.value_dim);
  set("rope.dimension_count", l.rope_dim);
}

void set_experts(const Geometry& g, const std::string& prefix, GgufWriter* writer) {
  const plan::Experts& e = g.experts;
  const auto set = [&](const char* key, int32_t value) {
    writer->set_integer(prefix + key, static_cast<uint32_t>(value));
  };
  set("leading_dense_block_count", e.dense_layers);
  set("expert_feed_forward_length", e.ffn);
  set("expert_count", e.count);
  set("expert_used_count", e.used);
  set("expert_shared_count", e.shared);
  set("expert_group_count", e.groups);
  set("expert_group_used_count", e.groups_used);
  writer->set_integer(prefix + "expert_gating_func", kSigmoidGating);
  writer->set_number(prefix + "expert_weights_scale", e.scale);
  writer->set_flag(prefix + "expert_weights_norm", true);
}

class Synthesis {
 public:
  Synthesis(const Geometry& geometry, const SynthesisOptions& options)
      : geometry_(geometry), options_(options), tensors_(plan::tensors_of(geometry)) {}

  core::Result<int64_t> run() {
    GgufWriter writer;
    set_metadata(geometry_, &writer);
    for (const GeometryTensor& t : tensors_) writer.add_tensor(t.name, view_of(t));
    const std::vector<std::byte> header = writer.header();
    offset_ = total_bytes_ = std::ssize(header);
    for (const GeometryTensor& t : tensors_)
      total_bytes_ = core::round_up(total_bytes_ + view_of(t).bytes(), GgufWriter::kAlignmentBytes);
    file_ = TRY(formats::OutputFile::open(options_.path));
    TRY(file_->resize(0));
    TRY(file_->write(0, header));
    for (size_t i = 0; i < tensors_.size(); ++i) TRY(write_tensor(i));
    TRY(file_->resize(total_bytes_));
    TRY(file_->publish());
    return total_bytes_;
  }

  core::Result<std::unique_ptr<formats::Checkpoint>> in_memory() {
    GgufWriter writer;
    set_metadata(geometry_, &writer);
    std::vector<std::byte> bytes = writer.file();
    // Behind the header: names, what is drawn for a tensor, and for each type its pattern again and
    // again, as long as the largest tensor wherever that enters.
    std::vector<Place> places(tensors_.size());
    std::map<DType, int64_t> patterned_bytes;
    int64_t end = std::ssize(bytes);
    for (size_t i = 0; i < tensors_.size(); ++i) {
      places[i].name = end;
      end = core::round_up(end + std::ssize(tensors_[i].name), kCacheLineBytes);
      const core::TensorView view = view_of(tensors_[i]);
      if (is_drawn(tensors_[i], view)) {
        places[i].data = end;
        end = core::round_up(end + view.bytes(), kCacheLineBytes);
        continue;
      }
      int64_t& most = patterned_bytes[view.type];
      most = std::max(most, pattern_at(view.type, seed_of(i)) + view.bytes());
    }
    std::map<DType, int64_t> regions;
    for (const auto& [type, most] : patterned_bytes) {
      regions[type] = end;
      end = core::round_up(end + most, kCacheLineBytes);
    }
    bytes.resize(static_cast<size_t>(end));
    for (const auto& [type, at] : regions)
      repeat(pattern_of(type), std::span(bytes).subspan(static_cast<size_t>(at)),
             patterned_bytes[type]);
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const GeometryTensor& tensor = tensors_[i];
      std::memcpy(bytes.data() + places[i].name, tensor.name.data(), tensor.name.size());
      const core::TensorView view = view_of(tensor);
      if (!is_drawn(tensor, view)) {
        places[i].data = regions[view.type] + pattern_at(view.type, seed_of(i));
        continue;
      }
      const std::vector<float> values =
          drawn_values(geometry_, tensor, options_.router_skew, seed_of(i));
      std::memcpy(bytes.data() + places[i].data, values.data(), values.size() * sizeof(float));
    }
    formats::GgufFile file = TRY(formats::read_gguf(formats::memory_source(std::move(bytes))));
    const std::byte* const base = file.source->bytes().data();
    for (size_t i = 0; i < tensors_.size(); ++i) {
      formats::NamedTensor tensor{
          {reinterpret_cast<const char*>(base + places[i].name), tensors_[i].name.size()},
          view_of(tensors_[i])};
      tensor.view.data = base + places[i].data;
      file.tensors.push_back(tensor);
    }
    std::vector<formats::GgufFile> files;
    files.push_back(std::move(file));
    return formats::Checkpoint::join(std::move(files), {std::string(geometry_.name)});
  }

 private:
  struct Place {  // bytes from the beginning
    int64_t name = 0;
    int64_t data = 0;
  };
  static constexpr int64_t kCacheLineBytes = 64;

  // Instead of by the pattern.
  static bool is_drawn(const GeometryTensor& tensor, const core::TensorView& view) {
    return view.type == DType::kF32 && tensor.part != Part::kEmbedding;
  }
  uint64_t seed_of(size_t tensor) const { return core::random_bits(options_.seed, tensor); }
  const std::vector<std::byte>& pattern_of(DType type) {
    std::vector<std::byte>& pattern = patterns_[type];
    if (pattern.empty())
      pattern = make_pattern(
          type, core::random_bits(options_.seed, ~uint64_t{0} - static_cast<uint64_t>(type)));
    return pattern;
  }
  // Where a tensor enters the pattern.
  int64_t pattern_at(DType type, uint64_t seed) {
    const int64_t block_bytes = core::info(type).block_bytes;
    const int64_t blocks = std::ssize(pattern_of(type)) / block_bytes;
    return static_cast<int64_t>(seed % static_cast<uint64_t>(blocks)) * block_bytes;
  }
  static void repeat(std::span<const std::byte> pattern, std::span<std::byte> to, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += std::ssize(pattern))
      std::memcpy(to.data() + at, pattern.data(),
                  static_cast<size_t>(std::min(bytes - at, std::ssize(pattern))));
  }

  core::TensorView view_of(const GeometryTensor& tensor) const {
    core::TensorView view;
    view.dims = static_cast<int>(tensor.shape.size());
    std::copy(tensor.shape.begin(), tensor.shape.end(), view.shape.begin());
    view.type = fitting_type(wanted_type(tensor.part), view.columns());
    return view;
  }

  DType wanted_type(Part part) const {
    switch (part) {
      case Part::kVectors:
      case Part::kRouter:
        return DType::kF32;
      case Part::kExperts:
        return options_.experts;
      case Part::kOutput:
        return options_.output;
      default:
        return options_.rest;
    }
  }

  core::Result<void> write_tensor(size_t index) {
    const GeometryTensor& tensor = tensors_[index];
    const core::TensorView view = view_of(tensor);
    const uint64_t seed = seed_of(index);
    if (is_drawn(tensor, view)) {
      const std::vector<float> values = drawn_values(geometry_, tensor, options_.router_skew, seed);
      TRY(file_->write(offset_, std::as_bytes(std::span(values))));
    } else {
      TRY(write_pattern(view, seed));
    }
    offset_ = core::round_up(offset_ + view.bytes(), GgufWriter::kAlignmentBytes);
    if (options_.progress) options_.progress(offset_, total_bytes_);
    return {};
  }

  core::Result<void> write_pattern(const core::TensorView& view, uint64_t seed) {
    const std::vector<std::byte>& pattern = pattern_of(view.type);
    int64_t at = pattern_at(view.type, seed);
    int64_t offset = offset_, left = view.bytes();
    while (left > 0) {
      const int64_t piece = std::min({left, std::ssize(pattern) - at, kPieceBytes});
      TRY(file_->write(
          offset, std::span(pattern).subspan(static_cast<size_t>(at), static_cast<size_t>(piece))));
      at = (at + piece) % std::ssize(pattern);
      offset += piece;
      left -= piece;
    }
    return {};
  }

  const Geometry& geometry_;
  const SynthesisOptions& options_;
  const std::vector<GeometryTensor> tensors_;
  std::unique_ptr<formats::OutputFile> file_;
  std::map<DType, std::vector<std::byte>> patterns_;
  int64_t offset_ = 0;
  int64_t total_bytes_ = 0;
};

// Shares of the tokens that choose each expert: ~ rank^-skew, at most kShareMax, `used` in sum.
std::vector<double> shares_by_rank(RouterShape shape, double skew) {
  constexpr int kRounds = 50;
  std::vector<double> shares(static_cast<size_t>(shape.experts));
  double scale = 1;
  for (int round = 0; round < kRounds; ++round) {
    double sum = 0;
    for (size_t i = 0; i < shares.size(); ++i) {
      shares[i] = std::min(kShareMax, scale * std::pow(static_cast<double>(i + 1), -skew));
      sum += shares[i];
    }
    scale *= shape.used / sum;
  }
  return shares;
}

// The number that a standard normal one exceeds with this probability.
double exceeded_by(double probability) {
  double low = -10, high = 10;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(middle * M_SQRT1_2) / 2 > probability ? low : high) = middle;
  }
  return low;
}

}  // namespace

void set_metadata(const Geometry& g, GgufWriter* writer) {
  const std::string prefix = std::string(g.architecture) + ".";
  writer->set_text("general.architecture", g.architecture);
  writer->set_text("general.name", fmt::format("random {}, {} layers", g.name, g.layers));
  writer->set_text("tokenizer.ggml.model", "none");
  const auto set = [&](const char* key, int32_t value) {
    writer->set_integer(prefix + key, static_cast<uint32_t>(value));
  };
  set("block_count", g.layers + g.draft_layers);
  if (g.draft_layers > 0) set("nextn_predict_layers", g.draft_layers);
  set("context_length", g.context);
  set("embedding_length", g.hidden);
  set("feed_forward_length", g.ffn);
  set("vocab_size", g.vocab);
  writer->set_number(prefix + "rope.freq_base", static_cast<float>(g.rope_base));
  if (g.rope_factor > 1) {
    writer->set_text(prefix + "rope.scaling.type", "yarn");
    writer->set_number(prefix + "rope.scaling.factor", static_cast<float>(g.rope_factor));
    set("rope.scaling.original_context_length", static_cast<int32_t>(kYarnOriginalContext));
    writer->set_number(prefix + "rope.scaling.yarn_log_multiplier", kYarnLogMultiplier);
  }
  set_attention(g, prefix, writer);
  if (g.experts.count > 0) set_experts(g, prefix, writer);
}

std::vector<float> normals(uint64_t seed, int64_t count, float mean, float deviation) {
  core::Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = mean + deviation * normal(rng);
  return values;
}

std::vector<float> drawn_values(const Geometry& geometry, const GeometryTensor& tensor,
                                double router_skew, uint64_t seed) {
  const int64_t count = tensor.values();
  if (tensor.name.find("norm.") != std::string::npos)
    return normals(seed, count, 1, kWeightDeviation);
  if (tensor.name.ends_with("exp_probs_b.bias"))
    return router_biases({geometry.experts.count, geometry.experts.used}, router_skew, seed);
  if (tensor.name.ends_with(".bias")) return std::vector<float>(static_cast<size_t>(count));
  // Of a normalised input a router makes logits of variance 1.
  const float deviation = tensor.part == Part::kRouter
                              ? 1 / std::sqrt(static_cast<float>(tensor.shape.back()))
                              : kWeightDeviation;
  return normals(seed, count, 0, deviation);
}

std::vector<float> router_biases(RouterShape shape, double skew, uint64_t seed) {
  const std::vector<double> shares = shares_by_rank(shape, skew);
  std::vector<int32_t> ranks(shares.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  core::Rng rng(seed);
  for (size_t i = ranks.size(); i > 1; --i)
    std::swap(ranks[i - 1], ranks[static_cast<size_t>(rng.below(static_cast<int64_t>(i)))]);
  // With many experts the score that it takes to be chosen is nearly the same for every token, here
  // 0: an expert's bias lifts the share of its scores that it shall have over it.
  std::vector<float> biases;
  for (const int32_t rank : ranks)
    biases.push_back(
        static_cast<float>(-1 / (1 + std::exp(-exceeded_by(shares[static_cast<size_t>(rank)])))));
  return biases;
}

bool can_synthesize(DType type) {
  return can_encode(type) || has_random_blocks(type);
}

std::string synthesizable_types() {
  return encodable_types() + ", " + random_block_types();
}

namespace {

core::Result<void> check_options(const Geometry& geometry, const SynthesisOptions& options) {
  if (geometry.ffn_kind != plan::FfnKind::kGated)
    return core::unsupported("geometry '{}': only models with gated FFNs can be written",
                             geometry.name);
  for (const DType type : {options.rest, options.experts, options.output})
    if (!can_synthesize(type))
      return core::unsupported("type {}: expected one of {}", core::info(type).name,
                               synthesizable_types());
  return {};
}

}  // namespace

core::Result<int64_t> synthesize(const Geometry& geometry, const SynthesisOptions& options) {
  TRY(check_options(geometry, options));
  return Synthesis(geometry, options).run();
}

core::Result<std::unique_ptr<formats::Checkpoint>> synthetic_checkpoint(
    const Geometry& geometry, const SynthesisOptions& options) {
  TRY(check_options(geometry, options));
  return Synthesis(geometry, options).in_memory();
}

}  // namespace sluice::quantize
