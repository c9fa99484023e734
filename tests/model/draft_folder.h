// A tiny model with a draft layer: hf-deepseek-fp8 or hf-deepseek, whose last layer is there once
// more as one of multi-token prediction. (The trained model that has one is no part of the tree.)
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/rng.h"

namespace sluice::model::testing {

class DraftFolder {
 public:
  explicit DraftFolder(const std::string& model = "hf-deepseek-fp8") {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
    path_ = mkdtemp(name.data());
    const std::filesystem::path from = SLUICE_TESTS_DIR "/data/models/" + model;
    std::filesystem::copy(from / "config.json", path_);
    for (const auto& file : std::filesystem::directory_iterator(from))
      if (file.path().extension() == ".safetensors") read(file.path());
    add_layer();
    write();
  }
  ~DraftFolder() { std::filesystem::remove_all(path_); }
  DraftFolder(const DraftFolder&) = delete;
  DraftFolder& operator=(const DraftFolder&) = delete;
  std::string path() const { return path_.string(); }

 private:
  static constexpr const char* kFile = "model.safetensors";
  static constexpr const char* kChoiceBias = "e_score_correction_bias";
  static constexpr const char* kFrom = "model.layers.2.";
  static constexpr const char* kTo = "model.layers.3.";

  void read(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    uint64_t header_bytes = 0;
    in.read(reinterpret_cast<char*>(&header_bytes), sizeof header_bytes);
    std::string header(header_bytes, ' ');
    in.read(header.data(), static_cast<std::streamsize>(header.size()));
    const std::string data(std::istreambuf_iterator<char>(in), {});
    const nlohmann::json tensors = nlohmann::json::parse(header);
    for (const auto& [name, tensor] : tensors.items()) {
      if (name == "__metadata__") continue;
      const auto begin = tensor["data_offsets"][0].get<size_t>();
      const std::string bytes = data.substr(begin, tensor["data_offsets"][1].get<size_t>() - begin);
      add(name, tensor, name.ends_with(kChoiceBias) ? clear_choice(tensor) : bytes);
    }
  }
  void add(const std::string& name, nlohmann::json tensor, const std::string& bytes) {
    tensor["data_offsets"] = {data_.size(), data_.size() + bytes.size()};
    header_[name] = std::move(tensor);
    data_ += bytes;
  }
  std::string bytes_of(const nlohmann::json& tensor) const {
    const auto begin = tensor["data_offsets"][0].get<size_t>();
    return data_.substr(begin, tensor["data_offsets"][1].get<size_t>() - begin);
  }
  // Rounding sends no token to another expert.
  static std::string clear_choice(const nlohmann::json& bias) {
    std::vector<float> values(bias["shape"][0].get<size_t>());
    for (size_t i = 0; i < values.size(); ++i) values[i] = 2 * static_cast<float>(i);
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
  }
  void add_layer() {
    const nlohmann::json own = header_;
    for (const auto& [name, tensor] : own.items())
      if (name.starts_with(kFrom))
        add(kTo + name.substr(std::strlen(kFrom)), tensor, bytes_of(tensor));
    const nlohmann::json& norm = own["model.norm.weight"];
    for (const char* name : {"enorm", "hnorm", "shared_head.norm"})
      add(kTo + std::string(name) + ".weight", norm, bytes_of(norm));
    const auto hidden = norm["shape"][0].get<size_t>();
    core::Rng rng(5);
    std::vector<float> join(hidden * 2 * hidden);
    for (float& x : join) x = static_cast<float>(rng.unit()) * 0.25f - 0.125f;
    add(kTo + std::string("eh_proj.weight"), {{"dtype", "F32"}, {"shape", {hidden, 2 * hidden}}},
        {reinterpret_cast<const char*>(join.data()), join.size() * sizeof(float)});
  }
  void write() const {
    std::string header = header_.dump();
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const uint64_t header_bytes = header.size();
    std::ofstream out(path_ / kFile, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
    out << header << data_;
  }

  std::filesystem::path path_;
  nlohmann::json header_;
  std::string data_;
};

}  // namespace sluice::model::testing
