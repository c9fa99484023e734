#include "quantize/tensor_source.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "core/math.h"
#include "formats/hugging_face_quantization.h"
#include "formats/problems.h"
#include "model/matrix_finder.h"
#include "quantize/checksum.h"

namespace sluice::quantize {
namespace {

using core::DType;
using core::TensorView;
using formats::Checkpoint;
using model::StoredMatrix;

constexpr std::string_view kJoinedKeyValue = ".attn_kv_b.weight";

std::string key_of(const Checkpoint& checkpoint, std::string_view key) {
  return fmt::format("{}.{}", checkpoint.manifest().architecture, key);
}

int64_t number_of(const Checkpoint& checkpoint, std::string_view key) {
  const auto found = checkpoint.metadata().integer_or(key_of(checkpoint, key), 0);
  return found.ok() ? *found : 0;
}

// Only a folder says how its rows are turned.
bool is_folder(const Checkpoint& checkpoint) {
  return checkpoint.metadata().has(key_of(checkpoint, "rope.layout"));
}

// "blk.3.ffn_up_exps.17.weight" → "blk.3.ffn_up_exps.weight" and 17.
struct ExpertName {
  std::string tensor;
  int64_t expert = -1;
};
ExpertName split_expert(std::string_view name) {
  constexpr std::string_view kMark = "_exps.", kEnd = ".weight";
  const size_t mark = name.find(kMark);
  if (mark == std::string_view::npos || !name.ends_with(kEnd)) return {};
  const size_t begin = mark + kMark.size();
  if (begin + kEnd.size() >= name.size()) return {};
  const std::string_view number = name.substr(begin, name.size() - kEnd.size() - begin);
  int64_t expert = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), expert);
  if (error != std::errc() || end != number.data() + number.size()) return {};
  return {std::string(name.substr(0, begin - 1)) + std::string(kEnd), expert};
}

int64_t layer_of(std::string_view name) {
  int64_t layer = -1;
  if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer;
}

// Where the tensor is llama's q or k.
void turn_heads(const Checkpoint& checkpoint, Turn turn, TensorSource* source) {
  const bool is_q = source->name.find(".attn_q.") != std::string::npos;
  if (!is_q && source->name.find(".attn_k.") == std::string::npos) return;
  int64_t heads = is_q ? 0 : number_of(checkpoint, "attention.head_count_kv");
  if (heads == 0) heads = number_of(checkpoint, "attention.head_count");
  if (heads == 0) return;
  const TensorView& shape = source->shape;
  source->turn = turn;
  source->head_rows = (shape.dims == 1 ? shape.values() : shape.rows()) / heads;
}

class Collector {
 public:
  explicit Collector(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint),
        finder_(checkpoint, &problems_),
        layers_(number_of(checkpoint, "block_count") -
                number_of(checkpoint, "nextn_predict_layers")),
        experts_(number_of(checkpoint, "expert_count")) {}

  core::Result<std::vector<TensorSource>> collect() {
    for (const auto& [stored_name, view] : checkpoint_.tensors()) {
      const auto name = model::MatrixFinder::matrix_of(stored_name);
      if (!name || layer_of(*name) >= layers_) continue;
      auto matrix = finder_.find(*name, finder_.shape_by(stored_name));
      if (!matrix) continue;
      if (ExpertName expert = split_expert(*name); expert.expert >= 0)
        experts_of_[expert.tensor].emplace(expert.expert, std::move(*matrix));
      else if (name->ends_with(kJoinedKeyValue))
        add_key_value(*name, *matrix);
      else
        add(*name, view.dims, *matrix);
    }
    for (auto& [tensor, experts] : experts_of_) add_experts(tensor, experts);
    if (!problems_.empty()) return problems_.error();
    return std::move(sources_);
  }

