#include "core/cpu.h"

#include <cpuid.h>
#include <sched.h>

#include <algorithm>
#include <fstream>

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

// Whole cores of a cgroup v2 quota, or a large number where there is none.
int quota_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  int64_t period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 1 << 20;
  return static_cast<int>(std::max<int64_t>(1, std::stoll(quota) / period));
}

}  // namespace

CpuInfo detect_cpu() {
  CpuInfo cpu;
  cpu.model = model_name();
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpu.cores = CPU_COUNT(&set);
  cpu.cores = std::max(1, std::min(cpu.cores, quota_cores()));

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
  add(cpu.avx_vnni, "avx_vnni");
  add(cpu.amx_int8, "amx_int8");
  add(cpu.amx_bf16, "amx_bf16");
  return text;
}

}  // namespace sluice::core
