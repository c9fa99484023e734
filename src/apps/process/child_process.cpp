#include "apps/process/child_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include <sys/prctl.h>
#include <sys/wait.h>

namespace sluice::apps {
namespace {

constexpr int kExecFailed = 127;

// Between fork and exec only what is safe after a fork of a process with threads.
[[noreturn]] void become(char* const* argv, char* const* environment, int output, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kExecFailed);  // it died before the line above
  setpgid(0, 0);
  dup2(output, STDOUT_FILENO);
  // Whatever is open here, sockets of clients above all, would stay open with it.
  close_range(STDERR_FILENO + 1, ~0u, 0);
  for (const int number : {SIGTERM, SIGINT}) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(argv[0], argv, environment);
  _exit(kExecFailed);
}

// As exec wants it: ended by null, pointing into `texts`.
std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_with(const std::vector<std::string>& changes) {
  std::vector<std::string> all = changes;
  for (char** ours = environ; *ours != nullptr; ++ours) {
    const std::string_view text(*ours);
    const std::string_view name = text.substr(0, text.find('=') + 1);
    const bool changed = std::any_of(changes.begin(), changes.end(),
                                     [&](const std::string& one) { return one.starts_with(name); });
    if (!changed) all.emplace_back(text);
  }
  return all;
}

}  // namespace

core::Result<std::unique_ptr<ChildProcess>> ChildProcess::start(net::EventLoop& loop,
                                                                const Command& command,
                                                                Events events) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return core::Error{core::ErrorCode::kIo, fmt::format("pipe: {}", std::strerror(errno))};
  const std::vector<char*> words = pointers_to(command.argv);
  const std::vector<std::string> variables = environment_with(command.environment);
  const std::vector<char*> environment = pointers_to(variables);
  // Until the child has handlers of its own, a signal to it must not run ours.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(words.data(), environment.data(), ends[1], parent);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return core::Error{core::ErrorCode::kIo, fmt::format("fork: {}", std::strerror(errno))};
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(loop, pid, ends[0], std::move(events)));
}

ChildProcess::ChildProcess(net::EventLoop& loop, pid_t pid, int output, Events events)
    : loop_(loop), pid_(pid), shared_(std::make_shared<Shared>()) {
  shared_->events = std::move(events);
  reader_ = std::thread([this, output] { read_output(output); });
}

ChildProcess::~ChildProcess() {
  shared_->alive = false;
  if (!exited_) kill(pid_, SIGKILL);
  reader_.join();
}

void ChildProcess::signal(int number) const {
  if (!exited_) kill(pid_, number);
}

void ChildProcess::read_output(int output) {
  std::string line;
  char buffer[4096];
  for (;;) {
    const ssize_t bytes = read(output, buffer, sizeof buffer);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) break;
    for (ssize_t i = 0; i < bytes; ++i) {
      if (buffer[i] != '\n') {
        line += buffer[i];
        continue;
      }
      loop_.post([shared = shared_, whole = std::exchange(line, {})] {
        if (shared->alive) shared->events.on_line(whole);
      });
    }
  }
  close(output);
  // The process is reaped on the loop, so that signal() never meets a pid that is somebody else's.
  siginfo_t info;
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  loop_.post([this, shared = shared_] {
    int wait_status = 0;
    if (!shared->alive) return;
    waitpid(pid_, &wait_status, 0);
    exited_ = true;
    shared->events.on_exit(wait_status);
  });
}

std::string describe_wait_status(int wait_status) {
  if (WIFSIGNALED(wait_status))
    return fmt::format("was ended by signal {} ({})", WTERMSIG(wait_status),
                       strsignal(WTERMSIG(wait_status)));
  if (WEXITSTATUS(wait_status) == kExecFailed) return "could not be started";
  return fmt::format("ended with exit code {}", WEXITSTATUS(wait_status));
}

}  // namespace sluice::apps
