#include "formats/gguf_writer.h"

#include "core/math.h"

namespace sluice::formats {
namespace {

constexpr uint32_t kVersion = 3;
constexpr int64_t kMetadataBegin = 24;  // after magic, version and both counts

void append_bytes(std::vector<std::byte>* out, std::span<const std::byte> bytes) {
  out->insert(out->end(), bytes.begin(), bytes.end());
}

template <typename T>
void append(std::vector<std::byte>* out, T value) {
  append_bytes(out, std::as_bytes(std::span(&value, 1)));
}

void append_text(std::vector<std::byte>* out, std::string_view text) {
  append<uint64_t>(out, text.size());
  append_bytes(out, std::as_bytes(std::span(text)));
}

void pad(std::vector<std::byte>* out) {
  out->resize(static_cast<size_t>(
      core::round_up(static_cast<int64_t>(out->size()), GgufWriter::kAlignmentBytes)));
}

}  // namespace

void GgufWriter::begin_pair(std::string_view key, ValueType type) {
  ++pairs_;
  append_text(&metadata_, key);
  append(&metadata_, type);
}

void GgufWriter::begin_array(std::string_view key, ValueType element, size_t count) {
  begin_pair(key, ValueType::kArray);
  append(&metadata_, element);
  append<uint64_t>(&metadata_, count);
}

void GgufWriter::set_integer(std::string_view key, uint32_t value) {
  begin_pair(key, ValueType::kU32);
  append(&metadata_, value);
}

void GgufWriter::set_number(std::string_view key, float value) {
  begin_pair(key, ValueType::kF32);
  append(&metadata_, value);
}

void GgufWriter::set_flag(std::string_view key, bool value) {
  begin_pair(key, ValueType::kBool);
  append<uint8_t>(&metadata_, value ? 1 : 0);
}

void GgufWriter::set_text(std::string_view key, std::string_view value) {
  begin_pair(key, ValueType::kString);
  append_text(&metadata_, value);
}

void GgufWriter::set_texts(std::string_view key, std::span<const std::string> values) {
  begin_array(key, ValueType::kString, values.size());
  for (const std::string& value : values) append_text(&metadata_, value);
}

void GgufWriter::set_numbers(std::string_view key, std::span<const float> values) {
  begin_array(key, ValueType::kF32, values.size());
  append_bytes(&metadata_, std::as_bytes(values));
}

void GgufWriter::set_integers(std::string_view key, std::span<const int32_t> values) {
  begin_array(key, ValueType::kI32, values.size());
  append_bytes(&metadata_, std::as_bytes(values));
}

void GgufWriter::copy(std::string_view key, const MetadataValue& value) {
  if (key == "general.alignment") return;
  if (value.is_array)
    begin_array(key, value.type, static_cast<size_t>(value.count));
  else
    begin_pair(key, value.type);
  if (!value.is_array && value.type == ValueType::kString)
    append<uint64_t>(&metadata_, value.payload.size());
  append_bytes(&metadata_, value.payload);
}

void GgufWriter::add_tensor(std::string_view name, const core::TensorView& view) {
  tensors_.push_back({std::string(name), view});
}

int64_t GgufWriter::metadata_end_bytes() const {
  return kMetadataBegin + static_cast<int64_t>(metadata_.size());
}

std::vector<std::byte> GgufWriter::header() const {
  std::vector<std::byte> out;
  append_bytes(&out, std::as_bytes(std::span(std::string_view("GGUF"))));
  append(&out, kVersion);
  append<uint64_t>(&out, tensors_.size());
  append(&out, pairs_);
  append_bytes(&out, metadata_);
  int64_t offset = 0;
  for (const Tensor& t : tensors_) {
    append_text(&out, t.name);
    append<uint32_t>(&out, static_cast<uint32_t>(t.view.dims));
    for (int d = t.view.dims - 1; d >= 0; --d)
      append<uint64_t>(&out, static_cast<uint64_t>(t.view.shape[static_cast<size_t>(d)]));
    append<uint32_t>(&out, static_cast<uint32_t>(core::info(t.view.type).gguf_id));
    append<uint64_t>(&out, static_cast<uint64_t>(offset));
    offset = core::round_up(offset + t.view.bytes(), kAlignmentBytes);
  }
  pad(&out);
  return out;
}

std::vector<std::byte> GgufWriter::file() const {
  std::vector<std::byte> out = header();
  for (const Tensor& t : tensors_) {
    ASSERT(t.view.data != nullptr, "tensor '{}' has no data", t.name);
    append_bytes(&out, {t.view.data, static_cast<size_t>(t.view.bytes())});
    pad(&out);
  }
  return out;
}

}  // namespace sluice::formats
