// sluice bench op: one kernel at one shape, its time beside the machine's limits and its error
// against the reference table.
#include <algorithm>
#include <cmath>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/bench/kinds.h"
#include "apps/bench/op_case.h"
#include "apps/bench/roof.h"
#include "apps/model/model_options.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "kernels/registry.h"

namespace sluice::apps {
namespace {

struct Options {
  std::string name;
  std::string type = "Q4_1";
  std::string kernels;
  std::string output = "text";
  OpShape shape;
  int threads = 0;
  int64_t cold_mb = 0;
  int32_t milliseconds = 500;
  bool list = false;
};

struct Times {
  double best_s = 0;
  double median_s = 0;
  size_t runs = 0;
};

// Runs for about `milliseconds`, at least five times after one to warm up.
Times measure(const OpCase& op, core::ThreadPool& pool, int32_t milliseconds) {
  const core::SystemClock clock;
  op.run(pool);
  std::vector<double> seconds;
  const int64_t end_ns = clock.now_ns() + int64_t{milliseconds} * 1'000'000;
  while (seconds.size() < 5 || clock.now_ns() < end_ns) {
    const int64_t start_ns = clock.now_ns();
    op.run(pool);
    seconds.push_back(static_cast<double>(clock.now_ns() - start_ns) * 1e-9);
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2], seconds.size()};
}

// Root of the mean square of the difference over that of the reference's values.
double error_against(const std::vector<float>& values, const std::vector<float>& reference) {
  double differences = 0, squares = 1e-60;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double difference = double{values[i]} - double{reference[i]};
    differences += difference * difference;
    squares += double{reference[i]} * double{reference[i]};
  }
  return std::sqrt(differences / squares);
}

std::vector<std::string> op_names() {
  std::vector<std::string> names;
  for (const OpMaker& maker : op_makers()) names.emplace_back(maker.name);
  return names;
}

std::vector<std::string> type_names() {
  std::vector<std::string> names;
  for (int t = 0; t < core::kDTypeCount; ++t)
    names.emplace_back(core::info(static_cast<core::DType>(t)).name);
  return names;
}

const OpMaker& maker_of(const std::string& name) {
  for (const OpMaker& maker : op_makers())
    if (name == maker.name) return maker;
  ASSERT(false, "op '{}' passed the check of the command line", name);
}

struct Report {
  std::string name, shape, table;
  int threads = 0;
  Times times;
  double gb_s = 0, roof_gb_s = 0;
  double tera_ops = 0, roof_tera_ops = 0;
  double error = -1;  // below 0: not measured

  double share() const {
    const double by_bytes = roof_gb_s > 0 ? gb_s / roof_gb_s : 0;
    return std::max(by_bytes, roof_tera_ops > 0 ? tera_ops / roof_tera_ops : 0);
  }
};

core::Result<Report> bench(const Options& options) {
  const core::CpuInfo cpu = core::detect_cpu();
  const kernels::Ops* ops = TRY(kernels::select_ops(cpu, options.kernels));
  const OpMaker& maker = maker_of(options.name);
  OpShape shape = options.shape;
  shape.type = *core::dtype_from_name(options.type);
  const int32_t block = core::info(shape.type).block_values;
  const int32_t divisor = ops->activation_form(shape.type) != kernels::ActivationForm::kF32
                              ? std::max(block, 32)
                              : block;
  if (shape.inputs % divisor != 0)
    return core::invalid("{} inputs are no whole blocks of {} ({} values)", shape.inputs,
                         options.type, divisor);
  if (shape.heads % shape.kv_heads != 0)
    return core::invalid("{} heads do not share {} kv heads", shape.heads, shape.kv_heads);
  core::ThreadPool pool(options.threads > 0 ? options.threads : cpu.cores);
  const kernels::Roof roof = machine_roof(pool, ops->name, RoofSource::kCache);

  Report report;
  report.name = options.name;
  report.table = ops->name;
  report.threads = pool.threads();
  shape.cold_bytes = options.cold_mb << 20;
  const OpCase op = maker.make(*ops, pool, shape);
  report.shape = op.shape;
  report.times = measure(op, pool, options.milliseconds);
  report.gb_s = op.bytes / report.times.median_s * 1e-9;
  report.roof_gb_s = roof.read_gb_s;
  report.tera_ops = op.operations / report.times.median_s * 1e-12;
  if (op.unit == OpUnit::kInt8) report.roof_tera_ops = roof.int8_tops;
  if (op.unit == OpUnit::kBf16) report.roof_tera_ops = roof.bf16_tflops;
  if (op.unit == OpUnit::kFloat) report.roof_tera_ops = roof.f32_tflops;
  if (op.result) {
    shape.cold_bytes = 0;
    const OpCase reference = maker.make(kernels::reference_ops(), pool, shape);
    reference.run(pool);
    report.error = error_against(op.result(), reference.result());
  }
  return report;
}

