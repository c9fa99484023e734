#include "formats/hugging_face_quantization.h"

#include <simdjson.h>

#include <algorithm>

#include "formats/hugging_face.h"

namespace sluice::formats {
namespace {

namespace dom = simdjson::dom;

std::string_view text_or(dom::element object, std::string_view key, std::string_view fallback) {
  std::string_view value;
  return object[key].get(value) == simdjson::SUCCESS ? value : fallback;
}
int64_t integer_or(dom::element object, std::string_view key, int64_t fallback) {
  int64_t value = 0;
  return object[key].get(value) == simdjson::SUCCESS ? value : fallback;
}
bool flag_or(dom::element object, std::string_view key, bool fallback) {
  bool value = false;
  return object[key].get(value) == simdjson::SUCCESS ? value : fallback;
}
bool is_null_or_absent(dom::element object, std::string_view key) {
  dom::element value;
  return object[key].get(value) != simdjson::SUCCESS || value.is_null();
}

class Reader {
 public:
  Reader(dom::element config, Problems* problems) : config_(config), problems_(*problems) {}

  StoredQuantization read() {
    const std::string_view method = text_or(config_, "quant_method", "");
    if (method == "fp8") {
      read_fp8();
    } else if (method == "compressed-tensors") {
      return read_compressed_tensors();
    } else if (method == "awq") {
      return read_awq();
    } else if (method == "gptq") {
      return read_gptq();
    } else {
      unsupported("quant_method", method, "fp8, compressed-tensors, awq, gptq");
    }
    return {};
  }

 private:
  template <typename Found>
  void unsupported(std::string_view key, const Found& found, std::string_view supported) {
    problems_.add("config.json, 'quantization_config': '{}' is '{}', supported: {}", key, found,
                  supported);
  }

  // The value as it stands there.
  std::string found(dom::element object, std::string_view key) const {
    dom::element value;
    return object[key].get(value) == simdjson::SUCCESS ? simdjson::minify(value) : "missing";
  }

  void read_fp8() {
    if (const auto format = text_or(config_, "fmt", "e4m3"); format != "e4m3")
      unsupported("fmt", format, "e4m3");
    dom::array block;
    if (config_["weight_block_size"].get(block) != simdjson::SUCCESS || block.size() != 2 ||
        std::any_of(block.begin(), block.end(), [](dom::element side) {
          int64_t value = 0;
          return side.get(value) != simdjson::SUCCESS || value != 128;
        }))
      unsupported("weight_block_size", found(config_, "weight_block_size"), "[128, 128]");
  }

  void check_bits() {
    if (const int64_t bits = integer_or(config_, "bits", 0); bits != 4)
      unsupported("bits", bits, "4");
  }

  StoredQuantization read_awq() {
    check_bits();
    const std::string_view version = text_or(config_, "version", "gemm");
    if (version != "gemm" && version != "GEMM") unsupported("version", version, "gemm");
    return {.int4_layout = kAwqLayout, .has_zeros = flag_or(config_, "zero_point", true)};
  }

  StoredQuantization read_gptq() {
    check_bits();
    const std::string_view format = text_or(config_, "checkpoint_format", "gptq");
    if (format != "gptq" && format != "gptq_v2")
      unsupported("checkpoint_format", format, "gptq, gptq_v2");
    return {.int4_layout = kGptqLayout,
            .int4_zero_offset = format == "gptq_v2" ? 0u : 1u,
            .has_zeros = !flag_or(config_, "sym", true),
            .has_input_groups = flag_or(config_, "desc_act", false)};
  }

