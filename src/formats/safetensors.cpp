#include "formats/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <unordered_set>

namespace sluice::formats {
namespace {

namespace dom = simdjson::dom;

constexpr int64_t kLengthBytes = 8;

struct TypeRow {
  std::string_view name;
  core::DType type;
};
constexpr TypeRow kTypes[] = {
    {"F32", core::DType::kF32},         {"F16", core::DType::kF16}, {"BF16", core::DType::kBF16},
    {"F8_E4M3", core::DType::kF8_E4M3}, {"I8", core::DType::kI8},   {"U8", core::DType::kU8},
    {"I32", core::DType::kI32},         {"I64", core::DType::kI64},
};

core::Result<core::DType> read_type(dom::object entry) {
  std::string_view name;
  if (entry["dtype"].get(name) != simdjson::SUCCESS)
    return core::invalid("'dtype' is missing or not a string");
  for (const TypeRow& row : kTypes)
    if (row.name == name) return row.type;
  return core::unsupported("dtype '{}', expected F32, F16, BF16, F8_E4M3, I8, U8, I32 or I64",
                           name);
}

// Into view.shape; its bytes are counted without overflow.
core::Result<int64_t> read_shape(dom::object entry, core::TensorView* view) {
  dom::array shape;
  if (entry["shape"].get(shape) != simdjson::SUCCESS)
    return core::invalid("'shape' is missing or not an array");
  if (shape.size() > core::kTensorDimsMax)
    return core::unsupported("{} dimensions, at most {}", shape.size(), core::kTensorDimsMax);
  int64_t bytes = core::info(view->type).block_bytes;
  for (const dom::element e : shape) {
    int64_t extent = 0;
    if (e.get(extent) != simdjson::SUCCESS || extent < 1)
      return core::invalid("'shape' holds something else than integers from 1 on");
    if (extent > std::numeric_limits<int64_t>::max() / bytes)
      return core::invalid("'shape' has more bytes than 64 bits count");
    view->shape[static_cast<size_t>(view->dims++)] = extent;
    bytes *= extent;
  }
  return bytes;
}

struct Extent {
  int64_t begin = 0;
  int64_t end = 0;
};
core::Result<Extent> read_offsets(dom::object entry) {
  dom::array offsets;
  if (entry["data_offsets"].get(offsets) != simdjson::SUCCESS || offsets.size() != 2)
    return core::invalid("'data_offsets' is missing or not an array of two");
  Extent extent;
  if (offsets.at(0).get(extent.begin) != simdjson::SUCCESS ||
      offsets.at(1).get(extent.end) != simdjson::SUCCESS || extent.begin < 0 ||
      extent.end < extent.begin)
    return core::invalid("'data_offsets' are not two rising integers");
  return extent;
}

// The tensors that a file cut short no longer has: one problem.
struct Missing {
  std::string_view first;  // by the table's order
  int64_t count = 0;
  int64_t end = 0;

