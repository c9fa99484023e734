// The arms: each decides for one request at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "simulate/world.h"

namespace sluice::simulate {

struct Choice {
  enum class Kind : uint8_t { kSend, kWait, kRefuse } kind = Kind::kSend;
  int32_t replica = -1;
  int64_t again_ns = 0;  // kWait: then; kRefuse: retry after
};

class Chooser {
 public:
  virtual ~Chooser() = default;
  virtual Choice choose(int64_t request) = 0;
  // What became of it; `busy` replaces `ended` where the engine said 429.
  virtual void first_token(int64_t /*request*/) {}
  virtual void ended(int64_t /*request*/) {}
  virtual void busy(int64_t /*request*/) {}
  virtual void each_second() {}
  virtual double q() const { return 0.0; }
};

std::unique_ptr<Chooser> make_chooser(Arm arm, World* world);

}  // namespace sluice::simulate
