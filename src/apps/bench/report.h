// What `sluice bench report` found, as data: both of its forms are made from it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/bench/roof.h"
#include "apps/bench/server_load.h"
#include "core/cpu.h"
#include "kernels/device.h"

namespace sluice::apps {

struct Spread {
  double median = 0;
  double least = 0;
  double most = 0;
};

struct ReportMachine {
  core::CpuInfo cpu{};
  int threads = 0;
  int64_t memory_bytes = 0;
  std::string system{};  // "Linux 6.1.0"
  std::optional<kernels::DeviceInfo> device{};
  Roofs roofs{};              // host: 0 where no step uses the processor
  std::string limits_from{};  // where those of the host come from
};

struct ReportModel {
  std::string name{};
  std::string architecture{};
  std::string digest{};
  std::string weights{};  // "from FILE" or which random ones
  bool is_synthetic = false;
  int32_t layers = 0;
  int32_t experts = 0;  // of a layer; 0: none
  int32_t experts_used = 0;
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  int64_t weight_bytes = 0;  // as packed
  int64_t kv_token_bytes = 0;
  std::string kernels{};
  std::string placement{};
  double load_s = 0;
};

struct ReportLoad {
  int32_t input_tokens = 0;
  int32_t output_tokens = 0;
  int32_t step_tokens = 0;
  int32_t repeats = 0;
  double temperature = 0;
};

// Bytes of one part that a decode step must read.
struct PartRead {
  std::string part{};
  std::string place{};  // "processor" or "device"
  double bytes = 0;
  double limit_us = 0;  // at the place's limit
};

// Routed experts of the host that a device takes for one step.
inline constexpr std::string_view kPulledExperts = "experts over the link";

// A share of a decode step's time; bytes 0: nothing that counts is read in it.
struct PartTime {
  std::string part{};
  std::string place{};  // whose time; processor and device work at the same time
  double us = 0;
  double bytes = 0;
  double limit_us = 0;
  double roof_share() const { return us > 0 ? limit_us / us : 0; }
};

struct DecodeRow {
  int64_t steps = 0;  // in which every stream decoded
  double step_us = 0;
  double tok_s = 0;           // all streams together, in those steps
  double host_read_gb_s = 0;  // by the processor, around the steps; 0: they read nothing there
  double limit_us = 0;
  double experts_per_step = 0;  // distinct, of a layer; 0: no experts
  double experts_expected = 0;  // if tokens chose independently
  double resident_hits = 0;     // share of the choices whose expert the device had besides
  bool is_hybrid = false;
  double fixed_us_per_layer = 0;  // (step - limit) / layers
  std::vector<PartRead> reads{};
  double profiled_step_us = 0;  // of the pass whose parts `times` are
  std::vector<PartTime> times{};

  double bytes() const;
  double roof_share() const { return limit_us / step_us; }
};

struct ReportRow {
  int32_t streams = 0;
  Spread ttft_cold_ms{};
  Spread ttft_cached_ms{};
  int64_t cached_tokens = 0;  // of a prompt
  Spread tpot_ms{};
  // Of the repetition whose time was the median:
  int64_t generated_tokens = 0;
  double wall_s = 0;
  double output_tok_s = 0;  // generated_tokens / wall_s
  double prefill_s = 0;     // to the last stream's first token
  double prefill_tok_s = 0;
  double prefill_roof_share = 0;
  DecodeRow decode{};
};

struct ReportServer {
  std::string note{};   // why there are no rows, or what they are
  std::string fault{};  // why it could not be measured; empty: it was, or was not to be
  std::string serve_command{};
  std::string bench_command{};
  ServerLoadOptions load{};
  std::vector<ServerRow> rows{};
};

struct Report {
  std::string title{};
  std::string date{};  // UTC
  std::string version{};
  std::string command{};
  ReportMachine machine{};
  ReportModel model{};
  ReportLoad load{};
  std::vector<ReportRow> rows{};
  ReportServer server{};
};

std::string report_json(const Report& report);
std::string report_markdown(const Report& report);

}  // namespace sluice::apps
