#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "contract/network.h"
#include "contract/snapshot_fields.h"
#include "contract/snapshot_json.h"

namespace sluice::contract {
namespace {

constexpr size_t kIdBytesMax = 63;
constexpr size_t kModelIdBytesMax = 128;
constexpr size_t kHashDigits = 64;
constexpr size_t kLabelsMax = 32;
constexpr size_t kLabelBytesMax = 256;
constexpr int64_t kBurstMax_ms = 24 * 3600 * INT64_C(1000);
// A million for a million tokens, 10,000 for a second of compute: room for every currency. What a
// request can come to at most (2^30 tokens of prompt, as many of output, a day of compute) fits
// NanoMoney three times.
constexpr int64_t kTokenRateMax_nano = 1'000'000 * INT64_C(1'000'000'000);
constexpr int64_t kComputeRateMax_nano = 10'000 * INT64_C(1'000'000'000);

NanoMoney rate_max(Unit unit) {
  return {unit == Unit::kComputeMicrosecond ? kComputeRateMax_nano : kTokenRateMax_nano};
}

bool all_of(std::string_view text, std::string_view punctuation, bool upper_too) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (upper_too && c >= 'A' && c <= 'Z') || punctuation.find(c) != std::string_view::npos;
  });
}

bool is_id(std::string_view text) {
  return !text.empty() && text.size() <= kIdBytesMax && all_of(text.substr(0, 1), "", false) &&
         all_of(text, "._-", false);
}

// Models carry names from outside: "Qwen/Qwen2.5-7B-Instruct".
bool is_model_id(std::string_view text) {
  return !text.empty() && text.size() <= kModelIdBytesMax && all_of(text.substr(0, 1), "", true) &&
         all_of(text, "._-/:@+", true);
}

// Empty: good; else what is wrong.
std::string_view url_fault(std::string_view url) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!url.starts_with(scheme)) continue;
    url.remove_prefix(scheme.size());
    const size_t path = std::min(url.find('/'), url.size());
    std::string_view authority = url.substr(0, path);
    if (url.find_first_of("?#") != std::string_view::npos) return "has a query or a fragment";
    const auto visible = [](char c) { return c > 0x20 && c < 0x7f; };
    if (!std::all_of(url.begin(), url.end(), visible)) return "has a space or a byte beyond ASCII";
    if (authority.find('@') != std::string_view::npos)
      return "has a user name; a key comes from 'secret'";
    const size_t host_end = authority.starts_with('[') ? authority.find(']') + 1 : 0;
    const size_t colon = authority.find(':', host_end);
    const std::string_view host = authority.substr(0, colon);
    if (host.starts_with('[')) {
      const auto address =
          host.ends_with(']') ? parse_ip_address(host.substr(1, host.size() - 2)) : std::nullopt;
      if (!address) return "has a broken IPv6 address";
    } else if (host.empty() || !all_of(host, ".-_", true)) {
      return "has no valid host";
    }
    if (colon == std::string_view::npos) return "";
    const std::string_view digits = authority.substr(colon + 1);
    int port = 0;
    const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (fault != std::errc() || end != digits.data() + digits.size() || port < 1 || port > 65535)
      return "has no valid port";
    return "";
  }
  return "begins with neither http:// nor https://";
}

// Where a value stands. It becomes text only when something is wrong there: a snapshot may have
// tens of thousands of keys, and each change validates all of it.
class Path {
 public:
  explicit Path(std::string_view name) : name_(name) {}
  // The path that it is made of outlives it.
  Path operator/(std::string_view name) const { return {this, name, kNoIndex}; }
  Path operator[](size_t index) const { return {this, "", index}; }

  std::string text() const {
    if (parent_ == nullptr) return std::string(name_);
    if (index_ != kNoIndex) return fmt::format("{}[{}]", parent_->text(), index_);
    return fmt::format("{}.{}", parent_->text(), name_);
  }

 private:
  static constexpr size_t kNoIndex = SIZE_MAX;
  Path(const Path* parent, std::string_view name, size_t index)
      : parent_(parent), name_(name), index_(index) {}

