// Where a gateway of this user keeps its data when it is not told.
#pragma once

#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sluice::apps {

// sluice/ in $XDG_DATA_HOME, else in ~/.local/share; "" where the environment names neither.
std::string default_data_folder();

// --data-folder, with that default.
CLI::Option* add_data_folder_option(CLI::App& app, std::string* folder, const std::string& help);

}  // namespace sluice::apps
