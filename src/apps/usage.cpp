// sluice usage: what was used and what it came to, from the store of a gateway.
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apps/gateway/admin_client.h"
#include "apps/model/model_options.h"
#include "apps/process/data_folder.h"
#include "apps/verbs.h"
#include "contract/request_id.h"
#include "core/clock.h"
#include "gateway/metrics/names.h"
#include "ledger/account.h"
#include "store/reports.h"
#include "store/store_address.h"
#include "store/usage_totals.h"
#include "store/verify.h"

namespace sluice::apps {
namespace {

using nlohmann::ordered_json;
using store::UsageGroup;

constexpr const char* kVerb = "usage";
constexpr int64_t kDaysShown = 30;

const std::map<std::string, UsageGroup> kGroups = {{"tenant", UsageGroup::kTenant},
                                                   {"project", UsageGroup::kProject},
                                                   {"key", UsageGroup::kKey},
                                                   {"model", UsageGroup::kModel},
                                                   {"day", UsageGroup::kDay}};

struct Options {
  std::string data_folder;
  std::string store;
  std::vector<std::string> by = {"key"};
  std::string from;
  std::string to;
  std::string output = "table";
  std::string request;
};

// A gateway that runs there has the records of the last moments in its journal: asked for anything
// of the store, it lets the store catch up first.
void catch_up(const Options& options) {
  auto access = read_admin_access(options.data_folder);
  if (!access.ok()) return;
  auto client = AdminClient::make(std::move(*access));
  if (!client.ok()) return;
  const auto asked = client->get("balances");
  if (!asked.ok() || !asked->is_object()) return;  // it does not run
  const int64_t behind = asked->value("records_behind", int64_t{0});
  if (behind > 0)
    fmt::print(stderr, "sluice usage: the store is still {} records behind the gateway\n", behind);
}

core::Result<std::unique_ptr<store::Database>> open_store(const Options& options) {
  if (options.store.empty()) catch_up(options);
  store::StoreAddress address = store::embedded_store(options.data_folder);
  if (!options.store.empty()) address = TRY(store::parse_store_address(options.store));
  return store::open_database(address, store::OpenFor::kReports);
}

// "1.5" of 1'500'000'000 nano-units; exact.
std::string money_text(contract::NanoMoney money) {
  constexpr uint64_t kNano = 1'000'000'000;
  const uint64_t nano =
      money.nano < 0 ? 0 - static_cast<uint64_t>(money.nano) : static_cast<uint64_t>(money.nano);
  std::string text =
      fmt::format("{}{}.{:09}", money.nano < 0 ? "-" : "", nano / kNano, nano % kNano);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

// ---- sums ---------------------------------------------------------------------------------

struct Column {
  const char* name;
  int64_t (*value)(const store::UsageTotals& totals);
};
constexpr Column kColumns[] = {
    {"requests", [](const store::UsageTotals& t) { return t.requests; }},
    {"refused", [](const store::UsageTotals& t) { return t.refused; }},
    {"failed", [](const store::UsageTotals& t) { return t.failed; }},
    {"missed", [](const store::UsageTotals& t) { return t.missed; }},
    {"prompt_tokens", [](const store::UsageTotals& t) { return t.prompt_tokens; }},
    {"cached_tokens", [](const store::UsageTotals& t) { return t.cached_tokens; }},
    {"output_tokens", [](const store::UsageTotals& t) { return t.output_tokens; }},
    {"reasoning_tokens", [](const store::UsageTotals& t) { return t.reasoning_tokens; }},
    {"compute_us", [](const store::UsageTotals& t) { return t.compute_us; }},
    {"amount_nano", [](const store::UsageTotals& t) { return t.amount.nano; }},
    {"cost_nano", [](const store::UsageTotals& t) { return t.cost.nano; }},
};

// RFC 4180. What a spreadsheet would take for a formula is text to it.
std::string csv_field(std::string text) {
  if (!text.empty() && std::string_view("=+-@").find(text[0]) != std::string_view::npos)
    text.insert(0, "'");
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

void print_csv(const Options& options, const std::vector<store::UsageRow>& rows) {
  std::string line;
  for (const std::string& group : options.by) line += group + ",";
  for (const Column& column : kColumns) line += fmt::format("{},", column.name);
  line.back() = '\n';
  fmt::print("{}", line);
  for (const store::UsageRow& row : rows) {
    line.clear();
    for (const std::string& group : row.group) line += csv_field(group) + ",";
    for (const Column& column : kColumns) line += fmt::format("{},", column.value(row.totals));
    line.back() = '\n';
    fmt::print("{}", line);
  }
}

void print_json(const ordered_json& json) {
  fmt::print("{}\n", json.dump(2, ' ', false, ordered_json::error_handler_t::replace));
}

ordered_json json_of(const Options& options, const std::vector<store::UsageRow>& rows) {
  ordered_json list = ordered_json::array();
  for (const store::UsageRow& row : rows) {
    ordered_json object;
    for (size_t i = 0; i < row.group.size(); ++i) object[options.by[i]] = row.group[i];
    for (const Column& column : kColumns) object[column.name] = column.value(row.totals);
    list.push_back(std::move(object));
  }
  return list;
}

void print_table_row(const std::string& name, const store::UsageTotals& t) {
  fmt::print("{:<32} {:>10} {:>8} {:>7} {:>14} {:>12} {:>14} {:>14}\n", name, t.requests, t.refused,
             t.failed, t.prompt_tokens, t.cached_tokens, t.output_tokens + t.reasoning_tokens,
             money_text(t.amount));
}

void print_table(const Options& options, const std::vector<store::UsageRow>& rows) {
  fmt::print("{:<32} {:>10} {:>8} {:>7} {:>14} {:>12} {:>14} {:>14}\n",
             fmt::format("{}", fmt::join(options.by, " ")), "requests", "refused", "failed",
             "prompt", "cached", "output", "amount");
  store::UsageTotals all;
  for (const store::UsageRow& row : rows) {
    print_table_row(fmt::format("{}", fmt::join(row.group, " ")), row.totals);
    all.add(row.totals);
  }
  print_table_row("all", all);
}

core::Result<store::UsageQuery> query_of(const Options& options) {
  const int64_t today = store::day_of(core::SystemClock().unix_ns());
  store::UsageQuery query;
  query.last_day = today;
  if (!options.to.empty()) query.last_day = TRY(store::parse_day(options.to));
  query.first_day = query.last_day - kDaysShown + 1;
  if (!options.from.empty()) query.first_day = TRY(store::parse_day(options.from));
  if (query.first_day > query.last_day)
    return core::invalid("--from {} is after --to {}", store::day_text(query.first_day),
                         store::day_text(query.last_day));
  for (const std::string& group : options.by) query.group_by.push_back(kGroups.at(group));
  return query;
}

core::Result<int> print_usage(const Options& options) {
  const store::UsageQuery query = TRY(query_of(options));
  const auto database = TRY(open_store(options));
  const auto rows = TRY(store::usage(database.get(), query));
  if (options.output == "json") {
    print_json(json_of(options, rows));
  } else if (options.output == "csv") {
    print_csv(options, rows);
  } else {
    print_table(options, rows);
  }
  return 0;
}

// ---- proof --------------------------------------------------------------------------------

core::Result<int> print_verification(const Options& options) {
  const auto database = TRY(open_store(options));
  const store::Verification found = TRY(store::verify(database.get()));
  if (options.output == "json") {
    print_json({{"events", found.events},
                {"lines", found.lines},
                {"transfers", found.transfers},
                {"balance_changes", found.balance_changes},
                {"open_reservations", found.open_reservations},
                {"accounts", found.accounts},
                {"days", found.days},
                {"amounts_unchecked", found.amounts_unchecked},
                {"faults", found.faults},
                {"first_faults", found.first_faults}});
  } else {
    fmt::print(
        "events {}, lines {}, transfers {}, balance changes {}, open reservations {}\n"
        "recomputed: {} balances, {} sums of a day\n",
        found.events, found.lines, found.transfers, found.balance_changes, found.open_reservations,
        found.accounts, found.days);
    if (found.amounts_unchecked > 0)
      fmt::print(
          "not recomputed: {} amounts of lines whose price versions the store does not have\n",
          found.amounts_unchecked);
    for (const std::string& fault : found.first_faults) fmt::print("wrong: {}\n", fault);
    fmt::print("{}\n", found.faults == 0 ? "all equal" : fmt::format("{} wrong", found.faults));
  }
  return found.faults == 0 ? 0 : 1;
}

// ---- one request --------------------------------------------------------------------------

constexpr const char* kUnitNames[contract::kUnits] = {"prompt_token", "cached_prompt_token",
                                                      "output_token", "reasoning_token",
                                                      "compute_microsecond"};
constexpr const char* kSideNames[] = {"both", "sale", "cost"};

ordered_json json_of(const contract::UsageLine& line) {
  return {{"replica", line.replica},
          {"pool", line.pool},
          {"owner", line.owner},
          {"unit", kUnitNames[static_cast<size_t>(line.unit)]},
          {"charges", kSideNames[static_cast<size_t>(line.side)]},
          {"quantity", line.quantity},
          {"sale_version", line.sale_version},
          {"cost_version", line.cost_version},
          {"amount_nano", line.amount.nano},
          {"cost_nano", line.cost.nano}};
}

ordered_json json_of(const contract::UsageEvent& event) {
  ordered_json lines = ordered_json::array();
  for (const contract::UsageLine& line : event.lines) lines.push_back(json_of(line));
  const bool has_parent = event.parent != contract::RequestId{};
  return {{"request", contract::to_text(event.id)},
          {"parent", has_parent ? contract::to_text(event.parent) : ""},
          {"kind", gateway::name_of(gateway::kEventKindNames, event.kind)},
          {"outcome", contract::to_text(event.outcome)},
          {"decision", gateway::name_of(gateway::kDecisionNames, event.decision)},
          {"status", event.status},
          {"tenant", event.tenant},
          {"project", event.project},
          {"key", event.key},
          {"model", event.model},
          {"model_digest", event.model_digest},
          {"finish_reason", event.finish_reason},
          {"target_met", event.target_met},
          {"started_unix_ns", event.started_unix_ns},
          {"ttft_ns", event.ttft_ns},
          {"tpot_ns", event.tpot_ns},
          {"total_ns", event.total_ns},
          {"reserved_nano", event.reserved.nano},
          {"lines", std::move(lines)}};
}

void print_event(const contract::UsageEvent& event) {
  constexpr double kMs = 1e6;
  fmt::print("{}  {}  {}  status {}\n", contract::to_text(event.id),
             gateway::name_of(gateway::kEventKindNames, event.kind),
             contract::to_text(event.outcome), event.status);
  if (event.parent != contract::RequestId{})
    fmt::print("parent {}\n", contract::to_text(event.parent));
  fmt::print("tenant {}  project {}  key {}  model {}\n", event.tenant, event.project, event.key,
             event.model);
  fmt::print("ttft {:.1f} ms  tpot {:.1f} ms  total {:.1f} ms  target {}  decision {}\n",
             static_cast<double>(event.ttft_ns) / kMs, static_cast<double>(event.tpot_ns) / kMs,
             static_cast<double>(event.total_ns) / kMs, event.target_met ? "met" : "missed",
             gateway::name_of(gateway::kDecisionNames, event.decision));
  contract::NanoMoney amount;
  for (const contract::UsageLine& line : event.lines) {
    amount = amount + line.amount;
    fmt::print("  {:<20} {:>10} at {:<16} amount {} cost {}\n",
               kUnitNames[static_cast<size_t>(line.unit)], line.quantity, line.replica,
               money_text(line.amount), money_text(line.cost));
  }
  fmt::print("reserved {}  amount {}\n", money_text(event.reserved), money_text(amount));
}

core::Result<int> print_request(const Options& options) {
  const contract::RequestId id = TRY(contract::parse_request_id(options.request));
  const auto database = TRY(open_store(options));
  const auto event = TRY(store::event_of(database.get(), id));
  if (!event) {
    return core::Error{core::ErrorCode::kNotFound,
                       fmt::format("{} has no usage event in the store (it runs, or its event is "
                                   "still in the gateway's journal)",
                                   options.request)};
  }
  if (options.output == "json") {
    print_json(json_of(*event));
  } else {
    print_event(*event);
  }
  return 0;
}

}  // namespace

int run_usage(int argc, char** argv) {
  Options options;
  CLI::App app{"What was used and what it came to, by UTC day; the proof that it adds up.",
               "sluice usage"};
  app.fallthrough();
  auto* data = add_data_folder_option(app, &options.data_folder, "of a gateway");
  app.add_option("--store", options.store, "sqlite:PATH or postgresql://user@host/database")
      ->excludes(data);
  app.add_option("--by", options.by, "tenant, project, key, model, day; several with commas")
      ->delimiter(',')
      ->check(CLI::IsMember(kGroups))
      ->capture_default_str();
  app.add_option("--from", options.from, "first day, YYYY-MM-DD (30 days before the last)");
  app.add_option("--to", options.to, "last day (today)");
  app.add_option("-o,--output", options.output, "table, csv or json (csv: sums only)")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  auto* verify = app.add_subcommand(
      "verify",
      "recompute every balance and every sum from the events; exit code 1 if one differs");
  auto* show = app.add_subcommand("show", "one request with its lines");
  show->add_option("REQUEST_ID", options.request, "as the header x-request-id has it")->required();
  app.require_subcommand(0, 1);
  app.footer(
      "Money is in nano-units of the currency (csv, json) or in units (table).\n"
      "Examples: sluice usage --by model,day --from 2026-11-01 -o csv\n"
      "          sluice usage verify --data-folder gateway-data\n"
      "          sluice usage show req_00000000000000a1_0000010000000007");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = verify->parsed() ? print_verification(options)
                    : show->parsed() ? print_request(options)
                                     : print_usage(options);
  return done.ok() ? *done : report(kVerb, done.error());
}

}  // namespace sluice::apps
