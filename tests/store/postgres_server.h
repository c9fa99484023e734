// A real PostgreSQL for tests, from Debian's package: in a temporary folder, reached by a unix
// socket alone, gone with the object or with the process that made it.
#pragma once

#include <string>
#include <thread>

#include <sys/types.h>

#include "core/result.h"

namespace sluice::store {

class PostgresServer {
 public:
  // Makes a cluster and starts it. As root it runs as the user postgres, which the package makes:
  // the server refuses to be root. kNotFound with what to install where it is missing.
  static core::Result<std::unique_ptr<PostgresServer>> start_new();
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  // What kill -9 of everything does to it: connections break, the log is recovered at the start.
  void stop_at_once();
  core::Result<void> start();

  // "postgresql://…" of a new, empty database.
  core::Result<std::string> new_database();

 private:
  explicit PostgresServer(std::string folder) : folder_(std::move(folder)) {}
  std::string url(const std::string& database) const;

  const std::string folder_;
  pid_t process_ = 0;
  std::thread log_reader_;
  int databases_ = 0;
};

}  // namespace sluice::store
