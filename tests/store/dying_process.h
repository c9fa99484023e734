// A child process that the test kills, and memory that both see.
#pragma once

#include <unistd.h>

#include <csignal>
#include <new>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

namespace sluice::store {

template <typename T>
class SharedMemory {
 public:
  SharedMemory()
      : shared_(new (::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                            -1, 0)) T()) {}
  ~SharedMemory() { ::munmap(shared_, sizeof(T)); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  T* get() const { return shared_; }
  T* operator->() const { return shared_; }

 private:
  T* shared_;
};

// Runs `body` in a child that ends without destructors.
class DyingProcess {
 public:
  template <typename Body>
  explicit DyingProcess(Body body) : pid_(::fork()) {
    if (pid_ != 0) return;
    body();
    ::_exit(0);
  }

  bool running() const {
    siginfo_t ended = {};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           ended.si_pid == 0;
  }
  void kill() const {
    EXPECT_EQ(::kill(pid_, SIGKILL), 0);
    wait();
  }
  void wait() const {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
  }

 private:
  pid_t pid_;
};

}  // namespace sluice::store