  StoredQuantization read_compressed_tensors() {
    if (!is_null_or_absent(config_, "kv_cache_scheme"))
      unsupported("kv_cache_scheme", found(config_, "kv_cache_scheme"), "null");
    dom::element sparsity;
    if (config_["sparsity_config"].get(sparsity) == simdjson::SUCCESS && sparsity.is_object())
      if (const auto format = text_or(sparsity, "format", "dense"); format != "dense")
        unsupported("sparsity_config.format", format, "dense");
    dom::object groups;
    if (config_["config_groups"].get(groups) != simdjson::SUCCESS) {
      problems_.add("config.json, 'quantization_config': no object 'config_groups'");
      return {};
    }
    Int4Groups int4;
    for (const auto [name, group] : groups) {
      dom::element weights;
      if (group["weights"].get(weights) != simdjson::SUCCESS || !weights.is_object())
        problems_.add("config.json, 'quantization_config': '{}' has no object 'weights'", name);
      else if (check_weights(name, weights))
        int4.count(weights);
      dom::element activations;
      if (group["input_activations"].get(activations) == simdjson::SUCCESS &&
          activations.is_object())
        check_activations(name, activations);
      if (!is_null_or_absent(group, "output_activations"))
        unsupported(fmt::format("{}.output_activations", name), found(group, "output_activations"),
                    "null");
    }
    return {.has_zeros = int4.groups > 0 && int4.with_zeros == int4.groups,
            .has_input_groups = int4.groups > 0 && int4.with_input_groups == int4.groups};
  }

  // Groups of modules in INT4. Which module is in which, only lists of patterns say: what is so of
  // all of them can be asked of every matrix.
  struct Int4Groups {
    int groups = 0, with_zeros = 0, with_input_groups = 0;

    void count(dom::element weights) {
      ++groups;
      with_zeros += flag_or(weights, "symmetric", true) ? 0 : 1;
      const std::string_view order = text_or(weights, "actorder", "");
      with_input_groups +=
          order == "group" || order == "dynamic" || flag_or(weights, "actorder", false) ? 1 : 0;
    }
  };

  // Whether they are INT4.
  bool check_weights(std::string_view group, dom::element weights) {
    static constexpr std::string_view kSupported =
        "int4 by group or channel, symmetric int8 by channel, float4 in groups of 32";
    const int64_t bits = integer_or(weights, "num_bits", 0);
    const std::string_view type = text_or(weights, "type", "int");
    const std::string_view strategy = text_or(weights, "strategy", "");
    const bool is_symmetric = flag_or(weights, "symmetric", true);
    const bool is_int4 =
        bits == 4 && type == "int" && (strategy == "group" || strategy == "channel");
    const bool is_int8 = bits == 8 && type == "int" && strategy == "channel" && is_symmetric;
    const bool is_mxfp4 = bits == 4 && type == "float" && strategy == "group" &&
                          integer_or(weights, "group_size", 0) == 32;
    if (!is_int4 && !is_int8 && !is_mxfp4)
      unsupported(fmt::format("{}.weights", group),
                  fmt::format("{}{} by {}{}", type, bits, strategy.empty() ? "?" : strategy,
                              is_symmetric ? "" : ", asymmetric"),
                  kSupported);
    return is_int4;
  }

  void check_activations(std::string_view group, dom::element activations) {
    const int64_t bits = integer_or(activations, "num_bits", 0);
    const std::string_view type = text_or(activations, "type", "int");
    const bool is_dynamic = flag_or(activations, "dynamic", false);
    const bool is_int8 = bits == 8 && type == "int" && flag_or(activations, "symmetric", true) &&
                         text_or(activations, "strategy", "token") == "token";
    if (!is_int8 || !is_dynamic)
      unsupported(fmt::format("{}.input_activations", group),
                  fmt::format("{}{}, {}", type, bits, is_dynamic ? "dynamic" : "static"),
                  "symmetric int8 for each token, dynamic");
  }

  const dom::element config_;
  Problems& problems_;
};

}  // namespace

StoredQuantization read_quantization(std::string_view config_json, Problems* problems) {
  dom::parser parser;
  dom::element root, config;
  if (parser.parse(config_json.data(), config_json.size()).get(root) != simdjson::SUCCESS ||
      root["quantization_config"].get(config) != simdjson::SUCCESS || config.is_null())
    return {};
  if (!config.is_object()) {
    problems->add("config.json: 'quantization_config' is no object");
    return {};
  }
  Problems of_quantization;
  StoredQuantization quantization = Reader(config, &of_quantization).read();
  if (of_quantization.empty()) quantization.method = text_or(config, "quant_method", "");
  problems->add_all(of_quantization);
  return quantization;
}

}  // namespace sluice::formats
