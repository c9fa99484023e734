// The connections of one data loop to its replicas. They are kept from one directory to the next.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
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
  std::string secret;  // its name
  contract::ReplicaKind kind = contract::ReplicaKind::kOpenAi;
  std::array<std::string, 3> targets;  // "/v1/chat/completions" …, by contract::EventKind
  std::string authorization;           // "Bearer …" or ""
  std::string engine_key;              // x-sluice-key of a Sluice engine, or ""
  std::unique_ptr<net::HttpClient> client;
};

class Upstreams {
 public:
  // The options outlive it.
  explicit Upstreams(const GatewayOptions& options) : options_(options) {}

  // One for each replica that can be reached; what is wrong with the others goes to the log.
  void update(const RoutingTable& table);
  // `replica` of any directory; null: not in the last one, or its URL, secret or certificate is
  // wrong.
  Upstream* find(const ReplicaEntry& replica) const;
  // Lets clients of replicas that are gone go, once their calls have ended.
  void sweep();

 private:
  std::shared_ptr<Upstream> make(const contract::Replica& replica);

  const GatewayOptions& options_;
  std::map<std::string, std::shared_ptr<Upstream>> by_id_;
  std::vector<std::shared_ptr<Upstream>> by_index_;  // of the last directory's replicas
  std::vector<std::shared_ptr<Upstream>> retired_;
};

}  // namespace sluice::gateway
