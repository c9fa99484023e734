#include "quantize/synthesize_folder.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <span>
#include <tuple>

#include "core/math.h"
#include "core/rng.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "formats/hugging_face.h"
#include "formats/hugging_face_config.h"
#include "formats/output_file.h"
#include "kernels/e2m1.h"
#include "kernels/half.h"
#include "quantize/checksum.h"
#include "quantize/encode.h"
#include "quantize/encode_rows.h"
#include "quantize/folder_files.h"
#include "quantize/folder_layout.h"
#include "quantize/random_tensors.h"

namespace sluice::quantize {
namespace {

namespace fs = std::filesystem;
using core::DType;
using plan::Geometry;
using plan::GeometryTensor;

constexpr int64_t kPieceBytes = int64_t{4} << 20;
constexpr int64_t kFp8Rows = 128;
constexpr size_t kMxfp4Block = 32;
using Bytes = std::vector<std::byte>;

core::Result<std::string> config_of(const Geometry& g) {
  formats::GgufWriter writer;
  set_metadata(g, &writer);
  const auto described = TRY(formats::read_gguf(formats::memory_source(writer.header())));
  return formats::config_of_metadata(
      described.metadata, {.tied_embeddings = g.tied_embeddings,
                           .has_choice_biases = g.has_latent_attention() && g.experts.count > 0,
                           .vocab = g.vocab});
}

// The model's tensors as a folder divides them: experts one by one, keys and values of the latent
// vector joined.
std::vector<GeometryTensor> folder_tensors(const Geometry& g) {
  constexpr std::string_view kStack = "_exps.weight", kKeys = "attn_k_b.weight",
                             kValues = "attn_v_b.weight";
  std::vector<GeometryTensor> tensors;
  for (GeometryTensor& t : plan::tensors_of(g)) {
    if (t.name.ends_with(kKeys)) continue;
    if (t.name.ends_with(kValues)) {
      t.name.replace(t.name.size() - kValues.size(), kValues.size(), "attn_kv_b.weight");
      t.shape = {int64_t{g.heads} * (g.latent.nope_dim + g.latent.value_dim), g.latent.kv_rank};
    }
    if (!t.name.ends_with(kStack)) {
      tensors.push_back(std::move(t));
      continue;
    }
    const std::string stem = t.name.substr(0, t.name.size() - std::string_view("weight").size());
    for (int32_t expert = 0; expert < g.experts.count; ++expert)
      tensors.push_back(
          {fmt::format("{}{}.weight", stem, expert), {t.shape[1], t.shape[2]}, t.part});
  }
  return tensors;
}

// Codes with the zero 8, eight in a word, and the scales of their groups.
void encode_words(const std::vector<float>& drawn, int64_t group, Bytes* words, Bytes* scales) {
  encode_int4_row(drawn.data(), {.columns = std::ssize(drawn),
                                 .group = group,
                                 .words = reinterpret_cast<int32_t*>(words->data()),
                                 .scales = reinterpret_cast<uint16_t*>(scales->data())});
}

void to_f16(Bytes* bf16) {
  for (size_t i = 0; i < bf16->size(); i += sizeof(uint16_t))
    kernels::store_u16(
        bf16->data() + i,
        kernels::f16_of_float(kernels::float_of_bf16(kernels::load_u16(bf16->data() + i))));
}

// AWQ's zeros lie about the middle, so that it is not taken for a format without; GPTQ's first
// version stores 8 less 1.
Bytes make_zeros(FolderType type, int64_t count, uint64_t seed) {
  Bytes zeros(static_cast<size_t>(count / 2), std::byte{0x77});
  if (type != FolderType::kAwq) return zeros;
  core::Rng rng(seed);
  for (std::byte& two : zeros)
    two = static_cast<std::byte>((7 + rng.below(2)) | (7 + rng.below(2)) << 4);
  return zeros;
}

uint8_t nearest_e2m1(float value) {
  size_t best = 0;
  for (size_t code = 1; code < kernels::kTwiceE2m1.size(); ++code)
    if (std::abs(2 * value - kernels::kTwiceE2m1[code]) <
        std::abs(2 * value - kernels::kTwiceE2m1[best]))
      best = code;
  return static_cast<uint8_t>(best);
}

// Two codes in a byte, and e8m0 exponents under which the largest of 32 values is 4 to 8.
void encode_mxfp4(const std::vector<float>& drawn, Bytes* codes, Bytes* exponents) {
  for (size_t block = 0; block < exponents->size(); ++block) {
    const float* const x = drawn.data() + block * kMxfp4Block;
    float largest = 0;
    for (size_t i = 0; i < kMxfp4Block; ++i) largest = std::max(largest, std::abs(x[i]));
    const int exponent = std::ilogb(largest) - 2;
    (*exponents)[block] = static_cast<std::byte>(exponent + 127);
    for (size_t i = 0; i < kMxfp4Block; i += 2)
      (*codes)[(block * kMxfp4Block + i) / 2] =
          static_cast<std::byte>(nearest_e2m1(std::ldexp(x[i], -exponent)) |
                                 nearest_e2m1(std::ldexp(x[i + 1], -exponent)) << 4);
  }
}

// The type of floats that a plain matrix is written in.
DType plain_type(FolderType type) {
  if (type == FolderType::kF32) return DType::kF32;
  return type == FolderType::kF16 ? DType::kF16 : DType::kBF16;
}

// A seed for all matrices that multiply the same inputs: their quantiser puts those in one order.
uint64_t seed_of_inputs(std::string tensor, uint64_t seed) {
  constexpr std::pair<std::string_view, std::string_view> kSame[] = {
      {"ffn_up", "ffn_gate"},
      {"attn_k.", "attn_q."},
      {"attn_v.", "attn_q."},
      {"attn_kv_a_mqa.", "attn_q_a."}};
  for (const auto& [name, first] : kSame)
    if (const size_t at = tensor.find(name); at != std::string::npos)
      tensor.replace(at, name.size(), first);
  for (const char c : tensor) seed = core::random_bits(seed, static_cast<uint8_t>(c));
  return seed;
}

// The group of each input: all groups have as many, in order, or dealt out by the seed.
std::vector<int32_t> input_groups(const FolderChoice& choice, int64_t inputs, uint64_t seed) {
  std::vector<int32_t> groups(static_cast<size_t>(inputs));
  for (size_t i = 0; i < groups.size(); ++i)
    groups[i] = static_cast<int32_t>(static_cast<int64_t>(i) / choice.group);
  if (choice.type != FolderType::kGptqActOrder) return groups;
  core::Rng rng(seed);
  for (size_t i = groups.size(); i > 1; --i)
    std::swap(groups[i - 1], groups[static_cast<size_t>(rng.below(static_cast<int64_t>(i)))]);
  return groups;
}

// Encoded random weights: bytes of each part of a matrix.
std::vector<Bytes> make_patterns(const FolderChoice& choice, uint64_t seed) {
  constexpr int64_t kColumns = kPatternValues / kFp8Rows;
  const std::vector<float> drawn = normals(seed, kPatternValues, 0, kWeightDeviation);
  const auto bytes = [](int64_t count) { return Bytes(static_cast<size_t>(count)); };
  std::vector<Bytes> parts;
  switch (choice.type) {
    case FolderType::kInt4:
      parts = {bytes(kPatternValues / 2), bytes(kPatternValues / choice.group * 2)};
      encode_words(drawn, choice.group, &parts[0], &parts[1]);
      break;
    case FolderType::kAwq:
    case FolderType::kGptq:
    case FolderType::kGptqActOrder:
      parts = {bytes(kPatternValues / 2), bytes(kPatternValues / choice.group * 2),
               make_zeros(choice.type, kPatternValues, core::random_bits(seed, 0))};
      encode_words(drawn, choice.group, &parts[0], &parts[1]);
      to_f16(&parts[1]);
      break;
    case FolderType::kMxfp4:
      parts = {bytes(kPatternValues / 2),
               bytes(kPatternValues / static_cast<int64_t>(kMxfp4Block))};
      encode_mxfp4(drawn, &parts[0], &parts[1]);
      break;
    case FolderType::kInt8:
      parts = {bytes(kPatternValues), bytes(kColumns * 4)};
      encode_int8_row(drawn.data(), kPatternValues, reinterpret_cast<int8_t*>(parts[0].data()),
                      reinterpret_cast<float*>(parts[1].data()));
      for (int64_t i = 1; i < kColumns; ++i)
        std::copy_n(parts[1].begin(), sizeof(float), parts[1].begin() + i * 4);
      break;
    case FolderType::kFp8:
      parts = {bytes(kPatternValues), bytes(kColumns / kFp8Rows * 4)};
      encode_fp8_band(drawn.data(), {.rows = kFp8Rows,
                                     .columns = kColumns,
                                     .codes = reinterpret_cast<uint8_t*>(parts[0].data()),
                                     .scales = reinterpret_cast<float*>(parts[1].data())});
      break;
    case FolderType::kAsStored:
    case FolderType::kF16:
    case FolderType::kF32: {
      const DType type = plain_type(choice.type);
      parts = {bytes(core::bytes_of(type, kPatternValues))};
      encode(type, drawn.data(), kPatternValues, parts[0].data());
      break;
    }
  }
  return parts;
}

struct Matrix {
  GeometryTensor tensor{};
  FolderChoice choice;
  std::vector<FolderPart> parts{};
};

// What a part holds: bytes of its own, or a pattern again and again from a place that the seed
// says.
struct Contents {
  Bytes own{};
  size_t pattern = 0;  // of the choice's
  int64_t at = 0;      // bytes from its beginning
};

class FolderMaker {
 public:
  FolderMaker(const Geometry& geometry, const FolderSynthesis& options)
      : geometry_(geometry), options_(options) {
    for (GeometryTensor& t : folder_tensors(geometry)) matrices_.push_back(matrix_of(std::move(t)));
    std::vector<std::vector<FolderPart>*> parts;
    for (Matrix& m : matrices_) parts.push_back(&m.parts);
    shards_ = lay_out_shards(parts, options.shard_bytes_max);
    for (const FolderShard& shard : shards_) total_bytes_ += shard.layout.file_bytes;
  }

