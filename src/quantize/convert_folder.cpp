#include "quantize/convert_folder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/math.h"
#include "formats/hugging_face.h"
#include "formats/hugging_face_config.h"
#include "formats/output_file.h"
#include "formats/problems.h"
#include "formats/safetensors.h"
#include "quantize/checksum.h"
#include "quantize/encode.h"
#include "quantize/encode_rows.h"
#include "quantize/folder_files.h"
#include "quantize/folder_layout.h"
#include "quantize/tensor_source.h"

namespace sluice::quantize {
namespace {

namespace fs = std::filesystem;
using core::DType;

constexpr int64_t kBandRows = 128;
constexpr int64_t kChunkValues = int64_t{1} << 22;
constexpr int64_t kPieceBytes = int64_t{4} << 20;
constexpr std::string_view kWeight = "weight";
constexpr std::string_view kCopiedFiles[] = {"tokenizer.json",
                                             "tokenizer_config.json",
                                             "generation_config.json",
                                             "special_tokens_map.json",
                                             "added_tokens.json",
                                             "chat_template.jinja",
                                             "chat_template.json",
                                             "tokenizer.model",
                                             "vocab.json",
                                             "merges.txt",
                                             "README.md",
                                             "LICENSE"};

struct Item {
  FolderTensor tensor;
  bool is_linear = false;
  TensorSource source;
  std::vector<FolderPart> parts{};
};

std::string module_of_weight(const std::string& name) {
  return name.substr(0, name.size() - kWeight.size() - 1);
}

// Of a matrix that stays in floats: blocks of several values become BF16.
DType plain_type(DType joined) {
  return joined == DType::kF32 || joined == DType::kF16 ? joined : DType::kBF16;
}

std::vector<FolderPart> parts_of(const Item& item) {
  const core::TensorView& shape = item.source.shape;
  const std::string& name = item.tensor.name;
  if (item.tensor.choice.type != FolderType::kAsStored)
    return quantized_parts(name, item.tensor.choice, {shape.rows(), shape.columns()});
  return {plain_part(name, plain_type(shape.type),
                     {shape.shape.begin(), shape.shape.begin() + shape.dims}, shape.rows())};
}

core::Result<std::vector<Item>> plan_items(const formats::Checkpoint& source,
                                           const FolderRecipe& recipe) {
  TRY(check_encodes(recipe));
  std::vector<Item> items;
  for (TensorSource& t : TRY(folder_sources(source))) {
    Item item{
        .tensor = {.name = formats::hugging_face_tensor_name(t.name),
                   .from = t.shape.type,
                   .choice = choose_folder_type(recipe, t.name, t.shape),
                   .columns = t.shape.columns(),
                   .values = t.shape.values()},
        .is_linear = t.shape.dims > 1 && t.name.ends_with(kWeight) && t.name != "token_embd.weight",
        .source = std::move(t)};
    item.parts = parts_of(item);
    for (const FolderPart& part : item.parts) item.tensor.bytes += part.bytes;
    items.push_back(std::move(item));
  }
  return items;
}

std::vector<FolderShard> lay_out(int64_t shard_bytes_max, std::vector<Item>* items) {
  std::vector<std::vector<FolderPart>*> parts;
  for (Item& item : *items) parts.push_back(&item.parts);
  return lay_out_shards(parts, shard_bytes_max);
}

// Rows of a matrix in the new type, a chunk at a time by all threads.
class ChunkEncoder {
 public:
  ChunkEncoder(const Item& item, core::ThreadPool& pool)
      : item_(item),
        pool_(pool),
        reader_(item.source),
        columns_(item.source.shape.columns()),
        out_(item.parts.size()) {}

  // Whole bands but for the last.
  int64_t chunk_rows() const {
    return std::max<int64_t>(pool_.threads(), kChunkValues / columns_ / kBandRows) * kBandRows;
  }

