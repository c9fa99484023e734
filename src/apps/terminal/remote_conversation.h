// A conversation with a server that speaks OpenAI's chat completions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/generation_fields.h"
#include "apps/terminal/conversation.h"

namespace sluice::apps {

struct RemoteOptions {
  std::string url;    // "http://127.0.0.1:8000": /v1 is added where there is no path
  std::string key;    // sent as a bearer token; "": none
  std::string model;  // "": the first that the server lists
  std::string system;
  api::GenerationFields fields;
};

// An Error where the URL is none, or nobody answers there.
core::Result<std::unique_ptr<Conversation>> connect(RemoteOptions options);

}  // namespace sluice::apps
