// What this machine's processor can do, read once.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::core {

struct CpuInfo {
  std::string model;    // "AMD EPYC 9655 96-Core Processor"
  int cores = 1;        // that this process may use (affinity and cgroup quota)
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool avx_vnni = false;
  bool amx_int8 = false;
  bool amx_bf16 = false;
};

CpuInfo detect_cpu();

// "avx2 avx512 avx512_vnni"
std::string features_text(const CpuInfo& cpu);

}  // namespace sluice::core
