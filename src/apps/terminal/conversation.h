// Somebody to talk to in the terminal: an engine in this process, or a server.
#pragma once

#include <string>

#include "core/result.h"
#include "net/event_loop.h"

namespace sluice::apps {

class Conversation {
 public:
  virtual ~Conversation() = default;

  virtual void clear() = 0;  // forgets what was said
  virtual void set_system(std::string text) = 0;
  // Prints the answer as it comes. An Error leaves the conversation as it was.
  virtual core::Result<void> ask(const std::string& question) = 0;
};

// A terminal at both ends: Ctrl-C stops an answer there, elsewhere it ends the program.
bool is_interactive();

// A Ctrl-C that came after the last answer is not about the next one. The loop reads signals in one
// turn and tells of them in the following one.
void forget_interrupts(net::EventLoop& loop);

}  // namespace sluice::apps
