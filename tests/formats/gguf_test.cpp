// The reader against files from the writer, whole and broken in every way.
#include "formats/gguf.h"

#include <cstring>

#include <gmock/gmock.h>

#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"

namespace sluice::formats {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kValues[64] = {1, 2, 3, 4};

core::TensorView view_f32(std::array<int64_t, 4> shape, int dims) {
  return {.type = core::DType::kF32,
          .dims = dims,
          .shape = shape,
          .data = reinterpret_cast<const std::byte*>(kValues)};
}

GgufWriter sample() {
  GgufWriter writer;
  const std::vector<std::string> words = {"", "x", "Grüße"};
  const std::vector<float> numbers = {0.5f, -1};
  const std::vector<int32_t> integers = {-1, 7};
  writer.set_text("general.architecture", "llama");
  writer.set_text("general.name", "sample");
  writer.set_integer("llama.context_length", 4096);
  writer.set_number("number", 2.5f);
  writer.set_flag("flag", true);
  writer.set_texts("words", words);
  writer.set_numbers("numbers", numbers);
  writer.set_integers("integers", integers);
  writer.add_tensor("a", view_f32({2, 3}, 2));
  writer.add_tensor("b", view_f32({16}, 1));
  return writer;
}

core::Result<GgufFile> read(std::vector<std::byte> bytes) {
  return read_gguf(memory_source(std::move(bytes)));
}

std::string error_of(std::vector<std::byte> bytes) {
  const auto file = read(std::move(bytes));
  return file.ok() ? "no error" : file.error().message;
}

template <typename T>
void put(std::vector<std::byte>* bytes, int64_t offset, T value) {
  std::memcpy(bytes->data() + offset, &value, sizeof value);
}

// Where `text` ends in the file: the field after a key or a name.
int64_t after(const std::vector<std::byte>& bytes, std::string_view text) {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t found = all.find(text);
  EXPECT_NE(found, std::string_view::npos) << text;
  return static_cast<int64_t>(found + text.size());
}

// A file with one pair whose value is given byte by byte.
std::vector<std::byte> with_value(uint32_t type, std::string_view payload) {
  std::string file("GGUF");
  const auto add = [&](auto number) {
    file.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  add(uint32_t{3});
  add(uint64_t{0});
  add(uint64_t{1});
  add(uint64_t{1});
  file += "k";
  add(type);
  file += payload;
  const auto bytes = std::as_bytes(std::span(file));
  return {bytes.begin(), bytes.end()};
}

template <typename T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

TEST(Gguf, ReadsWhatTheWriterWrote) {
  const auto file = read(sample().file());
  ASSERT_TRUE(file.ok()) << file.error().message;
  const Metadata& m = file->metadata;
  EXPECT_EQ(file->version, 3u);
  EXPECT_EQ(m.text("general.name").value(), "sample");
  EXPECT_EQ(m.integer("llama.context_length").value(), 4096);
  EXPECT_EQ(m.number("number").value(), 2.5);
  EXPECT_TRUE(m.flag("flag").value());
  EXPECT_EQ(m.strings("words").value(), (std::vector<std::string_view>{"", "x", "Grüße"}));
  EXPECT_EQ(m.floats("numbers").value(), (std::vector<float>{0.5f, -1}));
  EXPECT_EQ(m.integers("integers").value(), (std::vector<int64_t>{-1, 7}));
  ASSERT_EQ(file->tensors.size(), 2u);
  EXPECT_EQ(file->tensors[0].name, "a");
  EXPECT_EQ(core::shape_text(file->tensors[0].view), "2×3");
  EXPECT_EQ(std::memcmp(file->tensors[1].view.data, kValues, 64), 0);
}

TEST(Gguf, ReadsVersion2) {
  auto bytes = sample().file();
  put<uint32_t>(&bytes, 4, 2);
  EXPECT_EQ(error_of(bytes), "no error");
}

TEST(Gguf, AFileCutAnywhereIsAnErrorThatNamesAField) {
  const auto whole = sample().file();
  // The last tensor's padding may be missing.
  const size_t needed = whole.size();
  for (size_t size = 0; size < needed; ++size) {
    const std::string error = error_of({whole.begin(), whole.begin() + static_cast<long>(size)});
    EXPECT_NE(error, "no error") << size;
    EXPECT_THAT(error, ::testing::ContainsRegex("magic|version|count|metadata|tensor")) << size;
  }
}

TEST(Gguf, EveryByteFlippedIsReadOrRefused) {
  const auto whole = sample().file();
  for (size_t at = 0; at < whole.size(); ++at)
    for (const uint8_t flip : {0x01, 0x80, 0xff}) {
      auto bytes = whole;
      bytes[at] ^= std::byte{flip};
      (void)error_of(std::move(bytes));  // it must only not crash (asan looks closer)
    }
}

TEST(Gguf, HeaderErrors) {
  auto bytes = sample().file();
  put<uint32_t>(&bytes, 0, 0x4c4d4747);
  EXPECT_THAT(error_of(bytes), HasSubstr("begins with 'GGUF'"));
  bytes = sample().file();
  put<uint32_t>(&bytes, 4, 1);
  EXPECT_THAT(error_of(bytes), HasSubstr("version 1, expected 2 or 3"));
  put<uint32_t>(&bytes, 4, 0x03000000);
  EXPECT_THAT(error_of(bytes), HasSubstr("big-endian"));
  put<uint32_t>(&bytes, 4, 3);
  put<uint64_t>(&bytes, 8, ~uint64_t{0});
  EXPECT_THAT(error_of(bytes), HasSubstr("tensor count: 18446744073709551615, but only"));
  put<uint64_t>(&bytes, 8, 2);
  put<uint64_t>(&bytes, 16, uint64_t{1} << 40);
  EXPECT_THAT(error_of(bytes), HasSubstr("metadata pair count: 1099511627776, but only"));
}

TEST(Gguf, MetadataErrors) {
  auto bytes = sample().file();
  put<uint64_t>(&bytes, 24, uint64_t{1} << 32);
  EXPECT_THAT(error_of(bytes), HasSubstr("metadata pair 1 of 8: key: length 4294967296"));
  bytes = sample().file();
  put<uint32_t>(&bytes, after(bytes, "llama.context_length"), 99);
  EXPECT_THAT(error_of(bytes),
              AllOf(HasSubstr("llama.context_length"), HasSubstr("unknown value type 99")));
  bytes = sample().file();
  put<uint64_t>(&bytes, after(bytes, "general.name") + 4, uint64_t{1} << 60);
  EXPECT_THAT(error_of(bytes), AllOf(HasSubstr("'general.name'"), HasSubstr("string: needs")));
  EXPECT_THAT(error_of(with_value(9, raw<uint32_t>(9) + raw<uint64_t>(0))),
              HasSubstr("'k': an array of arrays"));
  EXPECT_THAT(error_of(with_value(9, raw<uint32_t>(4) + raw<uint64_t>(uint64_t{1} << 62))),
              HasSubstr("array length: 4611686018427387904, but only 0 bytes follow"));
  EXPECT_THAT(error_of(with_value(9, raw<uint32_t>(8) + raw<uint64_t>(1) + raw<uint64_t>(9))),
              HasSubstr("array string: needs 9 bytes"));
  GgufWriter twice = sample();
  twice.set_flag("flag", false);
  EXPECT_THAT(error_of(twice.file()), HasSubstr("metadata 'flag': twice"));
  GgufWriter unnamed = sample();
  unnamed.set_flag("", false);
  EXPECT_THAT(error_of(unnamed.file()), HasSubstr("pair 9 of 9: the key is empty"));
}

TEST(Gguf, AlignmentErrors) {
  for (const uint32_t alignment : {0u, 3u, 48u, 1u << 30}) {
    GgufWriter writer = sample();
    writer.set_integer("general.alignment", alignment);
    EXPECT_THAT(error_of(writer.file()),
                HasSubstr("'general.alignment': " + std::to_string(alignment) + ", expected"));
  }
  GgufWriter writer = sample();
  writer.set_text("general.alignment", "32");
  EXPECT_THAT(error_of(writer.file()), HasSubstr("is string, expected an integer"));
}

TEST(Gguf, ACopiedAlignmentIsNotTheWritersOwn) {
  constexpr uint32_t kOther = 4096;
  GgufWriter writer = sample();
  writer.copy("general.alignment",
              {.type = ValueType::kU32, .payload = std::as_bytes(std::span(&kOther, 1))});
  const auto file = read(writer.file());
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_FALSE(file->metadata.has("general.alignment"));
}

// Offsets inside a row of the table: name, dimensions (u32), each extent (u64), type, offset.
constexpr int64_t kDims = 0, kExtents = 4;
constexpr int64_t type_at(int dims) {
  return kExtents + 8 * dims;
}
constexpr int64_t offset_at(int dims) {
  return type_at(dims) + 4;
}

TEST(Gguf, TensorErrors) {
  const auto whole = sample().file();
  const int64_t a = after(whole, std::string_view("\1\0\0\0\0\0\0\0a", 9));
  const int64_t b = after(whole, std::string_view("\1\0\0\0\0\0\0\0b", 9));
  const auto broken = [&](int64_t at, auto value) {
    auto bytes = whole;
    put(&bytes, at, value);
    return error_of(std::move(bytes));
  };
  EXPECT_THAT(broken(a + kDims, uint32_t{0}), HasSubstr("tensor 1 of 2: 'a': 0 dimensions"));
  EXPECT_THAT(broken(a + kDims, uint32_t{5}), HasSubstr("5 dimensions, allowed 1 to 4"));
  EXPECT_THAT(broken(a + kExtents, uint64_t{0}), HasSubstr("tensor 'a': dimension 0 is 0"));
  EXPECT_THAT(broken(a + kExtents, ~uint64_t{0}), HasSubstr("larger than 2^48 values"));
  EXPECT_THAT(broken(a + kExtents, (uint64_t{1} << 47) + 1), HasSubstr("larger than 2^48 values"));
  EXPECT_THAT(broken(a + type_at(2), uint32_t{99}), HasSubstr("tensor 'a': type 99 is not known"));
  EXPECT_THAT(broken(a + type_at(2), uint32_t{2}), HasSubstr("Q4_0 comes in blocks of 32"));
  EXPECT_THAT(broken(b + offset_at(1), uint64_t{7}), HasSubstr("not a multiple of the alignment"));
  EXPECT_THAT(broken(b + offset_at(1), uint64_t{1} << 50),
              HasSubstr("tensor 'b': 16 of F32 needs 64 bytes at offset"));
  EXPECT_THAT(broken(b + offset_at(1), uint64_t{0}), HasSubstr("begins 0 bytes inside tensor"));
  auto bytes = whole;
  put(&bytes, b - 1, 'a');
  EXPECT_THAT(error_of(bytes), HasSubstr("tensor 'a': twice"));
}

TEST(Gguf, AllProblemsOfTheTableAreListed) {
  auto bytes = sample().file();
  const int64_t a = after(bytes, std::string_view("\1\0\0\0\0\0\0\0a", 9));
  const int64_t b = after(bytes, std::string_view("\1\0\0\0\0\0\0\0b", 9));
  put<uint32_t>(&bytes, a + type_at(2), 16);
  put<uint64_t>(&bytes, b + offset_at(1), 4);
  EXPECT_THAT(error_of(bytes), AllOf(HasSubstr("2 problems"), HasSubstr("'a': type 16"),
                                     HasSubstr("'b': offset 4")));
}

TEST(Metadata, WrongTypesNameTheKey) {
  const auto file = read(sample().file());
  const Metadata& m = file->metadata;
  EXPECT_EQ(m.integer("number").error().message,
            "metadata 'number': is f32, expected an integer of at most 63 bits");
  EXPECT_EQ(m.text("words").error().message,
            "metadata 'words': is an array of 3 string, expected one value");
  EXPECT_EQ(m.strings("numbers").error().message,
            "metadata 'numbers': is an array of 2 f32, expected an array of strings");
  EXPECT_EQ(m.integers("flag").error().message, "metadata 'flag': is bool, expected an array");
  EXPECT_EQ(m.text("absent").error().message, "metadata 'absent' is missing");
  EXPECT_EQ(m.integer_or("absent", 5).value(), 5);
  EXPECT_FALSE(m.text_or("number", "").ok());
}

TEST(Metadata, ABoolIsZeroOrOneAndAnIntegerFits) {
  const auto flag = read(with_value(7, raw<uint8_t>(7)));
  EXPECT_EQ(flag->metadata.flag("k").error().message, "metadata 'k': bool is 7, expected 0 or 1");
  const auto large = read(with_value(10, raw<uint64_t>(~uint64_t{0})));
  EXPECT_FALSE(large->metadata.integer("k").ok());
}

}  // namespace
}  // namespace sluice::formats
