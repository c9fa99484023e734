// An accelerator as the engine sees it: memory, a queue of work, and the ops that a step is made
// of.
//
// The processor's table (ops.h) is for threads that share each op. Here every call queues one op
// and returns; ops run in order. They are coarser: a product carries the norm before it and what
// becomes of its result, because on a device each launch and each pass over a row costs. The plain
// loops that define them are kernels/ref/ref_device.h; tests compare a backend with it.
//
// A device that fails (a lost card, a bug in a kernel) ends the process with a message: the
// supervisor starts it again. One thread at a time may call a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "core/result.h"
#include "kernels/device_args.h"
#include "kernels/device_bring.h"
#include "kernels/device_draft_args.h"
#include "kernels/device_expert_args.h"
#include "kernels/device_handover.h"
#include "kernels/device_latent_args.h"
#include "kernels/device_pull.h"
#include "kernels/device_sample_args.h"
#include "kernels/device_sum_args.h"

namespace sluice::kernels {

struct DeviceInfo {
  std::string name;          // "NVIDIA H200"
  std::string backend;       // "cuda"
  int64_t memory_bytes = 0;  // of the card
  int64_t free_bytes = 0;    // when it was opened; a share of it, where others lie on the card
  int32_t sharers = 1;       // devices that lie on the card, with this one
};

// What this card can do at most, measured.
struct DeviceRoof {
  double read_gb_s = 0;    // memory read, 10^9 bytes per second
  double bf16_tflops = 0;  // matrix products of bf16
  double link_gb_s = 0;    // copies of pinned memory to it
};

enum class MemoryKind : uint8_t {
  kDevice,
  kPinned,   // the host's, which copies to and from the device read without a detour
  kAdopted,  // memory that somebody else has on the host, made so
};

class DeviceBuffer;

inline constexpr int kMarks = 2;  // slots of Device::mark()

// A sequence of ops with their arguments (Device::record).
class Recording {
 public:
  virtual ~Recording() = default;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  virtual DeviceRoof measure_roof() = 0;  // about a second

  // An Error says how much was asked for and how much is free. Contents are not defined.
  virtual core::Result<DeviceBuffer> allocate(int64_t bytes, MemoryKind kind) = 0;
  // Makes memory of the host pinned as long as the buffer lives. An Error: it cannot be.
  virtual core::Result<DeviceBuffer> adopt(std::byte* data, int64_t bytes) = 0;
  virtual core::Result<void> reserve(const DeviceLimits& limits) = 0;  // once, before ops
  virtual int64_t reserved_bytes() const = 0;

  // Host to device; complete on return.
  virtual void upload(std::byte* to, const std::byte* from, int64_t bytes) = 0;
  // Queued, like ops. The host side is pinned and stays as it is until wait().
  virtual void send(std::byte* to, const std::byte* from, int64_t bytes) = 0;
  virtual void fetch(std::byte* to, const std::byte* from, int64_t bytes) = 0;
  virtual void wait() = 0;  // until all that was queued is done
  // await() returns once all that was queued before the last mark() of the slot is done.
  virtual void mark(int slot) = 0;
  virtual void await(int slot) = 0;
  // For who waits for a queue's post: returns at once, and not at all where the device has failed.
  virtual void check_alive() = 0;

  // Beside the queue, once all that was queued before is done.
  virtual void bring(const DeviceBringArgs& args) = 0;
  virtual bool has_brought(int32_t slot) = 0;  // the last bring() to this slot; does not wait
  // What is queued from now on follows the last bring() to this slot.
  virtual void await_brought(int32_t slot) = 0;

  // What is queued from now on, here and on the others, follows all that was queued on any of them
  // before. They were opened together, and read each other's memory.
  virtual void meet(std::span<Device* const> others) = 0;

  // What `ops` queues, here and on the others, kept instead of run: replay() queues it again, here,
  // with the same arguments, as often as is wanted. `ops` may be called later, by a backend that
  // cannot record. The others meet() this device before a replay and after it.
  virtual std::unique_ptr<Recording> record(std::function<void()> ops,
                                            std::span<Device* const> others) = 0;
  virtual void replay(const Recording& recording) = 0;
  // A clock of the queue, in recordings and out of them: notes in the slot, from 0 on, when all
  // that was queued before is done. Ops on both sides do not overlap.
  virtual void stamp(int32_t slot) = 0;
  // Between two stamps, which have been waited for.
  virtual int64_t stamped_ns(int32_t from, int32_t to) = 0;

  // rows of an F32, F16, BF16 or Q8_0 table.
  virtual void embed(const EmbedArgs& args) = 0;
  virtual void join(const DeviceJoinArgs& args) = 0;
  virtual void linear(const DeviceLinearArgs& args) = 0;
  virtual void turn(const DeviceTurnArgs& args) = 0;
  virtual void attention(const DeviceAttentionArgs& args) = 0;
  // turn(), then attention() of what it turned; q_out is not defined afterwards.
  virtual void turn_and_attend(const DeviceTurnArgs& turn_args,
                               const DeviceAttentionArgs& attention_args) {
    turn(turn_args);
    attention(attention_args);
  }
  virtual void latent_attention(const DeviceLatentArgs& args) = 0;
  virtual void route(const DeviceRouteArgs& args) = 0;
  virtual void experts(const DeviceExpertArgs& args) = 0;
  virtual void pick(const DevicePickArgs& args) = 0;
  // Beside the queue, once all that was queued before is done; await_pulled() follows.
  virtual void pull(const DevicePullArgs& args) = 0;
  virtual void await_pulled() = 0;  // what is queued from now on follows the last pull()
  virtual void post(const DevicePostArgs& args) = 0;
  virtual void post_guess(const DeviceGuessArgs& args) = 0;
  virtual void collect(const DeviceCollectArgs& args) = 0;
  virtual void add(float* to, const float* from, int64_t count) = 0;  // count: a multiple of 4
  virtual void clear(float* to, int64_t count) = 0;                   // to zero
  virtual void sum(const DeviceSumArgs& args) = 0;
  virtual void sample(const DeviceSampleArgs& args) = 0;
  // ids[r] < 0: becomes sampled[-1 - ids[r]], which a step before has sampled; 0 where that one had
  // no token.
  virtual void take_sampled(int32_t* ids, int64_t rows, const int32_t* sampled) = 0;

 private:
  friend class DeviceBuffer;
  virtual void release(std::byte* data, MemoryKind kind) = 0;
};

// Memory of a device, which must outlive it.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device* device, MemoryKind kind, std::byte* data, int64_t bytes)
      : device_(device), kind_(kind), data_(data), bytes_(bytes) {}
  ~DeviceBuffer() {
    if (data_ != nullptr) device_->release(data_, kind_);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(kind_, other.kind_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  Device* device_ = nullptr;
  MemoryKind kind_ = MemoryKind::kDevice;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace sluice::kernels
