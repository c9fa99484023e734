#include "gateway/admin/snapshot_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <sys/stat.h>

#include "contract/snapshot_json.h"

namespace sluice::gateway {
namespace {

constexpr int64_t kFormat = 1;

core::Error io_error(std::string_view what, const std::string& path) {
  return {core::ErrorCode::kIo, fmt::format("{} {}: {}", what, path, std::strerror(errno))};
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }

 private:
  int number_;
};

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// nullopt: there is none.
core::Result<std::optional<std::string>> read_text(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 && errno == ENOENT) return std::optional<std::string>();
  if (file.get() < 0) return io_error("cannot open", path);
  std::string text;
  char piece[64 << 10];
  for (;;) {
    const ssize_t got = ::read(file.get(), piece, sizeof(piece));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("cannot read", path);
    if (got == 0) return std::optional(std::move(text));
    text.append(piece, static_cast<size_t>(got));
  }
}

// Files of before 2026-11-23 have none.
void read_former_prices(const contract::Value& document, std::vector<contract::Price>* prices,
                        contract::Problems* problems) {
  const contract::Value* former = document.find("former_prices");
  if (former == nullptr) return;
  const auto* items = former->as<contract::Value::Array>();
  if (items == nullptr) return problems->push_back({"former_prices", "is no array"});
  for (size_t i = 0; i < items->size(); ++i)
    contract::read_into((*items)[i], fmt::format("former_prices[{}]", i), &prices->emplace_back(),
                        problems);
}

core::Result<SnapshotFile> parse(std::string_view text) {
  const contract::Value document = TRY(contract::parse_json_value(text));
  const contract::Value* format = document.find("format");
  const contract::Value* owned = document.find("file_owned");
  const contract::Value* snapshot = document.find("snapshot");
  if (format == nullptr || owned == nullptr || snapshot == nullptr)
    return core::invalid("is no snapshot file: it needs format, file_owned and snapshot");
  const auto* version = format->as<int64_t>();
  if (version == nullptr || *version != kFormat)
    return core::unsupported("is of another format than {}", kFormat);
  SnapshotFile file;
  const auto* names = owned->as<contract::Value::Array>();
  if (names == nullptr) return core::invalid("file_owned is no array");
  for (const contract::Value& name : *names) {
    if (name.as<std::string>() == nullptr) return core::invalid("file_owned holds no string");
    file.file_owned.insert(*name.as<std::string>());
  }
  contract::Problems problems;
  contract::read_into(*snapshot, "snapshot", &file.snapshot, &problems);
  read_former_prices(document, &file.former_prices, &problems);
  if (problems.empty()) problems = contract::validate(file.snapshot);
  if (!problems.empty()) return core::invalid("{}", contract::to_text(problems));
  return file;
}

}  // namespace

core::Result<std::optional<SnapshotFile>> read_snapshot_file(const std::string& path) {
  const std::optional<std::string> text = TRY(read_text(path));
  if (!text) return std::optional<SnapshotFile>();
  auto file = parse(*text);
  if (!file.ok()) return file.error().within(path);
  return std::optional(std::move(file).value());
}

core::Result<void> write_snapshot_file(const std::string& path, const SnapshotFile& file) {
  std::string text = fmt::format("{{\"format\":{},\"file_owned\":[", kFormat);
  std::string_view comma;
  for (const std::string& name : file.file_owned) {
    text += fmt::format("{}\"{}\"", comma, name);  // of ids, which need no escapes
    comma = ",";
  }
  text += "],\"former_prices\":[";
  comma = "";
  for (const contract::Price& price : file.former_prices) {
    text.append(comma).append(contract::to_json(price));
    comma = ",";
  }
  text += "],\"snapshot\":" + contract::to_json(file.snapshot) + "}\n";
  return write_file_atomically(path, text);
}

core::Result<void> write_file_atomically(const std::string& path, std::string_view text) {
  const std::string beside = path + ".new";
  {
    const Descriptor file(
        ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR));
    if (file.get() < 0) return io_error("cannot write", beside);
    if (!write_all(file.get(), text)) return io_error("cannot write", beside);
    if (::fsync(file.get()) != 0) return io_error("cannot flush", beside);
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) return io_error("cannot rename to", path);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const Descriptor directory(
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0)
    return io_error("cannot flush the folder of", path);
  return {};
}

}  // namespace sluice::gateway
