#include "apps/terminal/conversation.h"

#include <unistd.h>

namespace sluice::apps {

bool is_interactive() {
  return isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
}

void forget_interrupts(net::EventLoop& loop) {
  net::Timer turn(loop);
  turn.start(0, [&] { turn.start(0, [&] { loop.stop(); }); });
  loop.run();
}

}  // namespace sluice::apps
