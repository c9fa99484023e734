// Checkpoints with several faults at once: one error has all of them, and nothing that only follows
// from another.
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "tests/model/folder_copy.h"

namespace sluice::model::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kShard1 = "model-00001-of-00002.safetensors";
constexpr const char* kShard2 = "model-00002-of-00002.safetensors";

TEST(BrokenCheckpoint, ACutFileHidesNoFaultOfWhatIsLeft) {
  const FolderCopy folder("hf-deepseek-fp8");
  folder.overwrite("model.layers.1.mlp.experts.2.up_proj.weight_scale_inv", NAN);
  folder.replace_in_config(R"("n_routed_experts": 4)", R"("n_routed_experts": 6)");
  folder.replace_in_shard("layers.0.mlp.up_proj.weight_scale_inv\":{\"dtype\":\"F32\"",
                          "layers.0.mlp.up_proj.weight_scale_inv\":{\"dtype\":\"I32\"");
  folder.cut("model.safetensors", 1000);
  EXPECT_THAT(
      folder.error(),
      AllOf(HasSubstr("model.safetensors: tensor 'model.layers.2.self_attn.q_b_proj.weight': "
                      "'data_offsets' end at"),
            HasSubstr("experts.2.up_proj.weight_scale_inv': holds scales that are not finite"),
            HasSubstr("'model.layers.0.mlp.up_proj.weight_scale_inv': values of type I32 have no"),
            HasSubstr("'model.layers.1.mlp.gate.weight': shape 4×128, expected 6×128"),
            HasSubstr("'model.layers.2.mlp.experts.5.down_proj.weight' is missing"),
            Not(HasSubstr("q_b_proj.weight' is missing"))));
}

TEST(BrokenCheckpoint, OfAShardThatIsMissingNothingElseIsSaid) {
  const FolderCopy second("hf-deepseek");
  second.remove(kShard2);
  EXPECT_THAT(second.error(), AllOf(HasSubstr(kShard2), Not(HasSubstr("problems"))));
  const FolderCopy first("hf-deepseek");
  first.remove(kShard1);
  EXPECT_THAT(first.error(), AllOf(HasSubstr(kShard1), Not(HasSubstr("problems"))));
}

TEST(BrokenCheckpoint, AMissingShardHidesNoFaultOfTheOther) {
  const FolderCopy folder("hf-deepseek");
  folder.remove(kShard2);
  folder.replace_in_config(R"("n_routed_experts": 8)", R"("n_routed_experts": 16)");
  folder.replace_in_config("{", R"({"quantization_config": {"quant_method": "quip"},)");
  EXPECT_THAT(folder.error(), AllOf(HasSubstr(kShard2), HasSubstr("'quant_method' is 'quip'"),
                                    HasSubstr("mlp.experts.12.up_proj.weight' is missing"),
                                    Not(HasSubstr("experts.1.down_proj.weight'"))));
}

TEST(BrokenCheckpoint, AnUnknownQuantisationHidesNoFaultOfTheTensors) {
  const FolderCopy folder("hf-awq");
  folder.overwrite("model.layers.0.mlp.up_proj.scales", uint16_t{0x7c00});
  folder.replace_in_config(R"("quant_method": "awq")", R"("quant_method": "quip")");
  EXPECT_THAT(folder.error(),
              AllOf(HasSubstr("2 problems"), HasSubstr("'quant_method' is 'quip'"),
                    HasSubstr("mlp.up_proj.scales': holds scales that are not finite")));
}

TEST(BrokenCheckpoint, WithoutASpecScalesAreLookedAt) {
  const FolderCopy missing("hf-deepseek-fp8");
  missing.overwrite("model.layers.1.mlp.experts.2.up_proj.weight_scale_inv", NAN);
  missing.replace_in_config(R"("kv_lora_rank": 128,)", "");
  EXPECT_THAT(missing.error(), AllOf(HasSubstr("2 problems"), HasSubstr("'kv_lora_rank' is miss"),
                                     HasSubstr("experts.2.up_proj.weight_scale_inv': holds")));
  const FolderCopy wrong("hf-deepseek-fp8");
  wrong.overwrite("model.layers.1.mlp.experts.2.up_proj.weight_scale_inv", NAN);
  wrong.replace_in_config(R"("num_experts_per_tok": 2)", R"("num_experts_per_tok": 3)");
  EXPECT_THAT(wrong.error(), AllOf(HasSubstr("2 problems"), HasSubstr("'num_experts_per_tok': 3"),
                                   HasSubstr("experts.2.up_proj.weight_scale_inv': holds")));
}

