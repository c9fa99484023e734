#include "gateway/admin/config.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "contract/snapshot_json.h"
#include "gateway/admin/snapshot_objects.h"
#include "gateway/admin/toml_value.h"

namespace sluice::gateway {
namespace {

using contract::Problems;
using contract::Value;

constexpr int32_t kThreadsMax = 256;
constexpr int32_t kTimeoutMaxS = 86'400;
constexpr int64_t kSpinMaxUs = 1'000;
constexpr std::string_view kSnapshotLists[] = {"tenants",  "projects", "keys",  "pools",
                                               "replicas", "models",   "prices"};
constexpr std::string_view kSections[] = {"gateway",   "tls",     "admin",
                                          "telemetry", "secrets", "hash_keys"};

// One table of the file: takes its entries, then says which nobody knows.
class Section {
 public:
  Section(const Value* table, std::string path, Problems* problems)
      : table_(table), path_(std::move(path)), problems_(problems) {
    if (table_ != nullptr && table_->as<Value::Object>() == nullptr) {
      add("", fmt::format("found {}, must be a table", table_->type_name()));
      table_ = nullptr;
    }
  }
  ~Section() {
    if (table_ == nullptr) return;
    for (const auto& [name, value] : *table_->as<Value::Object>())
      if (std::find(names_.begin(), names_.end(), name) == names_.end())
        add(name, fmt::format("unknown; known are {}", fmt::join(names_, ", ")));
  }
  Section(const Section&) = delete;
  Section& operator=(const Section&) = delete;

  const Value* take(std::string_view name) {
    names_.push_back(name);
    return table_ == nullptr ? nullptr : table_->find(name);
  }
  void text(std::string_view name, std::string* out) {
    const Value* found = take(name);
    if (found == nullptr) return;
    if (const auto* text = found->as<std::string>())
      *out = *text;
    else
      add(name, fmt::format("found {}, must be a string", found->type_name()));
  }
  void integer(std::string_view name, int32_t min, int32_t max, int32_t* out) {
    const Value* found = take(name);
    if (found == nullptr) return;
    const auto* number = found->as<int64_t>();
    if (number == nullptr || *number < min || *number > max)
      return add(name, fmt::format("must be an integer from {} to {}", min, max));
    *out = static_cast<int32_t>(*number);
  }
  void add(std::string_view name, std::string message) {
    problems_->push_back(
        {name.empty() ? path_ : fmt::format("{}.{}", path_, name), std::move(message)});
  }
  bool present() const { return table_ != nullptr; }

 private:
  const Value* table_;
  std::string path_;
  Problems* problems_;
  std::vector<std::string_view> names_;
};

// "127.0.0.1:8080", "[::1]:8080".
bool parse_address(std::string_view text, ListenAddress* out) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']'))
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string_view::npos)
    return false;
  const std::string_view port = text.substr(colon + 1);
  const auto [end, fault] = std::from_chars(port.data(), port.data() + port.size(), out->port);
  out->host = host;
  return fault == std::errc() && end == port.data() + port.size() && !host.empty();
}

class ConfigReader {
 public:
  explicit ConfigReader(Value root) : root_(std::move(root)) {}

  ParsedConfig run() {
    read_gateway();
    read_tls();
    read_admin();
    read_telemetry();
    read_secrets();
    read_hash_keys();
    read_snapshot();
    for (const auto& [name, value] : *root_.as<Value::Object>())
      if (!known(name))
        problems_.push_back(
            {name, fmt::format("unknown; known are {}, {}", fmt::join(kSections, ", "),
                               fmt::join(kSnapshotLists, ", "))});
    for (const auto& [path, message] : problems_)
      parsed_.problems.push_back({contract::line_of(root_, path),
                                  path.empty() ? message : fmt::format("{}: {}", path, message)});
    std::stable_sort(parsed_.problems.begin(), parsed_.problems.end(),
                     [](const auto& a, const auto& b) { return a.line < b.line; });
    return std::move(parsed_);
  }

 private:
  static bool known(std::string_view name) {
    return std::find(std::begin(kSections), std::end(kSections), name) != std::end(kSections) ||
           std::find(std::begin(kSnapshotLists), std::end(kSnapshotLists), name) !=
               std::end(kSnapshotLists);
  }

