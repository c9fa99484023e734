#include "quantize/convert.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "core/math.h"
#include "formats/output_file.h"
#include "model/matrix_finder.h"
#include "quantize/checksum.h"
#include "quantize/encode.h"
#include "quantize/tensor_source.h"

namespace sluice::quantize {
namespace {

using core::DType;
using formats::GgufWriter;

constexpr int64_t kChunkValues = int64_t{1} << 22;
constexpr float kF16Max = 65504;
constexpr uint32_t kQuantizationVersion = 2;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// "blk.2" before "blk.10".
bool natural_less(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!is_digit(a[i]) || !is_digit(b[j])) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i, ++j;
      continue;
    }
    const auto number = [](std::string_view text, size_t* at) {
      uint64_t value = 0;
      while (*at < text.size() && is_digit(text[*at]))
        value = value * 10 + static_cast<uint64_t>(text[(*at)++] - '0');
      return value;
    };
    const uint64_t first = number(a, &i), second = number(b, &j);
    if (first != second) return first < second;
  }
  return a.size() - i < b.size() - j;
}

ModelFacts facts_of(const formats::Checkpoint& source) {
  const auto layers =
      source.metadata().integer_or(source.manifest().architecture + ".block_count", 0);
  return {.layers = layers.ok() ? static_cast<int32_t>(*layers) : 0,
          .tied_embeddings = !model::has_matrix(source, "output.weight")};
}

struct Item {
  ConvertedTensor tensor;
  TensorSource source;
  int64_t offset = 0;  // in the new file
};

// The new file's layout and its header, which has checksums of zeros.
struct Layout {
  std::vector<Item> items;
  std::vector<std::byte> header;
  int64_t checksums_offset = 0;  // of the first text: a length (8 bytes), then the digits
  int64_t file_bytes = 0;

  int64_t digits_offset(size_t item) const {
    return checksums_offset + static_cast<int64_t>(item) * (8 + kChecksumDigits) + 8;
  }
};

std::vector<Item> plan_items(const formats::Checkpoint& source, std::vector<TensorSource> tensors,
                             const Recipe& recipe) {
  const ModelFacts facts = facts_of(source);
  std::vector<Item> items;
  for (TensorSource& t : tensors) {
    const core::TensorView& shape = t.shape;
    const TypeChoice choice = choose_type(recipe, facts, t.name, shape);
    ConvertedTensor tensor{.name = t.name,
                           .from = shape.type,
                           .choice = choice,
                           .columns = shape.columns(),
                           .values = shape.values(),
                           .bytes = core::bytes_of(choice.type, shape.values())};
    items.push_back({.tensor = std::move(tensor), .source = std::move(t)});
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return natural_less(a.tensor.name, b.tensor.name);
  });
  return items;
}

core::Result<Layout> lay_out(const formats::Checkpoint& source, const ConvertOptions& options,
                             std::vector<Item> items) {
  Layout layout;
  layout.items = std::move(items);
  GgufWriter writer;
  copy_metadata(source, &writer);
  if (options.add_metadata) TRY(options.add_metadata(&writer));
  writer.set_integer("general.file_type", static_cast<uint32_t>(file_type_of(options.recipe)));
  writer.set_integer("general.quantization_version", kQuantizationVersion);
  const std::vector<std::string> zeros(layout.items.size(), std::string(kChecksumDigits, '0'));
  writer.set_texts(kChecksumsKey, zeros);
  layout.checksums_offset = writer.metadata_end_bytes() -
                            static_cast<int64_t>(layout.items.size()) * (8 + kChecksumDigits);
  for (const Item& item : layout.items) {
    core::TensorView view = item.source.shape;
    view.type = item.tensor.choice.type;
    writer.add_tensor(item.tensor.name, view);
  }
  layout.header = writer.header();
  auto offset = static_cast<int64_t>(layout.header.size());
  for (Item& item : layout.items) {
    item.offset = offset;
    offset = core::round_up(offset + item.tensor.bytes, GgufWriter::kAlignmentBytes);
  }
  layout.file_bytes = offset;
  return layout;
}

// Encodes a tensor's rows, a chunk at a time by all threads.
class RowEncoder {
 public:
  RowEncoder(const Item& item, core::ThreadPool& pool)
      : item_(item),
        pool_(pool),
        reader_(item.source),
        columns_(item.source.shape.columns()),
        chunk_rows_(std::max<int64_t>(pool.threads(), kChunkValues / columns_)),
        out_(static_cast<size_t>(chunk_rows_ * row_bytes())),
        floats_(static_cast<size_t>(pool.threads()) * static_cast<size_t>(columns_)) {}

  int64_t row_bytes() const { return core::bytes_of(item_.tensor.choice.type, columns_); }
  int64_t chunk_rows() const { return chunk_rows_; }

  // Valid until the next call.
  core::Result<std::span<const std::byte>> encode_rows(int64_t first_row, int64_t rows) {
    std::atomic<int64_t> bad_row{-1};
    pool_.run([&](int thread, int threads) {
      const core::Range range = core::split(rows, 1, thread, threads);
      float* values = floats_.data() + thread * columns_;
      for (int64_t row = range.begin; row < range.end; ++row) {
        reader_.read(first_row + row, values);
        if (!storable(values)) {
          bad_row = first_row + row;
          return;
        }
        encode(item_.tensor.choice.type, values, columns_, out_.data() + row * row_bytes());
      }
    });
    if (bad_row >= 0)
      return core::invalid(
          "tensor '{}': row {} has values that {} cannot hold (NaN, infinite or "
          "over {})",
          item_.tensor.name, bad_row.load(), core::info(item_.tensor.choice.type).name, largest());
    return std::span<const std::byte>(out_).first(static_cast<size_t>(rows * row_bytes()));
  }