TEST(BrokenCheckpoint, EveryWrongValueOfAConfigurationIsNamed) {
  const FolderCopy experts("hf-deepseek");
  experts.replace_in_config(R"("n_routed_experts": 8)", R"("n_routed_experts": 0)");
  experts.replace_in_config(R"("rope_theta": 500.0)", R"("rope_theta": -1.0)");
  experts.replace_in_config(R"("kv_lora_rank": 32)", R"("kv_lora_rank": 36)");
  experts.replace_in_config(R"("factor": 4.0)", R"("factor": 0.0)");
  EXPECT_THAT(
      experts.error(),
      AllOf(HasSubstr("4 problems"), HasSubstr("config.json: 'n_routed_experts': 0, expected 1 to"),
            HasSubstr("config.json: 'rope_theta': -1, expected a number over 0"),
            HasSubstr("config.json: 'kv_lora_rank': 36, expected a multiple of 8 up to"),
            HasSubstr("config.json: 'factor': 0, expected a number over 0")));
  const FolderCopy dense("hf-llama");
  dense.replace_in_config(R"("head_dim": 16)", R"("head_dim": null)");
  dense.replace_in_config(R"("num_attention_heads": 4)", R"("num_attention_heads": 3)");
  dense.replace_in_config(R"("intermediate_size": 64)", R"("intermediate_size": 0)");
  EXPECT_THAT(dense.error(),
              AllOf(HasSubstr("3 problems"),
                    HasSubstr("config.json: 'hidden_size': 32, its 3 heads do not divide it"),
                    HasSubstr("config.json: 'num_key_value_heads': 3 heads do not share 2 key-"),
                    HasSubstr("config.json: 'intermediate_size': 0, expected 1 to")));
}

// What is missing or no number is said once, by what reads config.json.
TEST(BrokenCheckpoint, AValueOfTheWrongTypeHidesNoWrongValue) {
  const FolderCopy folder("hf-deepseek");
  folder.replace_in_config(R"("moe_intermediate_size": 32)", R"("moe_intermediate_size": "32")");
  folder.replace_in_config(R"("v_head_dim": 32,)", "");
  folder.replace_in_config(R"("rope_theta": 500.0)", R"("rope_theta": -1.0)");
  folder.replace_in_config(R"("num_experts_per_tok": 3)", R"("num_experts_per_tok": 6)");
  EXPECT_THAT(folder.error(),
              AllOf(HasSubstr("4 problems"), HasSubstr("'moe_intermediate_size' is not an integer"),
                    HasSubstr("'v_head_dim' is missing"),
                    HasSubstr("'rope_theta': -1, expected a number over 0"),
                    HasSubstr("'num_experts_per_tok': 6, expected at most 4")));
}

TEST(BrokenCheckpoint, TensorsOfAFormatNeedTheConfigurationsWord) {
  constexpr const char* kKey = R"("quantization_config")";
  const FolderCopy fp8("hf-deepseek-fp8");
  fp8.replace_in_config(kKey, R"("quantization_notes")");
  fp8.replace_in_shard("layers.0.mlp.up_proj.weight_scale_inv",
                       "layers.0.mlp.up_proj.weight_scale_old");
  EXPECT_THAT(fp8.error(),
              AllOf(HasSubstr("3 problems"), HasSubstr("config.json has no 'quantization_config'"),
                    HasSubstr("is of F8_E4M3: 'quant_method' 'fp8' is missing"),
                    HasSubstr("layers.0.mlp.up_proj.weight_scale_inv' is missing, expected 1"),
                    HasSubstr("layers.0.mlp.up_proj.weight_scale_old' is no part of")));
  const std::pair<const char*, const char*> kOthers[] = {
      {"hf-w8a8", "I8: 'quant_method' 'compressed-tensors' is missing"},
      {"hf-int4", "I32: 'quant_method' 'compressed-tensors' is missing"},
      {"hf-mxfp4", "U8: 'quant_method' 'compressed-tensors' is missing"},
      {"hf-awq", "I32: 'quant_method' 'awq' or 'gptq' is missing"},
      {"hf-gptq", "I32: 'quant_method' 'awq' or 'gptq' is missing"}};
  for (const auto& [name, expected] : kOthers) {
    const FolderCopy folder(name);
    folder.replace_in_config(kKey, R"("quantization_notes")");
    EXPECT_THAT(folder.error(), AllOf(HasSubstr(expected), Not(HasSubstr("problems")))) << name;
  }
  const FolderCopy other("hf-w8a8");
  other.replace_in_config(R"("quant_method": "compressed-tensors")", R"("quant_method": "awq",
                          "bits": 4)");
  EXPECT_THAT(other.error(), AllOf(HasSubstr("'quant_method' is 'awq', tensor 'model."),
                                   HasSubstr("of I8 needs 'compressed-tensors'")));
}

