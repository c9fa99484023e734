// Rows that a device and the host hand to each other while the device's queue runs: the queue posts
// rows, the host works on them, and the queue goes on once it has the answer. Neither calls the
// other: each waits for a counter that the other raises.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice::kernels {

// In pinned memory, zero at first. A side that raises its counter has written all that the other
// may then read. One turn is a post and its answer; the next one begins after that.
struct Mailbox {
  alignas(64) std::atomic<uint32_t> posted{0};    // turns, by the device
  alignas(64) std::atomic<uint32_t> answered{0};  // turns, by the host
  // Of which turn the guess in either place is, by the device.
  alignas(64) std::atomic<uint32_t> guessed[2]{};
};

// A device that has waited so long for an answer fails, which ends the process.
inline constexpr int64_t kAnswerTimeoutNs = 60'000'000'000;

// Copies rows and where they go to the host; one turn more.
struct DevicePostArgs {
  const uint16_t* x = nullptr;  // bf16 (rows, inputs)
  int64_t rows = 0;
  int64_t inputs = 0;  // a multiple of 8
  int32_t used = 0;
  const int32_t* ids = nullptr;    // (rows, used)
  const int32_t* own = nullptr;    // (rows, used): of these what is the host's, or -1
  const float* weights = nullptr;  // (rows, used)
  uint16_t* host_x = nullptr;      // pinned, as the four above
  int32_t* host_ids = nullptr;
  int32_t* host_own = nullptr;
  float* host_weights = nullptr;
  Mailbox* mailbox = nullptr;  // pinned
  uint32_t* turns = nullptr;   // the device's own count of what it posted
};

// What the next turn's ids may be. A turn's guess lies in the place of its last bit until the turn
// after it is posted.
struct DeviceGuessArgs {
  const int32_t* ids = nullptr;  // (choices)
  int64_t choices = 0;
  int32_t* host_ids = nullptr;  // pinned (2, choices_max)
  int64_t choices_max = 0;
  Mailbox* mailbox = nullptr;       // pinned
  const uint32_t* turns = nullptr;  // as post() has them
};

// Waits until every turn that was posted is answered, then to += answer.
struct DeviceCollectArgs {
  const float* answer = nullptr;  // pinned
  float* to = nullptr;
  int64_t count = 0;  // a multiple of 4
  const Mailbox* mailbox = nullptr;
  const uint32_t* turns = nullptr;
};

}  // namespace sluice::kernels
