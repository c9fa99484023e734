// Texts and ids that stand in the growing tables as small numbers: names, accounts, requests.
//
// A number is given by the database once, outside of any transaction, and means the same for ever:
// what a table here remembers stays right whatever becomes of a batch. Several gateways may share
// one database. Each table belongs to one thread, as its database connection does.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "contract/usage_event.h"
#include "core/result.h"
#include "ledger/account.h"
#include "store/database.h"

namespace sluice::store {

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using NumberByText = std::unordered_map<std::string, int64_t, TextHash, std::equal_to<>>;

// What every database takes as text: U+FFFD for bytes that are no UTF-8, and for NUL.
std::string storable(std::string_view text);

// Ids of tenants, projects, keys, models, replicas, pools, owners; digests; finish reasons.
class NameNumbers {
 public:
  explicit NameNumbers(Database* database) : database_(database) {}
  core::Result<int64_t> number_of(std::string_view name);

 private:
  core::Result<int64_t> ask(std::string_view name);
  Database* database_;
  NumberByText known_;
};

class AccountNumbers {
 public:
  explicit AccountNumbers(Database* database) : database_(database) {}
  core::Result<int64_t> number_of(const ledger::Account& account);

 private:
  core::Result<int64_t> ask(const ledger::Account& account);
  Database* database_;
  std::array<NumberByText, 5> known_;  // by AccountKind
};

// A request's number: which start of which gateway, as a number, and behind it the lower
// contract::kRequestCountBits of its sequence, so that it orders requests as they came.
class RequestNumbers {
 public:
  explicit RequestNumbers(Database* database) : database_(database) {}
  core::Result<int64_t> number_of(contract::RequestId id);  // 0: of {0, 0}, nobody's

 private:
  core::Result<int64_t> ask(int64_t gateway, int64_t start);
  Database* database_;
  std::map<std::pair<uint64_t, uint64_t>, int64_t> known_;  // by gateway and start
};

// The request of this number, which begins with the number of (gateway, start).
contract::RequestId request_of(int64_t number, int64_t gateway, int64_t start);

}  // namespace sluice::store
