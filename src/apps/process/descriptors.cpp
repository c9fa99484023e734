#include "apps/process/descriptors.h"

#include <sys/resource.h>

#include "core/log.h"

namespace sluice::apps {

void allow_descriptors(int64_t wanted) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = before;
  }
  if (limit.rlim_cur >= static_cast<rlim_t>(wanted)) return;
  const core::Logger log;
  log.warning(
      "{} descriptors are allowed (ulimit -n), {} are needed for --connections-max: further "
      "connections wait",
      static_cast<int64_t>(limit.rlim_cur), wanted);
}

}  // namespace sluice::apps
