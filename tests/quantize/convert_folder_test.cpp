// Folders of 4-bit and 8-bit weights: what is written reads back as the source within the formats'
// steps, whatever the threads, shards and interruptions.
#include "quantize/convert_folder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "kernels/ops.h"
#include "quantize/convert.h"
#include "quantize/encode_rows.h"
#include "quantize/folder_files.h"
#include "quantize/tensor_source.h"

namespace sluice::quantize {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kSource = SLUICE_TESTS_DIR "/data/models/hf-deepseek";

FolderRecipe mixed_recipe() {
  FolderRecipe recipe;
  recipe.modules[static_cast<size_t>(Module::kAttention)] = FolderType::kInt8;
  recipe.modules[static_cast<size_t>(Module::kExperts)] = FolderType::kInt4;
  return recipe;
}

class ConvertFolder : public ::testing::Test {
 protected:
  ConvertFolder() {
    std::string name = (fs::temp_directory_path() / "sluice-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~ConvertFolder() override { fs::remove_all(path_); }

  struct Way {
    const char* source = kSource;
    int threads = 2;
    int64_t shard_bytes_max = 1 << 30;
  };
  core::Result<FolderReport> convert(const char* name, const FolderRecipe& recipe,
                                     const Way& way) const {
    const auto checkpoint = formats::Checkpoint::open(way.source);
    if (!checkpoint.ok()) return checkpoint.error();
    core::ThreadPool pool(way.threads);
    return convert_folder(**checkpoint,
                          {.source = way.source,
                           .path = path_ / name,
                           .recipe = recipe,
                           .shard_bytes_max = way.shard_bytes_max},
                          pool);
  }
  core::Result<FolderReport> convert(const char* name, const FolderRecipe& recipe) const {
    return convert(name, recipe, Way{});
  }

  std::string text(const fs::path& file) const {
    std::ifstream in(path_ / file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // The root of the mean square of what each tensor lost, relative to its values', by GGUF name.
  std::map<std::string, double> losses(const char* name, const char* source = kSource) const {
    const auto before = formats::Checkpoint::open(source),
               after = formats::Checkpoint::open(path_ / name);
    EXPECT_TRUE(before.ok() && after.ok()) << (after.ok() ? "" : after.error().message);
    std::map<std::string, double> losses;
    if (!after.ok()) return losses;
    const auto expected = tensor_sources(**before), found = tensor_sources(**after);
    EXPECT_TRUE(found.ok()) << (found.ok() ? "" : found.error().message);
    EXPECT_EQ(found->size(), expected->size());
    for (size_t t = 0; t < expected->size(); ++t) {
      const TensorSource& x = (*expected)[t];
      EXPECT_EQ((*found)[t].name, x.name);
      const RowReader left(x), right((*found)[t]);
      std::vector<float> a(static_cast<size_t>(x.shape.columns())), b(a.size());
      double lost = 0, all = 0;
      for (int64_t row = 0; row < x.shape.rows(); ++row) {
        left.read(row, a.data());
        right.read(row, b.data());
        for (size_t i = 0; i < a.size(); ++i) {
          lost += std::pow(double{a[i]} - double{b[i]}, 2);
          all += std::pow(double{a[i]}, 2);
        }
      }
      losses[x.name] = std::sqrt(lost / all);
    }
    return losses;
  }

  fs::path path_;
};

TEST_F(ConvertFolder, MixedModulesReadBackWithinTheirSteps) {
  const auto report = convert("mixed", mixed_recipe());
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const auto& [tensor, loss] : losses("mixed")) {
    SCOPED_TRACE(tensor);
    const bool is_norm = tensor.find("_norm.") != std::string::npos;
    if (tensor.find("_exps.") != std::string::npos) {
      EXPECT_GT(loss, 0.01);
      EXPECT_LT(loss, 0.1);
    } else if (tensor.find("attn_") != std::string::npos && !is_norm) {
      EXPECT_GT(loss, 1e-4);
      EXPECT_LT(loss, 0.01);
    } else {
      EXPECT_EQ(loss, 0);
    }
  }
}

TEST_F(ConvertFolder, SaysInItsConfigurationWhichModulesAreWhat) {
  ASSERT_TRUE(convert("mixed", mixed_recipe()).ok());
  const auto config = nlohmann::json::parse(text("mixed/config.json"));
  EXPECT_EQ(config["model_type"], "deepseek_v3");
  const auto& quantization = config["quantization_config"];
  EXPECT_EQ(quantization["quant_method"], "compressed-tensors");
  EXPECT_EQ(quantization["format"], "mixed-precision");
  for (const auto& group : quantization["config_groups"]) {
    const bool is_int4 = group["weights"]["num_bits"] == 4;
    EXPECT_EQ(group["format"], is_int4 ? "pack-quantized" : "int-quantized");
    if (is_int4) {
      EXPECT_EQ(group["weights"]["group_size"], 32);
    }
    for (const auto& target : group["targets"])
      EXPECT_THAT(target.get<std::string>(), HasSubstr(is_int4 ? "experts" : "self_attn"));
  }
  EXPECT_THAT(quantization["ignore"].dump(), AllOf(HasSubstr("lm_head"), HasSubstr("mlp\\\\.gate$"),
                                                   HasSubstr("shared_experts\\\\.up_proj$")));
}

TEST_F(ConvertFolder, PatternsCoverLayersAndExperts) {
  EXPECT_EQ(module_pattern("model.layers.3.mlp.experts.17.up_proj"),
            "re:.*mlp\\.experts\\.\\d+\\.up_proj$");
  EXPECT_EQ(module_pattern("model.layers.61.self_attn.q_a_proj"), "re:.*self_attn\\.q_a_proj$");
  EXPECT_EQ(module_pattern("lm_head"), "re:.*lm_head$");
}

TEST_F(ConvertFolder, BytesDependOnNeitherThreadsNorInterruptions) {
  ASSERT_TRUE(convert("a", mixed_recipe()).ok());
  ASSERT_TRUE(convert("b", mixed_recipe(), {.threads = 3}).ok());
  const std::string whole = text("a/model.safetensors");
  EXPECT_EQ(whole, text("b/model.safetensors"));
  // As if it had been killed while the last tensor was written.
  std::string broken = whole;
  broken.back() = static_cast<char>(broken.back() ^ 1);
  std::ofstream(path_ / "b/model.safetensors.partial", std::ios::binary) << broken;
  fs::remove(path_ / "b/model.safetensors");
  const auto resumed = convert("b", mixed_recipe());
  ASSERT_TRUE(resumed.ok()) << resumed.error().message;
  EXPECT_EQ(resumed->resumed_tensors, std::ssize(resumed->tensors) - 1);
  EXPECT_EQ(whole, text("b/model.safetensors"));
  // Once more over a whole folder.
  const auto again = convert("b", mixed_recipe());
  EXPECT_EQ(again->resumed_tensors, std::ssize(again->tensors));
}

// There and back: experts, keys and values, llama's rows, and every key of the configuration.
TEST_F(ConvertFolder, AGgufFileBecomesTheFolderThatItWasMadeOf) {
  for (const char* source : {kSource, SLUICE_TESTS_DIR "/data/models/hf-llama",
                             SLUICE_TESTS_DIR "/data/models/hf-qwen3"}) {
    SCOPED_TRACE(source);
    const std::string file = path_ / "there.gguf";
    core::ThreadPool pool(2);
    const auto before = formats::Checkpoint::open(source);
    ASSERT_TRUE(
        quantize::convert(**before, {.path = file, .recipe = find_recipe("F32").value()}, pool)
            .ok());
    const auto folder = convert("back", FolderRecipe{}, {.source = file.c_str()});
    ASSERT_TRUE(folder.ok()) << folder.error().message;
    for (const auto& [tensor, loss] : losses("back", source)) EXPECT_EQ(loss, 0) << tensor;
    const auto after = formats::Checkpoint::open(path_ / "back");
    for (const auto& [key, value] : (*before)->metadata().values()) {
      if (key == "general.name" || key.ends_with("nextn_predict_layers")) continue;
      const formats::MetadataValue* found = (*after)->metadata().find(key);
      ASSERT_NE(found, nullptr) << key;
      if (key.ends_with("block_count")) continue;
      EXPECT_TRUE(std::ranges::equal(found->payload, value.payload)) << key;
    }
  }
}

TEST_F(ConvertFolder, QuantisedFilesAreSourcesToo) {
  constexpr const char* kFile = SLUICE_TESTS_DIR "/data/models/deepseek2-joined-q8.gguf";
  const auto report = convert("q", mixed_recipe(), {.source = kFile});
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const FolderTensor& t : report->tensors)
    if (t.choice.type == FolderType::kAsStored && t.from == core::DType::kQ8_0) {
      EXPECT_EQ(t.bytes, 2 * t.values) << t.name;  // BF16
    }
  const auto before = formats::Checkpoint::open(kFile),
             after = formats::Checkpoint::open(path_ / "q");
  const auto output = [](const formats::Checkpoint& checkpoint) {
    const TensorSource whole{.name = "output",
                             .shape = *checkpoint.find("output.weight"),
                             .pieces = {model::stored_blocks(*checkpoint.find("output.weight"))}};
    std::vector<float> row(static_cast<size_t>(whole.shape.columns()));
    RowReader(whole).read(3, row.data());
    return row;
  };
  EXPECT_THAT(output(**after), ::testing::Pointwise(::testing::FloatNear(1e-3f), output(**before)));
}

TEST_F(ConvertFolder, FactorsOfSingleDimensionsHaveNoPlaceInAFolder) {
  constexpr const char* kFile = SLUICE_TESTS_DIR "/data/models/llama3-factors.gguf";
  const auto report = convert("r", FolderRecipe{}, {.source = kFile});
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.error().message, HasSubstr("rope_freqs.weight"));
}

TEST_F(ConvertFolder, ShardsHaveAnIndexAndChecksums) {
  ASSERT_TRUE(convert("s", folder_recipe(FolderType::kInt8), {.shard_bytes_max = 50'000}).ok());
  const auto index = nlohmann::json::parse(text("s/model.safetensors.index.json"));
  EXPECT_EQ(index["weight_map"]["model.embed_tokens.weight"].get<std::string>().size(),
            std::string("model-00001-of-00003.safetensors").size());
  ASSERT_TRUE(verify_folder(path_ / "s", {}).ok());
  EXPECT_GT(losses("s").size(), 20u);
  const std::string file = index["weight_map"]["lm_head.weight"];
  std::string bytes = text("s/" + file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  std::ofstream(path_ / "s" / file, std::ios::binary) << bytes;
  const auto broken = verify_folder(path_ / "s", {});
  ASSERT_FALSE(broken.ok());
  EXPECT_THAT(broken.error().message, AllOf(HasSubstr("tensor '"), HasSubstr("checksum")));
}

TEST_F(ConvertFolder, Fp8NeedsRowsOfWholeBlocks) {
  const auto report = convert("f", folder_recipe(FolderType::kFp8));
  ASSERT_TRUE(report.ok());
  for (const FolderTensor& t : report->tensors)
    EXPECT_EQ(t.choice.type == FolderType::kFp8,
              t.choice.wanted == FolderType::kFp8 && t.columns % 128 == 0)
        << t.name;
  constexpr const char* kWide = SLUICE_TESTS_DIR "/data/models/hf-deepseek-fp8";
  const auto wide = convert("w", folder_recipe(FolderType::kFp8), {.source = kWide});
  ASSERT_TRUE(wide.ok()) << wide.error().message;
  const auto opened = formats::Checkpoint::open(path_ / "w");
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ((*opened)->find("blk.0.attn_output.weight")->type, core::DType::kF8_E4M3);
  EXPECT_TRUE(tensor_sources(**opened).ok());
}

TEST_F(ConvertFolder, RefusesWhatNoConfigurationSays) {
  FolderRecipe recipe = mixed_recipe();
  recipe.modules[static_cast<size_t>(Module::kFfn)] = FolderType::kFp8;
  EXPECT_THAT(convert("x", recipe).error().message, HasSubstr("fp8 beside int4: no configuration"));
  EXPECT_FALSE(find_folder_type("int5").ok());
  EXPECT_EQ(find_folder_type("W8A8").value(), FolderType::kInt8);
}

// All 254 numbers of the format are themselves; what lies between goes to the nearer one.
TEST(E4m3, RoundsToTheNearest) {
  std::vector<float> numbers;
  for (int code = 0; code < 127; ++code) {
    std::vector<std::byte> block(132);
    const float one = 1;
    std::memcpy(block.data(), &one, 4);
    block[4] = std::byte(code);
    float out[128];
    kernels::decode(core::DType::kF8_B128, block.data(), 128, out);
    numbers.push_back(out[0]);
    EXPECT_EQ(e4m3_of_float(out[0]), code);
    EXPECT_EQ(e4m3_of_float(-out[0]), code | 128);
  }
  for (size_t i = 0; i + 1 < numbers.size(); ++i) {
    const float middle = (numbers[i] + numbers[i + 1]) / 2;
    EXPECT_EQ(e4m3_of_float(middle), i % 2 == 0 ? i : i + 1) << middle;
    EXPECT_EQ(e4m3_of_float(std::nextafter(middle, 0.0f)), i);
    EXPECT_EQ(e4m3_of_float(std::nextafter(middle, 1e9f)), i + 1);
  }
  EXPECT_EQ(e4m3_of_float(1e9f), 126);
}

}  // namespace
}  // namespace sluice::quantize