TEST(BrokenCheckpoint, CodesOfFp8MustBeNumbers) {
  const FolderCopy folder("hf-deepseek-fp8");
  folder.overwrite("model.layers.1.mlp.experts.2.up_proj.weight", uint8_t{0x7f});
  folder.overwrite("model.layers.0.self_attn.kv_b_proj.weight", uint8_t{0xff});
  EXPECT_THAT(folder.error(),
              AllOf(HasSubstr("2 problems"),
                    HasSubstr("'model.layers.1.mlp.experts.2.up_proj.weight', row 0: holds"),
                    HasSubstr("'model.layers.0.self_attn.kv_b_proj.weight', row 0: holds")));
}

// A copy of a GGUF file, to be broken.
class FileCopy {
 public:
  explicit FileCopy(const std::string& model)
      : path_(::testing::TempDir() + "sluice-" + std::to_string(getpid()) + model) {
    std::filesystem::copy_file(kModelFolder + model, path_,
                               std::filesystem::copy_options::overwrite_existing);
  }
  ~FileCopy() { std::filesystem::remove(path_); }
  FileCopy(const FileCopy&) = delete;
  FileCopy& operator=(const FileCopy&) = delete;

  void cut_in_half() const {
    std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  }
  // `bits` at `place` of the tensor's bytes.
  void overwrite(const char* tensor, int64_t place, uint16_t bits) const {
    const auto file = formats::read_gguf(formats::map_file(path_).value()).value();
    for (const formats::NamedTensor& t : file.tensors) {
      if (t.name != tensor) continue;
      std::fstream out(path_, std::ios::in | std::ios::out | std::ios::binary);
      out.seekp(t.view.data - file.source->bytes().data() + place);
      out.write(reinterpret_cast<const char*>(&bits), sizeof bits);
      return;
    }
    FAIL() << tensor;
  }
  std::string error() const {
    const auto checkpoint = open_checkpoint(path_);
    if (!checkpoint.ok()) return checkpoint.error().message;
    const auto model = Model::load(**checkpoint, {.threads = 2, .step_tokens_max = 1});
    return model.ok() ? "no error" : model.error().message;
  }

 private:
  std::string path_;
};

TEST(BrokenCheckpoint, OfACutGgufFileNothingElseIsSaid) {
  const FileCopy file("deepseek2.gguf");
  file.cut_in_half();
  EXPECT_THAT(file.error(), AllOf(HasSubstr(" more: "), HasSubstr("the file has"),
                                  Not(HasSubstr("is missing")), Not(HasSubstr("problems"))));
}

TEST(BrokenCheckpoint, ValuesAndScalesOfBlocksMustBeFinite) {
  constexpr uint16_t kBf16Nan = 0x7fc0, kF16Infinity = 0x7c00;
  constexpr int64_t kQ8BlockBytes = 34;
  const FileCopy blocks("deepseek2-joined-q8.gguf");
  blocks.overwrite("blk.1.ffn_up_exps.weight", 0, kF16Infinity);
  blocks.overwrite("blk.0.attn_kv_b.weight", 40 * kQ8BlockBytes, kF16Infinity);
  EXPECT_THAT(blocks.error(),
              AllOf(HasSubstr("2 problems"), HasSubstr("'blk.1.ffn_up_exps.weight', row 0: holds"),
                    HasSubstr("'blk.0.attn_kv_b.weight', row 40: holds")));
  const FileCopy floats("deepseek2.gguf");
  EXPECT_EQ(floats.error(), "no error");
  floats.overwrite("blk.1.ffn_down_shexp.weight", 64, kBf16Nan);
  floats.overwrite("blk.2.attn_norm.weight", 2, 0x7f80);  // of the first float
  EXPECT_THAT(floats.error(),
              AllOf(HasSubstr("2 problems"), HasSubstr("'blk.1.ffn_down_shexp.weight', row 1: hol"),
                    HasSubstr("'blk.2.attn_norm.weight': holds values that are not finite")));
}

}  // namespace
}  // namespace sluice::model::testing
