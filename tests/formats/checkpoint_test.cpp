#include "formats/checkpoint.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "formats/gguf_writer.h"

namespace sluice::formats {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kValues[8] = {1, 2, 3, 4, 5, 6, 7, 8};

core::TensorView eight() {
  return {.type = core::DType::kF32,
          .dims = 1,
          .shape = {8},
          .data = reinterpret_cast<const std::byte*>(kValues)};
}

struct Part {
  uint32_t number = 0;
  uint32_t count = 2;
  uint32_t tensors = 2;
  std::string tensor;
};

GgufWriter part(const Part& p) {
  GgufWriter writer;
  if (p.number == 0) {
    writer.set_text("general.architecture", "llama");
    writer.set_text("general.basename", "halves");
    writer.set_text("general.license", "mit");
    writer.set_integer("llama.context_length", 77);
    writer.set_text("tokenizer.chat_template", "{{ messages }}");
  }
  writer.set_integer("split.no", p.number);
  writer.set_integer("split.count", p.count);
  writer.set_integer("split.tensors.count", p.tensors);
  writer.add_tensor(p.tensor, eight());
  return writer;
}

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const GgufWriter& writer) const {
    const auto bytes = writer.file();
    std::ofstream(path_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }
  std::string file(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string error_of(const std::string& path) {
  const auto opened = Checkpoint::open(path);
  return opened.ok() ? "no error" : opened.error().message;
}

TEST(Checkpoint, AnyPartOpensTheWhole) {
  const Folder folder;
  const auto first = folder.write("m-00001-of-00002.gguf", part({.number = 0, .tensor = "a"}));
  const auto second = folder.write("m-00002-of-00002.gguf", part({.number = 1, .tensor = "b"}));
  for (const std::string& path : {first, second}) {
    const auto opened = Checkpoint::open(path);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const Checkpoint& checkpoint = **opened;
    EXPECT_EQ(checkpoint.tensors().size(), 2u);
    ASSERT_NE(checkpoint.find("b"), nullptr);
    EXPECT_EQ(checkpoint.find("c"), nullptr);
    const Manifest& manifest = checkpoint.manifest();
    EXPECT_EQ(manifest.name, "halves");
    EXPECT_EQ(manifest.licence, "mit");
    EXPECT_EQ(manifest.chat_template, "{{ messages }}");
    EXPECT_EQ(manifest.context_length, 77);
    EXPECT_EQ(manifest.weights_bytes, 64);
    EXPECT_EQ(manifest.digest.size(), 32u);
    EXPECT_EQ(manifest.files, (std::vector<std::string>{first, second}));
  }
}

TEST(Checkpoint, SplitErrorsNameTheFile) {
  const Folder folder;
  const auto first = folder.write("m-00001-of-00002.gguf", part({.number = 0, .tensor = "a"}));
  EXPECT_THAT(error_of(first), HasSubstr("m-00002-of-00002.gguf': cannot open: No such file"));
  folder.write("m-00002-of-00002.gguf", part({.number = 0, .tensor = "b"}));
  EXPECT_THAT(error_of(first), HasSubstr("'split.no' is 0, expected 1"));
  folder.write("m-00002-of-00002.gguf", part({.number = 1, .count = 3, .tensor = "b"}));
  EXPECT_THAT(error_of(first), HasSubstr("'split.count' is 3, expected 2"));
  folder.write("m-00002-of-00002.gguf", part({.number = 1, .tensor = "a"}));
  EXPECT_THAT(error_of(first), HasSubstr("tensor 'a' is in more than one part"));
  const auto alone = folder.write("alone.gguf", part({.number = 0, .tensor = "a"}));
  EXPECT_THAT(error_of(alone), HasSubstr("'split.count' is 2, expected 1"));
}

TEST(Checkpoint, WhatIsNoModelFileSaysWhy) {
  const Folder folder;
  EXPECT_THAT(error_of("/nowhere/model.gguf"), HasSubstr("'/nowhere/model.gguf': cannot open"));
  EXPECT_THAT(error_of(std::filesystem::temp_directory_path()),
              AllOf(HasSubstr("2 problems"), HasSubstr("neither model.safetensors nor"),
                    HasSubstr("config.json': cannot open")));
  EXPECT_THAT(error_of("/dev/null"), HasSubstr("not a regular file"));
  // Nobody writes to it: it would be waited for.
  const std::string pipe = folder.file("pipe.gguf");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(error_of(pipe), HasSubstr("not a regular file"));
}

TEST(Checkpoint, TheDigestSeesMetadataAndWeights) {
  const auto digest = [](const GgufWriter& writer, std::byte change) {
    auto bytes = writer.file();
    bytes[bytes.size() - 1] ^= change;
    std::vector<GgufFile> files;
    files.push_back(std::move(read_gguf(memory_source(std::move(bytes)))).value());
    return Checkpoint::join(std::move(files), {"x.gguf"}).value()->manifest().digest;
  };
  GgufWriter one, other;
  one.add_tensor("a", eight());
  other.set_flag("x", true);
  other.add_tensor("a", eight());
  EXPECT_EQ(digest(one, std::byte{0}), digest(one, std::byte{0}));
  EXPECT_NE(digest(one, std::byte{0}), digest(one, std::byte{1}));
  EXPECT_NE(digest(one, std::byte{0}), digest(other, std::byte{0}));
}

TEST(Checkpoint, ReleasedTensorsCanStillBeRead) {
  const Folder folder;
  GgufWriter writer;
  writer.add_tensor("a", eight());
  const auto opened = Checkpoint::open(folder.write("m.gguf", writer));
  ASSERT_TRUE(opened.ok());
  const core::TensorView& view = *(*opened)->find("a");
  (*opened)->release(view);
  EXPECT_EQ(reinterpret_cast<const float*>(view.data)[7], 8.0f);
}

}  // namespace
}  // namespace sluice::formats
