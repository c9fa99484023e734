// GET /v1/models and /v1/models/{id}, /version, /server_info.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::api {

struct ModelCard {
  std::string id;
  int64_t created_s = 0;
  std::string root;                // what was loaded
  int64_t context_tokens_max = 0;  // 0: not known, and then not said
};

std::string model_json(const ModelCard& card);
std::string model_list_json(const std::vector<ModelCard>& cards);
std::string version_json(const std::string& version);

// A setting as /server_info reports it.
struct Setting {
  std::string name;
  std::string value;
};
struct ServerInfo {
  std::string version;
  ModelCard model;
  std::string model_digest;
  std::vector<Setting> settings;
};
std::string server_info_json(const ServerInfo& info);

}  // namespace sluice::api
