#include "formats/hugging_face.h"

#include <simdjson.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

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

// A file that is missing or cut is one problem, and not as many as it has tensors.
void open_files(const fs::path& folder, const Index& index, HuggingFaceFolder* out,
                Problems* problems) {
  for (const std::string& name : index.files) {
    Problems of_file;
    auto source = map_file((folder / name).string());
    auto file = source.ok() ? read_safetensors(std::move(*source), &of_file)
                            : core::Result<SafetensorsFile>(source.error());
    problems->add_all(of_file, name);
    if (!file.ok()) {
      problems->add("{}: {}", name, file.error().message);
      continue;
    }
    for (const std::string_view tensor : file->lost) out->lost.insert(gguf_tensor_name(tensor));
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
  for (const auto& [tensor, file] : index.file_of_tensor) {
    if (found.contains(tensor)) continue;
    const bool is_new = out->lost.insert(gguf_tensor_name(tensor)).second;
    if (opened.contains(file) && is_new)
      problems->add("tensor '{}' is not in {}, where {} has it", tensor, file, kIndexFile);
  }
}

// A file's source; what is wrong with it is a problem, and its text is empty.
std::unique_ptr<ByteSource> source_of(core::Result<std::unique_ptr<ByteSource>> source,
                                      Problems* problems) {
  if (source.ok()) return std::move(*source);
  problems->add("{}", source.error().message);
  return memory_source({});
}

void read_metadata(const fs::path& folder, HuggingFaceFolder* out, Problems* problems) {
  const auto config = map_file((folder / "config.json").string());
  const auto generation = source_of(optional_file(folder / "generation_config.json"), problems);
  const auto tokenizer = source_of(optional_file(folder / "tokenizer_config.json"), problems);
  const auto chat_template = source_of(optional_file(folder / "chat_template.jinja"), problems);
  const std::string name = fs::weakly_canonical(folder).filename();
  const auto is_draft = [](std::string_view tensor) {
    return tensor.ends_with(".nextn.eh_proj.weight");
  };
  const auto is_draft_found = [&](const auto& t) { return is_draft(t.name); };
  Problems unread;
  if (!config.ok()) problems->add("{}", config.error().message);
  out->metadata = metadata_of_config(
      {.config = config.ok() ? text_of(**config) : "",
       .generation = text_of(*generation),
       .tokenizer = text_of(*tokenizer),
       .chat_template = text_of(*chat_template),
       .name = name,
       .has_draft_layers = std::any_of(out->tensors.begin(), out->tensors.end(), is_draft_found) ||
                           std::any_of(out->lost.begin(), out->lost.end(), is_draft)},
      config.ok() ? problems : &unread, &out->config_faults);
}

}  // namespace

core::Result<HuggingFaceFolder> read_hugging_face_folder(const std::string& path) {
  Problems problems;
  HuggingFaceFolder out = read_hugging_face_folder(path, &problems);
  if (!problems.empty()) return problems.error().within(fmt::format("'{}'", path));
  return out;
}

HuggingFaceFolder read_hugging_face_folder(const std::string& path, Problems* problems) {
  const fs::path folder(path);
  HuggingFaceFolder out;
  if (const auto index = find_files(folder); index.ok()) {
    open_files(folder, *index, &out, problems);
    collect_tensors(*index, &out, problems);
  } else {
    problems->add("{}", index.error().message);
  }
  read_metadata(folder, &out, problems);
  return out;
}

}  // namespace sluice::formats
