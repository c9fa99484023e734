#include "quantize/folder_layout.h"

#include <algorithm>

#include "core/math.h"
#include "quantize/checksum.h"

namespace sluice::quantize {
namespace {

using core::DType;

constexpr int64_t kBlock = 128;

FolderPart make_part(std::string name, DType type, std::vector<int64_t> shape, int64_t rows,
                     int64_t unit_rows) {
  FolderPart part{
      .name = std::move(name), .type = type, .shape = std::move(shape), .unit_rows = unit_rows};
  int64_t values = 1;
  for (const int64_t extent : part.shape) values *= extent;
  part.bytes = core::bytes_of(type, values);
  part.unit_bytes = part.bytes / core::div_ceil(rows, unit_rows);
  return part;
}

}  // namespace

FolderPart plain_part(std::string name, DType type, std::vector<int64_t> shape, int64_t rows) {
  return make_part(std::move(name), type, std::move(shape), rows, 1);
}

std::vector<FolderPart> quantized_parts(const std::string& name, const FolderChoice& choice,
                                        MatrixSize size) {
  const auto [rows, columns] = size;
  const std::string stem = name.substr(0, name.rfind('.') + 1);
  const int64_t groups = choice.group > 0 ? columns / choice.group : 0;
  switch (choice.type) {
    case FolderType::kInt4:
      return {plain_part(name + "_packed", DType::kI32, {rows, columns / 8}, rows),
              plain_part(name + "_scale", DType::kBF16, {rows, columns / choice.group}, rows),
              make_part(name + "_shape", DType::kI64, {2}, rows, rows)};
    case FolderType::kInt8:
      return {plain_part(name, DType::kI8, {rows, columns}, rows),
              plain_part(name + "_scale", DType::kF32, {rows, 1}, rows)};
    case FolderType::kFp8:
      return {
          plain_part(name, DType::kF8_E4M3, {rows, columns}, rows),
          make_part(name + "_scale_inv", DType::kF32,
                    {core::div_ceil(rows, kBlock), core::div_ceil(columns, kBlock)}, rows, kBlock)};
    case FolderType::kAwq:
      return {make_part(stem + "qweight", DType::kI32, {columns, rows / 8}, rows, rows),
              make_part(stem + "scales", DType::kF16, {groups, rows}, rows, rows),
              make_part(stem + "qzeros", DType::kI32, {groups, rows / 8}, rows, rows)};
    case FolderType::kGptq:
    case FolderType::kGptqActOrder:
      return {make_part(stem + "qweight", DType::kI32, {columns / 8, rows}, rows, rows),
              make_part(stem + "scales", DType::kF16, {groups, rows}, rows, rows),
              make_part(stem + "qzeros", DType::kI32, {groups, rows / 8}, rows, rows),
              make_part(stem + "g_idx", DType::kI32, {columns}, rows, rows)};
    case FolderType::kMxfp4:
      return {plain_part(name + "_packed", DType::kU8, {rows, columns / 2}, rows),
              plain_part(name + "_scale", DType::kU8, {rows, columns / 32}, rows)};
    case FolderType::kAsStored:
    case FolderType::kF16:
    case FolderType::kF32:
      break;
  }
  ASSERT(false, "'{}' is not quantised", name);
}

int64_t FolderShard::digits_offset(const FolderPart& part) const {
  return checksums_offset + static_cast<int64_t>(part.place) * kChecksumDigits;
}

std::vector<FolderShard> lay_out_shards(std::span<std::vector<FolderPart>* const> parts_of_matrices,
                                        int64_t shard_bytes_max) {
  std::vector<FolderShard> shards(1);
  int64_t filled = 0;
  for (std::vector<FolderPart>* parts : parts_of_matrices) {
    int64_t bytes = 0;
    for (const FolderPart& part : *parts) bytes += part.bytes;
    if (filled > 0 && filled + bytes > shard_bytes_max) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    for (FolderPart& part : *parts) {
      part.shard = shards.size() - 1;
      shards.back().parts.push_back(&part);
    }
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    FolderShard& shard = shards[i];
    shard.file = shards.size() == 1
                     ? "model.safetensors"
                     : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    std::stable_sort(shard.parts.begin(), shard.parts.end(),
                     [](const FolderPart* a, const FolderPart* b) {
                       return core::info(a->type).block_bytes > core::info(b->type).block_bytes;
                     });
    formats::SafetensorsWriter writer;
    writer.set_text("format", "pt");
    writer.set_text(kChecksumsKey, std::string(shard.parts.size() * kChecksumDigits, '0'));
    for (const FolderPart* part : shard.parts)
      writer.add_tensor(part->name, part->type, part->shape);
    shard.layout = writer.layout();
    shard.checksums_offset = find_checksums(shard.layout.header);
    for (size_t place = 0; place < shard.parts.size(); ++place) {
      shard.parts[place]->place = place;
      shard.parts[place]->offset = shard.layout.offsets[place];
    }
  }
  return shards;
}

int64_t find_checksums(std::span<const std::byte> header) {
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  const std::string key = fmt::format("\"{}\":\"", kChecksumsKey);
  const size_t at = text.find(key);
  return at == std::string_view::npos ? -1 : static_cast<int64_t>(at + key.size());
}

}  // namespace sluice::quantize
