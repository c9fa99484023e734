#include "net/signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "core/assert.h"

namespace sluice::net {
namespace {

constexpr int kSignals = 65;

// Where the handler of a signal writes to; 0: nobody waits for it. A handler reaches nothing that
// is not static.
std::array<std::atomic<int>, kSignals> write_ends;
static_assert(std::atomic<int>::is_always_lock_free, "used in a signal handler");

extern "C" void hand_on_signal(int number) {
  const int error_before = errno;
  const auto byte = static_cast<uint8_t>(number);
  const int end = write_ends[static_cast<size_t>(number)];
  [[maybe_unused]] ssize_t written = 0;  // a full pipe holds enough of them
  if (end > 0) written = ::write(end, &byte, 1);
  errno = error_before;
}

}  // namespace

SignalPipe::SignalPipe(const std::vector<int>& numbers) {
  int ends[2];
  ASSERT(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0, "pipe2: error {}", errno);
  read_end_ = ends[0];
  write_end_ = ends[1];
  for (const int number : numbers) {
    ASSERT(number > 0 && number < kSignals, "signal {}", number);
    const int before = write_ends[static_cast<size_t>(number)].exchange(write_end_);
    ASSERT(before == 0, "signal {} is waited for already", number);
    struct sigaction action = {};
    action.sa_handler = hand_on_signal;
    sigfillset(&action.sa_mask);
    Taken& taken = taken_.emplace_back();
    taken.number = number;
    ASSERT(::sigaction(number, &action, &taken.before) == 0, "signal {}: error {}", number, errno);
  }
}

SignalPipe::~SignalPipe() {
  for (const Taken& taken : taken_) {
    ::sigaction(taken.number, &taken.before, nullptr);
    write_ends[static_cast<size_t>(taken.number)] = 0;
  }
  ::close(write_end_);
  if (read_end_ >= 0) ::close(read_end_);
}

std::optional<int> next_signal(int read_end) {
  uint8_t byte = 0;
  if (::read(read_end, &byte, 1) != 1) return std::nullopt;
  return byte;
}

}  // namespace sluice::net
