#include "tokenizer/open_vocabulary.h"

#include <filesystem>
#include <memory>
#include <string_view>

#include "formats/byte_source.h"
#include "formats/checkpoint.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/tokenizer_json.h"

namespace sluice::tokenizer {
namespace {

std::string_view text_of(const formats::ByteSource& source) {
  return {reinterpret_cast<const char*>(source.bytes().data()), source.bytes().size()};
}

core::Result<Vocabulary> open_json(const std::filesystem::path& path) {
  const auto tokenizer_json = TRY(formats::map_file(path.string()));
  const auto beside = [&](const char* name) -> core::Result<std::unique_ptr<formats::ByteSource>> {
    const std::filesystem::path found = path.parent_path() / name;
    if (!std::filesystem::exists(found)) return std::unique_ptr<formats::ByteSource>();
    return formats::map_file(found.string());
  };
  const auto text_or_empty = [](const std::unique_ptr<formats::ByteSource>& source) {
    return source != nullptr ? text_of(*source) : std::string_view();
  };
  const auto config_json = TRY(beside("tokenizer_config.json"));
  const auto generation_json = TRY(beside("generation_config.json"));
  return read_tokenizer_json({.tokenizer_json = text_of(*tokenizer_json),
                              .config_json = text_or_empty(config_json),
                              .generation_json = text_or_empty(generation_json)});
}

}  // namespace

core::Result<Vocabulary> open_vocabulary(const std::string& model) {
  const std::filesystem::path path(model);
  if (std::filesystem::is_directory(path)) return open_json(path / "tokenizer.json");
  if (path.extension() == ".json") return open_json(path);
  const auto checkpoint = TRY(formats::Checkpoint::open(model));
  return read_gguf_vocabulary(checkpoint->metadata());
}

core::Result<Vocabulary> open_vocabulary(const std::string& model,
                                         const formats::Checkpoint& checkpoint) {
  const std::filesystem::path path(model);
  if (std::filesystem::is_directory(path)) return open_json(path / "tokenizer.json");
  return read_gguf_vocabulary(checkpoint.metadata());
}

}  // namespace sluice::tokenizer