  const Path* parent_ = nullptr;
  std::string_view name_;
  size_t index_ = kNoIndex;
};

class Validator {
 public:
  explicit Validator(const Snapshot& snapshot) : snapshot_(snapshot) {}

  Problems run() {
    if (snapshot_.generation < 0) add(Path("generation"), "{} is negative", snapshot_.generation);
    check_ids("tenants", snapshot_.tenants, &tenants_, is_id);
    check_ids("projects", snapshot_.projects, &projects_, is_id);
    check_ids("keys", snapshot_.keys, &keys_, is_id);
    check_ids("pools", snapshot_.pools, &pools_, is_id);
    check_ids("replicas", snapshot_.replicas, &replicas_, is_id);
    check_ids("models", snapshot_.models, &models_, is_model_id);
    hashes_.reserve(snapshot_.keys.size());
    check_all("tenants", snapshot_.tenants);
    check_all("projects", snapshot_.projects);
    check_all("keys", snapshot_.keys);
    check_all("pools", snapshot_.pools);
    check_all("replicas", snapshot_.replicas);
    check_all("models", snapshot_.models);
    check_all("prices", snapshot_.prices);
    check_fallback_cycles();
    return std::move(problems_);
  }

 private:
  using Ids = std::unordered_map<std::string_view, size_t>;

  template <typename... Args>
  void add(const Path& path, fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back({path.text(), fmt::format(format, std::forward<Args>(args)...)});
  }

  template <typename T>
  void check_ids(std::string_view list, const std::vector<T>& objects, Ids* ids,
                 bool (*valid)(std::string_view)) {
    ids->reserve(objects.size());
    for (size_t i = 0; i < objects.size(); ++i) {
      const std::string& id = objects[i].id;
      if (!valid(id)) add(Path(list)[i] / "id", "'{}' is no id: {}", id, kIdRule);
      const auto [first, inserted] = ids->emplace(id, i);
      if (!inserted)
        add(Path(list)[i] / "id", "'{}' is the id of {}[{}] already", id, list, first->second);
    }
  }
  template <typename T>
  void check_all(std::string_view list, const std::vector<T>& objects) {
    const Path path(list);
    for (size_t i = 0; i < objects.size(); ++i) check(path[i], objects[i]);
  }

  void check_reference(const Path& path, std::string_view kind, const Ids& ids,
                       const std::string& id) {
    if (!ids.contains(id)) add(path, "there is no {} '{}'", kind, id);
  }
  void check_not_negative(const Path& path, int64_t value) {
    if (value < 0) add(path, "{} is negative", value);
  }

  void check(const Path& path, const Limits& limits) {
    const auto not_negative = [&](std::string_view name, const std::optional<int64_t>& limit) {
      if (limit) check_not_negative(path / name, *limit);
    };
    not_negative("requests_per_minute", limits.requests_per_minute);
    not_negative("input_tokens_per_minute", limits.input_tokens_per_minute);
    not_negative("output_tokens_per_minute", limits.output_tokens_per_minute);
    not_negative("tokens_per_minute", limits.tokens_per_minute);
    not_negative("concurrent_streams", limits.concurrent_streams);
    not_negative("tokens_per_day", limits.tokens_per_day);
    not_negative("tokens_per_month", limits.tokens_per_month);
    for (const auto& [name, money] : {std::pair("money_per_day", limits.money_per_day),
                                      std::pair("money_per_month", limits.money_per_month)})
      if (money && money->nano < 0) add(path / name, "{} is negative", to_text(*money));
    if (limits.burst_ms < 1 || limits.burst_ms > kBurstMax_ms)
      add(path / "burst_ms", "{} is not within 1 to {} (a day)", limits.burst_ms, kBurstMax_ms);
  }

  void check(const Path& path, const RequestDefaults& defaults) {
    if (!defaults.target) return;
    check_not_negative(path / "target.ttft_ms", defaults.target->ttft.limit_ns);
    check_not_negative(path / "target.tpot_ms", defaults.target->tpot.limit_ns);
    check_not_negative(path / "target.total_ms", defaults.target->total.limit_ns);
  }

