// The whole snapshot, the changes, and what the store knows: usage and balances.
#include <algorithm>

#include <fmt/format.h>

#include "api/json_writer.h"
#include "contract/snapshot_json.h"
#include "gateway/admin/admin_call.h"

namespace sluice::gateway {
namespace {

constexpr int64_t kPageDefault = 100;
constexpr int64_t kPageMax = 1000;
constexpr int64_t kWaitMax_s = 60;
constexpr int64_t kNsPerS = 1'000'000'000;
constexpr size_t kBalanceChangesKept = 65'536;
constexpr contract::NanoMoney kBalanceChangeMax = {100'000'000 * INT64_C(1'000'000'000)};

constexpr std::string_view kGroupNames[] = {"tenant", "project", "key", "model", "day"};
constexpr std::string_view kQuantityNames[contract::kUnits] = {
    "prompt_tokens", "cached_prompt_tokens", "output_tokens", "reasoning_tokens",
    "compute_microseconds"};

// Runs `ask` on the worker and `answer` with what it gave on the loop, if the API is still there.
template <typename T>
void ask_store(AdminContext& context, const AdminCall& call,
               std::function<core::Result<T>(UsageSource&)> ask,
               std::function<void(const net::Responder&, const T&)> answer) {
  if (context.options.usage == nullptr)
    return reply(call, AdminError{503, "no_store", "this gateway runs without a store"});
  const auto deliver = [alive = std::weak_ptr(context.alive), responder = call.responder,
                        answer = std::move(answer)](const core::Result<T>& result) mutable {
    if (alive.expired() || !responder.is_open()) return;
    if (result.ok()) return answer(responder, *result);
    responder.send(to_response({503, "store_unavailable", result.error().message}));
  };
  const bool queued =
      context.worker.run([&loop = context.options.loop, ask = std::move(ask),
                          source = context.options.usage, deliver = std::move(deliver)]() mutable {
        auto result = ask(*source);
        loop.post([deliver = std::move(deliver), result = std::move(result)]() mutable {
          deliver(result);
        });
      });
  if (!queued)
    reply(call, AdminError{503, "store_busy", "too many questions wait for the store; try again"});
}

std::string changes_json(const std::vector<contract::ChangeRecord>& changes, int64_t after) {
  std::string out = R"({"object":"list","data":[)";
  for (size_t i = 0; i < changes.size(); ++i) {
    if (i > 0) out += ',';
    out += change_json(changes[i]);
  }
  return out +
         fmt::format("],\"next_after\":{}}}", changes.empty() ? after : changes.back().generation);
}

// At most `count`, but all of a generation.
std::vector<contract::ChangeRecord> changes_since(const SnapshotKeeper& keeper, int64_t after,
                                                  int64_t count) {
  std::vector<contract::ChangeRecord> found;
  for (const contract::ChangeRecord& change : keeper.changes()) {
    if (change.generation <= after) continue;
    if (std::ssize(found) >= count && change.generation != found.back().generation) break;
    found.push_back(change);
  }
  return found;
}

// What the store said, and how many records it missed then.
template <typename T>
struct Caught {
  T said;
  int64_t records_behind = 0;
};
template <typename T>
void ask_caught_up(AdminContext& context, const AdminCall& call,
                   std::function<core::Result<T>(UsageSource&)> ask,
                   std::function<void(const net::Responder&, const Caught<T>&)> answer) {
  ask_store<Caught<T>>(
      context, call,
      [ask = std::move(ask)](UsageSource& source) -> core::Result<Caught<T>> {
        const int64_t records_behind = source.catch_up();
        return Caught<T>{TRY(ask(source)), records_behind};
      },
      std::move(answer));
}

std::string usage_json(const Caught<std::vector<UsageRow>>& caught,
                       const std::vector<UsageGroup>& groups) {
  api::JsonWriter out;
  out.begin_object();
  out.key("object").string("list").key("data").begin_array();
  for (const UsageRow& row : caught.said) {
    out.begin_object();
    for (size_t i = 0; i < groups.size() && i < row.group.size(); ++i)
      out.key(kGroupNames[static_cast<size_t>(groups[i])]).string(row.group[i]);
    out.key("requests").integer(row.requests);
    for (size_t unit = 0; unit < std::size(kQuantityNames); ++unit)
      out.key(kQuantityNames[unit]).integer(row.quantities[unit]);
    out.key("amount").string(contract::to_text(row.amount));
    out.key("cost").string(contract::to_text(row.cost));
    out.end_object();
  }
  out.end_array().key("records_behind").integer(caught.records_behind).end_object();
  return out.take();
}

// Inside an object.
void append_balance(const Balance& balance, api::JsonWriter* out) {
  out->key("tenant").string(balance.tenant);
  out->key("available").string(contract::to_text(balance.available));
  out->key("reserved").string(contract::to_text(balance.reserved));
}

std::optional<std::vector<UsageGroup>> read_groups(const AdminCall& call) {
  std::vector<UsageGroup> groups;
  const std::string text = text_parameter(call, "group_by");
  for (size_t at = 0; at < text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view name = std::string_view(text).substr(at, comma - at);
    const auto known = std::find(std::begin(kGroupNames), std::end(kGroupNames), name);
    if (known == std::end(kGroupNames)) {
      reply(call, AdminError{400, "invalid",
                             fmt::format("group_by: '{}' is none of tenant, project, key, model, "
                                         "day, joined by commas",
                                         name)});
      return std::nullopt;
    }
    groups.push_back(static_cast<UsageGroup>(known - std::begin(kGroupNames)));
    at = comma + 1;
  }
  return groups;
}

constexpr size_t kReasonBytesMax = 1024;  // a record of the journal has room for it

// {"id","amount","reason"}; answers what is wrong with it.
std::optional<contract::BalanceChange> read_balance_change(const AdminCall& call) {
  auto body = read_body(call);
  if (!body) return std::nullopt;
  contract::BalanceChange change;
  const auto text = [&](std::string_view name) {
    const auto member = take_member(&*body, name);
    const auto* found = member ? member->as<std::string>() : nullptr;
    return found == nullptr ? std::string() : *found;
  };
  change.id = text("id");
  const auto amount = contract::money_from_text(text("amount"));
  change.reason = text("reason");
  std::string fault;
  const auto has_control = [](std::string_view said) {
    return std::any_of(said.begin(), said.end(), [](char c) { return c >= 0 && c < ' '; });
  };
  if (change.id.empty() || change.id.size() > 128 || has_control(change.id))
    fault = "id: must be a string of 1 to 128 bytes that names this change for ever";
  else if (change.reason.size() > kReasonBytesMax || has_control(change.reason))
    fault = fmt::format("reason: must be one line of at most {} bytes", kReasonBytesMax);
  else if (!amount || amount->nano == 0)
    fault = "amount: must be a decimal string like \"12.50\", not 0";
  else if (*amount > kBalanceChangeMax || *amount < contract::NanoMoney{} - kBalanceChangeMax)
    fault = fmt::format("amount: {} is more than {}", contract::to_text(*amount),
                        contract::to_text(kBalanceChangeMax));
  else if (const auto& rest = std::get<contract::Value::Object>(body->content); !rest.empty())
    fault = fmt::format("{}: unknown; known are id, amount, reason", rest.front().name);
  if (!fault.empty()) {
    reply(call, AdminError{400, "invalid", std::move(fault)});
    return std::nullopt;
  }
  change.amount = *amount;
  return change;
}

std::string balance_change_json(const contract::BalanceChange& change) {
  api::JsonWriter out;
  out.begin_object();
  out.key("id").string(change.id);
  out.key("tenant").string(change.tenant);
  out.key("kind").string(change.kind == contract::BalanceChange::Kind::kTopUp ? "top_up"
                                                                              : "adjustment");
  out.key("amount").string(contract::to_text(change.amount));
  out.key("actor").string(change.actor);
  out.key("reason").string(change.reason);
  out.key("unix_ns").integer(change.unix_ns);
  out.end_object();
  return out.take();
}

bool same_change(const contract::BalanceChange& a, const contract::BalanceChange& b) {
  return a.tenant == b.tenant && a.kind == b.kind && a.amount == b.amount && a.reason == b.reason;
}

// Once for its id, also where an earlier life of the gateway or the call before this one made it.
// `stored`: of this change and of the oldest that is kept here, those that the store has.
void change_balance(AdminContext& context, net::Responder responder,
                    const contract::BalanceChange& change,
                    const std::vector<contract::BalanceChange>& stored) {
  auto& kept = context.balance_changes;
  auto& order = context.balance_change_ids;
  const auto in_store = [&](const std::string& id) {
    return std::find_if(stored.begin(), stored.end(),
                        [&](const auto& one) { return one.id == id; });
  };
  const auto here = kept.find(change.id);
  const auto there = in_store(change.id);
  if (here != kept.end() || there != stored.end()) {
    const contract::BalanceChange& made = here != kept.end() ? here->second : *there;
    if (same_change(made, change)) return reply_json(responder, 200, balance_change_json(made));
    return responder.send(to_response({409, "id_taken", "another change has this id"}));
  }
  if (kept.size() >= kBalanceChangesKept) {
    if (in_store(order.front()) == stored.end())
      return responder.send(to_response({503, "store_behind", "the store is too far behind"}));
    kept.erase(order.front());
    order.pop_front();
  }
  if (!context.options.records.append(change))
    return responder.send(
        to_response({503, "not_recorded", "the journal takes no record; nothing has changed"}));
  kept.emplace(change.id, change);
  order.push_back(change.id);
  if (context.options.on_balance_change) context.options.on_balance_change(change);
  reply_json(responder, 201, balance_change_json(change));
}

void create_balance_change(AdminContext& context, AdminCall& call,
                           contract::BalanceChange::Kind kind) {
  auto change = read_balance_change(call);
  if (!change) return;
  if (kind == contract::BalanceChange::Kind::kTopUp && change->amount.nano < 0)
    return reply(call, AdminError{400, "invalid", "amount: a top-up is positive; see adjustments"});
  if (context.options.keeper.directory()->find_tenant(call.id) == nullptr)
    return reply(call, AdminError{404, "not_found", fmt::format("no tenant '{}'", call.id)});
  change->tenant = call.id;
  change->kind = kind;
  change->actor = call.actor_id;
  change->unix_ns = context.options.clock.unix_ns();
  std::vector<std::string> ids = {change->id};
  if (!context.balance_change_ids.empty()) ids.push_back(context.balance_change_ids.front());
  ask_store<std::vector<contract::BalanceChange>>(
      context, call, [ids](UsageSource& source) { return source.balance_changes(ids); },
      [&context, change = *change](const net::Responder& responder, const auto& stored) {
        change_balance(context, responder, change, stored);
      });
}

}  // namespace

void get_snapshot(AdminContext& context, AdminCall& call) {
  const contract::Snapshot& snapshot = context.options.keeper.snapshot();
  reply_json(call.responder, 200, contract::to_json(snapshot),
             fmt::format("{}", snapshot.generation));
}

void put_snapshot(AdminContext& context, AdminCall& call) {
  if (!call.request.header("if-match"))
    return reply(call, AdminError{428, "version_missing",
                                  "If-Match must name the generation that this replaces"});
  const int64_t generation = context.options.keeper.snapshot().generation;
  if (refuses_version(call, fmt::format("{}", generation))) return;
  const auto body = read_body(call);
  if (!body) return;
  contract::Snapshot whole;
  contract::Problems problems;
  contract::read_into(*body, "", &whole, &problems);
  if (!problems.empty())
    return reply(call, AdminError{400, "invalid", contract::to_text(problems), problems});
  const auto done = context.options.keeper.replace(call.actor_id, std::move(whole), generation);
  if (!done.ok()) return reply(call, done.error());
  get_snapshot(context, call);
}

void list_changes(AdminContext& context, AdminCall& call) {
  const auto after =
      read_parameter(call, {.name = "after", .otherwise = 0, .min = 0, .max = INT64_MAX});
  if (!after) return;
  const auto count =
      read_parameter(call, {.name = "limit", .otherwise = kPageDefault, .min = 1, .max = kPageMax});
  if (!count) return;
  const auto wait_s =
      read_parameter(call, {.name = "wait_s", .otherwise = 0, .min = 0, .max = kWaitMax_s});
  if (!wait_s) return;
  const AdminError too_many{503, "too_many_watchers", "too many wait for changes; poll instead"};
  SnapshotKeeper& keeper = context.options.keeper;
  const std::string_view accept = call.request.header("accept").value_or("");
  if (accept.find("text/event-stream") != std::string_view::npos) {
    if (!context.watchers.stream(call.responder, *after)) reply(call, too_many);
    return;
  }
  // What happened before this process began is in the store alone.
  if (*after < keeper.first_generation() && context.options.usage != nullptr)
    return ask_store<std::vector<contract::ChangeRecord>>(
        context, call,
        [after = *after, count = *count](UsageSource& source) {
          return source.changes(after, count);
        },
        [after = *after, count = *count, &keeper](const net::Responder& responder,
                                                  const auto& changes) {
          reply_json(responder, 200,
                     changes.empty() ? changes_json(changes_since(keeper, after, count), after)
                                     : changes_json(changes, after));
        });
  const auto ready = [&keeper, after = *after] { return keeper.snapshot().generation > after; };
  const auto answer = [&keeper, responder = call.responder, after = *after, count = *count](bool) {
    reply_json(responder, 200, changes_json(changes_since(keeper, after, count), after));
  };
  if (*wait_s == 0 || ready()) return answer(true);
  if (!context.watchers.wait({call.responder, ready, answer, *wait_s * kNsPerS}))
    reply(call, too_many);
}

void list_usage(AdminContext& context, AdminCall& call) {
  UsageQuery query;
  query.tenant = text_parameter(call, "tenant");
  if (!call.own_tenant.empty()) query.tenant = call.own_tenant;
  query.project = text_parameter(call, "project");
  query.key = text_parameter(call, "key");
  query.model = text_parameter(call, "model");
  const auto from =
      read_parameter(call, {.name = "from", .otherwise = 0, .min = 0, .max = INT64_MAX});
  if (!from) return;
  const auto to = read_parameter(call, {.name = "to", .otherwise = 0, .min = 0, .max = INT64_MAX});
  if (!to) return;
  query.from_unix_s = *from;
  query.to_unix_s = *to;
  auto groups = read_groups(call);
  if (!groups) return;
  query.group_by = *groups;
  ask_caught_up<std::vector<UsageRow>>(
      context, call, [query](UsageSource& source) { return source.usage(query); },
      [groups = std::move(*groups)](const net::Responder& responder, const auto& caught) {
        reply_json(responder, 200, usage_json(caught, groups));
      });
}

void list_balances(AdminContext& context, AdminCall& call) {
  ask_caught_up<std::vector<Balance>>(
      context, call, [](UsageSource& source) { return source.balances(""); },
      [](const net::Responder& responder, const auto& caught) {
        api::JsonWriter out;
        out.begin_object().key("object").string("list").key("data").begin_array();
        for (const Balance& balance : caught.said) {
          out.begin_object();
          append_balance(balance, &out);
          out.end_object();
        }
        out.end_array().key("records_behind").integer(caught.records_behind).end_object();
        reply_json(responder, 200, out.take());
      });
}

void get_balance(AdminContext& context, AdminCall& call) {
  if (context.options.keeper.directory()->find_tenant(call.id) == nullptr)
    return reply(call, AdminError{404, "not_found", fmt::format("no tenant '{}'", call.id)});
  ask_caught_up<std::vector<Balance>>(
      context, call, [tenant = call.id](UsageSource& source) { return source.balances(tenant); },
      [tenant = call.id](const net::Responder& responder, const auto& caught) {
        const Balance none = {.tenant = tenant, .available = {}, .reserved = {}};
        api::JsonWriter out;
        out.begin_object();
        append_balance(caught.said.empty() ? none : caught.said.front(), &out);
        out.key("records_behind").integer(caught.records_behind).end_object();
        reply_json(responder, 200, out.take());
      });
}

void create_top_up(AdminContext& context, AdminCall& call) {
  create_balance_change(context, call, contract::BalanceChange::Kind::kTopUp);
}

void create_adjustment(AdminContext& context, AdminCall& call) {
  create_balance_change(context, call, contract::BalanceChange::Kind::kAdjustment);
}

}  // namespace sluice::gateway
