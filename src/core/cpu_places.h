// Which processor each thread of a pool belongs on.
//
// Threads are pinned only where the pool has one for every core that the process may use: then the
// pages that a thread writes first, its share of the packed weights, lie on its own NUMA node, one
// copy of all. With fewer threads others share the machine, and the scheduler places them.
#pragma once

#include <string>
#include <vector>

namespace sluice::core {

struct CpuPlace {
  int cpu = 0;   // the system's number
  int node = 0;  // of NUMA
  int core = 0;  // physical; hyperthreads share one
};

inline constexpr const char* kSystemDevices = "/sys/devices/system";

// The processors of this process's affinity mask. `root`: kSystemDevices; where it does not
// say, every processor is a core of node 0.
std::vector<CpuPlace> allowed_places(const std::string& root);

// The processor of each thread, neighbours on one node, hyperthreads of a core only once every core
// has a thread. Empty: not to be pinned.
std::vector<int> cpus_of_threads(std::vector<CpuPlace> allowed, int threads);

void pin_this_thread(int cpu);

}  // namespace sluice::core
