#include "apps/gateway/admin_client.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "gateway/admin/snapshot_file.h"

namespace sluice::apps {

std::string admin_access_path(const std::string& data_folder) {
  return (std::filesystem::path(data_folder) / "admin.json").string();
}

core::Result<void> write_admin_access(const std::string& data_folder, const AdminAccess& access) {
  const nlohmann::json document = {{"url", access.url}, {"key", access.key}};
  return gateway::write_file_atomically(admin_access_path(data_folder), document.dump(2) + "\n");
}

core::Result<AdminAccess> read_admin_access(const std::string& data_folder) {
  const std::string path = admin_access_path(data_folder);
  std::ifstream file(path);
  if (!file)
    return core::invalid(
        "{}: cannot be read; is this the data folder of a gateway that has run? Else give --url "
        "and --key-file",
        path);
  const auto document = nlohmann::json::parse(file, nullptr, false);
  if (!document.is_object() || !document.value("url", nlohmann::json()).is_string() ||
      !document.value("key", nlohmann::json()).is_string())
    return core::invalid("{}: must hold url and key", path);
  return AdminAccess{document["url"].get<std::string>(), document["key"].get<std::string>()};
}

AdminClient::AdminClient(AdminAccess access, net::Endpoint endpoint)
    : access_(std::move(access)),
      client_(std::make_unique<net::BlockingClient>(std::move(endpoint))) {}

core::Result<AdminClient> AdminClient::make(AdminAccess access) {
  const net::Url url = TRY(net::parse_url(access.url));
  if (url.scheme != net::Scheme::kHttp)
    return core::invalid("{}: must be http://, the admin listener speaks no TLS", access.url);
  return AdminClient(std::move(access), url.endpoint);
}

core::Result<nlohmann::json> AdminClient::get(std::string_view path) {
  return call(net::Method::kGet, path, nullptr);
}

core::Result<nlohmann::json> AdminClient::call(net::Method method, std::string_view path,
                                               const nlohmann::json& body) {
  const std::string authorization = "Bearer " + access_.key;
  const std::string target = "/admin/v1/" + std::string(path);
  const std::string text = body.is_null() ? "" : body.dump();
  const net::Header headers[] = {{"Authorization", authorization},
                                 {"Content-Type", "application/json"}};
  auto response =
      client_->request({.method = method, .target = target, .headers = headers, .body = text});
  if (!response.ok())
    return core::invalid(
        "no gateway answers at {}: {}\nIs it running? sluice up MODEL, or sluice gateway --config "
        "FILE",
        access_.url, response.error().message);
  const auto document = nlohmann::json::parse(response->body, nullptr, false);
  if (response->status >= 200 && response->status < 300) return document;
  std::string said = response->body;
  if (document.is_object() && document.contains("error"))
    said = document["error"].value("message", said);
  return core::invalid("{} ({})", said, response->status);
}

}  // namespace sluice::apps
