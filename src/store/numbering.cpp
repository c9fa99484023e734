#include "store/numbering.h"

#include <optional>

#include "contract/request_id.h"
#include "core/utf8.h"

namespace sluice::store {
namespace {

constexpr uint64_t kCountMask = (uint64_t{1} << contract::kRequestCountBits) - 1;

// The number in the only row that may come.
core::Result<std::optional<int64_t>> look_up(Database* database, std::string_view sql,
                                             Parameters parameters) {
  std::optional<int64_t> number;
  TRY(database->query(sql, parameters, [&](const Row& row) { number = row.number(0); }));
  return number;
}

// Finds the row or adds it; somebody else may add it in between.
core::Result<int64_t> find_or_insert(Database* database, std::string_view find,
                                     std::string_view insert, Parameters parameters) {
  if (const auto found = TRY(look_up(database, find, parameters))) return *found;
  TRY(database->execute(insert, parameters));
  if (const auto found = TRY(look_up(database, find, parameters))) return *found;
  return core::invalid("a row that was just added is not there: {}", find);
}

}  // namespace

std::string storable(std::string_view text) {
  std::string kept;
  kept.reserve(text.size());
  while (!text.empty()) {
    const core::Utf8Character next = core::decode_utf8(text);
    if (next.size_bytes == 0 || next.code_point == 0) {
      kept += core::kReplacementCharacter;
      text.remove_prefix(1);
    } else {
      kept += text.substr(0, static_cast<size_t>(next.size_bytes));
      text.remove_prefix(static_cast<size_t>(next.size_bytes));
    }
  }
  return kept;
}

core::Result<int64_t> NameNumbers::number_of(std::string_view name) {
  const auto known = known_.find(name);
  if (known != known_.end()) return known->second;
  const int64_t number = TRY(ask(storable(name)));
  known_.emplace(name, number);
  return number;
}

core::Result<int64_t> NameNumbers::ask(std::string_view name) {
  return find_or_insert(database_, "SELECT number FROM names WHERE name = $1",
                        "INSERT INTO names (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
                        {name});
}

core::Result<int64_t> AccountNumbers::number_of(const ledger::Account& account) {
  NumberByText& of_kind = known_[static_cast<size_t>(account.kind)];
  const auto known = of_kind.find(account.owner);
  if (known != of_kind.end()) return known->second;
  const int64_t number = TRY(ask(account));
  of_kind.emplace(account.owner, number);
  return number;
}

core::Result<int64_t> AccountNumbers::ask(const ledger::Account& account) {
  const std::string owner = storable(account.owner);
  return find_or_insert(database_, "SELECT number FROM accounts WHERE kind = $1 AND owner = $2",
                        "INSERT INTO accounts (kind, owner, balance) VALUES ($1, $2, 0) "
                        "ON CONFLICT (kind, owner) DO NOTHING",
                        {static_cast<int64_t>(account.kind), owner});
}

core::Result<int64_t> RequestNumbers::number_of(contract::RequestId id) {
  if (id == contract::RequestId{}) return 0;
  const std::pair key{id.gateway, contract::start_of(id)};
  auto known = known_.find(key);
  if (known == known_.end()) {
    const int64_t number =
        TRY(ask(static_cast<int64_t>(key.first), static_cast<int64_t>(key.second)));
    known = known_.emplace(key, number).first;
  }
  return known->second << contract::kRequestCountBits |
         static_cast<int64_t>(id.sequence & kCountMask);
}

core::Result<int64_t> RequestNumbers::ask(int64_t gateway, int64_t start) {
  return find_or_insert(database_, "SELECT number FROM starts WHERE gateway = $1 AND start = $2",
                        "INSERT INTO starts (gateway, start) VALUES ($1, $2) "
                        "ON CONFLICT (gateway, start) DO NOTHING",
                        {gateway, start});
}

contract::RequestId request_of(int64_t number, int64_t gateway, int64_t start) {
  return {static_cast<uint64_t>(gateway), static_cast<uint64_t>(start)
                                                  << contract::kRequestCountBits |
                                              (static_cast<uint64_t>(number) & kCountMask)};
}

}  // namespace sluice::store
