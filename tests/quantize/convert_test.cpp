#include "quantize/convert.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>

#include "core/rng.h"
#include "formats/gguf_writer.h"
#include "kernels/ops.h"
#include "quantize/checksum.h"

namespace sluice::quantize {
namespace {

namespace fs = std::filesystem;
using core::DType;
using ::testing::HasSubstr;

class ConvertTest : public ::testing::Test {
 protected:
  ConvertTest()
      : folder_(fs::temp_directory_path() / fmt::format("sluice-convert-{}", ::getpid())) {
    fs::create_directories(folder_);
  }
  ~ConvertTest() override { fs::remove_all(folder_); }

  std::string path(const char* name) const { return folder_ / name; }

  // Three matrices of 64 × 256 (eleven layers apart) and a norm.
  void write_source(float special = 0.5f) {
    core::Rng rng(7);
    values_.resize(3 * 64 * 256);
    for (float& v : values_) v = static_cast<float>(rng.unit() - 0.5);
    values_[64 * 256 + 5 * 256 + 3] = special;
    formats::GgufWriter writer;
    writer.set_text("general.architecture", "llama");
    writer.set_integer("llama.block_count", 11);
    writer.set_integer("general.file_type", 99);
    const auto view = [&](size_t matrix) {
      return core::TensorView{
          .type = DType::kF32,
          .dims = 2,
          .shape = {64, 256},
          .data = reinterpret_cast<const std::byte*>(values_.data() + matrix * 64 * 256)};
    };
    writer.add_tensor("blk.10.ffn_up.weight", view(0));
    writer.add_tensor("blk.2.ffn_up.weight", view(1));
    writer.add_tensor("output.weight", view(2));
    core::TensorView norm = view(0);
    norm.dims = 1;
    norm.shape = {256};
    writer.add_tensor("output_norm.weight", norm);
    write("source.gguf", writer.file());
  }

  void write(const char* name, std::span<const std::byte> bytes) const {
    std::ofstream(path(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  }

  std::string bytes_of(const char* name) const {
    std::ifstream in(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  core::Result<ConvertReport> convert_to(const char* name, const char* recipe, int threads = 1) {
    const auto source = formats::Checkpoint::open(path("source.gguf")).value();
    core::ThreadPool pool(threads);
    return convert(*source, {.path = path(name), .recipe = find_recipe(recipe).value()}, pool);
  }

  formats::GgufFile read(const char* name) const {
    return formats::read_gguf(formats::map_file(path(name)).value()).value();
  }

  fs::path folder_;
  std::vector<float> values_;
};

TEST_F(ConvertTest, WritesLayersInOrderWithTheirTypesAndMetadata) {
  write_source();
  const auto report = convert_to("out.gguf", "Q4_0");
  ASSERT_TRUE(report.ok()) << report.error().message;
  const formats::GgufFile file = read("out.gguf");
  std::vector<std::string> found;
  for (const auto& t : file.tensors)
    found.push_back(fmt::format("{} {}", t.name, core::info(t.view.type).name));
  EXPECT_THAT(found, ::testing::ElementsAre("blk.2.ffn_up.weight Q4_0", "blk.10.ffn_up.weight Q4_0",
                                            "output.weight Q6_K", "output_norm.weight F32"));
  EXPECT_EQ(file.metadata.integer("general.file_type").value(), 2);
  EXPECT_EQ(file.metadata.integer("general.quantization_version").value(), 2);
  EXPECT_EQ(file.metadata.integer("llama.block_count").value(), 11);
  EXPECT_FALSE(fs::exists(path("out.gguf.partial")));
}

TEST_F(ConvertTest, ValuesComeBackWithinTheTypesError) {
  write_source();
  ASSERT_TRUE(convert_to("out.gguf", "Q8_0").ok());
  const formats::GgufFile file = read("out.gguf");
  std::vector<float> decoded(64 * 256);
  kernels::decode(file.tensors[1].view.type, file.tensors[1].view.data, 64 * 256, decoded.data());
  for (size_t i = 0; i < decoded.size(); ++i) ASSERT_NEAR(decoded[i], values_[i], 0.5 / 127) << i;
}

TEST_F(ConvertTest, ThreadsDoNotChangeTheBytes) {
  write_source();
  ASSERT_TRUE(convert_to("one.gguf", "Q4_K_M", 1).ok());
  ASSERT_TRUE(convert_to("three.gguf", "Q4_K_M", 3).ok());
  EXPECT_EQ(bytes_of("one.gguf"), bytes_of("three.gguf"));
}

TEST_F(ConvertTest, ChecksumsFindAChangedByte) {
  write_source();
  ASSERT_TRUE(convert_to("out.gguf", "Q8_0").ok());
  EXPECT_TRUE(verify_checksums(read("out.gguf"), {}).ok());
  std::string bytes = bytes_of("out.gguf");
  bytes[bytes.size() - 2000] = static_cast<char>(bytes[bytes.size() - 2000] ^ 1);
  write("out.gguf", std::as_bytes(std::span(bytes)));
  const auto found = verify_checksums(read("out.gguf"), {});
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.error().message, HasSubstr("tensor 'output.weight': checksum"));
}

// A killed run leaves a file of full size whose last tensors are not noted.
TEST_F(ConvertTest, AnInterruptedRunIsTakenUp) {
  write_source();
  ASSERT_TRUE(convert_to("out.gguf", "Q8_0").ok());
  const std::string whole = bytes_of("out.gguf");
  const formats::GgufFile file = read("out.gguf");
  const auto digits = file.metadata.strings(kChecksumsKey).value();
  std::string partial = whole;
  const auto offset_of = [&](const void* at) {
    return static_cast<size_t>(static_cast<const std::byte*>(at) - file.source->bytes().data());
  };
  // The first tensor stays; the second is noted but its bytes are not what they were; the rest was
  // never written.
  partial[offset_of(file.tensors[1].view.data) + 100] ^= 1;
  for (size_t i = 2; i < digits.size(); ++i)
    partial.replace(offset_of(digits[i].data()), digits[i].size(), digits[i].size(), '0');
  const size_t rest = offset_of(file.tensors[2].view.data);
  partial.replace(rest, partial.size() - rest, partial.size() - rest, '\0');
  write("again.gguf.partial", std::as_bytes(std::span(partial)));
  const auto report = convert_to("again.gguf", "Q8_0");
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->resumed_tensors, 1);
  EXPECT_EQ(bytes_of("again.gguf"), whole);
}

TEST_F(ConvertTest, AnotherRecipesRestIsNotTakenUp) {
  write_source();
  ASSERT_TRUE(convert_to("out.gguf", "Q8_0").ok());
  fs::rename(path("out.gguf"), path("again.gguf.partial"));
  const auto report = convert_to("again.gguf", "Q4_0");
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->resumed_tensors, 0);
  EXPECT_TRUE(verify_checksums(read("again.gguf"), {}).ok());
}

TEST_F(ConvertTest, ValuesThatNoTypeHoldsAreNamed) {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(), 70000.0f}) {
    write_source(value);
    const auto report = convert_to("out.gguf", "Q4_0");
    ASSERT_FALSE(report.ok());
    EXPECT_THAT(report.error().message, HasSubstr("tensor 'blk.2.ffn_up.weight': row 5"));
    EXPECT_FALSE(fs::exists(path("out.gguf")));
  }
}

}  // namespace
}  // namespace sluice::quantize
