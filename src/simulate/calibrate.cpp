#include "simulate/calibrate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace sluice::simulate {
namespace {

using core::invalid;
using core::Result;
using nlohmann::json;

constexpr size_t kTerms = 3;  // of a decode step: 1, streams, tokens in KV
using Terms = std::array<double, kTerms>;

struct Row {
  double prompt = 0.0;
  double generated = 0.0;
  double depth = 0.0;
  double streams = 0.0;
  double batch = 0.0;
  double tokens_per_s = 0.0;
  std::string engine;  // what must be the same in all
};

struct DecodeStep {
  Terms terms = {};
  double ns = 0.0;
};

Result<Row> read_row(const json& value) {
  Row row;
  try {
    row.prompt = value.at("n_prompt").get<double>();
    row.generated = value.at("n_gen").get<double>();
    row.depth = value.at("n_depth").get<double>();
    row.streams = value.at("n_streams").get<double>();
    row.batch = value.at("n_batch").get<double>();
    row.tokens_per_s = value.at("avg_ts").get<double>();
    row.engine = value.at("model_digest").get<std::string>() + " with " +
                 value.at("kernels").get<std::string>() + " on " + value.at("n_threads").dump() +
                 " threads";
  } catch (const json::exception& error) {
    return invalid("no row of `sluice bench -o json`: {}", error.what());
  }
  if (!(row.tokens_per_s > 0.0) || row.streams < 1.0 || row.batch < 1.0)
    return invalid("a row with {} tokens/s, {} streams, {} tokens a step", row.tokens_per_s,
                   row.streams, row.batch);
  return row;
}

Result<std::vector<Row>> read_rows(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<Row> rows;
  while ((stream >> std::ws).peek() != std::char_traits<char>::eof()) {
    json run;
    try {
      stream >> run;
    } catch (const json::exception& error) {
      return invalid("no JSON: {}", error.what());
    }
    if (!run.is_array()) return invalid("not the array that `sluice bench -o json` prints");
    for (const json& value : run) rows.push_back(TRY(read_row(value)));
    if (!rows.empty() && rows.back().engine != rows.front().engine)
      return invalid("rows of two engines: {}, and {}", rows.front().engine, rows.back().engine);
  }
  return rows;
}

// Gauss with pivots on the diagonal; nullopt: the terms that `used` names cannot be told apart.
std::optional<Terms> solve(std::array<Terms, kTerms> a, Terms b,
                           const std::array<bool, kTerms>& used) {
  for (size_t i = 0; i < kTerms; ++i) {
    if (!used[i]) continue;
    if (!(a[i][i] > 1e-9)) return std::nullopt;
    for (size_t j = 0; j < kTerms; ++j) {
      if (j == i || !used[j]) continue;
      const double factor = a[j][i] / a[i][i];
      for (size_t k = 0; k < kTerms; ++k) a[j][k] -= factor * a[i][k];
      b[j] -= factor * b[i];
    }
  }
  Terms x = {};
  for (size_t i = 0; i < kTerms; ++i)
    if (used[i]) x[i] = b[i] / a[i][i];
  return x;
}

struct Fit {
  Terms x = {};
  double error = 0.0;  // the sum of squares
};

// Each term in units of its largest value, each row in units of what it took.
std::optional<Fit> fit(const std::vector<DecodeStep>& steps, const std::array<bool, kTerms>& used) {
  Terms largest = {1.0, 1.0, 1.0};
  for (const DecodeStep& step : steps)
    for (size_t i = 0; i < kTerms; ++i) largest[i] = std::max(largest[i], step.terms[i]);
  std::array<Terms, kTerms> a = {};
  Terms b = {};
  for (const DecodeStep& step : steps)
    for (size_t i = 0; i < kTerms; ++i) {
      const double share = step.terms[i] / largest[i] / step.ns;
      b[i] += share;
      for (size_t j = 0; j < kTerms; ++j) a[i][j] += share * step.terms[j] / largest[j] / step.ns;
    }
  double scale = 0.0;
  for (size_t i = 0; i < kTerms; ++i) scale = std::max(scale, a[i][i]);
  for (size_t i = 0; i < kTerms; ++i) {
    b[i] /= scale;
    for (double& value : a[i]) value /= scale;
  }
  std::optional<Terms> x = solve(a, b, used);
  if (!x || *std::ranges::min_element(*x) < 0.0) return std::nullopt;
  Fit found;
  for (size_t i = 0; i < kTerms; ++i) found.x[i] = (*x)[i] / largest[i];
  for (const DecodeStep& step : steps) {
    double ns = 0.0;
    for (size_t i = 0; i < kTerms; ++i) ns += found.x[i] * step.terms[i];
    found.error += std::pow(ns / step.ns - 1.0, 2);
  }
  return found;
}

// Of more terms only where they explain more.
Terms best_fit(const std::vector<DecodeStep>& steps) {
  constexpr double kBetter = 1e-6;
  std::optional<Fit> best;
  for (const auto& used : {std::array{true, false, false}, std::array{true, true, false},
                           std::array{true, false, true}, std::array{true, true, true}}) {
    const std::optional<Fit> found = fit(steps, used);
    if (found && (!best || found->error < best->error - kBetter)) best = found;
  }
  return best ? best->x : Terms{};
}

}  // namespace

Result<void> calibrate(std::string_view bench_json, EngineModel* model) {
  const std::vector<Row> rows = TRY(read_rows(bench_json));
  std::vector<DecodeStep> steps;
  for (const Row& row : rows)
    if (row.generated > 0.0)
      steps.push_back(
          {{1.0, row.streams, row.streams * (row.depth + row.prompt + 0.5 * row.generated)},
           1e9 * row.streams / row.tokens_per_s});
  if (steps.empty()) return invalid("no row of a decode: run `sluice bench` with -n");
  const Terms step = best_fit(steps);
  double prompt_token_ns = 0.0;
  double prefills = 0.0;
  for (const Row& row : rows) {
    if (row.generated > 0.0 || row.prompt <= 0.0) continue;
    const double token_ns = 1e9 / row.tokens_per_s;
    const double of_step_ns = step[0] / std::min(row.batch, row.prompt);
    prompt_token_ns += token_ns > of_step_ns ? token_ns - of_step_ns : token_ns;
    prefills += 1.0;
  }
  if (prefills == 0.0) return invalid("no row of a prefill: run `sluice bench` with -p");
  model->step_ns = step[0];
  model->step_stream_ns = step[1];
  model->step_context_ns = step[2];
  model->prompt_token_ns = prompt_token_ns / prefills;
  return {};
}

}  // namespace sluice::simulate
