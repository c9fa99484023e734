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
  const std::filesystem::path config_path = path.parent_path() / "tokenizer_config.json";
  std::unique_ptr<formats::ByteSource> config_json;
  if (std::filesystem::exists(config_path))
    config_json = TRY(formats::map_file(config_path.string()));
  return read_tokenizer_json(
      {.tokenizer_json = text_of(*tokenizer_json),
       .config_json = config_json != nullptr ? text_of(*config_json) : std::string_view()});
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