  void check(const Path& path, const Tenant& tenant) { check(path / "limits", tenant.limits); }

  void check(const Path& path, const Project& project) {
    check_reference(path / "tenant", "tenant", tenants_, project.tenant);
    check(path / "limits", project.limits);
  }

  void check(const Path& path, const Key& key) {
    check_reference(path / "project", "project", projects_, key.project);
    if (key.hash.size() != kHashDigits ||
        key.hash.find_first_not_of("0123456789abcdef") != std::string::npos)
      add(path / "hash", "is not {} hexadecimal digits in lower case", kHashDigits);
    else if (!hashes_.insert(key.hash).second)
      add(path / "hash", "is that of another key: one secret would be two keys");
    if (!is_id(key.hash_key_id)) add(path / "hash_key_id", "'{}' is no id", key.hash_key_id);
    check_not_negative(path / "created_unix_s", key.created_unix_s);
    check_not_negative(path / "expires_unix_s", key.expires_unix_s);
    if (key.share < 1 || key.share > Key::kShareMax)
      add(path / "share", "{} is not within 1 to {}", key.share, Key::kShareMax);
    for (size_t i = 0; i < key.models.size(); ++i)
      check_reference((path / "models")[i], "model", models_, key.models[i]);
    for (size_t i = 0; i < key.networks.size(); ++i)
      if (!parse_network(key.networks[i]))
        add((path / "networks")[i],
            "'{}' is no network like 10.0.0.0/8 or 2001:db8::/32 without bits behind its prefix",
            key.networks[i]);
    if (key.labels.size() > kLabelsMax)
      add(path / "labels", "{} labels, at most {}", key.labels.size(), kLabelsMax);
    for (const auto& [name, text] : key.labels)
      if (name.empty() || name.size() > kLabelBytesMax || text.size() > kLabelBytesMax)
        add(path / "labels", "a label's name and text have at most {} bytes", kLabelBytesMax);
    check(path / "limits", key.limits);
    check(path / "defaults", key.defaults);
  }

  void check(const Path& path, const Pool& pool) {
    const auto takes = [&](DataClass data) {
      return std::find(pool.data_classes.begin(), pool.data_classes.end(), data) !=
             pool.data_classes.end();
    };
    if (pool.place == Place::kRemote && takes(DataClass::kPrivate))
      add(path / "data_classes", "private data never leaves local pools, this one is remote");
    if (pool.data_classes.empty()) add(path / "data_classes", "is empty: nothing could run there");
    if (!pool.owner.empty() && !is_id(pool.owner))
      add(path / "owner", "'{}' is no id: {}", pool.owner, kIdRule);
    check_not_negative(path / "round_trip_ms", pool.round_trip_ns);
    for (const auto& [name, most] :
         {std::pair("capacity.streams_max", pool.capacity.streams_max),
          std::pair("capacity.tokens_per_minute", pool.capacity.tokens_per_minute)})
      if (most && *most < 1)
        add(path / name, "{} is less than 1; a pool without a bound of its own leaves it out",
            *most);
  }

  void check(const Path& path, const Replica& replica) {
    check_reference(path / "pool", "pool", pools_, replica.pool);
    check_reference(path / "model", "model", models_, replica.model);
    const bool to_come = replica.state == ReplicaState::kPlaced ||
                         replica.state == ReplicaState::kStaging ||
                         replica.state == ReplicaState::kStarting;
    if (const std::string_view fault = url_fault(replica.url);
        !fault.empty() && !(to_come && replica.url.empty()))
      add(path / "url", "'{}' {}", replica.url, fault);
    if (!replica.certificate_file.empty() && !replica.url.starts_with("https://"))
      add(path / "certificate_file", "is given, but the URL is not https");
    check_not_negative(path / "ready_at_unix_ns", replica.ready_at_unix_ns);
    const Speed& speed = replica.speed;
    for (const auto& [name, value] :
         {std::pair("prefill_tokens_per_s", speed.prefill_tokens_per_s),
          std::pair("decode_tokens_per_s", speed.decode_tokens_per_s),
          std::pair("decode_tokens_per_s_max", speed.decode_tokens_per_s_max)})
      if (!std::isfinite(value) || value <= 0)
        add(path / "speed" / name, "{} is not above 0", value);
    if (speed.streams_max < 1)
      add(path / "speed.streams_max", "{} is less than 1", speed.streams_max);
  }

