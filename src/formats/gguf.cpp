#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <unordered_set>

#include "core/math.h"

namespace sluice::formats {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kAlignmentMax = 1 << 20;
constexpr int64_t kPairBytesMin = 8 + 4 + 1;                // key length, type, the smallest value
constexpr int64_t kTensorInfoBytesMin = 8 + 4 + 8 + 4 + 8;  // name length … offset, one dimension

// Reads forward through the bytes; every refusal says which field, where and how many bytes.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  int64_t offset() const { return static_cast<int64_t>(offset_); }
  int64_t left() const { return static_cast<int64_t>(bytes_.size() - offset_); }

  core::Result<std::span<const std::byte>> take(uint64_t count, std::string_view field) {
    if (count > bytes_.size() - offset_)
      return core::invalid("{}: needs {} bytes at offset {}, the file has {}", field, count,
                           offset_, bytes_.size());
    const auto taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }

  template <typename T>
  core::Result<T> number(std::string_view field) {
    const auto bytes = TRY(take(sizeof(T), field));
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  core::Result<std::string_view> text(int64_t bytes_max, std::string_view field) {
    const auto length = TRY(number<uint64_t>(field));
    if (length > static_cast<uint64_t>(bytes_max))
      return core::invalid("{}: length {} at offset {}, allowed {}", field, length,
                           offset_ - sizeof length, bytes_max);
    const auto bytes = TRY(take(length, field));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  // A number of things that take at least `bytes_each` of what is left.
  core::Result<int64_t> count(int64_t bytes_each, std::string_view field) {
    const auto found = TRY(number<uint64_t>(field));
    if (found > static_cast<uint64_t>(left() / bytes_each))
      return core::invalid("{}: {}, but only {} bytes follow", field, found, left());
    return static_cast<int64_t>(found);
  }

 private:
  std::span<const std::byte> bytes_;
  size_t offset_ = 0;
};

core::Result<ValueType> read_type(Cursor& in, std::string_view field) {
  const auto number = TRY(in.number<uint32_t>(field));
  const auto type = static_cast<ValueType>(number);
  if (number > static_cast<uint32_t>(ValueType::kF64))
    return core::invalid("{}: unknown value type {}", field, number);
  return type;
}

core::Result<MetadataValue> read_array(Cursor& in) {
  MetadataValue value;
  value.is_array = true;
  value.type = TRY(read_type(in, "array element type"));
  if (value.type == ValueType::kArray) return core::unsupported("an array of arrays");
  const bool strings = value.type == ValueType::kString;
  const int64_t bytes_each = strings ? 8 : fixed_bytes(value.type);
  value.count = TRY(in.count(bytes_each, "array length"));
  if (!strings) {
    value.payload = TRY(in.take(static_cast<uint64_t>(value.count * bytes_each), "array"));
    return value;
  }
  Cursor end = in;
  for (int64_t i = 0; i < value.count; ++i) {
    const auto length = TRY(end.number<uint64_t>("array string length"));
    (void)TRY(end.take(length, "array string"));
  }
  value.payload = TRY(in.take(static_cast<uint64_t>(end.offset() - in.offset()), "array"));
  return value;
}

core::Result<MetadataValue> read_value(Cursor& in) {
  const ValueType type = TRY(read_type(in, "type"));
  if (type == ValueType::kArray) return read_array(in);
  MetadataValue value{.type = type};
  if (type == ValueType::kString) {
    const auto length = TRY(in.number<uint64_t>("string length"));
    value.payload = TRY(in.take(length, "string"));
  } else {
    value.payload = TRY(in.take(static_cast<uint64_t>(fixed_bytes(type)), "value"));
  }
  return value;
}

core::Result<void> read_metadata(Cursor& in, int64_t pairs, Metadata* metadata) {
  for (int64_t i = 0; i < pairs; ++i) {
    const auto where = [&] { return fmt::format("metadata pair {} of {}", i + 1, pairs); };
    const auto key = in.text(kMetadataKeyBytesMax, "key");
    if (!key.ok()) return key.error().within(where());
    if (key->empty()) return core::invalid("{}: the key is empty", where());
    const auto value = read_value(in);
    if (!value.ok()) return value.error().within(fmt::format("metadata '{}'", *key));
    if (!metadata->insert(*key, *value)) return core::invalid("metadata '{}': twice", *key);
  }
  return {};
}

core::Result<int64_t> read_alignment(const Metadata& metadata) {
  const int64_t alignment = TRY(metadata.integer_or("general.alignment", kDefaultAlignment));
  if (alignment < 1 || alignment > kAlignmentMax ||
      !std::has_single_bit(static_cast<uint64_t>(alignment)))
    return core::invalid("metadata 'general.alignment': {}, expected a power of two up to {}",
                         alignment, kAlignmentMax);
  return alignment;
}

// A row of the tensor table as it lies in the file: dimensions innermost first.
struct TensorRow {
  std::string_view name;
  uint32_t dims = 0;
  std::array<uint64_t, core::kTensorDimsMax> extents{};
  uint32_t type = 0;
  uint64_t offset = 0;  // from the start of the data section
};

core::Result<TensorRow> read_row(Cursor& in) {
  TensorRow row;
  row.name = TRY(in.text(kTensorNameBytesMax, "name"));
  row.dims = TRY(in.number<uint32_t>("number of dimensions"));
  if (row.dims < 1 || row.dims > core::kTensorDimsMax)
    return core::invalid("'{}': {} dimensions, allowed 1 to {}", row.name, row.dims,
                         core::kTensorDimsMax);
  for (uint32_t d = 0; d < row.dims; ++d) row.extents[d] = TRY(in.number<uint64_t>("dimension"));
  row.type = TRY(in.number<uint32_t>("type"));
  row.offset = TRY(in.number<uint64_t>("offset"));
  return row;
}

core::Result<std::vector<TensorRow>> read_table(Cursor& in, int64_t count) {
  std::vector<TensorRow> rows;
  rows.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    auto row = read_row(in);
    if (!row.ok()) return row.error().within(fmt::format("tensor {} of {}", i + 1, count));
    rows.push_back(*row);
  }
  return rows;
}

struct DataSection {
  const std::byte* data = nullptr;
  int64_t bytes = 0;
  int64_t alignment = 1;
};

// Values of the row, checked against overflow and the type's block.
core::Result<core::TensorView> shape_of(const TensorRow& row) {
  core::TensorView view;
  view.dims = static_cast<int>(row.dims);
  const auto type = core::dtype_from_gguf(row.type);
  if (!type) return core::unsupported("tensor '{}': type {} is not known", row.name, row.type);
  view.type = *type;
  const core::DTypeInfo& info = core::info(*type);
  int64_t values = 1;
  for (uint32_t d = 0; d < row.dims; ++d) {
    const uint64_t extent = row.extents[d];
    if (extent == 0) return core::invalid("tensor '{}': dimension {} is 0", row.name, d);
    // With at most 2^48 values no later product or sum can overflow.
    if (extent > (uint64_t{1} << 48) ||
        __builtin_mul_overflow(values, static_cast<int64_t>(extent), &values) ||
        values > (int64_t{1} << 48))
      return core::invalid("tensor '{}': dimension {} of {} makes it larger than 2^48 values",
                           row.name, d, extent);
    view.shape[row.dims - 1 - d] = static_cast<int64_t>(extent);
  }
  if (view.columns() % info.block_values != 0)
    return core::invalid("tensor '{}': rows of {} values, {} comes in blocks of {}", row.name,
                         view.columns(), info.name, info.block_values);
  return view;
}

// The tensors that a file cut short no longer has: one problem.
struct CutOff {
  std::string first;  // by the table's order: what it needs
  std::string_view name;
  int64_t count = 0;

