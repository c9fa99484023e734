#include "formats/checkpoint.h"

#include <array>
#include <charconv>
#include <filesystem>
#include <optional>

#include "formats/problems.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

namespace sluice::formats {
namespace {

constexpr int64_t kSampleBytes = 4096;

// "name-00002-of-00005.gguf"
struct PartName {
  std::string prefix;  // "name"
  int part = 0;        // from 1
  int parts = 0;

  std::string path(int index) const {
    return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, index, parts);
  }
};

std::optional<int> five_digits(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) return std::nullopt;
  return value;
}

std::optional<PartName> parse_part_name(std::string_view path) {
  constexpr std::string_view kPattern = "-00001-of-00001.gguf";
  if (path.size() <= kPattern.size()) return std::nullopt;
  const std::string_view tail = path.substr(path.size() - kPattern.size());
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf")
    return std::nullopt;
  const auto part = five_digits(tail.substr(1, 5));
  const auto parts = five_digits(tail.substr(10, 5));
  if (!part || !parts || *part > *parts) return std::nullopt;
  return PartName{std::string(path.substr(0, path.size() - kPattern.size())), *part, *parts};
}

std::optional<GgufFile> read_file(const std::string& path, Problems* problems) {
  Problems of_file;
  auto source = map_file(path);
  auto file = source.ok() ? read_gguf(std::move(*source), &of_file)
                          : core::Result<GgufFile>(source.error());
  const std::string where = fmt::format("'{}'", path);
  problems->add_all(of_file, where);
  if (file.ok()) return std::move(*file);
  // What the system says names the file.
  problems->add("{}", source.ok() ? file.error().within(where).message : file.error().message);
  return std::nullopt;
}

// What each part says of itself must be where it was found.
void check_split(const std::vector<GgufFile>& files, const std::vector<std::string>& names,
                 Problems* problems) {
  if (files.size() == 1 && !files.front().metadata.has("split.count")) return;
  int64_t tensors = 0;
  for (const GgufFile& f : files) tensors += static_cast<int64_t>(f.tensors.size());
  for (size_t i = 0; i < files.size(); ++i) {
    const auto expect = [&](std::string_view key, int64_t expected) {
      const auto found = files[i].metadata.integer(key);
      if (!found.ok())
        problems->add("'{}': {}", names[i], found.error().message);
      else if (*found != expected)
        problems->add("'{}': metadata '{}' is {}, expected {}", names[i], key, *found, expected);
    };
    expect("split.no", static_cast<int64_t>(i));
    expect("split.count", static_cast<int64_t>(files.size()));
    if (i == 0) expect("split.tensors.count", tensors);
  }
}

struct HashStateDeleter {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

// What a file contributes to the digest.
struct DigestPart {
  const ByteSource* source = nullptr;
  int64_t header_bytes = 0;
  std::span<const NamedTensor> tensors;
};

template <typename File>
DigestPart digest_part(const File& file) {
  return {file.source.get(), file.header_bytes, file.tensors};
}

core::Result<std::string> digest_of(std::span<const DigestPart> parts) {
  const std::unique_ptr<XXH3_state_t, HashStateDeleter> hash(XXH3_createState());
  XXH3_128bits_reset(hash.get());
  std::array<std::byte, kSampleBytes> sample;
  for (const DigestPart& part : parts) {
    const auto bytes = part.source->bytes();
    XXH3_128bits_update(hash.get(), bytes.data(), static_cast<size_t>(part.header_bytes));
    for (const NamedTensor& t : part.tensors) {
      const int64_t begin = t.view.data - bytes.data();
      const int64_t length = std::min(kSampleBytes, t.view.bytes());
      const int64_t last = t.view.bytes() - length;
      for (const int64_t offset : {int64_t{0}, last / 2, last}) {
        const auto out = std::span(sample).first(static_cast<size_t>(length));
        if (auto read = part.source->read(begin + offset, out); !read.ok())
          return read.error().within(fmt::format("tensor '{}'", t.name));
        XXH3_128bits_update(hash.get(), out.data(), out.size());
        if (last == 0) break;
      }
    }
  }
  const XXH128_hash_t value = XXH3_128bits_digest(hash.get());
  return fmt::format("{:016x}{:016x}", value.high64, value.low64);
}

std::string stem_of(const std::string& path) {
  if (const auto part = parse_part_name(path))
    return std::filesystem::path(part->prefix).filename();
  return std::filesystem::path(path).stem();
}

core::Result<Manifest> make_manifest(const Metadata& metadata, std::span<const DigestPart> parts,
                                     std::vector<std::string> names) {
  Manifest manifest;
  manifest.architecture = TRY(metadata.text_or("general.architecture", ""));
  manifest.name = TRY(metadata.text_or("general.name", ""));
  if (manifest.name.empty()) manifest.name = TRY(metadata.text_or("general.basename", ""));
  if (manifest.name.empty()) manifest.name = stem_of(names.front());
  manifest.licence = TRY(metadata.text_or("general.license", ""));
  manifest.chat_template = TRY(metadata.text_or("tokenizer.chat_template", ""));
  manifest.context_length = TRY(metadata.integer_or(manifest.architecture + ".context_length", 0));
  for (const DigestPart& part : parts)
    for (const NamedTensor& t : part.tensors) manifest.weights_bytes += t.view.bytes();
  manifest.digest = TRY(digest_of(parts));
  manifest.files = std::move(names);
  return manifest;
}

}  // namespace

