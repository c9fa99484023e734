// What this machine's processor can do, read once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::core {

struct CpuInfo {
  std::string model;    // "AMD EPYC 9655 96-Core Processor"
  int cores = 1;        // that this process may use (affinity and cgroup quota)
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool avx512_vbmi = false;
  bool avx_vnni = false;
  bool amx_int8 = false;
  bool amx_bf16 = false;
};

CpuInfo detect_cpu();

// Of a core's own second-level cache; 1 MiB where that is not known.
int64_t second_cache_bytes();

// Whole cores, at least 1, that cgroup v2 leaves to the process whose /proc/self/cgroup is
// `own_groups`: the least cpu.max of its group and of those above it, up to `mount`
// (/sys/fs/cgroup). None where no quota can be read.
std::optional<int> cgroup_cores(std::string_view own_groups, const std::string& mount);

// "avx2 avx512 avx512_vnni"
std::string features_text(const CpuInfo& cpu);

}  // namespace sluice::core