 private:
  void add(std::string_view name, int dims, const StoredMatrix& matrix) {
    TensorSource source{.name = std::string(name),
                        .shape = {.type = matrix.joined, .dims = dims},
                        .pieces = {matrix}};
    source.shape.shape = {matrix.rows, matrix.columns};
    if (dims == 1) source.shape.shape = {matrix.columns};
    const bool is_llama = checkpoint_.manifest().architecture == "llama";
    const bool halves =
        checkpoint_.metadata().text_or(key_of(checkpoint_, "rope.layout"), "").value() ==
        "half_split";
    if (is_llama && halves) turn_heads(checkpoint_, Turn::kHalvesToPairs, &source);
    sources_.push_back(std::move(source));
  }

  void add_key_value(std::string_view name, const StoredMatrix& joined) {
    const int64_t heads = number_of(checkpoint_, "attention.head_count");
    const int64_t value = number_of(checkpoint_, "attention.value_length_mla");
    const int64_t nope = number_of(checkpoint_, "attention.key_length_mla") -
                         number_of(checkpoint_, "rope.dimension_count");
    if (heads <= 0 || nope <= 0 || value <= 0 || joined.rows != heads * (nope + value)) {
      problems_.add("tensor '{}': {} rows are not {} heads of {} + {}",
                    checkpoint_.stored_name(name), joined.rows, heads, nope, value);
      return;
    }
    const std::string prefix(name.substr(0, name.size() - kJoinedKeyValue.size()));
    TensorSource keys{
        .name = prefix + ".attn_k_b.weight",
        .shape = {.type = joined.joined, .dims = 3, .shape = {heads, joined.columns, nope}},
        .pieces = {}};
    TensorSource values{
        .name = prefix + ".attn_v_b.weight",
        .shape = {.type = joined.joined, .dims = 3, .shape = {heads, value, joined.columns}},
        .pieces = {}};
    for (int64_t head = 0; head < heads; ++head) {
      keys.pieces.push_back(joined.part(head * (nope + value), nope));
      keys.pieces.back().order = model::Order::kTransposed;
      values.pieces.push_back(joined.part(head * (nope + value) + nope, value));
    }
    sources_.push_back(std::move(keys));
    sources_.push_back(std::move(values));
  }

  void add_experts(const std::string& tensor, const std::map<int64_t, StoredMatrix>& experts) {
    const StoredMatrix& first = experts.begin()->second;
    TensorSource source{
        .name = tensor,
        .shape = {.type = first.joined, .dims = 3, .shape = {experts_, first.rows, first.columns}},
        .pieces = {}};
    for (const auto& [expert, stored] : experts) {
      if (stored.rows != first.rows || stored.columns != first.columns)
        problems_.add("tensor '{}': expert {} has another shape than the first", tensor, expert);
      source.pieces.push_back(stored);
    }
    if (std::ssize(experts) != experts_ || experts.rbegin()->first != experts_ - 1)
      problems_.add("tensor '{}': {} experts, the last is {}; expected {}", tensor, experts.size(),
                    experts.rbegin()->first, experts_);
    sources_.push_back(std::move(source));
  }

  const Checkpoint& checkpoint_;
  formats::Problems problems_;
  model::MatrixFinder finder_;
  const int64_t layers_;
  const int64_t experts_;
  std::map<std::string, std::map<int64_t, StoredMatrix>> experts_of_;
  std::vector<TensorSource> sources_;
};

