// sluice keys: the calls of the admin API about keys.
#include <cstdio>
#include <fstream>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "apps/gateway/admin_client.h"
#include "apps/model/model_options.h"
#include "apps/process/data_folder.h"
#include "apps/verbs.h"

namespace sluice::apps {
namespace {

using nlohmann::json;

struct Options {
  std::string data_folder;
  std::string url;
  std::string key_file;
  std::string output = "text";
  std::string id;
  std::string project;
  std::string expires_in;
  std::vector<std::string> models;
  std::vector<std::string> networks;
  std::vector<std::string> labels;  // name=text
  bool admin = false;
};

core::Result<AdminClient> connect(const Options& options) {
  AdminAccess access;
  if (options.url.empty() || options.key_file.empty())
    access = TRY(read_admin_access(options.data_folder));
  if (!options.url.empty()) access.url = options.url;
  if (!options.key_file.empty()) {
    std::ifstream file(options.key_file);
    if (!(file >> access.key)) return core::invalid("{}: holds no key", options.key_file);
  }
  return AdminClient::make(std::move(access));
}

// "90d", "12h" from now; an Error for anything else.
core::Result<int64_t> expiry_unix_s(const std::string& text) {
  char unit = 0;
  long long count = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%lld%c%c", &count, &unit, &rest) != 2 || count <= 0 ||
      count > 100'000 || (unit != 'd' && unit != 'h'))
    return core::invalid("--expires-in {}: must be days or hours, like 90d or 12h", text);
  return std::time(nullptr) + count * (unit == 'd' ? 86'400 : 3'600);
}

void print_key(const json& key) {
  const std::string state = key.value("revoked", false) ? "revoked"
                            : key.value("admin", false) ? "admin"
                                                        : "";
  fmt::print("{:<24} {:<20} …{:<5} {:<8} {}\n", key.value("id", ""), key.value("project", ""),
             key.value("hint", ""), state, key.value("labels", json::object()).dump());
}

void print_secret(const Options& options, const json& answer) {
  if (options.output == "json") {
    fmt::print("{}\n", answer.dump(2));
    return;
  }
  fmt::print("{}\n", answer.value("secret", ""));
  fmt::print(stderr, "key {}: the secret above is shown this once\n",
             answer["key"].value("id", ""));
}

core::Result<void> create(const Options& options) {
  json body = {{"project", options.project}, {"admin", options.admin}};
  if (!options.id.empty()) body["id"] = options.id;
  if (!options.models.empty()) body["models"] = options.models;
  if (!options.networks.empty()) body["networks"] = options.networks;
  if (!options.expires_in.empty()) body["expires_unix_s"] = TRY(expiry_unix_s(options.expires_in));
  for (const std::string& label : options.labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos) return core::invalid("--label {}: must be name=text", label);
    body["labels"][label.substr(0, equals)] = label.substr(equals + 1);
  }
  AdminClient client = TRY(connect(options));
  print_secret(options, TRY(client.call(net::Method::kPost, "keys", body)));
  return {};
}

core::Result<void> list(const Options& options) {
  AdminClient client = TRY(connect(options));
  json keys = json::array();
  std::string cursor;
  do {
    const json page = TRY(client.get("keys?limit=1000&cursor=" + cursor));
    for (const json& key : page["data"]) keys.push_back(key);
    cursor = page["next_cursor"].is_string() ? page["next_cursor"].get<std::string>() : "";
  } while (!cursor.empty());
  if (options.output == "json") {
    fmt::print("{}\n", keys.dump(2));
    return {};
  }
  for (const json& key : keys) print_key(key);
  return {};
}

core::Result<void> show(const Options& options) {
  AdminClient client = TRY(connect(options));
  fmt::print("{}\n", TRY(client.get("keys/" + options.id)).dump(2));
  return {};
}

core::Result<void> rotate(const Options& options) {
  AdminClient client = TRY(connect(options));
  print_secret(options,
               TRY(client.call(net::Method::kPost, "keys/" + options.id + "/rotate", nullptr)));
  return {};
}

core::Result<void> revoke(const Options& options) {
  AdminClient client = TRY(connect(options));
  const json key = TRY(client.call(net::Method::kPost, "keys/" + options.id + "/revoke", nullptr));
  if (options.output == "json")
    fmt::print("{}\n", key.dump(2));
  else
    fmt::print("key {} is revoked; its running streams have ended\n", options.id);
  return {};
}

struct Command {
  const char* name;
  const char* help;
  core::Result<void> (*run)(const Options& options);
};
constexpr Command kCommands[] = {
    {"create", "a new key; its secret is printed once", create},
    {"list", "all keys, without their secrets", list},
    {"show", "one key as JSON", show},
    {"rotate", "a new secret; the old one ends at once", rotate},
    {"revoke", "end a key and its running streams", revoke},
};

void add_options(CLI::App* command, std::string_view name, Options* options) {
  add_output_option(*command, &options->output);
  if (name == "list") return;
  if (name != "create") {
    command->add_option("ID", options->id, "of the key: key_…")->required();
    return;
  }
  command->add_option("--project", options->project, "whose key it is")->required();
  command->add_option("--id", options->id, "default: one that is new");
  command->add_option("--model", options->models, "it may use; several times; default: every one");
  command->add_option("--network", options->networks,
                      "it may come from, like 10.0.0.0/8; several times; default: everywhere");
  command->add_option("--label", options->labels, "name=text, several times");
  command->add_option("--expires-in", options->expires_in, "90d or 12h; default: never");
  command->add_flag("--admin", options->admin, "it may call the admin API");
}

}  // namespace

int run_keys(int argc, char** argv) {
  Options options;
  CLI::App app{"API keys of a running gateway.", "sluice keys"};
  add_data_folder_option(app, &options.data_folder,
                         "of the gateway: its admin.json says where it listens, with which key");
  app.add_option("--url", options.url, "of the admin listener, like http://127.0.0.1:8081");
  app.add_option("--key-file", options.key_file, "a file with an admin key's secret");
  app.require_subcommand(1);
  app.fallthrough();
  for (const Command& command : kCommands)
    add_options(app.add_subcommand(command.name, command.help), command.name, &options);
  app.footer("Example: sluice keys create --project default --label team=web --expires-in 90d");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  for (const Command& command : kCommands) {
    if (!app.got_subcommand(command.name)) continue;
    const auto done = command.run(options);
    return done.ok() ? 0 : report("keys", done.error());
  }
  return 2;
}

}  // namespace sluice::apps
