// What a simulation showed: figures of each (case, arm), and the same over time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "simulate/run.h"
#include "simulate/scenario.h"

namespace sluice::simulate {

struct Distribution {
  double mean = 0.0;
  double p50 = 0.0;
  double p99 = 0.0;
};
Distribution distribution_of(std::vector<double> values);

struct Figures {
  std::string case_name;
  Arm arm = Arm::kValve;
  int64_t requests = 0;
  int64_t refused = 0;
  double met_share = 0.0;     // of all requests, the refused included
  double remote_share = 0.0;  // of those answered
  Distribution ttft_s;
  Distribution tpot_s;
  Distribution total_s;
  double waited_mean_s = 0.0;
  double cost = 0.0;  // in units of the currency, owed for the requests counted
  int64_t preemptions = 0;
  int64_t limited = 0;
  double q_last = 0.0;

  struct Bucket {
    double from_s = 0.0;
    int64_t requests = 0;
    double met_share = 0.0;
    double remote_share = 0.0;
    double total_mean_s = 0.0;
    double ttft_mean_s = 0.0;
    double cost = 0.0;
  };
  std::vector<Bucket> buckets;  // by arrival
};

// Every case and arm of the scenario.
core::Result<std::vector<Figures>> simulate(const Scenario& scenario);
Figures figures_of(const Scenario& scenario, const Case& which, Arm arm, const RunResult& result);

std::string to_table(const Scenario& scenario, const std::vector<Figures>& figures);
std::string to_json(const Scenario& scenario, const std::vector<Figures>& figures);
std::string to_csv(const std::vector<Figures>& figures);  // a line for each case, arm and bucket
std::string to_svg(const Scenario& scenario, const std::vector<Figures>& figures);

}  // namespace sluice::simulate
