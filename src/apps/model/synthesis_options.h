// What random models are made of: options of the verbs that make one.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.h"
#include "quantize/synthesize.h"
#include "quantize/synthesize_folder.h"

namespace CLI {
class App;
}

namespace sluice::apps {

struct WeightTypeOptions {
  std::string rest = "Q8_0", experts, output_matrix;
  double router_skew = 0;
  uint64_t seed = 1;
};

// --type, --experts, --output-matrix, --router-skew, --seed.
void add_weight_type_options(CLI::App& app, WeightTypeOptions* options);

// Whether a folder is meant: a type is of folders alone. A name that files have too, as it is
// spelled there, is a file's.
bool means_folder(const WeightTypeOptions& options);

// Of a folder; an Error names the types that there are.
core::Result<quantize::FolderSynthesis> folder_synthesis(const WeightTypeOptions& options);

// Of a GGUF model; an Error names the types that there are.
core::Result<quantize::SynthesisOptions> synthesis_options(const WeightTypeOptions& options);

}  // namespace sluice::apps