  core::Result<int64_t> write_files() {
    const std::string config = TRY(config_text());
    std::error_code failed;
    fs::create_directories(options_.path, failed);
    if (failed) return core::invalid("'{}': {}", options_.path, failed.message());
    size_t next = 0;
    for (size_t s = 0; s < shards_.size(); ++s) {
      const FolderShard& shard = shards_[s];
      file_ = TRY(formats::OutputFile::open((fs::path(options_.path) / shard.file).string()));
      TRY(file_->resize(0));
      TRY(file_->write(0, shard.layout.header));
      for (; next < matrices_.size() && matrices_[next].parts.front().shard == s; ++next)
        TRY(write(matrices_[next], core::random_bits(options_.seed, next)));
      TRY(file_->publish());
    }
    TRY(write_texts(config));
    return total_bytes_;
  }

  // Tensors of their own contents, then each pattern as long as whatever enters it reaches.
  core::Result<std::unique_ptr<formats::Checkpoint>> in_memory() {
    formats::HuggingFaceFolder folder;
    const std::string config = TRY(config_text());
    folder.metadata =
        TRY(formats::metadata_of_config({.config = config,
                                         .name = geometry_.name,
                                         .has_draft_layers = geometry_.draft_layers > 0}));
    folder.names = {std::string(geometry_.name)};
    struct Region {
      std::span<const std::byte> pattern;
      int64_t bytes = 0, begin = 0;
    };
    std::map<std::tuple<FolderType, int64_t, size_t>, Region> regions;
    struct Place {
      const FolderPart* part = nullptr;
      const Region* region = nullptr;  // null: its own bytes
      int64_t at = 0;
    };
    std::vector<Place> places;
    Bytes bytes;
    const auto grow = [&](int64_t by) {
      const int64_t begin = core::round_up(std::ssize(bytes), kCacheLineBytes);
      bytes.resize(static_cast<size_t>(begin + by));
      return begin;
    };
    for (size_t i = 0; i < matrices_.size(); ++i) {
      const Matrix& m = matrices_[i];
      std::vector<Contents> contents = contents_of(m, core::random_bits(options_.seed, i));
      for (size_t p = 0; p < contents.size(); ++p) {
        Contents& c = contents[p];
        Place place{.part = &m.parts[p], .at = c.at};
        if (c.own.empty()) {
          Region& region = regions[{m.choice.type, m.choice.group, c.pattern}];
          region.pattern = patterns_of(m.choice)[c.pattern];
          region.bytes = std::max(region.bytes, c.at + m.parts[p].bytes);
          place.region = &region;
        } else {
          place.at = grow(std::ssize(c.own));
          std::copy(c.own.begin(), c.own.end(), bytes.begin() + place.at);
        }
        places.push_back(place);
      }
    }
    for (auto& [key, region] : regions) {
      region.begin = grow(region.bytes);
      for (int64_t at = 0; at < region.bytes; at += std::ssize(region.pattern))
        std::copy_n(region.pattern.begin(), std::min(region.bytes - at, std::ssize(region.pattern)),
                    bytes.begin() + region.begin + at);
    }
    formats::SafetensorsFile file;
    file.source = formats::memory_source(std::move(bytes));
    for (const Place& place : places) {
      const FolderPart& part = *place.part;
      core::TensorView view{.type = part.type, .dims = static_cast<int>(part.shape.size())};
      std::copy(part.shape.begin(), part.shape.end(), view.shape.begin());
      const int64_t begin = place.region != nullptr ? place.region->begin : 0;
      view.data = file.source->bytes().data() + begin + place.at;
      const std::string& name = file.names.emplace_back(part.name);
      file.tensors.push_back({name, view});
      folder.tensors.push_back({formats::gguf_tensor_name(name), name, view});
    }
    folder.files.push_back(std::move(file));
    return formats::Checkpoint::of_folder(std::move(folder));
  }

