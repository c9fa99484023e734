#include "kernels/registry.h"

#include <array>
#include <string>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512_bf16/avx512_bf16.h"
#include "kernels/cpu/avx_vnni/avx_vnni.h"
#include "kernels/cpu/generic/pack.h"
#include "kernels/kv_layout.h"
#include "kernels/ref/ref.h"

namespace sluice::kernels {
namespace {

constexpr Ops kAvx512Vnni = {
    .name = "avx512_vnni",
    .needs = [](const core::CpuInfo& cpu) { return cpu.avx512_vnni && cpu.avx2; },
    .embed = ref::embed,
    .rms_norm = avx512::rms_norm,
    .rope = avx512::rope,
    .add = avx512::add,
    .silu_mul = avx512::silu_mul,
    .packed_bytes = cpu::packed_bytes,
    .pack = cpu::pack,
    .activation_form = cpu::activation_form,
    .activation_bytes = cpu::activation_bytes,
    .quantize_activations = avx512::quantize_activations,
    .linear = avx512::linear,
    .can_gate = [](const GatedArgs&) { return false; },
    .gated = nullptr,
    .kv_format = [](int32_t) { return KvFormat::kF16; },
    .reads_kv = cpu::reads_kv,
    .kv_store = avx512::kv_store,
    .attention = avx512::attention,
    .attention_join = avx512::attention_join,
    .latent_store = ref::latent_store,
    .latent_attention = avx512::latent_attention,
    .route = ref::route,
    .weighted_sum = ref::weighted_sum,
    .argmax = avx512::argmax,
    .logsumexp = avx512::logsumexp,
    .softmax = avx512::softmax,
    .top_k = avx512::top_k,
};

// Linear layers of bf16 weights, all else as avx512_vnni.
constexpr Ops kAvx512Bf16 = [] {
  Ops ops = kAvx512Vnni;
  ops.name = "avx512_bf16";
  ops.needs = [](const core::CpuInfo& cpu) {
    return cpu.avx512_bf16 && cpu.avx512_vnni && cpu.avx2;
  };
  ops.packed_bytes = avx512_bf16::packed_bytes;
  ops.pack = avx512_bf16::pack;
  ops.activation_form = avx512_bf16::activation_form;
  ops.activation_bytes = avx512_bf16::activation_bytes;
  ops.quantize_activations = avx512_bf16::quantize_activations;
  ops.linear = avx512_bf16::linear;
  return ops;
}();

// AMX for linear layers and attention, all else as avx512_vnni.
constexpr Ops kAmx = [] {
  Ops ops = kAvx512Vnni;
  ops.name = "amx";
  ops.needs = [](const core::CpuInfo& cpu) {
    return cpu.amx_int8 && cpu.amx_bf16 && cpu.avx512_bf16 && cpu.avx512_vbmi && cpu.avx512_vnni &&
           cpu.avx2 && amx::request_tiles();
  };
  ops.packed_bytes = amx::packed_bytes;
  ops.pack = amx::pack;
  ops.activation_form = amx::activation_form;
  ops.activation_bytes = amx::activation_bytes;
  ops.quantize_activations = amx::quantize_activations;
  ops.linear = amx::linear;
  ops.can_gate = amx::can_gate;
  ops.gated = amx::gated;
  ops.kv_format = amx::kv_format;
  ops.reads_kv = amx::reads_kv;
  ops.kv_store = amx::kv_store;
  ops.attention = amx::attention;
  ops.attention_join = amx::attention_join;
  return ops;
}();

constexpr Ops kAvx2 = {
    .name = "avx2",
    .needs = [](const core::CpuInfo& cpu) { return cpu.avx2; },
    .embed = ref::embed,
    .rms_norm = avx2::rms_norm,
    .rope = avx2::rope,
    .add = avx2::add,
    .silu_mul = avx2::silu_mul,
    .packed_bytes = cpu::packed_bytes,
    .pack = cpu::pack,
    .activation_form = cpu::activation_form,
    .activation_bytes = cpu::activation_bytes,
    .quantize_activations = avx2::quantize_activations,
    .linear = avx2::linear,
    .can_gate = [](const GatedArgs&) { return false; },
    .gated = nullptr,
    .kv_format = [](int32_t) { return KvFormat::kF16; },
    .reads_kv = cpu::reads_kv,
    .kv_store = avx2::kv_store,
    .attention = avx2::attention,
    .attention_join = avx2::attention_join,
    .latent_store = ref::latent_store,
    .latent_attention = avx2::latent_attention,
    .route = ref::route,
    .weighted_sum = ref::weighted_sum,
    .argmax = avx2::argmax,
    .logsumexp = avx2::logsumexp,
    .softmax = avx2::softmax,
    .top_k = avx2::top_k,
};

// Int8 linear layers, all else as avx2.
constexpr Ops kAvxVnni = [] {
  Ops ops = kAvx2;
  ops.name = "avx_vnni";
  ops.needs = [](const core::CpuInfo& cpu) { return cpu.avx_vnni && cpu.avx2; };
  ops.linear = avx_vnni::linear;
  return ops;
}();

constexpr Ops kReference = {
    .name = "ref",
    .needs = [](const core::CpuInfo&) { return true; },
    .embed = ref::embed,
    .rms_norm = ref::rms_norm,
    .rope = ref::rope,
    .add = ref::add,
    .silu_mul = ref::silu_mul,
    .packed_bytes = ref::packed_bytes,
    .pack = ref::pack,
    .activation_form = ref::activation_form,
    .activation_bytes = ref::activation_bytes,
    .quantize_activations = ref::quantize_activations,
    .linear = ref::linear,
    .can_gate = [](const GatedArgs&) { return false; },
    .gated = nullptr,
    .kv_format = [](int32_t) { return KvFormat::kF16; },
    .reads_kv = [](KvFormat, int32_t) { return true; },
    .kv_store = ref::kv_store,
    .attention = ref::attention,
    .attention_join = ref::attention_join,
    .latent_store = ref::latent_store,
    .latent_attention = ref::latent_attention,
    .route = ref::route,
    .weighted_sum = ref::weighted_sum,
    .argmax = ref::argmax,
    .logsumexp = ref::logsumexp,
    .softmax = ref::softmax,
    .top_k = ref::top_k,
};

constexpr std::array<const Ops*, 6> kAll = {&kAmx,     &kAvx512Bf16, &kAvx512Vnni,
                                            &kAvxVnni, &kAvx2,       &kReference};

std::string choices(const core::CpuInfo& cpu) {
  std::string text;
  for (const Ops* ops : kAll)
    if (ops->needs(cpu)) text += (text.empty() ? "" : ", ") + std::string(ops->name);
  return text;
}

}  // namespace

std::span<const Ops* const> all_ops() {
  return kAll;
}

core::Result<const Ops*> select_ops(const core::CpuInfo& cpu, std::string_view forced_name) {
  for (const Ops* ops : kAll) {
    if (!forced_name.empty() && ops->name != forced_name) continue;
    if (ops->needs(cpu)) return ops;
    if (!forced_name.empty())
      return core::unsupported("kernels '{}': this processor ({}) has only {}; choose one of {}",
                               forced_name, cpu.model, core::features_text(cpu), choices(cpu));
  }
  return core::invalid("kernels '{}' do not exist; choose one of {}", forced_name, choices(cpu));
}

const Ops& best_ops() {
  return **select_ops(core::detect_cpu(), {});
}

const Ops& reference_ops() {
  return kReference;
}

int64_t kv_page_bytes(KvFormat format, int32_t kv_heads, int32_t head_dim) {
  return kv_bytes({.format = format, .kv_heads = kv_heads, .head_dim = head_dim});
}

int64_t kv_page_bytes(const KvLayer& kv) {
  return kv_bytes(kv);
}

}  // namespace sluice::kernels
