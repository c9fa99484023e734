#include "gateway/edge/upstreams.h"

#include <utility>

namespace sluice::gateway {
namespace {

// Behind the URL of a replica, by contract::EventKind.
constexpr std::string_view kPaths[] = {"/chat/completions", "/completions", "/embeddings"};

// Else what it was made of holds no longer.
bool is_of(const Upstream& upstream, const contract::Replica& replica) {
  return upstream.url == replica.url && upstream.certificate_file == replica.certificate_file &&
         upstream.secret == replica.secret && upstream.kind == replica.kind;
}

}  // namespace

std::shared_ptr<Upstream> Upstreams::make(const contract::Replica& replica) {
  if (replica.url.empty()) return nullptr;  // it is still to come
  const auto refuse = [&](std::string_view why) {
    options_.log.error("replica '{}': {}", replica.id, why);
    return nullptr;
  };
  auto upstream = std::make_shared<Upstream>();
  const core::Result<net::Url> url = net::parse_url(replica.url);
  if (!url.ok()) return refuse(url.error().message);
  std::shared_ptr<const net::TlsClient> tls;
  if (url.value().scheme == net::Scheme::kHttps) {
    auto loaded = net::TlsClient::load(replica.certificate_file);
    if (!loaded.ok()) return refuse(loaded.error().message);
    tls = std::move(loaded).value();
  }
  if (!replica.secret.empty()) {
    const auto secret = options_.secrets.find(replica.secret);
    if (secret == options_.secrets.end())
      return refuse(fmt::format("the secret '{}' is not configured", replica.secret));
    upstream->authorization = "Bearer " + secret->second;
    if (replica.kind == contract::ReplicaKind::kSluice) upstream->engine_key = secret->second;
  }
  upstream->id = replica.id;
  upstream->url = replica.url;
  upstream->certificate_file = replica.certificate_file;
  upstream->secret = replica.secret;
  upstream->kind = replica.kind;
  for (size_t kind = 0; kind < upstream->targets.size(); ++kind)
    upstream->targets[kind] = fmt::format("{}{}", url.value().path, kPaths[kind]);
  upstream->client = std::make_unique<net::HttpClient>(
      options_.loop, url.value().endpoint,
      net::ClientLimits{.connect_timeout_ns = options_.edge.connect_timeout_ns,
                        .response_timeout_ns = options_.edge.response_timeout_ns,
                        .stall_timeout_ns = options_.edge.response_timeout_ns,
                        .connections_max = INT32_MAX},  // as many as requests run
      std::move(tls));
  return upstream;
}

void Upstreams::update(const RoutingTable& table) {
  std::map<std::string, std::shared_ptr<Upstream>> before = std::exchange(by_id_, {});
  by_index_.clear();
  for (const RoutedReplica& routed : table.replicas()) {
    const contract::Replica& replica = *routed.entry->replica;
    std::shared_ptr<Upstream> upstream;
    const auto old = before.find(replica.id);
    if (old != before.end() && old->second != nullptr && is_of(*old->second, replica)) {
      upstream = std::move(old->second);
      before.erase(old);
    } else {
      upstream = make(replica);
    }
    by_index_.push_back(upstream);
    by_id_.emplace(replica.id, std::move(upstream));
  }
  for (auto& [id, upstream] : before)
    if (upstream != nullptr) retired_.push_back(std::move(upstream));
  sweep();
}

Upstream* Upstreams::find(const ReplicaEntry& replica) const {
  const auto index = static_cast<size_t>(replica.index);
  if (index < by_index_.size() && by_index_[index] && by_index_[index]->id == replica.replica->id)
    return by_index_[index].get();
  const auto found = by_id_.find(replica.replica->id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

void Upstreams::sweep() {
  std::erase_if(retired_, [](const std::shared_ptr<Upstream>& upstream) {
    const net::ClientStats& stats = upstream->client->stats();
    return stats.connections == stats.idle;
  });
}

}  // namespace sluice::gateway
