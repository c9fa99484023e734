// sluice bench: picks what to measure.
#include <string_view>

#include "apps/bench/kinds.h"
#include "apps/verbs.h"

namespace sluice::apps {

int run_bench(int argc, char** argv) {
  const std::string_view kind = argc > 1 ? argv[1] : "";
  if (kind == "op") return run_bench_op(argc - 1, argv + 1);
  if (kind == "serve") return run_bench_serve(argc - 1, argv + 1);
  if (kind == "report") return run_bench_report(argc - 1, argv + 1);
  return run_bench_model(argc, argv);
}

}  // namespace sluice::apps
