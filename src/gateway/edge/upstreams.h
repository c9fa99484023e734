// The connections of one data loop to its replicas. They are kept from one directory to the next.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/log.h"
#include "gateway/edge/options.h"
#include "gateway/routing/routing_table.h"
#include "net/http_client.h"
#include "net/tls.h"

namespace sluice::gateway {

// A replica as something to send to.
struct Upstream {
  std::string id;
  std::string url;
  std::string certificate_file;
  std::array<std::string, 3> targets;  // "/v1/chat/completions" …, by contract::EventKind
  std::string authorization;           // "Bearer …" or ""
  std::string engine_key;              // x-sluice-key of a Sluice engine, or ""
  std::unique_ptr<net::HttpClient> client;
};

class Upstreams {
 public:
  // The options outlive it.
  explicit Upstreams(const GatewayOptions& options)
      : options_(options), secrets_(options.secrets) {}

  // One for each replica that can be reached; what is wrong with the others goes to the log.
  void update(const RoutingTable& table);
  // In place of the options' secrets, from the next update() on.
  void take_secrets(std::map<std::string, std::string> secrets) { secrets_ = std::move(secrets); }
  // `replica` of any directory; null: not in the last one, or its URL, secret or certificate is
  // wrong.
  Upstream* find(const ReplicaEntry& replica) const;
  // Lets clients of replicas that are gone go, once their calls have ended.
  void sweep();

 private:
  // What a replica is shown: of the secret that it names, by its kind. nullopt: there is none.
  struct Credentials {
    std::string authorization;
    std::string engine_key;
  };
  std::optional<Credentials> credentials_of(const contract::Replica& replica) const;
  bool is_for(const Upstream& upstream, const contract::Replica& replica) const;
  std::shared_ptr<Upstream> make(const contract::Replica& replica);

  const GatewayOptions& options_;
  std::map<std::string, std::string> secrets_;  // by the names that replicas give
  std::map<std::string, std::shared_ptr<Upstream>> by_id_;
  std::vector<std::shared_ptr<Upstream>> by_index_;  // of the last directory's replicas
  std::vector<std::shared_ptr<Upstream>> retired_;
};

}  // namespace sluice::gateway
