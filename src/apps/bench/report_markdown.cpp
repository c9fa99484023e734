#include <fmt/core.h>

#include "apps/bench/report.h"

namespace sluice::apps {
namespace {

constexpr double kMega = 1e6;
constexpr double kGiga = 1e9;

double giga(int64_t bytes) {
  return static_cast<double>(bytes) / kGiga;
}

std::string text_of(const Spread& spread) {
  return fmt::format("{:.1f} ({:.1f}–{:.1f})", spread.median, spread.least, spread.most);
}

std::string machine_text(const ReportMachine& machine) {
  std::string text =
      fmt::format("## Machine\n\n{}, {} cores, {} threads in use ({}), {:.1f} GB of memory, {}.\n",
                  machine.cpu.model, machine.cpu.cores, machine.threads,
                  core::features_text(machine.cpu), giga(machine.memory_bytes), machine.system);
  if (machine.device)
    text += fmt::format("{} ({}), {:.1f} GB, {:.1f} GB of it free at the start.\n",
                        machine.device->name, machine.device->backend,
                        giga(machine.device->memory_bytes), giga(machine.device->free_bytes));
  text +=
      "\n| limit | read, GB/s | int8, TOPS | bf16, TFLOPS | link, GB/s | from |\n"
      "|---|---|---|---|---|---|\n";
  if (machine.roofs.host.read_gb_s > 0)
    text += fmt::format("| processor | {:.1f} | {:.2f} | {:.2f} | | {} |\n",
                        machine.roofs.host.read_gb_s, machine.roofs.host.int8_tops,
                        machine.roofs.host.bf16_tflops, machine.limits_from);
  if (machine.device)
    text += fmt::format("| device | {:.0f} | | {:.0f} | {:.1f} | measured for this report |\n",
                        machine.roofs.device.read_gb_s, machine.roofs.device.bf16_tflops,
                        machine.roofs.link_gb_s);
  return text;
}

std::string model_text(const ReportModel& model) {
  std::string text = fmt::format(
      "\n## Model\n\n{} ({}), {} layers, {:.2f} billion parameters, {:.2f} GB, weights {}, digest "
      "`{}`.\n",
      model.name, model.architecture, model.layers, static_cast<double>(model.parameters) / kGiga,
      giga(model.file_bytes), model.weights, model.digest);
  if (model.experts > 0)
    text += fmt::format("{} of {} experts a token and layer.\n", model.experts_used, model.experts);
  text +=
      fmt::format("Kernels {}, packed to {:.2f} GB, {} bytes of KV a token, loaded in {:.1f} s.\n",
                  model.kernels, giga(model.weight_bytes), model.kv_token_bytes, model.load_s);
  return text + fmt::format("\nPlacement: {}.\n", model.placement);
}

std::string speed_text(const Report& report) {
  std::string text = fmt::format(
      "\n## Speed in the engine\n\n{} tokens in, {} out, random ids that differ by stream, all "
      "streams at once, sampled at temperature {}, steps of at most {} tokens, no drafts; median "
      "(least–most) of {} repetitions. Cached: the same prompts again.\n\n"
      "| streams | TTFT cold, ms | TTFT cached, ms | cached tokens | TPOT, ms | out tok/s with "
      "prefill | prefill tok/s | share of the roof | decode tok/s | share of the roof |\n"
      "|---|---|---|---|---|---|---|---|---|---|\n",
      report.load.input_tokens, report.load.output_tokens, report.load.temperature,
      report.load.step_tokens, report.load.repeats);
  for (const ReportRow& row : report.rows)
    text +=
        fmt::format("| {} | {} | {} | {} | {} | {:.1f} | {:.1f} | {:.1f} % | {:.1f} | {:.1f} % |\n",
                    row.streams, text_of(row.ttft_cold_ms), text_of(row.ttft_cached_ms),
                    row.cached_tokens, text_of(row.tpot_ms), row.output_tok_s, row.prefill_tok_s,
                    100 * row.prefill_roof_share, row.decode.tok_s, 100 * row.decode.roof_share());
  return text;
}

std::string step_text(const Report& report) {
  const bool has_experts = report.model.experts > 0;
  std::string text = fmt::format(
      "\n## A decode step\n\nFixed cost a layer: (step − at the limit) ÷ {} layers. The "
      "processor's limit is the mean of what its memory gave before, between and after the "
      "runs.\n\n"
      "| streams | step, µs | bytes to read, MB | the processor's limit, GB/s | at the limit, µs | "
      "fixed cost a layer, µs |{}\n"
      "|---|---|---|---|---|---|{}\n",
      report.model.layers, has_experts ? " distinct experts a layer (independent tokens) |" : "",
      has_experts ? "---|" : "");
  for (const ReportRow& row : report.rows) {
    const DecodeRow& decode = row.decode;
    text +=
        fmt::format("| {} | {:.1f} | {:.1f} | {} | {:.1f} | {:.1f} |", row.streams, decode.step_us,
                    decode.bytes() / kMega,
                    decode.host_read_gb_s > 0 ? fmt::format("{:.1f}", decode.host_read_gb_s) : "",
                    decode.limit_us, decode.fixed_us_per_layer);
    if (has_experts)
      text += fmt::format(" {:.1f} ({:.1f}) |", decode.experts_per_step, decode.experts_expected);
    text += "\n";
  }
  text +=
      "\nWhat it must read, by part of the model:\n\n| streams | part | where | MB | at the limit, "
      "µs |\n|---|---|---|---|---|\n";
  for (const ReportRow& row : report.rows)
    for (const PartRead& read : row.decode.reads)
      text += fmt::format("| {} | {} | {} | {:.1f} | {:.1f} |\n", row.streams, read.part,
                          read.place, read.bytes / kMega, read.limit_us);
  text +=
      "\nWhere its time goes (a run more, with clocks; the processor's: mean over threads). A "
      "device's "
      "parts and what the engine does add up to the step; the processor's are beside them where "
      "both "
      "work.\n\n";
  for (const ReportRow& row : report.rows)
    text += fmt::format("- streams {}: {:.1f} µs a step with clocks, {:.1f} without\n", row.streams,
                        row.decode.profiled_step_us, row.decode.step_us);
  text +=
      "\n| streams | part | where | µs | of the step | MB | share of the roof |\n"
      "|---|---|---|---|---|---|---|\n";
  for (const ReportRow& row : report.rows)
    for (const PartTime& time : row.decode.times) {
      text += fmt::format("| {} | {} | {} | {:.1f} | {:.1f} % |", row.streams, time.part,
                          time.place, time.us, 100 * time.us / row.decode.profiled_step_us);
      text += time.bytes > 0 ? fmt::format(" {:.1f} | {:.1f} % |\n", time.bytes / kMega,
                                           100 * time.roof_share())
                             : " | |\n";
    }
  return text;
}

std::string server_text(const ReportServer& server) {
  std::string text = fmt::format("\n## Through the HTTP server\n\n{}\n", server.note);
  if (server.rows.empty()) return text;
  text +=
      "\n| streams | requests | failed | input (mean) | output | out tok/s | TTFT p50, ms | p99 | "
      "TPOT p50, ms | p99 |\n|---|---|---|---|---|---|---|---|---|---|\n";
  for (const ServerRow& row : server.rows)
    text += fmt::format(
        "| {} | {} | {} | {:.0f} | {} | {:.1f} | {:.1f} | {:.1f} | {:.2f} | {:.2f} |\n",
        row.concurrency, row.requests, row.failed, row.prompt_tokens, server.load.max_tokens,
        row.output_tok_s, row.ttft_p50_ms, row.ttft_p99_ms, row.tpot_p50_ms, row.tpot_p99_ms);
  for (const ServerRow& row : server.rows)
    if (row.failed > 0)
      text +=
          fmt::format("\nFirst failure with {} streams: {}\n", row.concurrency, row.first_failure);
  return text;
}

std::string commands_text(const Report& report) {
  std::string text = fmt::format("\n## Commands\n\n```\n{}\n", report.command);
  if (!report.server.rows.empty())
    text += fmt::format("{}\n{}\n", report.server.serve_command, report.server.bench_command);
  return text + "```\n";
}

}  // namespace

double DecodeRow::bytes() const {
  double sum = 0;
  for (const PartRead& read : reads) sum += read.bytes;
  return sum;
}

std::string report_markdown(const Report& report) {
  return fmt::format("# {}\n\n{} UTC, sluice {}.\n\n", report.title, report.date, report.version) +
         machine_text(report.machine) + model_text(report.model) + speed_text(report) +
         step_text(report) + server_text(report.server) + commands_text(report);
}

}  // namespace sluice::apps
