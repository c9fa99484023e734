#include "apps/bench/roof.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "core/cpu.h"

namespace sluice::apps {
namespace {

namespace fs = std::filesystem;

fs::path cache_file() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0')
    return fs::path(cache) / "sluice" / "roof.json";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return fs::path(home) / ".cache" / "sluice" / "roof.json";
  return {};
}

nlohmann::json read_cache() {
  std::ifstream in(cache_file());
  auto parsed = in ? nlohmann::json::parse(in, nullptr, false) : nlohmann::json();
  return parsed.is_object() ? parsed : nlohmann::json::object();
}

// With how memory was read: a limit that was found in another way is measured anew.
std::string machine_name(int threads, std::string_view table) {
  return fmt::format("{}, {} threads by turns, {}", core::detect_cpu().model, threads, table);
}

std::optional<kernels::Roof> find(const nlohmann::json& cache, const std::string& machine) {
  const auto entry = cache.find(machine);
  if (entry == cache.end() || !entry->is_object()) return std::nullopt;
  kernels::Roof roof;
  const auto number = [&](const char* key, double* out) {
    const auto value = entry->find(key);
    if (value == entry->end() || !value->is_number() || !(value->get<double>() > 0)) return false;
    *out = value->get<double>();
    return true;
  };
  if (!number("read_gb_s", &roof.read_gb_s) || !number("int8_tops", &roof.int8_tops) ||
      !number("f32_tflops", &roof.f32_tflops) || !number("bf16_tflops", &roof.bf16_tflops))
    return std::nullopt;
  return roof;
}

// Another process may write at the same time: the file is replaced whole.
void store(nlohmann::json cache, const std::string& machine, const kernels::Roof& roof) {
  const fs::path path = cache_file();
  if (path.empty()) return;
  cache[machine] = {{"read_gb_s", roof.read_gb_s},
                    {"int8_tops", roof.int8_tops},
                    {"f32_tflops", roof.f32_tflops},
                    {"bf16_tflops", roof.bf16_tflops}};
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  const fs::path fresh = path.string() + fmt::format(".{}", getpid());
  std::ofstream(fresh) << cache.dump(1) << "\n";
  fs::rename(fresh, path, ignored);
}

}  // namespace

std::optional<kernels::Roof> known_roof(int threads, std::string_view table) {
  return find(read_cache(), machine_name(threads, table));
}

kernels::Roof machine_roof(core::ThreadPool& pool, std::string_view table, RoofSource source) {
  if (source == RoofSource::kCache)
    if (const auto found = known_roof(pool.threads(), table)) return *found;
  const kernels::Roof roof = kernels::measure_roof(pool, table);
  store(read_cache(), machine_name(pool.threads(), table), roof);
  return roof;
}

bool reads_host_memory(const model::Model& model) {
  return model.device() == nullptr || model.memory_plan().host_expert_file_bytes > 0;
}

Roofs measure_roofs(model::Model& model, RoofSource source) {
  Roofs roofs;
  if (model.device() != nullptr) {
    const kernels::DeviceRoof measured = model.device()->measure_roof();
    // Of all cards, which are alike; devices that share one have its limits once.
    const double cards = 1.0 * model.cards() / model.device()->info().sharers;
    roofs.device = {.read_gb_s = cards * measured.read_gb_s,
                    .int8_tops = cards * measured.bf16_tflops,
                    .bf16_tflops = cards * measured.bf16_tflops};
    roofs.link_gb_s = measured.link_gb_s;
  }
  if (reads_host_memory(model)) roofs.host = machine_roof(model.pool(), model.ops().name, source);
  return roofs;
}

double roof_tera_ops(const kernels::Roof& roof, const model::Model& model) {
  const core::DType type = model.weights().layers.front().gate.type;
  return core::info(type).block_values > 1 ? roof.int8_tops : roof.bf16_tflops;
}

}  // namespace sluice::apps