  void report(Problems* problems) const {
    if (count == 0) return;
    const std::string others = count == 1 ? "" : fmt::format(" and {} more", count - 1);
    problems->add("tensor '{}'{}: {}", name, others, first);
  }
};

// None where it ends behind the file, which is noted.
core::Result<std::optional<core::TensorView>> place(const TensorRow& row,
                                                    const DataSection& section, CutOff* cut) {
  core::TensorView view = TRY(shape_of(row));
  if (row.offset % static_cast<uint64_t>(section.alignment) != 0)
    return core::invalid("tensor '{}': offset {} is not a multiple of the alignment {}", row.name,
                         row.offset, section.alignment);
  const int64_t bytes = view.bytes();
  if (row.offset > static_cast<uint64_t>(section.bytes) ||
      bytes > section.bytes - static_cast<int64_t>(row.offset)) {
    if (cut->count++ > 0) return std::optional<core::TensorView>();
    cut->name = row.name;
    cut->first = fmt::format(
        "{} of {} needs {} bytes at offset {} of the data, the file has {} there",
        core::shape_text(view), core::info(view.type).name, bytes, row.offset, section.bytes);
    return std::optional<core::TensorView>();
  }
  view.data = section.data + row.offset;
  return std::optional(view);
}

void find_overlaps(const std::vector<NamedTensor>& tensors, Problems* problems) {
  std::vector<const NamedTensor*> by_offset;
  for (const NamedTensor& t : tensors) by_offset.push_back(&t);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const NamedTensor* a, const NamedTensor* b) { return a->view.data < b->view.data; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const NamedTensor& before = *by_offset[i - 1];
    const int64_t distance = by_offset[i]->view.data - before.view.data;
    if (distance < before.view.bytes())
      problems->add("tensor '{}' begins {} bytes inside tensor '{}'", by_offset[i]->name, distance,
                    before.name);
  }
}

