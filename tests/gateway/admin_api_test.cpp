// The admin API over HTTP, as its clients see it.
#include "gateway/admin/admin_api.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/rng.h"
#include "memory_records.h"
#include "net/blocking_client.h"
#include "net/sse.h"

namespace sluice::gateway {
namespace {

using net::Method;
using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class MemoryUsage final : public UsageSource {
 public:
  int64_t catch_up() override { return behind; }
  core::Result<std::vector<UsageRow>> usage(const UsageQuery& query) override {
    last_query = query;
    UsageRow row{.group = {}, .requests = 3, .amount = {1'500'000'000}, .cost = {}};
    for (size_t i = 0; i < query.group_by.size(); ++i) row.group.push_back("g");
    return std::vector{row};
  }
  core::Result<std::vector<Balance>> balances(const std::string& tenant) override {
    return std::vector<Balance>{{tenant.empty() ? "acme" : tenant, {2'000'000'000}, {5}}};
  }
  core::Result<std::vector<contract::ChangeRecord>> changes(int64_t, int64_t) override {
    return core::invalid("the store is away");
  }
  core::Result<std::vector<contract::BalanceChange>> balance_changes(
      const std::vector<std::string>& ids) override {
    if (away) return core::invalid("the store is away");
    std::vector<contract::BalanceChange> found;
    for (const contract::BalanceChange& change : earlier_changes)
      if (std::find(ids.begin(), ids.end(), change.id) != ids.end()) found.push_back(change);
    return found;
  }
  UsageQuery last_query;
  std::atomic<int64_t> behind = 0;
  std::vector<contract::BalanceChange> earlier_changes;
  std::atomic<bool> away = false;
};

struct Answer {
  int status = 0;
  json body;
  std::string etag;
};

class AdminApiTest : public testing::Test {
 protected:
  AdminApiTest() {
    std::filesystem::remove_all(path_);
    keeper_ = std::make_unique<SnapshotKeeper>(KeeperOptions{.clock = clock_,
                                                             .log = log_,
                                                             .records = records_,
                                                             .path = path_,
                                                             .hash_key_ids = {"h"}},
                                               SnapshotFile{});
    KeyHasher hasher(kHashKeys);
    admin_secret_ = make_first_admin_key(*keeper_, clock_, hasher, random_).value();
    api_ = std::make_unique<AdminApi>(AdminOptions{
        .loop = loop_,
        .keeper = *keeper_,
        .records = records_,
        .clock = clock_,
        .log = log_,
        .hash_keys = kHashKeys,
        .random = random_,
        .usage = usage_,
        .metrics_text = [] { return std::string("up 1\n"); },
        .on_balance_change = [this](const auto& change) { balance_changes_.push_back(change); }});
    server_ = std::make_unique<net::HttpServer>(net::ServerOptions{
        .loop = loop_,
        .handler = [this](const auto& request,
                          auto responder) { api_->handle(request, std::move(responder)); },
        .refusal = admin_refusal});
    port_ = server_->listen("127.0.0.1", 0).value();
    thread_ = std::thread([this] { loop_.run(); });
    client_ = new_client();
  }
  ~AdminApiTest() override {
    loop_.stop();
    thread_.join();
  }

  std::unique_ptr<net::BlockingClient> new_client() {
    return std::make_unique<net::BlockingClient>(net::Endpoint{"127.0.0.1", port_});
  }

  Answer call(Method method, const std::string& path, const json& body = nullptr,
              const std::string& if_match = "") {
    return call_as(admin_secret_, method, path, body, if_match);
  }
  Answer call_as(const std::string& secret, Method method, const std::string& path,
                 const json& body = nullptr, const std::string& if_match = "") {
    const std::string authorization = "Bearer " + secret;
    std::vector<net::Header> headers = {{"Authorization", authorization}};
    if (!if_match.empty()) headers.push_back({"If-Match", if_match});
    const std::string text = body.is_null() ? "" : body.dump();
    const std::string target = "/admin/v1/" + path;
    const auto response =
        client_->request({.method = method, .target = target, .headers = headers, .body = text});
    if (!response.ok()) return {0, response.error().message, ""};
    Answer answer{response->status, json::parse(response->body, nullptr, false), ""};
    for (const auto& header : response->headers)
      if (net::equal_ignoring_case(header.name, "etag")) answer.etag = header.value;
    return answer;
  }
  // On the loop's thread, done when it returns.
  void on_loop(std::function<void()> task) {
    std::promise<void> done;
    loop_.post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }
  json make_key(json fields = json::object()) {
    fields["project"] = "admin";
    return call(Method::kPost, "keys", fields).body;
  }

  const std::vector<HashKey> kHashKeys = {{"h", std::string(32, 'h')}};
  const std::string path_ = testing::TempDir() + "/admin_api_snapshot.json";
  core::Rng rng_{11};
  std::function<void(std::span<uint8_t>)> random_ = [this](std::span<uint8_t> out) {
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(rng_.bits());
  };
  core::ManualClock clock_;
  core::Logger log_{core::LogLevel::kError};
  MemoryRecords records_;
  std::shared_ptr<MemoryUsage> usage_ = std::make_shared<MemoryUsage>();
  std::vector<contract::BalanceChange> balance_changes_;
  std::string admin_secret_;
  net::EventLoop loop_;
  std::unique_ptr<SnapshotKeeper> keeper_;
  std::unique_ptr<AdminApi> api_;
  std::unique_ptr<net::HttpServer> server_;
  uint16_t port_ = 0;
  std::thread thread_;
  std::unique_ptr<net::BlockingClient> client_;
};

TEST_F(AdminApiTest, ObjectsAreMadeReadChangedAndDeletedInEveryCollection) {
  const std::vector<std::pair<std::string, json>> objects = {
      {"tenants", {{"id", "acme"}}},
      {"projects", {{"id", "web"}, {"tenant", "acme"}}},
      {"pools", {{"id", "here"}}},
      {"models", {{"id", "Org/m"}}},
      {"replicas", {{"id", "r"}, {"pool", "here"}, {"model", "Org/m"}, {"url", "http://a"}}},
      {"prices", {{"version", 4}, {"input_per_million", "1"}}}};
  for (const auto& [collection, object] : objects) {
    const Answer made = call(Method::kPost, collection, object);
    ASSERT_EQ(made.status, 201) << collection << made.body;
    EXPECT_EQ(call(Method::kPost, collection, object).status, 409) << "it exists";
  }
  for (auto it = objects.rbegin(); it != objects.rend(); ++it) {
    const auto& [collection, object] = *it;
    std::string id = collection == "prices" ? "4" : object["id"].get<std::string>();
    if (id == "Org/m") id = "Org%2Fm";
    const std::string path = collection + "/" + id;
    const Answer read = call(Method::kGet, path);
    EXPECT_EQ(read.status, 200);
    EXPECT_EQ(read.etag, "\"" + read.body["etag"].get<std::string>() + "\"");
    if (collection == "tenants") {
      EXPECT_EQ(call(Method::kPatch, path, {{"name", "x"}}, "\"0000\"").status, 409);
      EXPECT_EQ(call(Method::kPatch, path, {{"name", "x"}, {"etag", "0000"}}).status, 409);
      const Answer changed = call(Method::kPatch, path, {{"name", "x"}}, read.etag);
      EXPECT_EQ(changed.status, 200) << changed.body;
      EXPECT_EQ(changed.body["name"], "x");
      EXPECT_EQ(call(Method::kPatch, path, {{"id", "other"}}).status, 400);
      EXPECT_EQ(call(Method::kPatch, path, {{"nmae", "x"}}).status, 400);
    }
    EXPECT_EQ(call(Method::kDelete, path).status, 204) << path;
    EXPECT_EQ(call(Method::kGet, path).status, 404);
  }
}

TEST_F(AdminApiTest, WhatIsReferredToIsNotDeleted) {
  call(Method::kPost, "tenants", {{"id", "acme"}});
  call(Method::kPost, "projects", {{"id", "web"}, {"tenant", "acme"}});
  const Answer refused = call(Method::kDelete, "tenants/acme");
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body["error"]["message"], HasSubstr("there is no tenant 'acme'"));
}

TEST_F(AdminApiTest, ASecretIsShownOnceAndOnlyItsHashIsKept) {
  const json made = make_key({{"labels", {{"team", "red"}}}});
  const std::string secret = made["secret"];
  EXPECT_TRUE(has_valid_check(secret));
  const std::string id = made["key"]["id"];
  KeyHasher hasher(kHashKeys);
  EXPECT_EQ(keeper_->directory()->find_key(secret, hasher)->key->id, id);
  EXPECT_EQ(made["key"]["hint"], secret.substr(secret.size() - 4));
  const json read = call(Method::kGet, "keys/" + id).body;
  EXPECT_EQ(read.dump().find(secret), std::string::npos);
  std::ifstream file(path_);
  const std::string on_disk(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(on_disk.find(secret), std::string::npos);
  for (const char* own : {"hash", "revoked", "hint"})
    EXPECT_EQ(call(Method::kPatch, "keys/" + id, {{own, "x"}}).status, 400) << own;
  EXPECT_EQ(call(Method::kDelete, "keys/" + id).status, 405) << "usage names it for ever";
}

TEST_F(AdminApiTest, RotationAndRevocationHoldWhenTheAnswerIsThere) {
  const json made = make_key();
  const std::string id = made["key"]["id"];
  KeyHasher hasher(kHashKeys);
  const json rotated = call(Method::kPost, "keys/" + id + "/rotate").body;
  EXPECT_EQ(keeper_->directory()->find_key(made["secret"].get<std::string>(), hasher), nullptr);
  const std::string secret = rotated["secret"];
  ASSERT_NE(keeper_->directory()->find_key(secret, hasher), nullptr);
  EXPECT_EQ(call(Method::kPost, "keys/" + id + "/revoke").body["revoked"], true);
  EXPECT_TRUE(keeper_->directory()->find_key(secret, hasher)->key->revoked);
  EXPECT_EQ(call(Method::kPost, "keys/" + id + "/rotate").status, 409);
  EXPECT_EQ(call(Method::kPost, "keys/nobody/revoke").status, 404);
  std::vector<std::string> actions;
  for (const auto& change : records_.changes) actions.push_back(change.action);
  EXPECT_THAT(actions,
              ElementsAre("tenants.create", "projects.create", "keys.create",  // of the first key
                          "keys.create", "keys.rotate", "keys.revoke"));
}

TEST_F(AdminApiTest, OnlyAnAdministratorsKeyMayCallAndAKeySeesItsOwnTenant) {
  EXPECT_EQ(call_as("sk-sluice-nonsense", Method::kGet, "keys").status, 401);
  EXPECT_EQ(call_as("", Method::kGet, "keys").status, 401);
  const std::string plain = make_key()["secret"];
  EXPECT_EQ(call_as(plain, Method::kGet, "keys").status, 403);
  EXPECT_EQ(call_as(plain, Method::kPost, "tenants", {{"id", "x"}}).status, 403);
  call(Method::kPost, "tenants", {{"id", "other"}});
  EXPECT_EQ(call_as(plain, Method::kGet, "usage").status, 200);
  EXPECT_EQ(usage_->last_query.tenant, "admin") << "its own, whatever it asks for";
  EXPECT_EQ(call_as(plain, Method::kGet, "usage?tenant=other").status, 403);
  EXPECT_EQ(call_as(plain, Method::kGet, "balances/admin").status, 200);
  EXPECT_EQ(call_as(plain, Method::kGet, "balances/other").status, 403);
  EXPECT_EQ(call_as(plain, Method::kPost, "balances/admin/top-ups", {{"id", "t"}, {"amount", "1"}})
                .status,
            403);
  const json admin = make_key({{"admin", true}, {"expires_unix_s", 1}});
  EXPECT_EQ(call_as(admin["secret"], Method::kGet, "keys").status, 401) << "expired";
  const json elsewhere = make_key({{"admin", true}, {"networks", {"10.0.0.0/8"}}});
  EXPECT_EQ(call_as(elsewhere["secret"], Method::kGet, "keys").status, 401) << "from 127.0.0.1";
}

TEST_F(AdminApiTest, PagesFollowACursorWhateverComesAndGoes) {
  for (const char* id : {"d", "b", "a", "c", "e"}) call(Method::kPost, "tenants", {{"id", id}});
  std::vector<std::string> ids;
  std::string cursor;
  do {
    const json page = call(Method::kGet, "tenants?limit=2&cursor=" + cursor).body;
    for (const auto& tenant : page["data"]) ids.push_back(tenant["id"]);
    if (ids.size() == 2) call(Method::kDelete, "tenants/" + ids.back());  // the cursor's own place
    cursor = page["next_cursor"].is_null() ? "" : page["next_cursor"].get<std::string>();
  } while (!cursor.empty());
  EXPECT_THAT(ids, ElementsAre("a", "admin", "b", "c", "d", "e"));
  EXPECT_EQ(call(Method::kGet, "tenants?limit=0").status, 400);
  EXPECT_EQ(call(Method::kGet, "tenants?limit=x").status, 400);
}

TEST_F(AdminApiTest, ALongPollAnswersOnAChangeOfItsCollection) {
  const json before = call(Method::kGet, "pools").body;
  const std::string path = "/admin/v1/pools?wait_s=60&after=" + before["generation"].dump();
  const std::string authorization = "Bearer " + admin_secret_;
  const net::Header headers[] = {{"Authorization", authorization}};
  auto waiting = std::async(std::launch::async, [&] {
    return new_client()->request({.target = path, .headers = headers})->body;
  });
  call(Method::kPost, "tenants", {{"id", "acme"}});  // another collection
  call(Method::kPost, "pools", {{"id", "here"}});
  const json after = json::parse(waiting.get());
  EXPECT_EQ(after["data"][0]["id"], "here");
}

TEST_F(AdminApiTest, ChangesCanBeReadAndStreamed) {
  call(Method::kPost, "tenants", {{"id", "acme"}});
  const std::string authorization = "Bearer " + admin_secret_;
  const net::Header headers[] = {{"Authorization", authorization}, {"Accept", "text/event-stream"}};
  std::promise<void> first, second;
  auto streaming = std::async(std::launch::async, [&] {
    std::vector<std::string> objects;
    net::SseParser parser;
    const auto client = new_client();
    (void)client->request({.target = "/admin/v1/changes?after=3", .headers = headers},
                          [&](const auto&, std::string_view bytes) {
                            (void)parser.feed(bytes, [&](const net::SseEvent& event) {
                              objects.push_back(json::parse(event.data)["object"]);
                              if (objects.size() == 1) first.set_value();
                              if (objects.size() == 2) client->cancel();
                            });
                          });
    return objects;
  });
  first.get_future().wait();
  call(Method::kPost, "pools", {{"id", "here"}});
  EXPECT_THAT(streaming.get(), ElementsAre("tenant/acme", "pool/here"));

  const json page = call(Method::kGet, "changes?limit=1&after=3").body;
  EXPECT_EQ(page["data"].size(), 1u);
  EXPECT_EQ(page["data"][0]["action"], "tenants.create");
  const json rest = call(Method::kGet, "changes?after=" + page["next_after"].dump()).body;
  EXPECT_EQ(rest["data"][0]["object"], "pool/here");
}

TEST_F(AdminApiTest, TheWholeSnapshotIsReplacedAgainstItsGeneration) {
  const Answer read = call(Method::kGet, "snapshot");
  json whole = read.body;
  whole["tenants"].push_back({{"id", "acme"}});
  EXPECT_EQ(call(Method::kPut, "snapshot", whole).status, 428);
  EXPECT_EQ(call(Method::kPut, "snapshot", whole, "\"999\"").status, 409);
  EXPECT_EQ(call(Method::kPut, "snapshot", whole, read.etag).status, 200);
  EXPECT_EQ(call(Method::kGet, "tenants/acme").status, 200);
  whole["pools"] = {{{"id", "p"}, {"place", "remote"}, {"data_classes", {"private"}}}};
  const Answer wrong = call(Method::kPut, "snapshot", whole, "*");
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.body["error"]["problems"][0]["path"], "pools[0].data_classes");
}

TEST_F(AdminApiTest, WhatIsInUseStays) {
  call(Method::kPost, "tenants", {{"id", "acme"}});
  call(Method::kPost, "projects", {{"id", "web"}, {"tenant", "acme"}});
  const Answer refused = call(Method::kDelete, "tenants/acme");
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body["error"]["message"].get<std::string>(),
              HasSubstr("tenant 'acme' is in use: projects["));
  EXPECT_EQ(call(Method::kDelete, "projects/web").status, 204);
  EXPECT_EQ(call(Method::kDelete, "tenants/acme").status, 204);
}

TEST_F(AdminApiTest, ATopUpHappensOnceForItsId) {
  call(Method::kPost, "tenants", {{"id", "acme"}});
  const json change = {{"id", "t-1"}, {"amount", "12.50"}, {"reason", "invoice 7"}};
  EXPECT_EQ(call(Method::kPost, "balances/acme/top-ups", change).status, 201);
  EXPECT_EQ(call(Method::kPost, "balances/acme/top-ups", change).status, 200);
  ASSERT_EQ(records_.balances.size(), 1u);
  EXPECT_EQ(records_.balances[0].amount.nano, 12'500'000'000);
  on_loop([&] { EXPECT_EQ(balance_changes_.size(), 1u); });
  json other = change;
  other["amount"] = "13";
  EXPECT_EQ(call(Method::kPost, "balances/acme/top-ups", other).status, 409);
  for (const json& reason : {json(std::string(2000, 'y')), json("a\nb")}) {
    const json wrong = {{"id", "t-2"}, {"amount", "1"}, {"reason", reason}};
    const Answer refused = call(Method::kPost, "balances/acme/top-ups", wrong);
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(refused.body["error"]["message"], "reason: must be one line of at most 1024 bytes");
  }
  for (const char* amount : {"-1", "0", "1.0000000001", "x", "100000001"})
    EXPECT_EQ(
        call(Method::kPost, "balances/acme/top-ups", {{"id", "t-2"}, {"amount", amount}}).status,
        400);
  EXPECT_EQ(
      call(Method::kPost, "balances/acme/adjustments", {{"id", "a"}, {"amount", "-1"}}).status,
      201);
  EXPECT_EQ(call(Method::kPost, "balances/nobody/top-ups", change).status, 404);
  EXPECT_EQ(call(Method::kGet, "balances/acme").body["available"], "2");
}

TEST_F(AdminApiTest, ATopUpOfAnEarlierLifeIsKnownByItsId) {
  call(Method::kPost, "tenants", {{"id", "acme"}});
  contract::BalanceChange& made = usage_->earlier_changes.emplace_back();
  made.id = "t-1";
  made.tenant = "acme";
  made.amount = {12'500'000'000};
  const json change = {{"id", "t-1"}, {"amount", "12.50"}};
  EXPECT_EQ(call(Method::kPost, "balances/acme/top-ups", change).status, 200);
  EXPECT_EQ(call(Method::kPost, "balances/acme/adjustments", change).status, 409);
  // What cannot be looked up may have been made: it waits until it can.
  usage_->away = true;
  const json unknown = {{"id", "t-2"}, {"amount", "1"}};
  EXPECT_EQ(call(Method::kPost, "balances/acme/top-ups", unknown).status, 503);
  EXPECT_TRUE(records_.balances.empty());
  on_loop([&] { EXPECT_TRUE(balance_changes_.empty()); });
  usage_->away = false;
  EXPECT_EQ(call(Method::kPost, "balances/acme/top-ups", unknown).status, 201);
  const json two_lines = {{"id", "t\n3"}, {"amount", "1"}};
  EXPECT_EQ(call(Method::kPost, "balances/acme/top-ups", two_lines).status, 400);
  EXPECT_EQ(records_.balances.size(), 1u);
}

TEST_F(AdminApiTest, UsageIsGroupedAndAStoreThatIsAwayIsSaid) {
  const Answer usage = call(Method::kGet, "usage?group_by=key,day&from=86400&model=m");
  EXPECT_EQ(usage.body["data"][0]["key"], "g");
  EXPECT_EQ(usage.body["data"][0]["amount"], "1.5");
  EXPECT_EQ(usage_->last_query.from_unix_s, 86400);
  EXPECT_EQ(call(Method::kGet, "usage?group_by=color").status, 400);
  for (const char* path : {"usage", "balances", "balances/admin"}) {
    usage_->behind = 0;
    EXPECT_EQ(call(Method::kGet, path).body["records_behind"], 0) << path;
    usage_->behind = 7;
    EXPECT_EQ(call(Method::kGet, path).body["records_behind"], 7) << path;
  }
  const Answer away = call(Method::kGet, "changes?after=0");
  EXPECT_EQ(away.status, 200) << "generation 0 is where this process began";
}

TEST_F(AdminApiTest, AFullJournalRefusesAndChangesNothing) {
  on_loop([&] { records_.full = true; });
  EXPECT_EQ(call(Method::kPost, "tenants", {{"id", "acme"}}).status, 503);
  EXPECT_EQ(call(Method::kGet, "tenants/acme").status, 404);
  on_loop([&] { records_.full = false; });
}

TEST_F(AdminApiTest, AnswersOpenPagesAndRefusesTheRest) {
  const auto plain = [&](std::string_view target) { return *client_->request({.target = target}); };
  EXPECT_EQ(plain("/healthz").status, 200);
  EXPECT_EQ(plain("/metrics").body, "up 1\n");
  EXPECT_EQ(json::parse(plain("/admin/v1/openapi.json").body)["openapi"], "3.1.0");
  EXPECT_EQ(plain("/admin/v1/keys").status, 401);
  EXPECT_EQ(call(Method::kGet, "nothing").status, 404);
  EXPECT_EQ(call(Method::kGet, "keys/a/b").status, 404);
  EXPECT_EQ(call(Method::kGet, "keys/%zz").status, 400);
  EXPECT_EQ(call(Method::kPut, "keys").status, 405);
  for (const json& body : {json("text"), json(nullptr), json::array()})
    EXPECT_EQ(call(Method::kPost, "tenants", body).status, 400);
}

}  // namespace
}  // namespace sluice::gateway
