// Foreign bytes as a gateway's configuration file: problems say something and stand in the file;
// what has none becomes a snapshot that keeps its text.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "contract/snapshot_json.h"
#include "core/assert.h"
#include "gateway/admin/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = std::count(text.begin(), text.end(), '\n') + 1;
  const gateway::ParsedConfig parsed = gateway::parse_config(text);
  for (const gateway::ConfigProblem& problem : parsed.problems) {
    ASSERT(!problem.message.empty(), "a problem says nothing");
    ASSERT(problem.line >= 0 && problem.line <= lines, "line {} of {}", problem.line, lines);
  }
  if (!parsed.problems.empty()) return 0;
  std::map<std::string, std::string, std::less<>> secrets;
  for (const auto& [name, source] : parsed.config.secrets) secrets[name] = "secret of " + name;
  gateway::KeyHasher hasher({{"h", std::string(32, 'h')}});
  const contract::Snapshot snapshot = gateway::snapshot_of(parsed.config, secrets, hasher);
  const std::string written = contract::to_json(snapshot);
  const auto document = contract::parse_json_value(written);
  ASSERT(document.ok(), "{}", written);
  contract::Snapshot back;
  contract::Problems problems;
  contract::read_into(*document, "", &back, &problems);
  ASSERT(problems.empty() && back == snapshot, "not the same: {}", written);
  return 0;
}
