#include "quantize/tensor_source.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "core/math.h"
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
    if (is_llama && halves && name.find(".attn_q.") != std::string_view::npos)
      source.turned_head_rows = head_rows(source.shape, "attention.head_count");
    if (is_llama && halves && name.find(".attn_k.") != std::string_view::npos)
      source.turned_head_rows = head_rows(source.shape, "attention.head_count_kv");
    sources_.push_back(std::move(source));
  }

  int64_t head_rows(const TensorView& view, std::string_view count_key) const {
    int64_t heads = number_of(checkpoint_, count_key);
    if (heads == 0) heads = number_of(checkpoint_, "attention.head_count");
    const int64_t rows = view.dims == 1 ? view.values() : view.rows();
    return heads > 0 ? rows / heads : 0;
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

// Of a llama's head: row 2i is i of the first half, row 2i + 1 is i of the second.
int64_t stored_row(int64_t row, int64_t head_rows) {
  const int64_t head = row / head_rows, within = row % head_rows;
  return head * head_rows + within % 2 * (head_rows / 2) + within / 2;
}

bool describes_old_file(std::string_view key) {
  return key == "general.file_type" || key == "general.quantization_version" ||
         key == kChecksumsKey || key.starts_with("split.") || key.starts_with("quantize.");
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

RowReader::RowReader(const TensorSource& source)
    : source_(source), piece_rows_(source.pieces.front().outputs()) {
  if (source.pieces.front().order == model::Order::kAsStored) return;
  const int64_t piece_values = piece_rows_ * source.pieces.front().inputs();
  transposed_.resize(source.pieces.size() * static_cast<size_t>(piece_values));
  for (size_t i = 0; i < source.pieces.size(); ++i) {
    StoredMatrix piece = source.pieces[i];
    piece.type = DType::kF32;
    assemble(
        piece, {0, piece.rows},
        reinterpret_cast<std::byte*>(transposed_.data() + static_cast<int64_t>(i) * piece_values));
  }
}

void RowReader::read(int64_t row, float* out) const {
  const int64_t columns = source_.shape.columns();
  if (!transposed_.empty()) {
    std::copy_n(transposed_.data() + row * columns, columns, out);
    return;
  }
  if (source_.turned_head_rows > 0 && source_.shape.dims > 1)
    row = stored_row(row, source_.turned_head_rows);
  const StoredMatrix& piece = source_.pieces[static_cast<size_t>(row / piece_rows_)];
  model::decode_row(piece, row % piece_rows_, out);
  if (source_.turned_head_rows > 0 && source_.shape.dims == 1) {  // a bias
    const std::vector<float> stored(out, out + columns);
    for (int64_t i = 0; i < columns; ++i)
      out[i] = stored[static_cast<size_t>(stored_row(i, source_.turned_head_rows))];
  }
}

}  // namespace sluice::quantize