  void report(int64_t data_bytes, Problems* problems) const {
    if (count == 0) return;
    const std::string others = count == 1 ? "" : fmt::format(" and {} more", count - 1);
    problems->add("tensor '{}'{}: 'data_offsets' end at {}, the file has {} bytes of data", first,
                  others, end, data_bytes);
  }
};

// None where it ends behind the file, which is noted.
core::Result<std::optional<core::TensorView>> read_entry(std::string_view name,
                                                         dom::element element,
                                                         std::span<const std::byte> data,
                                                         Missing* missing) {
  dom::object entry;
  if (element.get(entry) != simdjson::SUCCESS) return core::invalid("is not an object");
  core::TensorView view;
  view.type = TRY(read_type(entry));
  const int64_t needed = TRY(read_shape(entry, &view));
  const Extent extent = TRY(read_offsets(entry));
  if (extent.end > std::ssize(data)) {
    if (missing->count++ == 0) missing->first = name;
    missing->end = std::max(missing->end, extent.end);
    return std::optional<core::TensorView>();
  }
  if (extent.end - extent.begin != needed)
    return core::invalid("shape {} needs {} bytes, 'data_offsets' span {}", core::shape_text(view),
                         needed, extent.end - extent.begin);
  view.data = data.data() + extent.begin;
  const auto alignment = static_cast<uintptr_t>(core::info(view.type).block_bytes);
  if (reinterpret_cast<uintptr_t>(view.data) % alignment != 0)
    return core::unsupported("begins at a byte that is no multiple of its elements' {}", alignment);
  return std::optional(view);
}

// The tensors must cover the data, each byte once.
void check_cover(const std::vector<NamedTensor>& tensors, std::span<const std::byte> data,
                 Problems* problems) {
  std::vector<const NamedTensor*> by_offset;
  for (const NamedTensor& t : tensors) by_offset.push_back(&t);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const NamedTensor* a, const NamedTensor* b) { return a->view.data < b->view.data; });
  const std::byte* covered = data.data();
  for (const NamedTensor* t : by_offset) {
    if (t->view.data < covered)
      problems->add("tensor '{}' begins {} bytes inside another", t->name, covered - t->view.data);
    if (t->view.data > covered)
      problems->add("{} bytes before tensor '{}' belong to none", t->view.data - covered, t->name);
    covered = std::max(covered, t->view.data + t->view.bytes());
  }
  const std::ptrdiff_t left = data.data() + data.size() - covered;
  if (left > 0) problems->add("the last {} bytes belong to no tensor", left);
}

void read_table(dom::object table, std::span<const std::byte> data, SafetensorsFile* file,
                Problems* listed) {
  Problems& problems = *listed;
  ASSERT(problems.empty(), "of another file");
  Missing missing;
  std::unordered_set<std::string_view> seen;
  for (const auto [key, element] : table) {
    if (key == "__metadata__") continue;
    file->names.emplace_back(key);
    const std::string_view name = file->names.back();
    if (name.empty()) problems.add("a tensor's name is empty");
    if (std::ssize(name) > kTensorNameBytesMax)
      problems.add("a tensor's name has {} bytes, allowed {}", name.size(), kTensorNameBytesMax);
    if (!seen.insert(name).second) problems.add("tensor '{}': twice", name);
    const auto view = read_entry(name, element, data, &missing);
    if (!view.ok()) problems.add("tensor '{}': {}", name, view.error().message);
    if (view.ok() && *view)
      file->tensors.push_back({name, **view});
    else
      file->lost.push_back(name);
  }
  missing.report(std::ssize(data), &problems);
  // Only whole tables are checked for holes: a refused tensor leaves one.
  if (problems.empty()) check_cover(file->tensors, data, &problems);
}

}  // namespace

core::Result<SafetensorsFile> read_safetensors(std::unique_ptr<ByteSource> source) {
  Problems problems;
  SafetensorsFile file = TRY(read_safetensors(std::move(source), &problems));
  if (!problems.empty()) return problems.error();
  return file;
}

core::Result<SafetensorsFile> read_safetensors(std::unique_ptr<ByteSource> source,
                                               Problems* problems) {
  const auto bytes = source->bytes();
  if (std::ssize(bytes) < kLengthBytes)
    return core::invalid("header length: needs {} bytes, the file has {}", kLengthBytes,
                         bytes.size());
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > static_cast<uint64_t>(kSafetensorsHeaderBytesMax))
    return core::invalid("header length: {}, allowed {}", length, kSafetensorsHeaderBytesMax);
  if (length > bytes.size() - kLengthBytes)
    return core::invalid("header length: {}, but only {} bytes follow", length,
                         bytes.size() - kLengthBytes);
  SafetensorsFile file;
  file.header_bytes = kLengthBytes + static_cast<int64_t>(length);
  dom::parser parser;
  dom::element root;
  const auto* json = reinterpret_cast<const char*>(bytes.data()) + kLengthBytes;
  if (const auto error = parser.parse(json, length).get(root); error != simdjson::SUCCESS)
    return core::invalid("header: {}", simdjson::error_message(error));
  dom::object table;
  if (root.get(table) != simdjson::SUCCESS) return core::invalid("header: is not an object");
  read_table(table, bytes.subspan(static_cast<size_t>(file.header_bytes)), &file, problems);
  file.source = std::move(source);
  return file;
}

}  // namespace sluice::formats