  // Bytes of part p of these rows, valid until the next call.
  core::Result<void> encode(int64_t first, int64_t rows) {
    for (size_t p = 0; p < out_.size(); ++p)
      out_[p].resize(static_cast<size_t>(core::div_ceil(rows, item_.parts[p].unit_rows) *
                                         item_.parts[p].unit_bytes));
    std::atomic<int64_t> bad_row{-1};
    pool_.run([&](int thread, int threads) {
      const core::Range range = core::split(rows, kBandRows, thread, threads);
      std::vector<float> values(static_cast<size_t>(kBandRows * columns_));
      for (int64_t band = range.begin; band < range.end; band += kBandRows) {
        const int64_t count = std::min(kBandRows, range.end - band);
        for (int64_t r = 0; r < count; ++r) {
          float* row = values.data() + r * columns_;
          reader_.read(first + band + r, row);
          if (!std::all_of(row, row + columns_, [](float x) { return std::isfinite(x); }))
            bad_row = first + band + r;
        }
        if (bad_row >= 0) return;
        encode_band(values.data(), band, count);
      }
    });
    if (bad_row >= 0)
      return core::invalid("tensor '{}': row {} has values that are not finite", item_.tensor.name,
                           bad_row.load());
    if (item_.tensor.choice.type == FolderType::kInt4) {
      const int64_t shape[2] = {item_.source.shape.rows(), columns_};
      std::memcpy(out_[2].data(), shape, sizeof shape);
    }
    return {};
  }
  std::span<const std::byte> part(size_t p) const { return out_[p]; }

 private:
  template <typename T>
  T* at(size_t p, int64_t row) {
    const FolderPart& part = item_.parts[p];
    return reinterpret_cast<T*>(out_[p].data() + row / part.unit_rows * part.unit_bytes);
  }

  void encode_band(const float* x, int64_t row, int64_t rows) {
    if (item_.tensor.choice.type == FolderType::kFp8)
      return encode_fp8_band(x, {.rows = rows,
                                 .columns = columns_,
                                 .codes = at<uint8_t>(0, row),
                                 .scales = at<float>(1, row)});
    for (int64_t end = row + rows; row < end; ++row, x += columns_) {
      if (item_.tensor.choice.type == FolderType::kInt4) {
        encode_int4_row(x, {.columns = columns_,
                            .group = item_.tensor.choice.group,
                            .words = at<int32_t>(0, row),
                            .scales = at<uint16_t>(1, row)});
      } else if (item_.tensor.choice.type == FolderType::kInt8) {
        encode_int8_row(x, columns_, at<int8_t>(0, row), at<float>(1, row));
      } else {
        quantize::encode(item_.parts.front().type, x, columns_, at<std::byte>(0, row));
      }
    }
  }

  const Item& item_;
  core::ThreadPool& pool_;
  const RowReader reader_;
  const int64_t columns_;
  std::vector<std::vector<std::byte>> out_;  // by part
};

// A text that appears under its name when it is whole.
core::Result<void> write_text(const fs::path& path, std::string_view text) {
  const auto file = TRY(formats::OutputFile::open(path.string()));
  TRY(file->resize(0));
  TRY(file->write(0, std::as_bytes(std::span(text))));
  return file->publish();
}

class FolderConversion {
 public:
  FolderConversion(const formats::Checkpoint& source, const FolderOptions& options,
                   core::ThreadPool& pool, std::vector<Item> items)
      : source_(source),
        options_(options),
        pool_(pool),
        items_(std::move(items)),
        shards_(lay_out(options.shard_bytes_max, &items_)) {
    for (const Item& item : items_) total_values_ += item.tensor.values;
  }

  core::Result<FolderReport> run() {
    std::error_code failed;
    fs::create_directories(options_.path, failed);
    if (failed) return core::invalid("'{}': {}", options_.path, failed.message());
    if (fs::equivalent(options_.path, options_.source, failed))
      return core::invalid("'{}' is the source itself", options_.path);
    fs::remove(folder() / "config.json", failed);
    if (options_.add_files) TRY(options_.add_files(options_.path));
    size_t item = 0;
    for (size_t s = 0; s < shards_.size(); ++s) TRY(write_shard(s, &item));
    TRY(write_other_files());
    for (const Item& each : items_) report_.tensors.push_back(each.tensor);
    return report_;
  }

 private:
  fs::path folder() const { return options_.path; }

