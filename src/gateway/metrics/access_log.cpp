#include "gateway/metrics/access_log.h"

#include <array>

#include "api/json_writer.h"
#include "contract/snapshot_json.h"
#include "gateway/metrics/names.h"

namespace sluice::gateway {
namespace {

constexpr int64_t kNsPerUs = 1000;

// The places that computed something, each once, in order.
void append_places(const contract::UsageEvent& event, api::JsonWriter* out) {
  std::string_view last;
  out->key("replicas").begin_array();
  for (const contract::UsageLine& line : event.lines) {
    if (line.replica == last) continue;
    out->string(line.replica);
    last = line.replica;
  }
  out->end_array();
}

}  // namespace

void append_access_line(const contract::UsageEvent& event, const AccessExtras& extras,
                        std::string* out) {
  api::JsonWriter line;
  line.begin_object();
  line.key("unix_ns").integer(event.started_unix_ns);
  line.key("id").string(contract::to_text(event.id));
  line.key("client_request_id").string(extras.client_request_id);
  line.key("trace_id").string(extras.trace_id);
  line.key("remote_address").string(extras.remote_address);
  line.key("kind").string(name_of(kEventKindNames, event.kind));
  line.key("status").integer(event.status);
  line.key("outcome").string(contract::to_text(event.outcome));
  line.key("tenant").string(event.tenant);
  line.key("project").string(event.project);
  line.key("key").string(event.key);
  line.key("model").string(event.model);
  line.key("decision").string(name_of(kDecisionNames, event.decision));
  line.key("target_met").boolean(event.target_met);
  append_places(event, &line);
  std::array<int64_t, contract::kUnits> quantities = {};
  contract::NanoMoney amount;
  for (const contract::UsageLine& used : event.lines) {
    quantities[static_cast<size_t>(used.unit)] += used.quantity;
    amount = amount + used.amount;
  }
  for (size_t unit = 0; unit < quantities.size(); ++unit)
    line.key(to_text(static_cast<contract::Unit>(unit))).integer(quantities[unit]);
  line.key("amount").string(contract::to_text(amount));
  line.key("ttft_us").integer(event.ttft_ns / kNsPerUs);
  line.key("tpot_us").integer(event.tpot_ns / kNsPerUs);
  line.key("total_us").integer(event.total_ns / kNsPerUs);
  line.key("finish_reason").string(event.finish_reason);
  line.end_object();
  *out += line.take();
  *out += '\n';
}

}  // namespace sluice::gateway
