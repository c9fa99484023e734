#include "gateway/admin/snapshot_objects.h"

#include <openssl/evp.h>

#include "gateway/directory/key_hash.h"

namespace sluice::gateway {
namespace {

struct KindName {
  std::string_view one;
  std::string_view all;
};
// By ObjectKind.
constexpr KindName kKindNames[] = {
    {"tenant", "tenants"},   {"project", "projects"}, {"key", "keys"},         {"pool", "pools"},
    {"replica", "replicas"}, {"model", "models"},     {"price", "prices"},     {"usage", "usage"},
    {"balance", "balances"}, {"change", "changes"},   {"snapshot", "snapshot"}};

}  // namespace

std::string_view kind_name(contract::ObjectKind kind) {
  return kKindNames[static_cast<size_t>(kind)].one;
}

std::string_view collection_name(contract::ObjectKind kind) {
  return kKindNames[static_cast<size_t>(kind)].all;
}

std::string object_name(contract::ObjectKind kind, std::string_view id) {
  return id.empty() ? std::string(kind_name(kind)) : fmt::format("{}/{}", kind_name(kind), id);
}

std::string sha256_hex(std::string_view text) {
  KeyDigest digest;
  const int done =
      EVP_Digest(text.data(), text.size(), digest.bytes.data(), nullptr, EVP_sha256(), nullptr);
  ASSERT(done == 1, "SHA-256 of {} bytes was refused", text.size());
  return to_hex(digest);
}

}  // namespace sluice::gateway
