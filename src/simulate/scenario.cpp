#include "simulate/scenario.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "contract/snapshot_json.h"
#include "simulate/calibrate.h"

namespace sluice::simulate {
namespace {

using contract::Statistic;
using core::invalid;
using core::Result;

template <typename Enum>
struct Word {
  std::string_view text;
  Enum value;
};

constexpr Word<Arm> kArmWords[] = {{"local_only", Arm::kLocalOnly},
                                   {"overflow_on_429", Arm::kOverflow},
                                   {"all_remote", Arm::kAllRemote},
                                   {"valve", Arm::kValve},
                                   {"oracle", Arm::kOracle}};
constexpr Word<Traffic::Kind> kTrafficWords[] = {{"writers", Traffic::Kind::kWriters},
                                                 {"open", Traffic::Kind::kOpen},
                                                 {"day", Traffic::Kind::kDay}};
constexpr Word<Statistic> kStatisticWords[] = {
    {"mean", Statistic::kMean}, {"p50", Statistic::kP50}, {"p99", Statistic::kP99}};
constexpr Word<contract::Policy> kPolicyWords[] = {{"local_only", contract::Policy::kLocalOnly},
                                                   {"local_first", contract::Policy::kLocalFirst},
                                                   {"cheapest", contract::Policy::kCheapest},
                                                   {"fastest", contract::Policy::kFastest}};
constexpr Word<contract::Place> kPlaceWords[] = {{"local", contract::Place::kLocal},
                                                 {"remote", contract::Place::kRemote}};

// A table whose keys must all be known. Problems are collected: the first one is reported.
class Table {
 public:
  Table(const toml::table& table, std::string where, std::vector<std::string>* problems)
      : table_(table), where_(std::move(where)), problems_(*problems) {}
  ~Table() {
    for (const auto& [key, value] : table_)
      if (std::ranges::find(asked_, key.str()) == asked_.end())
        problems_.push_back(where_ + ": unknown key '" + std::string(key.str()) + "'");
  }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  void read(std::string_view key, double least, double* out) {
    const toml::node* const node = find(key);
    if (!node) return;
    const auto value = node->value<double>();
    if (!node->is_number() || *value < least)
      return problem(key, fmt::format("is no number of {} or more", least));
    *out = *value;
  }
  void read(std::string_view key, int64_t least, int64_t* out) {
    const toml::node* const node = find(key);
    if (!node) return;
    if (!node->is_integer() || *node->value<int64_t>() < least)
      return problem(key, fmt::format("is no integer of {} or more", least));
    *out = *node->value<int64_t>();
  }
  void read(std::string_view key, int64_t least, std::optional<int64_t>* out) {
    int64_t value = 0;
    read(key, least, &value);
    if (value != 0) *out = value;
  }
  void read(std::string_view key, std::string* out) {
    const toml::node* const node = find(key);
    if (!node) return;
    if (!node->is_string()) return problem(key, "is no string");
    *out = *node->value<std::string>();
  }
  void read(std::string_view key, std::vector<std::string>* out) {
    const toml::node* const node = find(key);
    if (!node) return;
    if (!node->is_array()) return problem(key, "is no array of strings");
    for (const toml::node& element : *node->as_array()) {
      if (!element.is_string()) return problem(key, "is no array of strings");
      out->push_back(*element.value<std::string>());
    }
  }
  template <typename Enum, size_t n>
  void read(std::string_view key, const Word<Enum> (&words)[n], Enum* out) {
    std::string text;
    read(key, &text);
    if (!text.empty()) to_enum(key, text, words, out);
  }
  template <typename Enum, size_t n>
  void to_enum(std::string_view key, std::string_view text, const Word<Enum> (&words)[n],
               Enum* out) {
    std::string known;
    for (const auto& word : words) {
      if (word.text == text) {
        *out = word.value;
        return;
      }
      known += (known.empty() ? "" : ", ") + std::string(word.text);
    }
    problem(key, fmt::format("is '{}'; known: {}", text, known));
  }
  void read_rate(std::string_view key, contract::Rate* out) {
    std::string text;
    read(key, &text);
    if (text.empty()) return;
    const auto money = contract::money_from_text(text);
    if (!money || money->nano < 0) return problem(key, "is no amount such as \"2.50\"");
    out->nano_per_million = money->nano;
  }
  // Each element of an array of tables; the key may be missing.
  void each(std::string_view key, const std::function<void(Table*)>& read_one) {
    const toml::node* const node = find(key);
    if (!node) return;
    if (!node->is_array_of_tables()) return problem(key, "is no array of tables");
    int64_t index = 0;
    for (const toml::node& element : *node->as_array()) {
      Table table(*element.as_table(), fmt::format("{}.{}[{}]", where_, key, index++), &problems_);
      read_one(&table);
    }
  }
  void one(std::string_view key, const std::function<void(Table*)>& read_one) {
    const toml::node* const node = find(key);
    if (!node) return;
    if (!node->is_table()) return problem(key, "is no table");
    Table table(*node->as_table(), fmt::format("{}.{}", where_, key), &problems_);
    read_one(&table);
  }
  void problem(std::string_view key, std::string_view what) {
    problems_.push_back(fmt::format("{}: '{}' {}", where_, key, what));
  }

