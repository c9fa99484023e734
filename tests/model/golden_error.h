// Tiny random models of tests/data/models against their logits by numpy.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace sluice::model::testing {

inline constexpr const char* kModelFolder = SLUICE_TESTS_DIR "/data/models/";

struct GoldenCase {
  std::string name{};     // NAME.json, and NAME.gguf or the folder NAME
  std::string kernels{};  // empty: exact
  int32_t chunk = 7;
  std::shared_ptr<kernels::Device> device{};  // runs the steps, where it is not null
  std::vector<std::shared_ptr<kernels::Device>> other_cards{};  // with that one
  std::string place{};                                          // of the weights, with a device
  bool is_deterministic = false;                                // with a device
};

// Those that a device runs whole: of every architecture.
std::vector<std::string> device_models();

// Those whose heads, columns and blocks can be split over as many cards.
struct CardsOfModel {
  std::string name;
  int32_t cards = 2;
};
std::vector<CardsOfModel> models_of_cards();
// Of these, those with experts.
std::vector<CardsOfModel> expert_models_of_cards();

// A prompt, then a few tokens after it, with somebody who looks at each layer: then the cards'
// residual streams are compared, and other bits on one of them end the process.
void look_at_streams(const GoldenCase& test);

// NAME as a test's name may be.
std::string test_name(std::string model);

// The largest error of any logit at the golden positions, as a share of their range.
double worst_golden_error(const GoldenCase& test);

}  // namespace sluice::model::testing
