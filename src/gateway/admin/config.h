// The configuration file of a gateway (TOML; deploy/gateway.toml explains every entry): how the
// process runs, and objects of the snapshot under the names of contract/snapshot_json.h. Text in,
// struct out; files and environment are the caller's.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "contract/snapshot.h"
#include "gateway/directory/key_hash.h"

namespace sluice::gateway {

struct ListenAddress {
  std::string host;  // numeric, or "localhost"
  uint16_t port = 0;
  int32_t line = 0;
};

// A secret has a name; the file never holds it.
struct SecretSource {
  enum class Kind : uint8_t { kFile, kEnvironment } kind = Kind::kFile;
  std::string place;  // a path, or the name of a variable
  int32_t line = 0;
};

// One of the gateway's own secrets, by the name of its source.
struct HashKeySource {
  std::string id;
  std::string secret;
  int32_t line = 0;
};

struct GatewayConfig {
  std::vector<ListenAddress> listen;
  int32_t threads = 1;
  int32_t spin_us = 0;               // that a data loop looks again before it sleeps
  int32_t response_timeout_s = 600;  // of an upstream, until the first token
  int32_t request_timeout_s = 3600;  // from a request's arrival to its last byte
  std::string data_folder;
  std::string store;             // "sqlite:PATH" or "postgresql://…"; "": SQLite in data_folder
  std::string certificate_file;  // "": no TLS
  std::string private_key_file;
  ListenAddress admin{.host = "127.0.0.1", .port = 8081};
  std::string access_log_file;  // "-" standard output; "": none
  std::string otlp_url;         // "http://127.0.0.1:4318"; "": no spans
  std::map<std::string, SecretSource, std::less<>> secrets;
  std::vector<HashKeySource> hash_keys;  // new keys are hashed with the first; none: one of its own
  contract::Snapshot snapshot;           // hashes of keys with a secret are filled in below
  struct KeySecret {
    size_t key = 0;      // of snapshot.keys
    std::string secret;  // name of its source
    int32_t line = 0;
  };
  std::vector<KeySecret> key_secrets;
};

struct ConfigProblem {
  int32_t line = 0;  // from 1; 0: the whole file
  std::string message;
};
// "FILE:LINE: message" for each.
std::string to_text(std::string_view file, const std::vector<ConfigProblem>& problems);

struct ParsedConfig {
  GatewayConfig config;
  std::vector<ConfigProblem> problems;  // in the order of lines; empty: the configuration is good
};
ParsedConfig parse_config(std::string_view toml);

// The snapshot of the file, with the hashes of its keys' secrets. `secrets`: by name, all of them.
contract::Snapshot snapshot_of(const GatewayConfig& config,
                               const std::map<std::string, std::string, std::less<>>& secrets,
                               KeyHasher& hasher);

}  // namespace sluice::gateway
