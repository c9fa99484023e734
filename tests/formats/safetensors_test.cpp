// The reader against files made here, whole and broken in every way.
#include "formats/safetensors.h"

#include <cstring>

#include <gmock/gmock.h>

namespace sluice::formats {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::string_view kWhole = R"({"__metadata__":{"format":"pt"},)"
                                    R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                                    R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})";

std::vector<std::byte> file_of(std::string_view header, size_t data_bytes) {
  std::string padded(header);
  while (padded.size() % 8 != 0) padded += ' ';
  std::vector<std::byte> bytes(8 + padded.size() + data_bytes);
  const uint64_t length = padded.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, padded.data(), padded.size());
  return bytes;
}

std::string error_of(std::vector<std::byte> bytes) {
  const auto file = read_safetensors(memory_source(std::move(bytes)));
  return file.ok() ? "no error" : file.error().message;
}
std::string error_of(std::string_view header, size_t data_bytes) {
  return error_of(file_of(header, data_bytes));
}

TEST(Safetensors, GivesEveryTensorWithItsShapeAndBytes) {
  auto bytes = file_of(kWhole, 32);
  bytes[bytes.size() - 1] = std::byte{7};
  const auto file = read_safetensors(memory_source(bytes));
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors.size(), 2u);
  const auto& [a, b] = std::pair(file->tensors[0], file->tensors[1]);
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.view.type, core::DType::kF32);
  EXPECT_EQ(a.view.rows(), 2);
  EXPECT_EQ(a.view.columns(), 3);
  EXPECT_EQ(b.view.bytes(), 8);
  EXPECT_EQ(b.view.data[7], std::byte{7});
}

TEST(Safetensors, TakesAScalarAndAnEmptyTable) {
  EXPECT_EQ(error_of(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4), "no error");
  EXPECT_EQ(error_of("{}", 0), "no error");
}

TEST(Safetensors, RefusesABrokenHeader) {
  EXPECT_THAT(error_of(std::vector<std::byte>(7)), HasSubstr("needs 8 bytes, the file has 7"));
  auto bytes = file_of(kWhole, 32);
  bytes.resize(100);
  EXPECT_THAT(error_of(bytes), HasSubstr("but only 92 bytes follow"));
  bytes[7] = std::byte{1};
  EXPECT_THAT(error_of(bytes), HasSubstr("allowed 100000000"));
  EXPECT_THAT(error_of("[]", 0), HasSubstr("is not an object"));
  EXPECT_THAT(error_of(R"({"a":)", 0), HasSubstr("header: "));
}

// Each entry is refused with the tensor's name and what is wrong.
TEST(Safetensors, RefusesBrokenEntries) {
  struct Case {
    std::string_view entry;
    std::string_view expected;
  };
  constexpr Case kCases[] = {
      {R"(7)", "tensor 'x': is not an object"},
      {R"({"shape":[1],"data_offsets":[0,4]})", "'dtype' is missing"},
      {R"({"dtype":"F64","shape":[1],"data_offsets":[0,8]})", "dtype 'F64', expected F32"},
      {R"({"dtype":"F32","data_offsets":[0,4]})", "'shape' is missing"},
      {R"({"dtype":"F32","shape":[0],"data_offsets":[0,0]})", "integers from 1 on"},
      {R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", "integers from 1 on"},
      {R"({"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]})", "5 dimensions, at most 4"},
      {R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]})", "64 bits"},
      {R"({"dtype":"F32","shape":[1]})", "'data_offsets' is missing"},
      {R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})", "not two rising integers"},
      {R"({"dtype":"F32","shape":[1],"data_offsets":[0,3]})", "needs 4 bytes"},
      {R"({"dtype":"F32","shape":[3],"data_offsets":[0,12]})", "end at 12, the file has 8"},
      {R"({"dtype":"F32","shape":[1],"data_offsets":[2,6]})", "no multiple of its elements' 4"},
  };
  for (const Case& c : kCases)
    EXPECT_THAT(error_of(fmt::format(R"({{"x":{}}})", c.entry), 8),
                AllOf(HasSubstr("tensor 'x'"), HasSubstr(std::string(c.expected))));
}

TEST(Safetensors, ListsAllProblemsAtOnce) {
  EXPECT_THAT(error_of(R"({"x":7,"y":8,"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
              AllOf(HasSubstr("3 problems"), HasSubstr("'x'"), HasSubstr("'y'"),
                    HasSubstr("tensor 'x': twice")));
}

TEST(Safetensors, CountsWhatLiesBehindTheEndOfTheFileAsOneProblem) {
  auto bytes = file_of(kWhole, 32);
  bytes.resize(bytes.size() - 9);
  EXPECT_EQ(error_of(bytes),
            "tensor 'a' and 1 more: 'data_offsets' end at 32, the file has 23 bytes of data");
}

TEST(Safetensors, RefusesOverlapsHolesAndBytesOfNoTensor) {
  const auto two = [](int begin) {
    return fmt::format(R"({{"x":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},)"
                       R"("y":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}}})",
                       begin, begin + 4);
  };
  EXPECT_EQ(error_of(two(8), 12), "no error");
  EXPECT_THAT(error_of(two(4), 12), HasSubstr("tensor 'y' begins 4 bytes inside another"));
  EXPECT_THAT(error_of(two(12), 16), HasSubstr("4 bytes before tensor 'y' belong to none"));
  EXPECT_THAT(error_of(two(8), 16), HasSubstr("the last 4 bytes belong to no tensor"));
}

}  // namespace
}  // namespace sluice::formats
