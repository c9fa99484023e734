#include "formats/hugging_face.h"

#include <simdjson.h>

#include <filesystem>
#include <map>
#include <set>

#include "formats/problems.h"

namespace sluice::formats {
namespace {

namespace dom = simdjson::dom;
namespace fs = std::filesystem;

constexpr std::string_view kWholeFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

std::string_view text_of(const ByteSource& source) {
  return {reinterpret_cast<const char*>(source.bytes().data()), source.bytes().size()};
}

// Files by name, and which of them holds each tensor; a checkpoint of one file has no such list.
struct Index {
  std::set<std::string> files;
  std::map<std::string, std::string, std::less<>> file_of_tensor;
};

core::Result<Index> read_index(const ByteSource& source) {
  dom::parser parser;
  dom::object weight_map;
  const std::string_view json = text_of(source);
  if (parser.parse(json.data(), json.size())["weight_map"].get(weight_map) != simdjson::SUCCESS)
    return core::invalid("{}: no object 'weight_map'", kIndexFile);
  Index index;
  Problems problems;
  for (const auto [tensor, element] : weight_map) {
    std::string_view file;
    if (element.get(file) != simdjson::SUCCESS || file.empty() ||
        file.find('/') != std::string_view::npos)
      problems.add("{}: the file of '{}' is no name of a file", kIndexFile, tensor);
    else if (!index.file_of_tensor.emplace(tensor, file).second)
      problems.add("{}: '{}' is there twice", kIndexFile, tensor);
    else
      index.files.emplace(file);
  }
  if (problems.empty() && index.files.empty()) problems.add("{}: names no file", kIndexFile);
  if (!problems.empty()) return problems.error();
  return index;
}

core::Result<Index> find_files(const fs::path& folder) {
  if (fs::exists(folder / kIndexFile)) {
    const auto source = TRY(map_file((folder / kIndexFile).string()));
    return read_index(*source);
  }
  if (fs::exists(folder / kWholeFile)) return Index{{std::string(kWholeFile)}, {}};
  return core::invalid("neither {} nor {} is there", kWholeFile, kIndexFile);
}

// A text of the folder, empty where there is no such file.
core::Result<std::unique_ptr<ByteSource>> optional_file(const fs::path& path) {
  if (!fs::exists(path)) return memory_source({});
  return map_file(path.string());
}

// A file that is missing or broken is one problem, and not as many as it has tensors.
void open_files(const fs::path& folder, const Index& index, HuggingFaceFolder* out,
                Problems* problems) {
  for (const std::string& name : index.files) {
    auto source = map_file((folder / name).string());
    auto file = source.ok() ? read_safetensors(std::move(*source))
                            : core::Result<SafetensorsFile>(source.error());
    if (!file.ok()) {
      problems->add("{}: {}", name, file.error().message);
      continue;
    }
    out->files.push_back(std::move(*file));
    out->names.push_back((folder / name).string());
  }
}

void collect_tensors(const Index& index, HuggingFaceFolder* out, Problems* problems) {
  std::set<std::string_view> found;
  std::set<std::string> opened;
  for (size_t f = 0; f < out->files.size(); ++f) {
    const std::string file = *opened.insert(fs::path(out->names[f]).filename()).first;
    for (const NamedTensor& t : out->files[f].tensors) {
      if (!index.file_of_tensor.empty()) {
        // What the index does not name there is no part of the model.
        const auto row = index.file_of_tensor.find(t.name);
        if (row == index.file_of_tensor.end() || row->second != file) continue;
      }
      found.insert(t.name);
      out->tensors.push_back({gguf_tensor_name(t.name), t.name, t.view});
    }
  }
  for (const auto& [tensor, file] : index.file_of_tensor)
    if (opened.contains(file) && !found.contains(tensor))
      problems->add("tensor '{}' is not in {}, where {} has it", tensor, file, kIndexFile);
}

core::Result<GgufFile> read_metadata(const fs::path& folder, const HuggingFaceFolder& found) {
  const auto config = TRY(map_file((folder / "config.json").string()));
  const auto generation = TRY(optional_file(folder / "generation_config.json"));
  const auto tokenizer = TRY(optional_file(folder / "tokenizer_config.json"));
  const auto chat_template = TRY(optional_file(folder / "chat_template.jinja"));
  const std::string name = fs::weakly_canonical(folder).filename();
  bool has_draft_layers = false;
  for (const auto& t : found.tensors) has_draft_layers |= t.name.ends_with(".nextn.eh_proj.weight");
  return metadata_of_config({.config = text_of(*config),
                             .generation = text_of(*generation),
                             .tokenizer = text_of(*tokenizer),
                             .chat_template = text_of(*chat_template),
                             .name = name,
                             .has_draft_layers = has_draft_layers});
}

}  // namespace

core::Result<HuggingFaceFolder> read_hugging_face_folder(const std::string& path) {
  const fs::path folder(path);
  Problems problems;
  HuggingFaceFolder out;
  if (const auto index = find_files(folder); index.ok()) {
    open_files(folder, *index, &out, &problems);
    collect_tensors(*index, &out, &problems);
  } else {
    problems.add("{}", index.error().message);
  }
  auto metadata = read_metadata(folder, out);
  if (metadata.ok())
    out.metadata = std::move(*metadata);
  else
    problems.add("{}", metadata.error().message);
  if (!problems.empty()) return problems.error().within(fmt::format("'{}'", path));
  return out;
}

}  // namespace sluice::formats
