// Calls of the admin API from a command line: where it listens, with which key.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "core/result.h"
#include "net/blocking_client.h"

namespace sluice::apps {

// What a running gateway leaves in its data folder for the command line of the same machine.
struct AdminAccess {
  std::string url;  // "http://127.0.0.1:8081"
  std::string key;
};
// Of `data_folder`, only for its owner to read.
std::string admin_access_path(const std::string& data_folder);
core::Result<void> write_admin_access(const std::string& data_folder, const AdminAccess& access);
core::Result<AdminAccess> read_admin_access(const std::string& data_folder);

class AdminClient {
 public:
  // An Error for a URL that is none.
  static core::Result<AdminClient> make(AdminAccess access);

  // The body of a 2xx. An Error says what the gateway said, or that none listens there.
  core::Result<nlohmann::json> call(net::Method method, std::string_view path,
                                    const nlohmann::json& body);
  core::Result<nlohmann::json> get(std::string_view path);

 private:
  AdminClient(AdminAccess access, net::Endpoint endpoint);
  AdminAccess access_;
  std::unique_ptr<net::BlockingClient> client_;
};

}  // namespace sluice::apps