  // One address, "name" of the section.
  void read_address(Section* section, std::string_view name, const Value& value,
                    ListenAddress* out) {
    const auto* text = value.as<std::string>();
    out->line = value.line;
    if (text == nullptr || !parse_address(*text, out))
      section->add(name, "must be an address like \"127.0.0.1:8080\" or \"[::]:8080\"");
  }

  void read_gateway() {
    Section section(root_.find("gateway"), "gateway", &problems_);
    if (const Value* listen = section.take("listen")) {
      const auto* addresses = listen->as<Value::Array>();
      for (size_t i = 0; addresses != nullptr && i < addresses->size(); ++i)
        read_address(&section, fmt::format("listen[{}]", i), (*addresses)[i],
                     &config().listen.emplace_back());
      if (addresses == nullptr || addresses->empty())
        section.add("listen", "must be a list of at least one address");
    } else {
      config().listen.push_back({.host = "127.0.0.1", .port = 8080});
    }
    section.integer("threads", 1, kThreadsMax, &config().threads);
    section.integer("spin_us", 0, kSpinMaxUs, &config().spin_us);
    section.integer("response_timeout_s", 1, kTimeoutMaxS, &config().response_timeout_s);
    section.integer("request_timeout_s", 1, kTimeoutMaxS, &config().request_timeout_s);
    section.text("data_folder", &config().data_folder);
    if (config().data_folder.empty())
      section.add("data_folder", "must name a folder: journal, snapshot and database lie there");
    section.text("store", &config().store);
    const std::string& store = config().store;
    const bool is_known =
        store.starts_with("postgresql://") || (store.starts_with("sqlite:") && store != "sqlite:");
    if (!store.empty() && !is_known)
      section.add("store", "must be sqlite:PATH or postgresql://user@host/database");
    section.text("access_log_file", &config().access_log_file);
  }

  void read_tls() {
    Section section(root_.find("tls"), "tls", &problems_);
    section.text("certificate_file", &config().certificate_file);
    section.text("private_key_file", &config().private_key_file);
    if (section.present() &&
        (config().certificate_file.empty() || config().private_key_file.empty()))
      section.add("", "needs certificate_file and private_key_file");
  }

  void read_admin() {
    Section section(root_.find("admin"), "admin", &problems_);
    if (const Value* listen = section.take("listen"))
      read_address(&section, "listen", *listen, &config().admin);
  }

  void read_telemetry() {
    Section section(root_.find("telemetry"), "telemetry", &problems_);
    section.text("otlp_url", &config().otlp_url);
    if (!config().otlp_url.empty() && !config().otlp_url.starts_with("http://"))
      section.add("otlp_url", "must begin with http://: a collector on this machine or network");
  }

  void read_secrets() {
    const Value* table = root_.find("secrets");
    if (table == nullptr) return;
    const auto* members = table->as<Value::Object>();
    if (members == nullptr) {
      problems_.push_back({"secrets", "must be a table"});
      return;
    }
    for (const auto& [name, value] : *members) {
      std::string file, variable;
      if (value.as<Value::Object>() != nullptr) {
        Section section(&value, "secrets." + name, &problems_);
        section.text("file", &file);
        section.text("environment", &variable);
      }
      if (file.empty() == variable.empty())
        problems_.push_back({"secrets." + name,
                             "must say where the secret is: { file = \"PATH\" } or "
                             "{ environment = \"NAME\" }, one of the two"});
      using Kind = SecretSource::Kind;
      config().secrets[name] = {file.empty() ? Kind::kEnvironment : Kind::kFile,
                                file.empty() ? variable : file, value.line};
    }
  }

  void read_hash_keys() {
    const Value* list = root_.find("hash_keys");
    if (list == nullptr) return;
    const auto* items = list->as<Value::Array>();
    if (items == nullptr) {
      problems_.push_back({"hash_keys", "must be a list of tables"});
      return;
    }
    for (size_t i = 0; i < items->size(); ++i) {
      Section section(&(*items)[i], fmt::format("hash_keys[{}]", i), &problems_);
      HashKeySource key{.id = "", .secret = "", .line = (*items)[i].line};
      section.text("id", &key.id);
      section.text("secret", &key.secret);
      if (key.id.empty()) section.add("id", "is missing");
      check_secret(section, key.secret);
      config().hash_keys.push_back(std::move(key));
    }
  }