void place_all(const std::vector<TensorRow>& rows, const DataSection& section, GgufFile* file,
               Problems* problems) {
  file->tensors.reserve(rows.size());
  std::unordered_set<std::string_view> names;
  CutOff cut;
  for (const TensorRow& row : rows) {
    if (row.name.empty()) problems->add("a tensor's name is empty");
    if (!names.insert(row.name).second) problems->add("tensor '{}': twice", row.name);
    const auto view = place(row, section, &cut);
    if (!view.ok()) problems->add("{}", view.error().message);
    if (view.ok() && *view)
      file->tensors.push_back({row.name, **view});
    else
      file->lost.push_back(row.name);
  }
  cut.report(problems);
  find_overlaps(file->tensors, problems);
}

core::Result<uint32_t> read_version(Cursor& in) {
  const auto magic = TRY(in.number<uint32_t>("magic"));
  if (magic != kMagic)
    return core::invalid("magic is {:#010x}, a GGUF file begins with 'GGUF'", magic);
  const auto version = TRY(in.number<uint32_t>("version"));
  if (version != 0 && (version & 0xffffu) == 0)
    return core::unsupported("version {:#010x}: a big-endian file; little-endian is expected",
                             version);
  if (version != 2 && version != 3)
    return core::unsupported("version {}, expected 2 or 3", version);
  return version;
}

}  // namespace

core::Result<GgufFile> read_gguf(std::unique_ptr<ByteSource> source) {
  Problems problems;
  GgufFile file = TRY(read_gguf(std::move(source), &problems));
  if (!problems.empty()) return problems.error();
  return file;
}

core::Result<GgufFile> read_gguf(std::unique_ptr<ByteSource> source, Problems* problems) {
  ASSERT(problems->empty(), "of another file");
  GgufFile file;
  const auto bytes = source->bytes();
  Cursor in(bytes);
  file.version = TRY(read_version(in));
  // Both counts stand before what they count.
  const int64_t tensors = TRY(in.count(kTensorInfoBytesMin, "tensor count"));
  const int64_t pairs = TRY(in.count(kPairBytesMin, "metadata pair count"));
  TRY(read_metadata(in, pairs, &file.metadata));
  DataSection section;
  section.alignment = TRY(read_alignment(file.metadata));
  const std::vector<TensorRow> rows = TRY(read_table(in, tensors));
  file.header_bytes = in.offset();
  const int64_t begin = core::round_up(file.header_bytes, section.alignment);
  section.bytes = std::max<int64_t>(0, source->size_bytes() - begin);
  section.data = section.bytes > 0 ? bytes.data() + begin : nullptr;
  place_all(rows, section, &file, problems);
  file.source = std::move(source);
  return file;
}

}  // namespace sluice::formats