 private:
  static constexpr int64_t kCacheLineBytes = 64;

  Matrix matrix_of(GeometryTensor tensor) const {
    core::TensorView view{.dims = static_cast<int>(tensor.shape.size())};
    std::copy(tensor.shape.begin(), tensor.shape.end(), view.shape.begin());
    Matrix m{.choice = choose_folder_type(options_.recipe, tensor.name, view)};
    const std::string stored = formats::hugging_face_tensor_name(tensor.name);
    if (is_plain(m.choice.type)) {
      const DType type = is_drawn(tensor) ? DType::kF32 : plain_type(m.choice.type);
      m.parts = {plain_part(stored, type, tensor.shape, tensor.shape.front())};
    } else {
      m.parts = quantized_parts(stored, m.choice, {tensor.shape[0], tensor.shape[1]});
    }
    m.tensor = std::move(tensor);
    return m;
  }

  static bool is_drawn(const GeometryTensor& tensor) {
    return tensor.part == plan::Part::kVectors || tensor.part == plan::Part::kRouter;
  }

  const std::vector<Bytes>& patterns_of(const FolderChoice& choice) {
    std::vector<Bytes>& patterns = patterns_[{choice.type, choice.group}];
    if (patterns.empty())
      patterns = make_patterns(
          choice, core::random_bits(options_.seed, ~static_cast<uint64_t>(choice.type)));
    return patterns;
  }