  void check(const Path& path, const Model& model) {
    check_not_negative(path / "context_tokens", model.context_tokens);
    check_not_negative(path / "max_tokens_default", model.max_tokens_default);
    check_not_negative(path / "created_unix_s", model.created_unix_s);
    if (model.context_tokens > 0 && model.max_tokens_default > model.context_tokens)
      add(path / "max_tokens_default", "{} is over the context of {}", model.max_tokens_default,
          model.context_tokens);
    for (size_t i = 0; i < model.fallbacks.size(); ++i)
      check_reference((path / "fallbacks")[i], "model", models_, model.fallbacks[i]);
    check(path / "limits", model.limits);
    check(path / "defaults", model.defaults);
  }

  void check(const Path& path, const Price& price) {
    if (price.version < 1) add(path / "version", "{} is less than 1", price.version);
    if (!price_versions_.insert(price.version).second)
      add(path / "version", "{} is that of another price", price.version);
    if (!price.model.empty()) check_reference(path / "model", "model", models_, price.model);
    if (!price.pool.empty()) check_reference(path / "pool", "pool", pools_, price.pool);
    check_not_negative(path / "valid_from_unix_s", price.valid_from_unix_s);
    if (!price_times_.insert({price.side, price.model, price.pool, price.valid_from_unix_s}).second)
      add(path / "valid_from_unix_s",
          "another price of this side, model and pool is valid from that second");
    for (size_t unit = 0; unit < price.rates.size(); ++unit) {
      const NanoMoney rate = {price.rates[unit].nano_per_million};
      if (rate.nano < 0)
        add(path / kRateNames[unit], "{} is negative", to_text(rate));
      else if (rate > rate_max(static_cast<Unit>(unit)))
        add(path / kRateNames[unit], "{} is more than {}", to_text(rate),
            to_text(rate_max(static_cast<Unit>(unit))));
    }
  }

  // Depth-first over the fallbacks; a model met again while it is still open closes a cycle.
  void check_fallback_cycles() {
    std::vector<Visit> visits(snapshot_.models.size(), Visit::kUnseen);
    for (size_t start = 0; start < visits.size(); ++start) {
      if (visits[start] != Visit::kUnseen) continue;
      std::vector<std::pair<size_t, size_t>> open = {{start, 0}};  // model, its next fallback
      visits[start] = Visit::kOpen;
      while (!open.empty()) {
        auto& [model, next] = open.back();
        const auto& fallbacks = snapshot_.models[model].fallbacks;
        if (next == fallbacks.size()) {
          visits[model] = Visit::kDone;
          open.pop_back();
          continue;
        }
        const size_t at = next++;
        const auto found = models_.find(fallbacks[at]);
        if (found == models_.end()) continue;
        if (visits[found->second] == Visit::kOpen)
          add((Path("models")[model] / "fallbacks")[at], "'{}' leads back to '{}': a cycle",
              fallbacks[at], snapshot_.models[model].id);
        if (visits[found->second] != Visit::kUnseen) continue;
        visits[found->second] = Visit::kOpen;
        open.push_back({found->second, 0});
      }
    }
  }

  static constexpr std::string_view kIdRule =
      "up to 63 of a-z 0-9 . _ -, a letter or digit first (a model: up to 128, also A-Z / : @ +)";
  enum class Visit : uint8_t { kUnseen, kOpen, kDone };

  const Snapshot& snapshot_;
  Problems problems_;
  Ids tenants_, projects_, keys_, pools_, replicas_, models_;
  std::unordered_set<std::string_view> hashes_;
  std::set<int64_t> price_versions_;
  std::set<std::tuple<PriceSide, std::string_view, std::string_view, int64_t>> price_times_;
};

}  // namespace

Problems validate(const Snapshot& snapshot) {
  return Validator(snapshot).run();
}

}  // namespace sluice::contract