core::Result<std::unique_ptr<Checkpoint>> Checkpoint::open(const std::string& model) {
  Remains remains = salvage(model);
  if (!remains.problems.empty()) return remains.error();
  return std::move(remains.checkpoint);
}

Checkpoint::Remains Checkpoint::salvage(const std::string& model) {
  return std::filesystem::is_directory(model) ? salvage_folder(model) : salvage_files(model);
}

core::Error Checkpoint::Remains::error() const {
  return where.empty() ? problems.error() : problems.error().within(where);
}

Checkpoint::Remains Checkpoint::salvage_folder(const std::string& path) {
  Remains remains;
  remains.where = fmt::format("'{}'", path);
  HuggingFaceFolder folder = read_hugging_face_folder(path, &remains.problems);
  if (folder.names.empty()) return remains;
  auto lost = std::move(folder.lost);
  const ConfigFaults faults = folder.config_faults;
  auto checkpoint = of_folder(std::move(folder));
  if (!checkpoint.ok()) {
    remains.problems.add("{}", checkpoint.error().message);
    return remains;
  }
  remains.checkpoint = std::move(*checkpoint);
  remains.checkpoint->lost_ = std::move(lost);
  remains.checkpoint->config_faults_ = faults;
  return remains;
}

Checkpoint::Remains Checkpoint::salvage_files(const std::string& model) {
  Remains remains;
  const auto part = parse_part_name(model);
  const int parts = part ? part->parts : 1;
  std::vector<GgufFile> files;
  std::vector<std::string> names;
  for (int i = 1; i <= parts; ++i) {
    const std::string name = part ? part->path(i) : model;
    auto file = read_file(name, &remains.problems);
    if (!file) continue;
    files.push_back(std::move(*file));
    names.push_back(name);
  }
  // The first part has the metadata.
  if (files.empty() || (part && names.front() != part->path(1))) return remains;
  std::set<std::string, std::less<>> lost;
  for (const GgufFile& f : files) lost.insert(f.lost.begin(), f.lost.end());
  const bool is_part_lost = std::ssize(files) < parts;
  if (!is_part_lost) check_split(files, names, &remains.problems);
  auto checkpoint = assemble(std::move(files), std::move(names));
  if (!checkpoint.ok()) {
    remains.problems.add("{}", checkpoint.error().message);
    return remains;
  }
  remains.checkpoint = std::move(*checkpoint);
  remains.checkpoint->lost_ = std::move(lost);
  remains.checkpoint->is_part_lost_ = is_part_lost;
  return remains;
}

core::Result<std::unique_ptr<Checkpoint>> Checkpoint::join(std::vector<GgufFile> files,
                                                           std::vector<std::string> names) {
  ASSERT(!files.empty() && files.size() == names.size(), "{} files, {} names", files.size(),
         names.size());
  Problems problems;
  check_split(files, names, &problems);
  if (!problems.empty()) return problems.error();
  return assemble(std::move(files), std::move(names));
}

core::Result<std::unique_ptr<Checkpoint>> Checkpoint::assemble(std::vector<GgufFile> files,
                                                               std::vector<std::string> names) {
  std::vector<DigestPart> parts;
  for (const GgufFile& f : files) parts.push_back(digest_part(f));
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->manifest_ = TRY(make_manifest(files.front().metadata, parts, std::move(names)));
  checkpoint->files_ = std::move(files);
  TRY(checkpoint->index_tensors());
  return checkpoint;
}

core::Result<std::unique_ptr<Checkpoint>> Checkpoint::of_folder(HuggingFaceFolder folder) {
  std::vector<DigestPart> parts = {digest_part(folder.metadata)};
  for (const SafetensorsFile& f : folder.files) parts.push_back(digest_part(f));
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->manifest_ =
      TRY(make_manifest(folder.metadata.metadata, parts, std::move(folder.names)));
  checkpoint->files_.push_back(std::move(folder.metadata));
  checkpoint->folder_ = std::make_unique<HuggingFaceFolder>(std::move(folder));
  TRY(checkpoint->index_tensors());
  return checkpoint;
}

core::Result<void> Checkpoint::index_tensors() {
  Problems problems;
  const auto add = [&](std::string_view name, const core::TensorView& view) {
    if (!tensors_.emplace(name, view).second)
      problems.add("tensor '{}' is in more than one part", stored_name(name));
  };
  for (const GgufFile& f : files_)
    for (const NamedTensor& t : f.tensors) add(t.name, t.view);
  if (folder_ != nullptr)
    for (const HuggingFaceFolder::Tensor& t : folder_->tensors) add(t.name, t.view);
  if (!problems.empty()) return problems.error();
  return {};
}

const core::TensorView* Checkpoint::find(std::string_view tensor) const {
  const auto it = tensors_.find(tensor);
  return it == tensors_.end() ? nullptr : &it->second;
}

std::string Checkpoint::stored_name(std::string_view tensor) const {
  return folder_ == nullptr ? std::string(tensor) : hugging_face_tensor_name(tensor);
}

void Checkpoint::release(const core::TensorView& view) const {
  const auto release_from = [&](const ByteSource& source) {
    const auto bytes = source.bytes();
    if (view.data >= bytes.data() && view.data < bytes.data() + bytes.size())
      source.release({view.data, static_cast<size_t>(view.bytes())});
  };
  for (const GgufFile& f : files_) release_from(*f.source);
  if (folder_ != nullptr)
    for (const SafetensorsFile& f : folder_->files) release_from(*f.source);
}

}  // namespace sluice::formats
