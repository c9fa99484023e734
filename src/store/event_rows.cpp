#include "store/event_rows.h"

#include <map>
#include <string>
#include <unordered_map>

#include "contract/request_id.h"
#include "store/numbering.h"

namespace sluice::store {
namespace {

// Columns of an event, then of one of its lines; without a line the position is -1.
constexpr std::string_view kEventsWithLines = R"(
SELECT events.request, parent, kind, outcome, decision, target_met, status, tenant, project,
       access_key, model, digest, finish, started_unix_ns, ttft_ns, tpot_ns, total_ns, reserved,
       COALESCE(position, -1), COALESCE(replica, 0), COALESCE(pool, 0), COALESCE(owner, 0),
       COALESCE(unit, 0), COALESCE(side, 0), COALESCE(quantity, 0), COALESCE(sale_version, 0),
       COALESCE(cost_version, 0), COALESCE(amount, 0), COALESCE(cost, 0)
FROM events LEFT JOIN lines ON lines.request = events.request
{} ORDER BY events.request, position)";
constexpr int kFirstLineColumn = 18;

struct Start {
  int64_t gateway = 0;
  int64_t start = 0;
};

// What the numbers in the rows stand for.
class Meanings {
 public:
  core::Result<void> load(Database* database) {
    TRY(database->query("SELECT number, name FROM names", {}, [&](const Row& row) {
      names_.emplace(row.number(0), std::string(row.text(1)));
    }));
    return database->query("SELECT number, gateway, start FROM starts", {}, [&](const Row& row) {
      starts_.emplace(row.number(0), Start{row.number(1), row.number(2)});
    });
  }
  const std::string& name(int64_t number) const {
    const auto found = names_.find(number);
    return found == names_.end() ? unknown_ : found->second;
  }
  contract::RequestId request(int64_t number) const {
    const auto found = starts_.find(number >> contract::kRequestCountBits);
    if (found == starts_.end()) return {};
    return request_of(number, found->second.gateway, found->second.start);
  }

 private:
  std::unordered_map<int64_t, std::string> names_;
  std::map<int64_t, Start> starts_;
  const std::string unknown_;
};

contract::UsageEvent event_in(const Row& row, const Meanings& meanings) {
  return {.id = meanings.request(row.number(0)),
          .parent = meanings.request(row.number(1)),
          .kind = static_cast<contract::EventKind>(row.number(2)),
          .outcome = static_cast<contract::Outcome>(row.number(3)),
          .decision = static_cast<contract::ValveDecision>(row.number(4)),
          .target_met = row.number(5) != 0,
          .status = static_cast<int16_t>(row.number(6)),
          .tenant = meanings.name(row.number(7)),
          .project = meanings.name(row.number(8)),
          .key = meanings.name(row.number(9)),
          .model = meanings.name(row.number(10)),
          .model_digest = meanings.name(row.number(11)),
          .finish_reason = meanings.name(row.number(12)),
          .started_unix_ns = row.number(13),
          .ttft_ns = row.number(14),
          .tpot_ns = row.number(15),
          .total_ns = row.number(16),
          .reserved = {row.number(17)},
          .lines = {}};
}

contract::UsageLine line_in(const Row& row, const Meanings& meanings) {
  constexpr int at = kFirstLineColumn;
  return {.replica = meanings.name(row.number(at + 1)),
          .pool = meanings.name(row.number(at + 2)),
          .owner = meanings.name(row.number(at + 3)),
          .unit = static_cast<contract::Unit>(row.number(at + 4)),
          .side = static_cast<contract::LineSide>(row.number(at + 5)),
          .quantity = row.number(at + 6),
          .sale_version = row.number(at + 7),
          .cost_version = row.number(at + 8),
          .amount = {row.number(at + 9)},
          .cost = {row.number(at + 10)}};
}

}  // namespace

core::Result<void> for_each_event(Database* database, std::string_view where, Parameters parameters,
                                  const std::function<void(const contract::UsageEvent&)>& visit) {
  Meanings meanings;
  TRY(meanings.load(database));
  contract::UsageEvent event;
  int64_t request = 0;  // of `event`; 0: none yet
  const auto take = [&](const Row& row) {
    if (row.number(0) != request) {
      if (request != 0) visit(event);
      request = row.number(0);
      event = event_in(row, meanings);
    }
    if (row.number(kFirstLineColumn) >= 0) event.lines.push_back(line_in(row, meanings));
  };
  TRY(database->query(fmt::format(fmt::runtime(kEventsWithLines), where), parameters, take));
  if (request != 0) visit(event);
  return {};
}

}  // namespace sluice::store
