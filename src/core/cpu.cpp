#include "core/cpu.h"

#include <cpuid.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

namespace sluice::core {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool bit(uint32_t value, int index) {
  return (value >> index & 1) != 0;
}

// The register files that the operating system saves: a feature without them must not be used.
uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

std::string model_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name"))
      return line.substr(std::min(line.size(), line.find(':') + 2));
  return "unknown processor";
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Of cpu.max: "150000 100000" (quota and period in µs) or "max 100000".
std::optional<int> cores_of(std::string_view cpu_max) {
  const auto read_number = [&]() -> int64_t {
    int64_t number = 0;
    const auto [end, error] =
        std::from_chars(cpu_max.data(), cpu_max.data() + cpu_max.size(), number);
    if (error != std::errc()) return 0;
    cpu_max.remove_prefix(static_cast<size_t>(end - cpu_max.data()));
    cpu_max.remove_prefix(std::min(cpu_max.size(), cpu_max.find_first_not_of(' ')));
    return number;
  };
  const int64_t quota = read_number();
  const int64_t period = read_number();
  if (quota <= 0 || period <= 0) return std::nullopt;
  return static_cast<int>(std::clamp<int64_t>(quota / period, 1, 1 << 20));
}

// The path of the one line "0::/path" (cgroup v2); empty for the root, where there is no such line,
// and where the group lies outside of what this process sees ("/..").
std::string own_group(std::string_view own_groups) {
  constexpr std::string_view kVersion2 = "0::";
  while (!own_groups.empty()) {
    const std::string_view line = own_groups.substr(0, own_groups.find('\n'));
    own_groups.remove_prefix(std::min(own_groups.size(), line.size() + 1));
    if (!line.starts_with(kVersion2)) continue;
    const std::string_view path = line.substr(kVersion2.size());
    if (path.size() > 1 && path.front() == '/' && path.find("/..") == path.npos)
      return std::string(path);
  }
  return {};
}

// Of the affinity mask, however many the machine has.
int affinity_cores() {
  constexpr int kCpusMax = 1 << 20;
  for (int cpus = CPU_SETSIZE; cpus <= kCpusMax; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(cpus));
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    const bool fits = sched_getaffinity(0, bytes, set) == 0;
    const int cores = fits ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (fits) return cores;
  }
  return 1;
}

}  // namespace

int64_t second_cache_bytes() {
  const int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 1 << 20;
}

std::optional<int> cgroup_cores(std::string_view own_groups, const std::string& mount) {
  std::optional<int> least;
  std::string group = own_group(own_groups);
  for (;;) {
    const std::optional<int> cores = cores_of(text_of(mount + group + "/cpu.max"));
    if (cores) least = std::min(*cores, least.value_or(*cores));
    if (group.empty()) break;
    group.resize(group.find_last_of('/'));
  }
  return least;
}

CpuInfo detect_cpu() {
  CpuInfo cpu;
  cpu.model = model_name();
  cpu.cores = std::max(1, affinity_cores());
  const std::optional<int> quota = cgroup_cores(text_of("/proc/self/cgroup"), "/sys/fs/cgroup");
  cpu.cores = std::min(cpu.cores, quota.value_or(cpu.cores));

  const Registers one = cpuid(1, 0);
  if (!bit(one.ecx, 27)) return cpu;  // no OSXSAVE: no vector state beyond SSE
  const uint64_t saved = saved_state();
  const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6;
  const bool tiles = (saved & 0x60000) == 0x60000;
  const Registers seven = cpuid(7, 0), seven_one = cpuid(7, 1);
  cpu.avx2 = ymm && bit(seven.ebx, 5) && bit(one.ecx, 12) && bit(one.ecx, 29);
  cpu.avx512 =
      zmm && bit(seven.ebx, 16) && bit(seven.ebx, 17) && bit(seven.ebx, 30) && bit(seven.ebx, 31);
  cpu.avx512_vnni = cpu.avx512 && bit(seven.ecx, 11);
  cpu.avx512_vbmi = cpu.avx512 && bit(seven.ecx, 1);
  cpu.avx512_bf16 = cpu.avx512 && bit(seven_one.eax, 5);
  cpu.avx_vnni = cpu.avx2 && bit(seven_one.eax, 4);
  cpu.amx_int8 = tiles && bit(seven.edx, 24) && bit(seven.edx, 25);
  cpu.amx_bf16 = tiles && bit(seven.edx, 24) && bit(seven.edx, 22);
  return cpu;
}

std::string features_text(const CpuInfo& cpu) {
  std::string text;
  const auto add = [&](bool has, const char* name) {
    if (has) text += (text.empty() ? "" : " ") + std::string(name);
  };
  add(cpu.avx2, "avx2");
  add(cpu.avx512, "avx512");
  add(cpu.avx512_vnni, "avx512_vnni");
  add(cpu.avx512_bf16, "avx512_bf16");
  add(cpu.avx512_vbmi, "avx512_vbmi");
  add(cpu.avx_vnni, "avx_vnni");
  add(cpu.amx_int8, "amx_int8");
  add(cpu.amx_bf16, "amx_bf16");
  return text;
}

}  // namespace sluice::core
