// The secrets that a gateway's configuration names, and the ones that it keeps itself.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "gateway/admin/config.h"
#include "gateway/directory/key_hash.h"

namespace sluice::apps {

using Secrets = std::map<std::string, std::string, std::less<>>;

// Reads each from its file (without white space at the end) or variable. What is missing or empty
// is a problem with the line of its entry.
Secrets read_secrets(const gateway::GatewayConfig& config,
                     std::vector<gateway::ConfigProblem>* problems);

// Of the configuration; else one that is made at the first start and kept in the data folder.
core::Result<std::vector<gateway::HashKey>> hash_keys_of(const gateway::GatewayConfig& config,
                                                         const Secrets& secrets);

// From the kernel; ASSERTs that it gives them.
void fill_with_random_bytes(std::span<uint8_t> out);

}  // namespace sluice::apps
