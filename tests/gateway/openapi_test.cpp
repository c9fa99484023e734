// docs/admin-openapi.json against the routes and against what the writers write.
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "contract/snapshot_json.h"
#include "gateway/admin/admin_api.h"

namespace sluice::gateway {
namespace {

using nlohmann::json;

const json& document() {
  static const json parsed = json::parse(admin_openapi());
  return parsed;
}

TEST(OpenApi, DescribesEveryRouteAndNoOther) {
  std::set<std::string> described, routed;
  for (const auto& [path, operations] : document()["paths"].items())
    for (const auto& [method, operation] : operations.items()) described.insert(method + path);
  for (const AdminRoute& route : AdminApi::routes()) {
    std::string method(net::method_text(route.method));
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    routed.insert(method + "/admin/v1/" + std::string(route.path));
  }
  EXPECT_THAT(described, testing::ContainerEq(routed));
}

// Every member, optional ones too.
std::set<std::string> members_of(std::string_view text) {
  std::set<std::string> names;
  const json object = json::parse(text);
  for (const auto& [name, value] : object.items()) names.insert(name);
  return names;
}

TEST(OpenApi, SchemasNameTheMembersThatAreWritten) {
  const auto described = [](const char* schema) {
    std::set<std::string> names;
    for (const auto& [name, value] :
         document()["components"]["schemas"][schema]["properties"].items())
      if (name != "etag") names.insert(name);
    return names;
  };
  EXPECT_EQ(described("Tenant"), members_of(to_json(contract::Tenant{})));
  EXPECT_EQ(described("Project"), members_of(to_json(contract::Project{})));
  EXPECT_EQ(described("Key"), members_of(to_json(contract::Key{})));
  EXPECT_EQ(described("Pool"), members_of(to_json(contract::Pool{})));
  EXPECT_EQ(described("Replica"), members_of(to_json(contract::Replica{})));
  EXPECT_EQ(described("Model"), members_of(to_json(contract::Model{})));
  EXPECT_EQ(described("Price"), members_of(to_json(contract::Price{})));
  EXPECT_EQ(described("Snapshot"), members_of(to_json(contract::Snapshot{})));
}

TEST(OpenApi, EveryReferenceLeadsSomewhere) {
  const std::function<void(const json&)> visit = [&](const json& value) {
    if (value.is_object() && value.contains("$ref")) {
      const std::string place = value["$ref"].get<std::string>().substr(1);
      EXPECT_TRUE(document().contains(json::json_pointer(place))) << place;
    }
    if (value.is_structured())
      for (const json& item : value) visit(item);
  };
  visit(document());
}

}  // namespace
}  // namespace sluice::gateway