 private:
  const toml::node* find(std::string_view key) {
    asked_.emplace_back(key);
    return table_.get(key);
  }

  const toml::table& table_;
  std::string where_;
  std::vector<std::string>& problems_;
  std::vector<std::string> asked_;
};

void read_target(Table* table, contract::Target* target) {
  const auto part = [&](const char* key, contract::TargetPart* out) {
    table->one(key, [&](Table* one) {
      double limit_s = 0.0;
      one->read("limit_s", 0.0, &limit_s);
      one->read("statistic", kStatisticWords, &out->statistic);
      out->limit_ns = static_cast<int64_t>(limit_s * 1e9);
    });
  };
  part("ttft", &target->ttft);
  part("tpot", &target->tpot);
  part("total", &target->total);
}

void read_engine(Table* table, const ReadFile& read_file, EngineModel* model) {
  std::string bench;
  table->read("bench", &bench);
  if (!bench.empty()) {
    const auto text = read_file(bench);
    const auto done = text.ok() ? calibrate(*text, model) : core::Result<void>(text.error());
    if (!done.ok())
      table->problem("bench", fmt::format("is '{}': {}", bench, done.error().message));
  }
  table->read("kv_tokens", int64_t{1}, &model->kv_tokens);
  table->read("sequences_max", int64_t{1}, &model->sequences_max);
  table->read("chunk_tokens", int64_t{1}, &model->chunk_tokens);
  table->read("busy_at", int64_t{0}, &model->busy_at);
  const auto time = [&](const char* key, double unit_ns, double* out_ns) {
    double value = *out_ns / unit_ns;
    table->read(key, 0.0, &value);
    *out_ns = value * unit_ns;
  };
  time("step_ms", 1e6, &model->step_ns);
  time("step_stream_us", 1e3, &model->step_stream_ns);
  time("step_context_ns", 1.0, &model->step_context_ns);
  time("prompt_token_us", 1e3, &model->prompt_token_ns);
}

void read_speed(Table* table, contract::Speed* speed) {
  table->read("prefill_tokens_per_s", 1e-3, &speed->prefill_tokens_per_s);
  table->read("decode_tokens_per_s", 1e-3, &speed->decode_tokens_per_s);
  table->read("decode_tokens_per_s_max", 1e-3, &speed->decode_tokens_per_s_max);
  table->read("streams_max", int64_t{1}, &speed->streams_max);
}

void read_capacity(Table* table, contract::PoolCapacity* capacity) {
  table->read("streams_max", int64_t{1}, &capacity->streams_max);
  table->read("tokens_per_minute", int64_t{1}, &capacity->tokens_per_minute);
}

void read_limits(Table* table, contract::Limits* limits) {
  table->read("requests_per_minute", int64_t{1}, &limits->requests_per_minute);
  table->read("tokens_per_minute", int64_t{1}, &limits->tokens_per_minute);
  table->read("concurrent_streams", int64_t{1}, &limits->concurrent_streams);
}

void read_pool(Table* table, contract::Pool* pool) {
  double round_trip_ms = 0.0;
  table->read("id", &pool->id);
  table->read("place", kPlaceWords, &pool->place);
  table->read("owner", &pool->owner);
  table->read("round_trip_ms", 0.0, &round_trip_ms);
  pool->round_trip_ns = static_cast<int64_t>(round_trip_ms * 1e6);
  table->one("capacity", [&](Table* one) { read_capacity(one, &pool->capacity); });
  if (pool->place == contract::Place::kRemote)
    pool->data_classes = {contract::DataClass::kPublic, contract::DataClass::kInternal};
}

void read_price(Table* table, contract::Price* price) {
  table->read("pool", &price->pool);
  table->read("valid_from_s", int64_t{0}, &price->valid_from_unix_s);
  table->read_rate("prompt", &price->rates[static_cast<size_t>(contract::Unit::kPromptToken)]);
  table->read_rate("output", &price->rates[static_cast<size_t>(contract::Unit::kOutputToken)]);
}

void read_traffic(Table* table, Traffic* traffic) {
  table->read("kind", kTrafficWords, &traffic->kind);
  table->read("from_s", 0.0, &traffic->from_s);
  table->read("to_s", 0.0, &traffic->to_s);
  table->read("writers", int64_t{1}, &traffic->writers);
  table->read("ramp_s", 0.0, &traffic->ramp_s);
  table->read("rate_per_s", 1e-6, &traffic->rate_per_s);
  table->read("rate_night_per_s", 0.0, &traffic->rate_night_per_s);
  table->read("prompt_tokens", int64_t{1}, &traffic->prompt_tokens);
  table->read("output_tokens", int64_t{1}, &traffic->output_tokens);
  table->read("spread", 0.0, &traffic->spread);
  if (traffic->to_s <= traffic->from_s) table->problem("to_s", "is not after from_s");
  if (traffic->spread >= 1.0) table->problem("spread", "is 1 or more");
  if (traffic->kind == Traffic::Kind::kWriters ? traffic->writers < 1 : traffic->rate_per_s <= 0.0)
    table->problem("kind", "needs writers, or rate_per_s");
}

void read_scenario(Table* table, const ReadFile& read_file, Scenario* scenario) {
  contract::Snapshot& snapshot = scenario->snapshot;
  contract::Model& model = snapshot.models.emplace_back();
  contract::Tenant& tenant = snapshot.tenants.emplace_back();
  contract::Project& project = snapshot.projects.emplace_back();
  contract::Key& key = snapshot.keys.emplace_back();
  tenant.id = tenant.name = "tenant";
  project.id = "project";
  project.tenant = tenant.id;
  key.id = "key_simulated";
  key.project = project.id;
  key.hash = std::string(64, '0');  // nobody asks for it by its secret
  key.hash_key_id = "none";
  model.id = "model";
  int64_t seed = 1;
  table->read("name", &scenario->name);
  table->read("seed", int64_t{0}, &seed);
  scenario->seed = static_cast<uint64_t>(seed);
  table->read("wait_max_s", 0.0, &scenario->wait_max_s);
  table->read("bucket_s", 1.0, &scenario->bucket_s);
  contract::Policy policy = contract::Policy::kLocalFirst;
  table->read("policy", kPolicyWords, &policy);
  model.defaults.policy = policy;
  model.defaults.target.emplace();
  table->one("target", [&](Table* one) { read_target(one, &*model.defaults.target); });
  table->one("limits", [&](Table* one) { read_limits(one, &key.limits); });
  std::vector<std::string> arms;
  table->read("arms", &arms);
  for (const std::string& text : arms)
    table->to_enum("arms", text, kArmWords, &scenario->arms.emplace_back());
  table->each("pools", [&](Table* one) { read_pool(one, &snapshot.pools.emplace_back()); });
  table->each("replicas", [&](Table* one) {
    contract::Replica& replica = snapshot.replicas.emplace_back();
    replica.model = model.id;
    replica.url = "http://127.0.0.1:1/v1";
    one->read("id", &replica.id);
    one->read("pool", &replica.pool);
    one->one("speed", [&](Table* speed) { read_speed(speed, &replica.speed); });
    EngineModel& engine = scenario->engines.emplace_back();
    one->one("engine", [&](Table* told) { read_engine(told, read_file, &engine); });
  });
  table->each("costs", [&](Table* one) {
    contract::Price& price = snapshot.prices.emplace_back();
    price.side = contract::PriceSide::kCost;
    price.version = static_cast<int64_t>(snapshot.prices.size());
    read_price(one, &price);
  });
  table->each("slowdowns", [&](Table* one) {
    Slowdown& slowdown = scenario->slowdowns.emplace_back();
    one->read("at_s", 0.0, &slowdown.at_s);
    one->read("replica", &slowdown.replica);
    one->read("factor", 0.01, &slowdown.factor);
  });
  table->each("cases", [&](Table* one) {
    Case& which = scenario->cases.emplace_back();
    one->read("name", &which.name);
    one->read("replicas", &which.replicas);
    one->read("measure_from_s", 0.0, &which.measure_from_s);
    one->each("traffic", [&](Table* row) { read_traffic(row, &which.traffic.emplace_back()); });
  });
}

// What no single table can see.
void check_references(const Scenario& scenario, std::vector<std::string>* problems) {
  const auto replica = [&](const std::string& id) {
    return std::ranges::any_of(scenario.snapshot.replicas,
                               [&](const contract::Replica& r) { return r.id == id; });
  };
  if (scenario.cases.empty()) problems->push_back("no [[cases]]: nothing to simulate");
  if (scenario.arms.empty()) problems->push_back("'arms' is missing: who shall decide?");
  for (const Case& which : scenario.cases) {
    for (const std::string& id : which.replicas)
      if (!replica(id)) problems->push_back("case '" + which.name + "': no replica '" + id + "'");
    std::array<bool, 2> places = {};
    for (size_t i = 0; i < scenario.snapshot.replicas.size(); ++i) {
      const contract::Replica& one = scenario.snapshot.replicas[i];
      if (std::ranges::find(which.replicas, one.id) == which.replicas.end()) continue;
      for (const contract::Pool& pool : scenario.snapshot.pools)
        if (pool.id == one.pool) places[static_cast<size_t>(pool.place)] = true;
      for (const Traffic& traffic : which.traffic) {
        const double longest = (1.0 + traffic.spread) * static_cast<double>(traffic.prompt_tokens +
                                                                            traffic.output_tokens) +
                               2.0;
        if (longest > static_cast<double>(scenario.engines[i].kv_tokens))
          problems->push_back(fmt::format("case '{}': {} tokens do not fit into the KV of '{}', {}",
                                          which.name, longest, one.id,
                                          scenario.engines[i].kv_tokens));
      }
    }
    if (!places[0] || !places[1])
      problems->push_back("case '" + which.name + "': needs a local and a remote replica");
  }
  for (const Slowdown& slowdown : scenario.slowdowns)
    if (!replica(slowdown.replica))
      problems->push_back("slowdowns: no replica '" + slowdown.replica + "'");
}

}  // namespace

std::string_view to_text(Arm arm) {
  return kArmWords[static_cast<size_t>(arm)].text;
}

Result<Scenario> parse_scenario(std::string_view text, std::string_view name,
                                const ReadFile& read_file) {
  toml::table parsed;
  try {
    parsed = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return invalid("{}: line {}: {}", name, error.source().begin.line, error.description());
  }
  Scenario scenario;
  std::vector<std::string> problems;
  {
    Table table(parsed, std::string(name), &problems);
    read_scenario(&table, read_file, &scenario);
  }
  if (problems.empty()) check_references(scenario, &problems);
  if (problems.empty())
    if (const auto faults = contract::validate(scenario.snapshot); !faults.empty())
      problems.push_back(fmt::format("{}: {}", name, contract::to_text(faults)));
  if (!problems.empty()) return invalid("{}", fmt::join(problems, "\n"));
  return scenario;
}

}  // namespace sluice::simulate
