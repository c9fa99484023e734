// The admin API's questions, answered by the store. One connection, opened at the first question
// and again after it broke; used by the API's worker thread.
#pragma once

#include <memory>

#include "gateway/admin/usage_source.h"
#include "store/store.h"
#include "store/store_address.h"

namespace sluice::apps {

class StoreUsageSource final : public gateway::UsageSource {
 public:
  explicit StoreUsageSource(store::StoreAddress address) : address_(std::move(address)) {}

  core::Result<std::vector<gateway::UsageRow>> usage(const gateway::UsageQuery& query) override;
  core::Result<std::vector<gateway::Balance>> balances(const std::string& tenant) override;
  core::Result<std::vector<contract::ChangeRecord>> changes(int64_t after,
                                                            int64_t count_max) override;

 private:
  core::Result<store::Store*> open();
  // Lets a connection that has failed go.
  core::Error failed(const core::Error& error);

  const store::StoreAddress address_;
  std::unique_ptr<store::Store> store_;
};

}  // namespace sluice::apps
