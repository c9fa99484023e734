#include <unistd.h>

#include <sys/syscall.h>

#include "kernels/cpu/amx/amx.h"

namespace sluice::kernels::amx {

bool request_tiles() {
  constexpr int64_t kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
  constexpr int64_t kTileData = 18;               // the state component
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace sluice::kernels::amx
