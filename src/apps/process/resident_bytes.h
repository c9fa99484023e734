// Memory of this process and of the machine.
#pragma once

#include <cstdint>

namespace sluice::apps {

// What of it lies in memory now; 0 where the kernel does not say.
int64_t resident_bytes();

int64_t machine_memory_bytes();

}  // namespace sluice::apps