void print_text(const Report& r) {
  fmt::print("{} {} · kernels {} · {} threads\n", r.name, r.shape, r.table, r.threads);
  fmt::print("  time    {:.2f} µs median, {:.2f} µs best of {}\n", r.times.median_s * 1e6,
             r.times.best_s * 1e6, r.times.runs);
  fmt::print("  memory  {:.2f} GB/s, roof {:.2f}\n", r.gb_s, r.roof_gb_s);
  if (r.tera_ops > 0)
    fmt::print("  arith.  {:.3f} TOPS, roof {:.3f}\n", r.tera_ops, r.roof_tera_ops);
  fmt::print("  share   {:.0f} % of the nearer roof\n", 100 * r.share());
  if (r.error >= 0) fmt::print("  error   {:.2e} against ref\n", r.error);
}

void print_json(const Report& r) {
  nlohmann::ordered_json row = {{"op", r.name},
                                {"shape", r.shape},
                                {"kernels", r.table},
                                {"cpu_info", core::detect_cpu().model},
                                {"n_threads", r.threads},
                                {"median_us", r.times.median_s * 1e6},
                                {"best_us", r.times.best_s * 1e6},
                                {"runs", r.times.runs},
                                {"read_gb_s", r.gb_s},
                                {"roof_gb_s", r.roof_gb_s},
                                {"tops", r.tera_ops},
                                {"roof_tops", r.roof_tera_ops},
                                {"roof_share", r.share()}};
  if (r.error >= 0) row["error"] = r.error;
  fmt::print("{}\n", nlohmann::ordered_json::array({row}).dump(1));
}

void add_options(CLI::App& app, Options* options) {
  OpShape& shape = options->shape;
  app.add_option("NAME", options->name, "the op; see --list")->check(CLI::IsMember(op_names()));
  app.add_flag("--list", options->list, "name the ops and the kernel tables of this machine");
  app.add_option("--type", options->type, "element type of weights")
      ->capture_default_str()
      ->check(CLI::IsMember(type_names()));
  app.add_option("--rows", shape.rows, "rows of the step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--outputs", shape.outputs, "rows of the weights, or logits")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--inputs", shape.inputs, "columns of the weights")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 17));
  app.add_option("--heads", shape.heads, "of queries")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 12));
  app.add_option("--kv-heads", shape.kv_heads, "of keys and values")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 12));
  app.add_option("--head-dim", shape.head_dim, "values of a head")
      ->capture_default_str()
      ->check(CLI::IsMember({8, 16, 32, 64, 80, 96, 128, 256}));
  app.add_option("--depth", shape.depth, "positions before the rows")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--cold-mb", options->cold_mb,
                 "cycle through copies of weights or KV of this size, so that caches do not hold "
                 "them; 0: no copies")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 16));
  app.add_option("--ms", options->milliseconds, "how long to measure")
      ->capture_default_str()
      ->check(CLI::Range(1, 600000));
  app.add_option("-t,--threads", options->threads, "threads; every core if not given")
      ->check(CLI::Range(1, 1024));
  app.add_option("--kernels", options->kernels, "kernel table by name");
  add_output_option(app, &options->output);
  app.footer("Example: sluice bench op linear --type Q8_0 --rows 1 --outputs 49152 --inputs 576");
}

void print_list() {
  for (const OpMaker& maker : op_makers()) fmt::print("{:<22}{}\n", maker.name, maker.help);
  const core::CpuInfo cpu = core::detect_cpu();
  for (const kernels::Ops* ops : kernels::all_ops())
    fmt::print("--kernels {:<12}{}\n", ops->name,
               ops->needs(cpu) ? "runs here" : "needs what this processor lacks");
}

}  // namespace

int run_bench_op(int argc, char** argv) {
  Options options;
  CLI::App app{"Time of one kernel at one shape beside this machine's limits, and its error.",
               "sluice bench op"};
  add_options(app, &options);
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  if (options.list || options.name.empty()) {
    print_list();
    return options.list ? 0 : 2;
  }
  const core::Result<Report> done = bench(options);
  if (!done.ok()) return report("bench op", done.error());
  if (options.output == "json")
    print_json(*done);
  else
    print_text(*done);
  return 0;
}

}  // namespace sluice::apps
