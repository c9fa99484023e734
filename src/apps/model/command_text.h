// A command line as a person may paste it.
#pragma once

#include <span>
#include <string>

namespace sluice::apps {

// Words with what a shell would take apart are quoted.
std::string command_text(std::span<const std::string> words);

}  // namespace sluice::apps
