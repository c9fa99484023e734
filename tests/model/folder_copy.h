// A copy of a Hugging Face folder of tests/data/models, to be broken.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/checkpoint.h"
#include "model/model.h"
#include "tests/model/golden_error.h"

namespace sluice::model::testing {

class FolderCopy {
 public:
  explicit FolderCopy(const std::string& model) {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
    path_ = mkdtemp(name.data());
    std::filesystem::copy(std::string(kModelFolder) + model, path_);
  }
  ~FolderCopy() { std::filesystem::remove_all(path_); }
  FolderCopy(const FolderCopy&) = delete;
  FolderCopy& operator=(const FolderCopy&) = delete;

  void replace_in_config(const std::string& from, const std::string& to) const {
    replace_in("config.json", from, to);
  }
  // In the shard's header, where the length must stay.
  void replace_in_shard(const std::string& from, const std::string& to) const {
    ASSERT_EQ(from.size(), to.size());
    replace_in("model.safetensors", from, to);
  }
  void remove(const char* file) const { std::filesystem::remove(path_ / file); }
  void cut(const char* file, size_t bytes) const {
    std::filesystem::resize_file(path_ / file, std::filesystem::file_size(path_ / file) - bytes);
  }
  // A tensor and its bytes, so that the file is whole without.
  void erase(const std::string& tensor) const {
    const std::string file = path_ / "model.safetensors";
    std::ifstream in(file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const uint64_t old_bytes = header_bytes_of(text);
    auto header = nlohmann::json::parse(text.substr(sizeof old_bytes, old_bytes));
    ASSERT_TRUE(header.contains(tensor)) << tensor;
    const size_t begin = header[tensor]["data_offsets"][0], end = header[tensor]["data_offsets"][1];
    header.erase(tensor);
    for (auto& [name, entry] : header.items())
      if (name != "__metadata__" && entry["data_offsets"][0] >= end)
        for (auto& offset : entry["data_offsets"]) offset = offset.get<size_t>() - (end - begin);
    std::string kept = header.dump();
    kept.resize((kept.size() + 7) / 8 * 8, ' ');
    const uint64_t bytes = kept.size();
    std::string data = text.substr(sizeof old_bytes + old_bytes);
    data.erase(begin, end - begin);
    std::ofstream(file, std::ios::binary)
        << std::string(reinterpret_cast<const char*>(&bytes), sizeof bytes) << kept << data;
  }
  // The first bytes of a tensor.
  template <typename T>
  void overwrite(std::string_view tensor, T value) const {
    const std::string file = path_ / "model.safetensors";
    const auto shard = formats::read_safetensors(formats::map_file(file).value()).value();
    for (const formats::NamedTensor& t : shard.tensors) {
      if (t.name != tensor) continue;
      std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
      out.seekp(t.view.data - shard.source->bytes().data());
      out.write(reinterpret_cast<const char*>(&value), sizeof value);
      return;
    }
    FAIL() << tensor;
  }
  std::string path() const { return path_; }
  std::string error(const std::shared_ptr<kernels::Device>& device = nullptr) const {
    const auto checkpoint = open_checkpoint(path_);
    if (!checkpoint.ok()) return checkpoint.error().message;
    const auto model =
        Model::load(**checkpoint, {.threads = 2, .step_tokens_max = 1, .device = device});
    return model.ok() ? "no error" : model.error().message;
  }

 private:
  static uint64_t header_bytes_of(const std::string& text) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, text.data(), sizeof bytes);
    return bytes;
  }
  void replace_in(const char* file, const std::string& from, const std::string& to) const {
    std::ifstream in(path_ / file, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(in), {}};
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    std::ofstream(path_ / file, std::ios::binary) << text.replace(at, from.size(), to);
  }

  std::filesystem::path path_;
};

}  // namespace sluice::model::testing
