// Hugging Face folders: GGUF's names and keys, and what a broken folder is told.
#include "formats/hugging_face.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "formats/checkpoint.h"

namespace sluice::formats {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

constexpr const char* kFolder = SLUICE_TESTS_DIR "/data/models/hf-deepseek";

TEST(HuggingFaceNames, TranslateForthAndBack) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"lm_head.weight", "output.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"model.layers.12.self_attn.q_a_proj.weight_scale_inv", "blk.12.attn_q_a.weight_scale_inv"},
      {"model.layers.3.self_attn.q_proj.bias", "blk.3.attn_q.bias"},
      {"model.layers.3.mlp.gate.weight", "blk.3.ffn_gate_inp.weight"},
      {"model.layers.3.mlp.gate.e_score_correction_bias", "blk.3.exp_probs_b.bias"},
      {"model.layers.3.mlp.experts.17.down_proj.weight", "blk.3.ffn_down_exps.17.weight"},
      {"model.layers.3.mlp.shared_experts.up_proj.weight", "blk.3.ffn_up_shexp.weight"},
      {"model.layers.61.shared_head.norm.weight", "blk.61.nextn.shared_head_norm.weight"},
  };
  for (const auto& [stored, tensor] : kNames) {
    EXPECT_EQ(gguf_tensor_name(stored), tensor);
    EXPECT_EQ(hugging_face_tensor_name(tensor), stored);
  }
  for (const std::string_view unknown :
       {"model.layers.x.mlp.gate.weight", "model.layers.1.mlp.experts.a.up_proj.weight", "x", ""})
    EXPECT_EQ(gguf_tensor_name(unknown), unknown);
}

TEST(HuggingFaceFolder, GivesTheKeysOfGguf) {
  const auto opened = Checkpoint::open(kFolder);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const Metadata& metadata = (*opened)->metadata();
  EXPECT_EQ(metadata.text("general.architecture").value(), "deepseek2");
  EXPECT_EQ(metadata.integer("deepseek2.block_count").value(), 3);
  EXPECT_EQ(metadata.integer("deepseek2.attention.key_length_mla").value(), 40);
  EXPECT_EQ(metadata.integer("deepseek2.expert_gating_func").value(), 2);
  EXPECT_EQ(metadata.text("deepseek2.rope.layout").value(), "adjacent_pairs");
  EXPECT_EQ(metadata.number("deepseek2.rope.scaling.attn_factor").value(), 1);
  // llama.cpp refuses a float here.
  EXPECT_EQ(metadata.integer("deepseek2.rope.scaling.original_context_length").value(), 16);
  EXPECT_EQ((*opened)->manifest().name, "hf-deepseek");
  EXPECT_EQ((*opened)->manifest().context_length, 128);
  EXPECT_EQ((*opened)->manifest().files.size(), 2u);
  const core::TensorView* expert = (*opened)->find("blk.1.ffn_up_exps.7.weight");
  ASSERT_NE(expert, nullptr);
  EXPECT_EQ(expert->type, core::DType::kBF16);
  EXPECT_EQ((*opened)->stored_name("blk.1.ffn_up_exps.7.weight"),
            "model.layers.1.mlp.experts.7.up_proj.weight");
}

// A copy of the folder, to be broken.
class Copy {
 public:
  Copy() {
    std::string name = (fs::temp_directory_path() / "sluice-XXXXXX").string();
    path_ = mkdtemp(name.data());
    fs::copy(kFolder, path_);
  }
  ~Copy() { fs::remove_all(path_); }