  core::Result<void> write_shard(size_t s, size_t* item) {
    const FolderShard& shard = shards_[s];
    const fs::path path = folder() / shard.file;
    // A shard that was whole before the interruption is looked through like one that was not.
    std::error_code failed;
    if (const fs::path partial = path.string() + ".partial"; !fs::exists(partial))
      fs::rename(path, partial, failed);
    file_ = TRY(formats::OutputFile::open(path.string()));
    TRY(begin(shard));
    for (; *item < items_.size() && items_[*item].parts.front().shard == s; ++*item) {
      const Item& each = items_[*item];
      if (TRY(is_written(each)))
        ++report_.resumed_tensors;
      else
        TRY(write_item(each));
      done_values_ += each.tensor.values;
      if (options_.progress) options_.progress(done_values_, total_values_);
      release_rows(source_, each.source, {.first = 0, .count = each.source.shape.rows()});
    }
    report_.bytes += shard.layout.file_bytes;
    return file_->publish();
  }

  int64_t digits_offset(const FolderPart& part) const {
    return shards_[part.shard].digits_offset(part);
  }

  // Keeps what lies there if it was begun for this very file, else starts anew.
  core::Result<void> begin(const FolderShard& shard) {
    if (TRY(file_->size_bytes()) == shard.layout.file_bytes) {
      std::vector<std::byte> found(shard.layout.header.size());
      TRY(file_->read(0, found));
      std::memset(found.data() + shard.checksums_offset, '0', shard.parts.size() * kChecksumDigits);
      if (found == shard.layout.header) return {};
    }
    TRY(file_->resize(0));
    TRY(file_->write(0, shard.layout.header));
    return file_->resize(shard.layout.file_bytes);
  }

  core::Result<bool> is_written(const Item& item) const {
    for (const FolderPart& part : item.parts) {
      std::string noted(kChecksumDigits, '0');
      TRY(file_->read(digits_offset(part),
                      std::as_writable_bytes(std::span(noted.data(), noted.size()))));
      if (noted == std::string(kChecksumDigits, '0')) return false;
      Checksum found;
      std::vector<std::byte> piece;
      for (int64_t done = 0; done < part.bytes; done += std::ssize(piece)) {
        piece.resize(static_cast<size_t>(std::min(kPieceBytes, part.bytes - done)));
        TRY(file_->read(part.offset + done, piece));
        found.add(piece);
      }
      if (found.digits() != noted) return false;
    }
    return true;
  }

  core::Result<void> note(const FolderPart& part, const std::string& digits) {
    return file_->write(digits_offset(part), std::as_bytes(std::span(digits)));
  }

  core::Result<void> write_item(const Item& item) {
    const std::byte* in_place = item.source.in_place();
    if (in_place != nullptr && item.parts.front().type == item.source.shape.type)
      return copy(item, in_place);
    ChunkEncoder encoder(item, pool_);
    std::vector<Checksum> checksums(item.parts.size());
    const int64_t rows = item.source.shape.rows();
    for (int64_t row = 0; row < rows; row += encoder.chunk_rows()) {
      const int64_t count = std::min(encoder.chunk_rows(), rows - row);
      TRY(encoder.encode(row, count));
      for (size_t p = 0; p < item.parts.size(); ++p) {
        const FolderPart& part = item.parts[p];
        if (row > 0 && part.unit_rows == rows) continue;  // the same for all rows
        TRY(file_->write(part.offset + row / part.unit_rows * part.unit_bytes, encoder.part(p)));
        checksums[p].add(encoder.part(p));
      }
      release_rows(source_, item.source, {.first = row, .count = count});
    }
    for (size_t p = 0; p < item.parts.size(); ++p) TRY(note(item.parts[p], checksums[p].digits()));
    return {};
  }

  core::Result<void> copy(const Item& item, const std::byte* from) {
    const FolderPart& part = item.parts.front();
    const int64_t rows = item.source.shape.rows();
    const int64_t rows_at_once = std::max<int64_t>(1, kPieceBytes / part.unit_bytes);
    Checksum checksum;
    for (int64_t row = 0; row < rows; row += rows_at_once) {
      const int64_t count = std::min(rows_at_once, rows - row), at = row * part.unit_bytes;
      const std::span piece(from + at, static_cast<size_t>(count * part.unit_bytes));
      TRY(file_->write(part.offset + at, piece));
      checksum.add(piece);
      release_rows(source_, item.source, {.first = row, .count = count});
    }
    return note(part, checksum.digits());
  }

