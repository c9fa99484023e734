#include "apps/process/data_folder.h"

#include <cstdlib>
#include <filesystem>

#include <CLI/CLI.hpp>

namespace sluice::apps {

std::string default_data_folder() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const auto data = variable("XDG_DATA_HOME"); !data.empty()) return data / "sluice";
  if (const auto home = variable("HOME"); !home.empty()) return home / ".local/share/sluice";
  return "";
}

CLI::Option* add_data_folder_option(CLI::App& app, std::string* folder, const std::string& help) {
  *folder = default_data_folder();
  auto* option = app.add_option("--data-folder", *folder, help)->capture_default_str();
  if (folder->empty()) option->required();
  return option;
}

}  // namespace sluice::apps
