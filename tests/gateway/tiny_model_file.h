// A GGUF file without weights: byte-level, "ab" is one token, a chat is its contents side by side.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "formats/gguf_writer.h"

namespace sluice::gateway {

class TinyModelFile {
 public:
  static constexpr int32_t kAb = 4;

  TinyModelFile() {
    formats::GgufWriter writer;
    writer.set_text("general.architecture", "llama");
    writer.set_text("tokenizer.ggml.model", "gpt2");
    writer.set_text("tokenizer.ggml.pre", "smollm");
    writer.set_texts("tokenizer.ggml.tokens",
                     std::vector<std::string>{"<s>", "</s>", "a", "b", "ab"});
    writer.set_integers("tokenizer.ggml.token_type", std::vector<int32_t>{3, 3, 1, 1, 1});
    writer.set_texts("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    writer.set_text("tokenizer.chat_template",
                    "{% for m in messages %}{{ m.content }}{% endfor %}<s>");
    const std::vector<std::byte> file = writer.file();
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(file.data()),
               static_cast<std::streamsize>(file.size()));
  }
  ~TinyModelFile() { std::filesystem::remove(path_); }
  TinyModelFile(const TinyModelFile&) = delete;
  TinyModelFile& operator=(const TinyModelFile&) = delete;

  const std::string& path() const { return path_; }

  // A chat whose prompt has one id for each "ab", and one more.
  static std::string chat(int64_t abs, std::string_view more = "") {
    std::string text;
    for (int64_t i = 0; i < abs; ++i) text += "ab";
    return fmt::format(
        R"({{"model":"m","messages":[{{"role":"user","content":"{}"}}],"max_tokens":8{}}})", text,
        more);
  }

 private:
  const std::string path_ =
      (std::filesystem::temp_directory_path() /
       fmt::format("sluice-{}-{}.gguf", getpid(),
                   testing::UnitTest::GetInstance()->current_test_info()->name()))
          .string();
};

}  // namespace sluice::gateway
