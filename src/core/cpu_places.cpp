#include "core/cpu_places.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>

namespace sluice::core {
namespace {

constexpr int kPackageCoresMax = 1 << 16;

std::optional<int> number_of(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int> number_in(const std::string& file) {
  std::ifstream in(file);
  int value = 0;
  if (!(in >> value)) return std::nullopt;
  return value;
}

// From the processor's entry "nodeN".
int node_of(const std::string& folder) {
  constexpr std::string_view kPrefix = "node";
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    if (const auto node = number_of(std::string_view(name).substr(kPrefix.size()))) return *node;
  }
  return 0;
}

CpuPlace place_of(const std::string& root, int cpu) {
  const std::string folder = root + "/cpu/cpu" + std::to_string(cpu);
  const std::optional<int> core = number_in(folder + "/topology/core_id");
  const std::optional<int> package = number_in(folder + "/topology/physical_package_id");
  return {.cpu = cpu,
          .node = node_of(folder),
          .core = core && package ? *package * kPackageCoresMax + *core : cpu};
}

}  // namespace

std::vector<CpuPlace> allowed_places(const std::string& root) {
  std::vector<CpuPlace> places;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return places;  // over CPU_SETSIZE processors
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) places.push_back(place_of(root, cpu));
  return places;
}

std::vector<int> cpus_of_threads(std::vector<CpuPlace> allowed, int threads) {
  std::sort(allowed.begin(), allowed.end(), [](const CpuPlace& a, const CpuPlace& b) {
    return std::tie(a.node, a.core, a.cpu) < std::tie(b.node, b.core, b.cpu);
  });
  std::map<int, int> seen;  // of each core
  std::vector<std::pair<int, CpuPlace>> by_sibling;
  for (const CpuPlace& place : allowed) by_sibling.emplace_back(seen[place.core]++, place);
  const auto cores = static_cast<int>(seen.size());
  if (threads < cores || threads > static_cast<int>(allowed.size())) return {};
  std::stable_sort(by_sibling.begin(), by_sibling.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  by_sibling.resize(static_cast<size_t>(threads));
  std::sort(by_sibling.begin(), by_sibling.end(), [](const auto& a, const auto& b) {
    return std::tie(a.second.node, a.second.core, a.second.cpu) <
           std::tie(b.second.node, b.second.core, b.second.cpu);
  });
  std::vector<int> cpus;
  for (const auto& [sibling, place] : by_sibling) cpus.push_back(place.cpu);
  return cpus;
}

// Where the system refuses, the thread stays where it may be.
void pin_this_thread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  static_cast<void>(sched_setaffinity(0, sizeof set, &set));
}

}  // namespace sluice::core
