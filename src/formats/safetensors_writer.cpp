#include "formats/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/math.h"

namespace sluice::formats {
namespace {

constexpr int64_t kLengthBytes = 8;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

void SafetensorsWriter::set_text(std::string_view key, std::string_view value) {
  texts_.emplace_back(key, value);
}

void SafetensorsWriter::add_tensor(std::string_view name, core::DType type,
                                   std::span<const int64_t> shape) {
  int64_t values = 1;
  for (const int64_t extent : shape) values *= extent;
  tensors_.push_back(
      {std::string(name), type, {shape.begin(), shape.end()}, core::bytes_of(type, values)});
}

SafetensorsWriter::Layout SafetensorsWriter::layout() const {
  std::vector<size_t> order(tensors_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return core::info(tensors_[a].type).block_bytes > core::info(tensors_[b].type).block_bytes;
  });
  std::string json = "{\"__metadata__\":{";
  for (size_t i = 0; i < texts_.size(); ++i)
    json += fmt::format("{}{}:{}", i == 0 ? "" : ",", quoted(texts_[i].first),
                        quoted(texts_[i].second));
  json += '}';
  Layout layout;
  layout.offsets.resize(tensors_.size());
  int64_t at = 0;
  for (const size_t i : order) {
    const Tensor& t = tensors_[i];
    std::string shape;
    for (const int64_t extent : t.shape)
      shape += fmt::format("{}{}", shape.empty() ? "" : ",", extent);
    json += fmt::format(",{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        quoted(t.name), core::info(t.type).name, shape, at, at + t.bytes);
    layout.offsets[i] = at;
    at += t.bytes;
  }
  json += '}';
  json.resize(static_cast<size_t>(core::round_up(std::ssize(json), kLengthBytes)), ' ');
  const auto length = static_cast<uint64_t>(json.size());
  layout.header.resize(static_cast<size_t>(kLengthBytes) + json.size());
  std::memcpy(layout.header.data(), &length, sizeof length);
  std::memcpy(layout.header.data() + kLengthBytes, json.data(), json.size());
  for (int64_t& offset : layout.offsets) offset += std::ssize(layout.header);
  layout.file_bytes = std::ssize(layout.header) + at;
  return layout;
}

}  // namespace sluice::formats
