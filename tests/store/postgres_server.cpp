#include "tests/store/postgres_server.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include <sys/prctl.h>
#include <sys/wait.h>

#include "store/postgres/postgres_database.h"

namespace sluice::store {
namespace {

constexpr const char* kPrograms = "/usr/lib/postgresql/15/bin/";
constexpr const char* kReady = "ready to accept connections";

struct Child {
  pid_t process = 0;
  int output = -1;  // what it writes
};

// Runs in the child, between fork and exec.
[[noreturn]] void become(const std::vector<std::string>& command, const passwd* user, int output) {
  if (user != nullptr && (setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) _exit(126);
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  _exit(127);
}

core::Result<Child> spawn(const std::vector<std::string>& command) {
  const passwd* user = geteuid() == 0 ? getpwnam("postgres") : nullptr;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return core::Error{core::ErrorCode::kIo, "pipe"};
  const pid_t process = fork();
  if (process == 0) become(command, user, ends[1]);
  close(ends[1]);
  return Child{.process = process, .output = ends[0]};
}

// Reads until `wanted` has come or the writer has ended; what came.
std::string read_until(int output, std::string_view wanted) {
  std::string text;
  char bytes[4096];
  ssize_t count;
  while ((count = read(output, bytes, sizeof bytes)) > 0) {
    text.append(bytes, static_cast<size_t>(count));
    if (!wanted.empty() && text.find(wanted) != std::string::npos) break;
  }
  return text;
}

core::Result<void> run(const std::vector<std::string>& command) {
  const Child child = TRY(spawn(command));
  const std::string text = read_until(child.output, "");
  close(child.output);
  int status = 0;
  waitpid(child.process, &status, 0);
  if (status != 0) return core::invalid("{}: status {}: {}", command[0], status, text);
  return {};
}

}  // namespace

core::Result<std::unique_ptr<PostgresServer>> PostgresServer::start_new() {
  const std::string initdb = std::string(kPrograms) + "initdb";
  if (access(initdb.c_str(), X_OK) != 0)
    return core::Error{core::ErrorCode::kNotFound,
                       initdb + " is missing: make setup, or apt install postgresql-15"};
  char folder[] = "/tmp/sluice-postgres-XXXXXX";
  if (mkdtemp(folder) == nullptr) return core::Error{core::ErrorCode::kIo, "mkdtemp"};
  if (const passwd* user = getpwnam("postgres"); geteuid() == 0 && user != nullptr) {
    if (chown(folder, user->pw_uid, user->pw_gid) != 0)
      return core::Error{core::ErrorCode::kIo, "chown"};
  }
  std::unique_ptr<PostgresServer> server(new PostgresServer(folder));
  // No fsync: these tests take the power from processes, not from the machine.
  TRY(run({initdb, "--pgdata", server->folder_ + "/data", "--username=sluice", "--auth=trust",
           "--no-sync", "--encoding=UTF8", "--locale=C"}));
  TRY(server->start());
  return server;
}

core::Result<void> PostgresServer::start() {
  const Child child =
      TRY(spawn({std::string(kPrograms) + "postgres", "-D", folder_ + "/data", "-k", folder_, "-h",
                 "", "-c", "fsync=off", "-c", "log_min_messages=log"}));
  process_ = child.process;
  const std::string text = read_until(child.output, kReady);
  log_reader_ = std::thread([output = child.output] {
    read_until(output, "");
    close(output);
  });
  if (text.find(kReady) != std::string::npos) return {};
  return core::invalid("postgres does not start: {}", text);
}

void PostgresServer::stop_at_once() {
  if (process_ == 0) return;
  kill(process_, SIGQUIT);
  waitpid(process_, nullptr, 0);
  process_ = 0;
  log_reader_.join();
}

PostgresServer::~PostgresServer() {
  stop_at_once();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string PostgresServer::url(const std::string& database) const {
  return fmt::format("postgresql://sluice@/{}?host={}", database, folder_);
}

core::Result<std::string> PostgresServer::new_database() {
  const std::string name = fmt::format("test_{}", ++databases_);
  const auto connection = TRY(open_postgres(url("postgres")));
  TRY(connection->execute("CREATE DATABASE " + name));
  return url(name);
}

}  // namespace sluice::store
