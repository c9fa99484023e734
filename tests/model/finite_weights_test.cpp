// A number that is not finite anywhere in a file of any type is refused at load, with its tensor.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <gmock/gmock.h>

#include "formats/gguf_writer.h"
#include "kernels/ops.h"
#include "model/model.h"

namespace sluice::model::testing {
namespace {

using core::DType;

constexpr int64_t kHidden = 256, kHeadDim = 64, kExperts = 2, kVocab = 32;

struct Tensor {
  const char* name;
  std::vector<int64_t> shape;
  bool is_of_type = true;  // F32 otherwise
};
const std::vector<Tensor> kTensors = {
    {"token_embd.weight", {kVocab, kHidden}},
    {"output.weight", {kVocab, kHidden}},
    {"output_norm.weight", {kHidden}},
    {"blk.0.attn_norm.weight", {kHidden}},
    {"blk.0.attn_q.weight", {kHeadDim, kHidden}},
    {"blk.0.attn_k.weight", {kHeadDim, kHidden}},
    {"blk.0.attn_v.weight", {kHeadDim, kHidden}},
    {"blk.0.attn_output.weight", {kHidden, kHeadDim}, false},
    {"blk.0.attn_q_norm.weight", {kHeadDim}, false},
    {"blk.0.attn_k_norm.weight", {kHeadDim}, false},
    {"blk.0.ffn_norm.weight", {kHidden}},
    {"blk.0.ffn_gate_inp.weight", {kExperts, kHidden}, false},
    {"blk.0.ffn_gate_exps.weight", {kExperts, kHidden, kHidden}},
    {"blk.0.ffn_up_exps.weight", {kExperts, kHidden, kHidden}},
    {"blk.0.ffn_down_exps.weight", {kExperts, kHidden, kHidden}},
};

core::TensorView view_of(const Tensor& tensor, DType type) {
  core::TensorView view{.type = tensor.is_of_type ? type : DType::kF32,
                        .dims = static_cast<int>(tensor.shape.size())};
  std::copy(tensor.shape.begin(), tensor.shape.end(), view.shape.begin());
  return view;
}

// One layer with experts, all of whose weights are 0.
std::vector<std::byte> zeros_of(DType type) {
  formats::GgufWriter writer;
  writer.set_text("general.architecture", "qwen3moe");
  for (const auto& [key, value] : {std::pair("block_count", 1),
                                   {"context_length", 64},
                                   {"embedding_length", 256},
                                   {"feed_forward_length", 256},
                                   {"attention.head_count", 1},
                                   {"attention.head_count_kv", 1},
                                   {"attention.key_length", 64},
                                   {"expert_count", 2},
                                   {"expert_used_count", 1},
                                   {"expert_feed_forward_length", 256}})
    writer.set_integer(std::string("qwen3moe.") + key, static_cast<uint32_t>(value));
  static const std::vector<std::byte> kZeros(kExperts * kHidden * kHidden * 4);
  for (const Tensor& tensor : kTensors) {
    core::TensorView view = view_of(tensor, type);
    view.data = kZeros.data();
    writer.add_tensor(tensor.name, view);
  }
  return writer.file();
}

std::string load_error(std::vector<std::byte> bytes) {
  auto file = formats::read_gguf(formats::memory_source(std::move(bytes)));
  if (!file.ok()) return file.error().message;
  std::vector<formats::GgufFile> files;
  files.push_back(std::move(*file));
  const auto checkpoint = formats::Checkpoint::join(std::move(files), {"zeros"});
  if (!checkpoint.ok()) return checkpoint.error().message;
  const auto model = Model::load(**checkpoint, {.threads = 1, .step_tokens_max = 1});
  return model.ok() ? "no error" : model.error().message;
}

struct Wrong {
  int64_t place = 0;  // in a block
  std::vector<uint8_t> bytes;
};

bool is_finite(DType type, const std::vector<std::byte>& block) {
  std::vector<float> values(static_cast<size_t>(core::info(type).block_values));
  kernels::decode(type, block.data(), core::info(type).block_values, values.data());
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

// Every place of a block where NaN or infinity, as f16, bf16, f32 or e8m0 has it, makes a value
// that is not finite. Codes are not 0, so that no scale is multiplied away.
std::vector<Wrong> wrong_numbers(DType type) {
  const auto bytes = static_cast<size_t>(core::info(type).block_bytes);
  std::vector<Wrong> wrong;
  for (const std::vector<uint8_t>& number :
       {std::vector<uint8_t>{0xff}, {0x00, 0x7c}, {0xc0, 0x7f}, {0x80, 0x7f}})
    for (size_t place = 0; place + number.size() <= bytes; ++place) {
      if (number.size() == 2 && place % 2 != 0) continue;
      std::vector<std::byte> block(bytes, std::byte{0x11});
      if (core::info(type).block_values == 1) std::fill(block.begin(), block.end(), std::byte{0});
      std::memcpy(block.data() + place, number.data(), number.size());
      if (!is_finite(type, block)) wrong.push_back({static_cast<int64_t>(place), number});
    }
  return wrong;
}

class FiniteWeights : public ::testing::TestWithParam<DType> {};

TEST_P(FiniteWeights, AreAskedOfEveryTensor) {
  const DType type = GetParam();
  const std::vector<std::byte> whole = zeros_of(type);
  ASSERT_EQ(load_error(whole), "no error");
  const std::vector<Wrong> numbers = wrong_numbers(type);
  ASSERT_GE(numbers.size(), 1u);
  const auto file = formats::read_gguf(formats::memory_source(whole)).value();
  for (const char* const name :
       {"token_embd.weight", "output.weight", "output_norm.weight", "blk.0.attn_norm.weight",
        "blk.0.attn_k.weight", "blk.0.ffn_gate_exps.weight", "blk.0.ffn_down_exps.weight"})
    for (const Wrong& wrong : numbers) {
      const auto tensor = std::find_if(file.tensors.begin(), file.tensors.end(),
                                       [&](const auto& t) { return t.name == name; });
      const int64_t block_bytes = core::info(type).block_bytes;
      const int64_t middle = tensor->view.bytes() / block_bytes / 2 * block_bytes;
      std::vector<std::byte> bytes = whole;
      std::byte* const block =
          bytes.data() + (tensor->view.data - file.source->bytes().data()) + middle;
      std::memset(block, core::info(type).block_values == 1 ? 0 : 0x11,
                  static_cast<size_t>(block_bytes));
      std::memcpy(block + wrong.place, wrong.bytes.data(), wrong.bytes.size());
      const std::string error = load_error(std::move(bytes));
      EXPECT_THAT(error, ::testing::HasSubstr(fmt::format("tensor '{}'", name)))
          << "byte " << wrong.place;
      EXPECT_THAT(error, ::testing::HasSubstr("not finite")) << "byte " << wrong.place;
    }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, FiniteWeights,
                         ::testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0,
                                           DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                                           DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K,
                                           DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS,
                                           DType::kMXFP4),
                         [](const auto& test) { return std::string(core::info(test.param).name); });

}  // namespace
}  // namespace sluice::model::testing
