// Passes of a tiny model's draft layer beside the processor's exact ones.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "model/model.h"

namespace sluice::model::testing {

enum class EverySecond : uint8_t { kGuesses, kIsForKeys };
struct DraftCase {
  std::shared_ptr<kernels::Device> device{};
  std::vector<std::shared_ptr<kernels::Device>> other_cards{};  // with that one
  std::string place{};
  std::string folder = "hf-deepseek-fp8";  // as DraftFolder's
  // Those behind every second step may be for keys alone; the others' logits are compared with what
  // they are on the processor where all guess.
  EverySecond every_second = EverySecond::kGuesses;
};
// DraftFolder's model in steps and passes of few rows and of many: the largest root mean square
// error of the logits of a step or pass, as a share of their range.
double worst_draft_error(const DraftCase& test);

}  // namespace sluice::model::testing