// A GGUF file's tensors as a folder divides them.
class Divider {
 public:
  explicit Divider(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  core::Result<std::vector<TensorSource>> divide() {
    const bool is_llama = checkpoint_.manifest().architecture == "llama";
    for (const auto& [name, view] : checkpoint_.tensors()) {
      if (name == "rope_freqs.weight")
        problems_.add("tensor '{}': config.json has no word for factors of single dimensions",
                      name);
      else if (name.ends_with(kKeys))
        join_key_value(name, view);
      else if (name.ends_with(kValues))
        continue;
      else if (view.dims == 3)
        add_experts(name, view);
      else
        sources_.push_back(whole(name, view));
      if (is_llama && !sources_.empty() && sources_.back().name == name)
        turn_heads(checkpoint_, Turn::kPairsToHalves, &sources_.back());
    }
    if (!problems_.empty()) return problems_.error();
    return std::move(sources_);
  }

 private:
  static constexpr std::string_view kKeys = ".attn_k_b.weight", kValues = ".attn_v_b.weight";

  static TensorSource whole(std::string_view name, const TensorView& view) {
    TensorSource source{
        .name = std::string(name), .shape = view, .pieces = {model::stored_blocks(view)}};
    source.shape.data = nullptr;
    return source;
  }

  void add_experts(std::string_view name, const TensorView& view) {
    constexpr std::string_view kEnd = ".weight";
    const int64_t rows = view.shape[1];
    for (int64_t expert = 0; expert < view.shape[0]; ++expert)
      sources_.push_back(
          {.name = fmt::format("{}.{}{}", name.substr(0, name.size() - kEnd.size()), expert, kEnd),
           .shape = {.type = view.type, .dims = 2, .shape = {rows, view.columns()}},
           .pieces = {model::stored_blocks(view).part(expert * rows, rows)}});
  }

  // (heads, rank, nope) and (heads, value, rank) to (heads · (nope + value), rank).
  void join_key_value(std::string_view name, const TensorView& keys) {
    const std::string prefix(name.substr(0, name.size() - kKeys.size()));
    const TensorView* values = checkpoint_.find(prefix + std::string(kValues));
    if (values == nullptr || keys.dims != 3 || values->dims != 3 ||
        values->shape[0] != keys.shape[0] || values->columns() != keys.shape[1]) {
      problems_.add("tensor '{}': no '{}{}' of as many heads and the same rank", name, prefix,
                    kValues);
      return;
    }
    const int64_t heads = keys.shape[0], rank = keys.shape[1], nope = keys.columns();
    const int64_t value = values->shape[1];
    TensorSource joined{
        .name = prefix + std::string(kJoinedKeyValue),
        .shape = {.type = keys.type, .dims = 2, .shape = {heads * (nope + value), rank}},
        .pieces = {}};
    for (int64_t head = 0; head < heads; ++head) {
      joined.pieces.push_back(model::stored_blocks(keys).part(head * rank, rank));
      joined.pieces.back().order = model::Order::kTransposed;
      joined.pieces.push_back(model::stored_blocks(*values).part(head * value, value));
    }
    sources_.push_back(std::move(joined));
  }

  const Checkpoint& checkpoint_;
  formats::Problems problems_;
  std::vector<TensorSource> sources_;
};

// A folder's own matrices, draft layers too.
core::Result<std::vector<TensorSource>> matrices_of(const Checkpoint& folder) {
  formats::Problems problems;
  model::MatrixFinder finder(folder, &problems);
  std::vector<TensorSource> sources;
  for (const auto& [stored, view] : folder.tensors()) {
    const auto name = model::MatrixFinder::matrix_of(stored);
    if (!name) continue;
    auto matrix = finder.find(*name, finder.shape_by(stored));
    if (!matrix) continue;
    TensorSource source{.name = *name,
                        .shape = {.type = matrix->joined,
                                  .dims = view.dims,
                                  .shape = {matrix->rows, matrix->columns}},
                        .pieces = {}};
    if (view.dims == 1) source.shape.shape = {matrix->columns};
    source.pieces.push_back(std::move(*matrix));
    sources.push_back(std::move(source));
  }
  if (!problems.empty()) return problems.error();
  return sources;
}

// The row that becomes `row` of a tensor whose heads are turned. Row i of a head's first half and
// row i of its second are rows 2i and 2i + 1 of pairs.
int64_t stored_row(const TensorSource& source, int64_t row) {
  const int64_t within = row % source.head_rows, half = source.head_rows / 2;
  switch (source.turn) {
    case Turn::kNone:
      return row;
    case Turn::kHalvesToPairs:
      return row - within + within % 2 * half + within / 2;
    case Turn::kPairsToHalves:
      return row - within + within % half * 2 + within / half;
  }
  return row;
}

bool describes_old_file(std::string_view key) {
  return key == "general.file_type" || key == "general.quantization_version" ||
         key.starts_with("sluice.") || key.starts_with("split.") || key.starts_with("quantize.");
}

}  // namespace