  void check_secret(Section& section, const std::string& name) {
    if (!config().secrets.contains(name))
      section.add("secret", fmt::format("there is no secret '{}' in [secrets]", name));
  }

  void read_snapshot() {
    Value::Object lists;
    for (const std::string_view name : kSnapshotLists)
      if (const Value* list = root_.find(name)) lists.push_back({std::string(name), *list});
    for (auto& [name, list] : lists)
      if (name == "keys") take_key_secrets(&list);
    contract::Snapshot& snapshot = config().snapshot;
    Problems problems;
    contract::read_into(Value{std::move(lists)}, "", &snapshot, &problems);
    // Until its secret is read, a key stands there with a hash of its own.
    for (const GatewayConfig::KeySecret& key : config().key_secrets) {
      if (key.key >= snapshot.keys.size()) continue;
      snapshot.keys[key.key].hash = sha256_hex(snapshot.keys[key.key].id);
      snapshot.keys[key.key].hash_key_id = "pending";
    }
    if (problems.empty()) problems = contract::validate(snapshot);
    for (size_t i = 0; i < snapshot.replicas.size(); ++i)
      if (const std::string& secret = snapshot.replicas[i].secret;
          !secret.empty() && !config().secrets.contains(secret))
        problems.push_back({fmt::format("replicas[{}].secret", i),
                            fmt::format("there is no secret '{}' in [secrets]", secret)});
    for (auto& problem : problems) problems_.push_back(std::move(problem));
  }

  // Takes "secret" out of each key's table; a key has either that or its hash.
  void take_key_secrets(Value* list) {
    auto* keys = std::get_if<Value::Array>(&list->content);
    for (size_t i = 0; keys != nullptr && i < keys->size(); ++i) {
      auto* members = std::get_if<Value::Object>(&(*keys)[i].content);
      if (members == nullptr) continue;
      const auto secret = std::find_if(members->begin(), members->end(),
                                       [](const auto& member) { return member.name == "secret"; });
      const std::string path = fmt::format("keys[{}]", i);
      if (secret == members->end()) {
        if ((*keys)[i].find("hash") == nullptr)
          problems_.push_back(
              {path, "needs secret (a name of [secrets]), or hash and hash_key_id"});
        continue;
      }
      const auto* name = secret->value.as<std::string>();
      if (name == nullptr || !config().secrets.contains(*name))
        problems_.push_back({path + ".secret", "must be a name of [secrets]"});
      config().key_secrets.push_back({i, name == nullptr ? "" : *name, secret->value.line});
      members->erase(secret);
    }
  }

  GatewayConfig& config() { return parsed_.config; }

  const Value root_;
  Problems problems_;
  ParsedConfig parsed_;
};

}  // namespace

std::string to_text(std::string_view file, const std::vector<ConfigProblem>& problems) {
  std::string text;
  for (const ConfigProblem& problem : problems)
    text += problem.line == 0 ? fmt::format("{}: {}\n", file, problem.message)
                              : fmt::format("{}:{}: {}\n", file, problem.line, problem.message);
  return text;
}

ParsedConfig parse_config(std::string_view toml) {
  TomlText text = parse_toml(toml);
  if (!text.fault.empty()) return {{}, {{text.fault_line, std::move(text.fault)}}};
  return ConfigReader(std::move(text.value)).run();
}

contract::Snapshot snapshot_of(const GatewayConfig& config,
                               const std::map<std::string, std::string, std::less<>>& secrets,
                               KeyHasher& hasher) {
  contract::Snapshot snapshot = config.snapshot;
  for (const auto& [index, name, line] : config.key_secrets) {
    const auto secret = secrets.find(name);
    ASSERT(secret != secrets.end(), "secret '{}' was not read", name);
    contract::Key& key = snapshot.keys[index];
    key.hash = to_hex(hasher.digest(0, secret->second));
    key.hash_key_id = hasher.id(0);
    key.hint =
        secret->second.substr(secret->second.size() - std::min<size_t>(4, secret->second.size()));
  }
  return snapshot;
}

}  // namespace sluice::gateway