  fs::path file(const char* name) const { return path_ / name; }
  std::string text(const char* name) const {
    std::ifstream in(file(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const char* name, const std::string& text) const { std::ofstream(file(name)) << text; }
  void replace(const char* name, const std::string& from, const std::string& to) const {
    std::string all = text(name);
    const size_t at = all.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write(name, all.replace(at, from.size(), to));
  }
  std::string error() const {
    const auto opened = Checkpoint::open(path_);
    return opened.ok() ? "no error" : opened.error().message;
  }

 private:
  fs::path path_;
};

constexpr const char* kIndex = "model.safetensors.index.json";

TEST(HuggingFaceFolder, ListsEverythingThatIsBroken) {
  const Copy copy;
  fs::remove(copy.file("model-00002-of-00002.safetensors"));
  copy.replace("config.json", R"("hidden_act": "silu")", R"("hidden_act": "gelu")");
  copy.replace("config.json", R"("num_hidden_layers": 3,)", "");
  EXPECT_THAT(copy.error(),
              AllOf(HasSubstr("model-00002-of-00002.safetensors"), HasSubstr("cannot open"),
                    Not(HasSubstr("is not in model-00002-of-00002.safetensors")),
                    HasSubstr("'hidden_act' is 'gelu', supported: silu"),
                    HasSubstr("'num_hidden_layers' is missing")));
}

TEST(HuggingFaceFolder, RefusesATruncatedShard) {
  const Copy copy;
  fs::resize_file(copy.file("model-00001-of-00002.safetensors"), 9000);
  EXPECT_THAT(copy.error(), AllOf(HasSubstr("model-00001-of-00002.safetensors"),
                                  HasSubstr("'data_offsets' end at")));
}

TEST(HuggingFaceFolder, RefusesAnIndexThatLeavesTheFolderOrNamesNothing) {
  const Copy copy;
  const std::string index = copy.text(kIndex);
  copy.write(kIndex, R"({"weight_map": {"a": "../x.safetensors", "b": 7}})");
  EXPECT_THAT(copy.error(), AllOf(HasSubstr("the file of 'a'"), HasSubstr("the file of 'b'")));
  copy.write(kIndex, "{}");
  EXPECT_THAT(copy.error(), HasSubstr("no object 'weight_map'"));
  copy.write(kIndex, index);
  copy.replace(kIndex, "model.norm.weight", "model.norms.weight");
  EXPECT_THAT(copy.error(), HasSubstr("tensor 'model.norms.weight' is not in"));
}

TEST(HuggingFaceFolder, RefusesWhatItDoesNotCompute) {
  const auto with = [](const std::string& from, const std::string& to) {
    const Copy copy;
    copy.replace("config.json", from, to);
    return copy.error();
  };
  EXPECT_THAT(with("deepseek_v3", "mamba"), HasSubstr("'model_type' is 'mamba'; known: llama"));
  EXPECT_THAT(with(R"("scoring_func": "sigmoid")", R"("scoring_func": "tanh")"),
              HasSubstr("supported: softmax, sigmoid"));
  EXPECT_THAT(with(R"("type": "yarn")", R"("type": "dynamic")"), HasSubstr("'dynamic'"));
  EXPECT_THAT(with(R"("hidden_size": 32)", R"("hidden_size": -1)"), HasSubstr("'hidden_size'"));
  EXPECT_THAT(with(R"("hidden_size": 32)", R"("hidden_size": "x")"),
              HasSubstr("'hidden_size' is not an integer"));
  EXPECT_THAT(with("{", R"({"quantization_config": {"quant_method": "hqq"},)"),
              HasSubstr("'quant_method' is 'hqq', supported: fp8, compressed-tensors, awq, gptq"));
  EXPECT_THAT(with("{", R"({"quantization_config": {"quant_method": "fp8"},)"),
              HasSubstr("'weight_block_size' is 'missing', supported: [128, 128]"));
  EXPECT_THAT(with("{", R"({"quantization_config": {"quant_method": "fp8", "fmt": "e5m2",)"
                        R"("weight_block_size": [64, 128]},)"),
              AllOf(HasSubstr("2 problems"), HasSubstr("'fmt' is 'e5m2', supported: e4m3"),
                    HasSubstr("'weight_block_size' is '[64,128]'")));
  EXPECT_THAT(with(R"("kv_lora_rank")", R"("kv_rank")"),
              AllOf(HasSubstr("'kv_lora_rank' is missing"), Not(HasSubstr("problems"))));
}

TEST(HuggingFaceFolder, TakesTheChatTemplateAndTheSampling) {
  const Copy copy;
  copy.write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "a"},
                                          {"name": "default", "template": "b"}]})");
  copy.write("generation_config.json", R"({"temperature": 0.5, "top_p": 0.25})");
  auto opened = Checkpoint::open(copy.file(""));
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ((*opened)->manifest().chat_template, "b");
  EXPECT_EQ((*opened)->metadata().number("general.sampling.temp").value(), 0.5);
  EXPECT_EQ((*opened)->metadata().number("general.sampling.top_p").value(), 0.25);
  copy.write("chat_template.jinja", "c");
  EXPECT_EQ(Checkpoint::open(copy.file("")).value()->manifest().chat_template, "c");
}

}  // namespace
}  // namespace sluice::formats