  static Bytes bytes_of(std::span<const std::byte> values) {
    return {values.begin(), values.end()};
  }

  // By part.
  std::vector<Contents> contents_of(const Matrix& m, uint64_t seed) {
    if (is_drawn(m.tensor)) {
      const auto values = drawn_values(geometry_, m.tensor, options_.router_skew, seed);
      return {{.own = bytes_of(std::as_bytes(std::span(values)))}};
    }
    std::vector<Contents> contents;
    const std::vector<Bytes>& patterns = patterns_of(m.choice);
    for (size_t p = 0; p < patterns.size(); ++p) {
      const int64_t unit = core::info(m.parts[p].type).block_bytes;
      const auto units = static_cast<uint64_t>(std::ssize(patterns[p]) / unit);
      contents.push_back({.pattern = p, .at = static_cast<int64_t>(seed % units) * unit});
    }
    if (m.choice.type == FolderType::kInt4)
      contents.push_back({.own = bytes_of(std::as_bytes(std::span(m.tensor.shape)))});
    if (m.choice.type == FolderType::kGptq || m.choice.type == FolderType::kGptqActOrder) {
      const auto groups = input_groups(m.choice, m.tensor.shape.back(),
                                       seed_of_inputs(m.tensor.name, options_.seed));
      contents.push_back({.own = bytes_of(std::as_bytes(std::span(groups)))});
    }
    return contents;
  }

