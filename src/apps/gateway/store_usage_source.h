// The admin API's questions, answered by the store. One connection, opened at the first question
// and again after it broke; used by the API's worker thread.
#pragma once

#include <memory>

#include "gateway/admin/usage_source.h"
#include "store/follower.h"
#include "store/journal.h"
#include "store/store.h"
#include "store/store_address.h"

namespace sluice::apps {

class StoreUsageSource final : public gateway::UsageSource {
 public:
  static constexpr int64_t kCatchUpNs = 1'000'000'000;

  // Journal and follower outlive it.
  StoreUsageSource(store::StoreAddress address, store::Journal& journal, store::Follower& follower)
      : address_(std::move(address)), journal_(journal), follower_(follower) {}

  int64_t catch_up() override;
  core::Result<std::vector<gateway::UsageRow>> usage(const gateway::UsageQuery& query) override;
  core::Result<std::vector<gateway::Balance>> balances(const std::string& tenant) override;
  core::Result<std::vector<contract::ChangeRecord>> changes(int64_t after,
                                                            int64_t count_max) override;
  core::Result<std::vector<contract::BalanceChange>> balance_changes(
      const std::vector<std::string>& ids) override;

 private:
  core::Result<store::Store*> open();
  // Lets a connection that has failed go.
  core::Error failed(const core::Error& error);

  const store::StoreAddress address_;
  store::Journal& journal_;
  store::Follower& follower_;
  std::unique_ptr<store::Store> store_;
};

}  // namespace sluice::apps
