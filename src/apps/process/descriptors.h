// How many descriptors (connections, files) this process may have.
#pragma once

#include <cstdint>

namespace sluice::apps {

// Raises the soft limit as far as the hard one allows; what is started from here inherits it. A
// warning on the log where that is less than `wanted`: then some connections cannot be taken.
void allow_descriptors(int64_t wanted);

}  // namespace sluice::apps