 private:
  float largest() const {
    const DType type = item_.tensor.choice.type;
    constexpr float kBf16Max = 0x1.fep127f;
    return type == DType::kF32 || type == DType::kBF16 ? kBf16Max : kF16Max;
  }
  bool storable(const float* values) const {
    const float limit = largest();
    for (int64_t i = 0; i < columns_; ++i)
      if (!(std::fabs(values[i]) <= limit)) return false;
    return true;
  }

  const Item& item_;
  core::ThreadPool& pool_;
  const RowReader reader_;
  const int64_t columns_;
  const int64_t chunk_rows_;
  std::vector<std::byte> out_;
  std::vector<float> floats_;  // (threads, columns)
};

class Conversion {
 public:
  Conversion(const formats::Checkpoint& source, const ConvertOptions& options,
             core::ThreadPool& pool, Layout layout)
      : source_(source), options_(options), pool_(pool), layout_(std::move(layout)) {
    for (const Item& item : layout_.items) total_values_ += item.tensor.values;
  }

  core::Result<ConvertReport> run() {
    file_ = TRY(formats::OutputFile::open(options_.path));
    TRY(begin());
    ConvertReport report;
    report.file_bytes = layout_.file_bytes;
    for (size_t i = 0; i < layout_.items.size(); ++i) {
      const Item& item = layout_.items[i];
      if (TRY(is_written(i))) {
        ++report.resumed_tensors;
        advance(item.tensor.values);
      } else {
        TRY(write_tensor(i));
      }
      report.tensors.push_back(item.tensor);
      release_rows(source_, item.source, {.first = 0, .count = item.source.shape.rows()});
    }
    TRY(file_->publish());
    return report;
  }

 private:
  // Keeps what lies there if it was begun for this very file, else starts anew.
  core::Result<void> begin() {
    const int64_t size = TRY(file_->size_bytes());
    if (size == layout_.file_bytes) {
      std::vector<std::byte> found(layout_.header.size());
      TRY(file_->read(0, found));
      for (size_t i = 0; i < layout_.items.size(); ++i)
        std::memset(found.data() + layout_.digits_offset(i), '0', kChecksumDigits);
      if (found == layout_.header) return {};
    }
    TRY(file_->resize(0));
    TRY(file_->write(0, layout_.header));
    return file_->resize(layout_.file_bytes);
  }

  core::Result<bool> is_written(size_t index) const {
    const Item& item = layout_.items[index];
    std::string noted(kChecksumDigits, '0');
    TRY(file_->read(layout_.digits_offset(index),
                    std::as_writable_bytes(std::span(noted.data(), noted.size()))));
    if (noted == std::string(kChecksumDigits, '0')) return false;
    Checksum found;
    std::vector<std::byte> piece;
    for (int64_t done = 0; done < item.tensor.bytes; done += std::ssize(piece)) {
      piece.resize(static_cast<size_t>(std::min(kChunkValues, item.tensor.bytes - done)));
      TRY(file_->read(item.offset + done, piece));
      found.add(piece);
    }
    return found.digits() == noted;
  }

  core::Result<void> write_tensor(size_t index) {
    const Item& item = layout_.items[index];
    RowEncoder encoder(item, pool_);
    Checksum checksum;
    int64_t offset = item.offset;
    const int64_t rows = item.source.shape.rows();
    for (int64_t row = 0; row < rows; row += encoder.chunk_rows()) {
      const int64_t count = std::min(encoder.chunk_rows(), rows - row);
      const auto bytes = TRY(encoder.encode_rows(row, count));
      TRY(file_->write(offset, bytes));
      checksum.add(bytes);
      offset += std::ssize(bytes);
      release_rows(source_, item.source, {.first = row, .count = count});
      advance(count * item.source.shape.columns());
    }
    const std::string digits = checksum.digits();
    return file_->write(layout_.digits_offset(index), std::as_bytes(std::span(digits)));
  }

  void advance(int64_t values) {
    done_values_ += values;
    if (options_.progress) options_.progress(done_values_, total_values_);
  }

  const formats::Checkpoint& source_;
  const ConvertOptions& options_;
  core::ThreadPool& pool_;
  const Layout layout_;
  std::unique_ptr<formats::OutputFile> file_;
  int64_t done_values_ = 0;
  int64_t total_values_ = 0;
};

}  // namespace

core::Result<std::vector<ConvertedTensor>> plan_conversion(const formats::Checkpoint& source,
                                                           const Recipe& recipe) {
  std::vector<ConvertedTensor> planned;
  std::vector<TensorSource> tensors = TRY(tensor_sources(source));
  for (const Item& item : plan_items(source, std::move(tensors), recipe))
    planned.push_back(item.tensor);
  return planned;
}

core::Result<ConvertReport> convert(const formats::Checkpoint& source,
                                    const ConvertOptions& options, core::ThreadPool& pool) {
  std::vector<TensorSource> tensors = TRY(tensor_sources(source));
  std::vector<Item> items = plan_items(source, std::move(tensors), options.recipe);
  Layout layout = TRY(lay_out(source, options, std::move(items)));
  return Conversion(source, options, pool, std::move(layout)).run();
}

}  // namespace sluice::quantize