core::Result<std::vector<TensorSource>> tensor_sources(const Checkpoint& checkpoint) {
  if (is_folder(checkpoint)) return Collector(checkpoint).collect();
  std::vector<TensorSource> sources;
  for (const auto& [name, view] : checkpoint.tensors())
    sources.push_back(
        {.name = std::string(name), .shape = view, .pieces = {model::stored_blocks(view)}});
  return sources;
}

core::Result<std::vector<TensorSource>> folder_sources(const Checkpoint& checkpoint) {
  if (is_folder(checkpoint)) return matrices_of(checkpoint);
  return Divider(checkpoint).divide();
}

void copy_metadata(const Checkpoint& checkpoint, formats::GgufWriter* writer) {
  const int64_t drafts = is_folder(checkpoint) ? number_of(checkpoint, "nextn_predict_layers") : 0;
  const std::string blocks = key_of(checkpoint, "block_count");
  for (const auto& [key, value] : checkpoint.metadata().values()) {
    if (describes_old_file(key) || key == key_of(checkpoint, "rope.layout")) continue;
    if (drafts > 0 && key == key_of(checkpoint, "nextn_predict_layers")) continue;
    if (drafts > 0 && key == blocks)
      writer->set_integer(key,
                          static_cast<uint32_t>(number_of(checkpoint, "block_count") - drafts));
    else
      writer->copy(key, value);
  }
  const std::string value_length = key_of(checkpoint, "attention.value_length");
  const int64_t rank = number_of(checkpoint, "attention.kv_lora_rank");
  if (is_folder(checkpoint) && rank > 0 && !checkpoint.metadata().has(value_length))
    writer->set_integer(value_length, static_cast<uint32_t>(rank));
}

const std::byte* TensorSource::in_place() const {
  return pieces.size() == 1 && turn == Turn::kNone ? pieces.front().in_place() : nullptr;
}

RowReader::RowReader(const TensorSource& source) : source_(source) {
  int64_t first_row = 0;
  for (const StoredMatrix& matrix : source.pieces) {
    Piece& piece = pieces_.emplace_back(Piece{.matrix = &matrix, .first_row = first_row});
    first_row += matrix.outputs();
    if (matrix.order == model::Order::kAsStored) continue;
    piece.transposed.resize(static_cast<size_t>(matrix.rows * matrix.columns));
    StoredMatrix as_floats = matrix;
    as_floats.type = DType::kF32;
    assemble(as_floats, {0, matrix.rows}, reinterpret_cast<std::byte*>(piece.transposed.data()));
  }
}

void RowReader::read(int64_t row, float* out) const {
  const int64_t columns = source_.shape.columns();
  const bool is_turned_bias = source_.turn != Turn::kNone && source_.shape.dims == 1;
  if (source_.turn != Turn::kNone && !is_turned_bias) row = stored_row(source_, row);
  const auto behind = std::upper_bound(pieces_.begin(), pieces_.end(), row,
                                       [](int64_t r, const Piece& p) { return r < p.first_row; });
  const Piece& piece = *(behind - 1);
  if (piece.transposed.empty())
    model::decode_row(*piece.matrix, row - piece.first_row, out);
  else
    std::copy_n(piece.transposed.data() + (row - piece.first_row) * columns, columns, out);
  if (!is_turned_bias) return;
  const std::vector<float> stored(out, out + columns);
  for (int64_t i = 0; i < columns; ++i)
    out[i] = stored[static_cast<size_t>(stored_row(source_, i))];
}

void release_rows(const Checkpoint& checkpoint, const TensorSource& source, RowRange rows) {
  int64_t first_row = 0;
  for (const StoredMatrix& piece : source.pieces) {
    const int64_t begin = std::max(rows.first - first_row, int64_t{0});
    const int64_t end = std::min(rows.first + rows.count - first_row, piece.outputs());
    first_row += piece.outputs();
    if (begin >= end) continue;
    if (piece.order == model::Order::kAsStored && (begin > 0 || end < piece.rows))
      checkpoint.release(piece.part(begin, end - begin).tensors.front());
    else
      for (const TensorView& view : piece.tensors) checkpoint.release(view);
  }
}

}  // namespace sluice::quantize
