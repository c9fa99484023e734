// Copies from global to shared memory that run beside what the thread does (cp.async). What has no
// source becomes zero.
#pragma once

#include <cstdint>

namespace sluice::kernels::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// `from` is a readable address even where there is nothing to copy.
__device__ __forceinline__ void copy_16(uint32_t shared, const void* from, bool has) {
  const int bytes = has ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from),
               "r"(bytes));
}
__device__ __forceinline__ void copy_4(uint32_t shared, const void* from, bool has) {
  const int bytes = has ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(from), "r"(bytes));
}
__device__ __forceinline__ void end_copies() {
  asm volatile("cp.async.commit_group;");
}
template <int kPending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace sluice::kernels::cuda
