// Signals as bytes of a pipe, which a loop can wait for. For the .cpp files of this folder only.
#pragma once

#include <csignal>
#include <optional>
#include <utility>
#include <vector>

namespace sluice::net {

// Takes signals over from its making to its end, which gives back what handled them before. One at
// a time may have a signal's number.
class SignalPipe {
 public:
  explicit SignalPipe(const std::vector<int>& numbers);
  ~SignalPipe();
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;

  // Takes the end to read from, once; it does not block.
  int release_read_end() { return std::exchange(read_end_, -1); }

 private:
  struct Taken {
    int number = 0;
    struct sigaction before = {};
  };
  int read_end_ = -1;
  int write_end_ = -1;
  std::vector<Taken> taken_;
};

// The number of the next signal in the pipe; nullopt: none now.
std::optional<int> next_signal(int read_end);

}  // namespace sluice::net