  core::Result<void> write(const Matrix& m, uint64_t seed) {
    const std::vector<Contents> contents = contents_of(m, seed);
    for (size_t p = 0; p < contents.size(); ++p) {
      const Contents& c = contents[p];
      TRY(write_part(m.parts[p], c.own.empty() ? patterns_of(m.choice)[c.pattern] : c.own, c.at));
    }
    return {};
  }

  // The pattern over and over, from `at` on.
  core::Result<void> write_part(const FolderPart& part, std::span<const std::byte> pattern,
                                int64_t at) {
    Checksum checksum;
    for (int64_t done = 0; done < part.bytes;) {
      const int64_t count = std::min({part.bytes - done, std::ssize(pattern) - at, kPieceBytes});
      const auto piece = pattern.subspan(static_cast<size_t>(at), static_cast<size_t>(count));
      TRY(file_->write(part.offset + done, piece));
      checksum.add(piece);
      at = (at + count) % std::ssize(pattern);
      done += count;
    }
    done_bytes_ += part.bytes;
    if (options_.progress) options_.progress(done_bytes_, total_bytes_);
    const std::string digits = checksum.digits();
    return file_->write(shards_[part.shard].digits_offset(part), std::as_bytes(std::span(digits)));
  }

  core::Result<std::string> config_text() const {
    std::vector<FolderModule> modules;
    for (const Matrix& m : matrices_) {
      const std::string stored = formats::hugging_face_tensor_name(m.tensor.name);
      const bool is_linear = m.tensor.shape.size() > 1 && m.tensor.part != plan::Part::kEmbedding;
      if (is_linear) modules.push_back({stored.substr(0, stored.rfind('.')), m.choice});
    }
    return quantized_config(TRY(config_of(geometry_)), modules);
  }

  core::Result<void> write_texts(const std::string& config) {
    std::map<std::string, std::string> shard_of;
    for (const Matrix& m : matrices_)
      for (const FolderPart& part : m.parts) shard_of[part.name] = shards_[part.shard].file;
    if (shards_.size() > 1)
      TRY(write_text("model.safetensors.index.json", shard_index(shard_of, total_bytes_)));
    return write_text("config.json", config);
  }

  core::Result<void> write_text(const char* name, std::string_view text) {
    const auto file = TRY(formats::OutputFile::open((fs::path(options_.path) / name).string()));
    TRY(file->resize(0));
    TRY(file->write(0, std::as_bytes(std::span(text))));
    return file->publish();
  }

  const Geometry& geometry_;
  const FolderSynthesis& options_;
  std::vector<Matrix> matrices_;
  std::vector<FolderShard> shards_;
  std::unique_ptr<formats::OutputFile> file_;
  std::map<std::pair<FolderType, int64_t>, std::vector<Bytes>> patterns_;
  int64_t done_bytes_ = 0;
  int64_t total_bytes_ = 0;
};

}  // namespace

namespace {

core::Result<void> check_options(const Geometry& geometry, const FolderSynthesis& options) {
  if (geometry.ffn_kind != plan::FfnKind::kGated)
    return core::unsupported("geometry '{}': only models with gated FFNs can be written",
                             geometry.name);
  return check(options.recipe);
}

}  // namespace

core::Result<int64_t> synthesize_folder(const Geometry& geometry, const FolderSynthesis& options) {
  TRY(check_options(geometry, options));
  return FolderMaker(geometry, options).write_files();
}

core::Result<std::unique_ptr<formats::Checkpoint>> synthetic_folder(
    const Geometry& geometry, const FolderSynthesis& options) {
  TRY(check_options(geometry, options));
  return FolderMaker(geometry, options).in_memory();
}

}  // namespace sluice::quantize
