#include "apps/model/token_ids.h"

#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>

#include <nlohmann/json.hpp>

namespace sluice::apps {

core::Result<std::vector<int32_t>> read_token_ids(const std::string& path) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file)
      return core::Error{core::ErrorCode::kNotFound, fmt::format("'{}': cannot open", path)};
  }
  std::istream& in = path == "-" ? std::cin : file;
  const std::string text(std::istreambuf_iterator<char>(in), {});
  auto parsed = nlohmann::json::parse(text, nullptr, false);
  if (parsed.is_object() && parsed.contains("ids")) {
    nlohmann::json inner = std::move(parsed["ids"]);
    parsed = std::move(inner);
  }
  if (!parsed.is_array() || parsed.empty())
    return core::invalid("'{}': expected a JSON array of token ids with at least one", path);
  std::vector<int32_t> ids;
  for (const nlohmann::json& item : parsed) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 ||
        item.get<int64_t>() > std::numeric_limits<int32_t>::max())
      return core::invalid("'{}': item {} is {}, expected a token id", path, ids.size(),
                           item.dump());
    ids.push_back(item.get<int32_t>());
  }
  return ids;
}

core::Result<void> check_token_ids(const std::vector<int32_t>& ids, int32_t vocab) {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] >= vocab)
      return core::invalid("id {} at place {}: the model's ids are 0 to {}", ids[i], i, vocab - 1);
  return {};
}

}  // namespace sluice::apps