  core::Result<void> write_other_files() {
    const fs::path from = options_.source;
    for (const std::string_view name : kCopiedFiles) {
      if (!fs::exists(from / name)) continue;
      std::error_code failed;
      fs::copy_file(from / name, folder() / name, fs::copy_options::overwrite_existing, failed);
      if (failed) return core::invalid("'{}': {}", name, failed.message());
    }
    std::map<std::string, std::string> shard_of;
    int64_t bytes = 0;
    std::vector<FolderModule> modules;
    for (const Item& item : items_) {
      if (item.is_linear)
        modules.push_back({module_of_weight(item.tensor.name), item.tensor.choice});
      bytes += item.tensor.bytes;
      for (const FolderPart& part : item.parts) shard_of[part.name] = shards_[part.shard].file;
    }
    if (shards_.size() > 1)
      TRY(write_text(folder() / "model.safetensors.index.json", shard_index(shard_of, bytes)));
    const std::string config = TRY(config_text());
    const std::string quantized = TRY(quantized_config(config, modules));
    return write_text(folder() / "config.json", quantized);
  }

  core::Result<std::string> config_text() const {
    if (fs::is_directory(options_.source)) {
      std::ifstream in(fs::path(options_.source) / "config.json");
      return std::string((std::istreambuf_iterator<char>(in)), {});
    }
    formats::ConfigFacts facts{.tied_embeddings = source_.find("output.weight") == nullptr};
    if (const core::TensorView* embedding = source_.find("token_embd.weight"))
      facts.vocab = embedding->rows();
    for (const auto& [name, view] : source_.tensors())
      facts.has_choice_biases |= name.ends_with("exp_probs_b.bias");
    return formats::config_of_metadata(source_.metadata(), facts);
  }

  const formats::Checkpoint& source_;
  const FolderOptions& options_;
  core::ThreadPool& pool_;
  std::vector<Item> items_;
  const std::vector<FolderShard> shards_;
  std::unique_ptr<formats::OutputFile> file_;
  FolderReport report_;
  int64_t done_values_ = 0;
  int64_t total_values_ = 0;
};

}  // namespace

core::Result<std::vector<FolderTensor>> plan_folder(const formats::Checkpoint& source,
                                                    const FolderRecipe& recipe) {
  const std::vector<Item> items = TRY(plan_items(source, recipe));
  std::vector<FolderTensor> planned;
  for (const Item& item : items) planned.push_back(item.tensor);
  return planned;
}

core::Result<FolderReport> convert_folder(const formats::Checkpoint& source,
                                          const FolderOptions& options, core::ThreadPool& pool) {
  std::vector<Item> items = TRY(plan_items(source, options.recipe));
  return FolderConversion(source, options, pool, std::move(items)).run();
}

core::Result<void> verify_folder(
    const std::string& folder,
    const std::function<void(int64_t done_bytes, int64_t total_bytes)>& progress) {
  const formats::HuggingFaceFolder found = TRY(formats::read_hugging_face_folder(folder));
  formats::Problems problems;
  int64_t done_bytes = 0, total_bytes = 0;
  for (const auto& file : found.files) total_bytes += file.source->size_bytes();
  for (size_t f = 0; f < found.files.size(); ++f) {
    const formats::SafetensorsFile& file = found.files[f];
    const auto header = file.source->bytes().first(static_cast<size_t>(file.header_bytes));
    const int64_t noted_at = find_checksums(header);
    const int64_t digits = std::ssize(file.tensors) * kChecksumDigits;
    if (noted_at < 0 || noted_at + digits > std::ssize(header)) {
      problems.add("'{}': no '{}' of its tensors", found.names[f], kChecksumsKey);
      continue;
    }
    const std::string_view noted(reinterpret_cast<const char*>(header.data()) + noted_at,
                                 static_cast<size_t>(digits));
    for (size_t i = 0; i < file.tensors.size(); ++i) {
      const formats::NamedTensor& t = file.tensors[i];
      const std::span bytes(t.view.data, static_cast<size_t>(t.view.bytes()));
      Checksum sum;
      sum.add(bytes);
      const auto expected = noted.substr(i * kChecksumDigits, static_cast<size_t>(kChecksumDigits));
      if (sum.digits() != expected)
        problems.add("tensor '{}': checksum {}, expected {}", t.name, sum.digits(), expected);
      file.source->release(bytes);
      done_bytes += t.view.bytes();
      if (progress) progress(done_bytes, total_bytes);
    }
  }
  if (!problems.empty()) return problems.error();
  return {};
}

}  // namespace sluice::quantize
