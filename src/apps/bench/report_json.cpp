#include <nlohmann/json.hpp>

#include "apps/bench/report.h"

namespace sluice::apps {
namespace {

using nlohmann::ordered_json;

ordered_json json_of(const Spread& spread) {
  return {{"median", spread.median}, {"least", spread.least}, {"most", spread.most}};
}

ordered_json json_of(const ReportMachine& machine) {
  ordered_json json = {{"cpu", machine.cpu.model},
                       {"cores", machine.cpu.cores},
                       {"threads", machine.threads},
                       {"features", core::features_text(machine.cpu)},
                       {"memory_bytes", machine.memory_bytes},
                       {"system", machine.system},
                       {"limits_from", machine.limits_from},
                       {"read_gb_s", machine.roofs.host.read_gb_s},
                       {"int8_tops", machine.roofs.host.int8_tops},
                       {"bf16_tflops", machine.roofs.host.bf16_tflops},
                       {"f32_tflops", machine.roofs.host.f32_tflops},
                       {"device", nullptr}};
  if (machine.device)
    json["device"] = {{"name", machine.device->name},
                      {"backend", machine.device->backend},
                      {"memory_bytes", machine.device->memory_bytes},
                      {"free_bytes", machine.device->free_bytes},
                      {"read_gb_s", machine.roofs.device.read_gb_s},
                      {"bf16_tflops", machine.roofs.device.bf16_tflops},
                      {"link_gb_s", machine.roofs.link_gb_s}};
  return json;
}

ordered_json json_of(const ReportModel& model) {
  return {{"name", model.name},
          {"architecture", model.architecture},
          {"weights", model.weights},
          {"synthetic", model.is_synthetic},
          {"digest", model.digest},
          {"layers", model.layers},
          {"experts", model.experts},
          {"experts_used", model.experts_used},
          {"parameters", model.parameters},
          {"file_bytes", model.file_bytes},
          {"weight_bytes", model.weight_bytes},
          {"kv_bytes_per_token", model.kv_token_bytes},
          {"kernels", model.kernels},
          {"placement", model.placement},
          {"load_s", model.load_s}};
}

ordered_json json_of(const DecodeRow& decode) {
  ordered_json reads = ordered_json::array();
  for (const PartRead& read : decode.reads)
    reads.push_back({{"part", read.part},
                     {"place", read.place},
                     {"bytes", read.bytes},
                     {"limit_us", read.limit_us}});
  ordered_json times = ordered_json::array();
  for (const PartTime& time : decode.times) {
    times.push_back({{"part", time.part}, {"place", time.place}, {"us", time.us}});
    if (time.bytes == 0) continue;
    times.back()["bytes"] = time.bytes;
    times.back()["limit_us"] = time.limit_us;
    times.back()["roof_share"] = time.roof_share();
  }
  ordered_json json = {{"steps", decode.steps},
                       {"step_us", decode.step_us},
                       {"tok_s", decode.tok_s},
                       {"bytes_per_step", decode.bytes()},
                       {"host_read_gb_s", nullptr},
                       {"limit_us", decode.limit_us},
                       {"roof_share", decode.roof_share()},
                       {"experts_per_step", nullptr},
                       {"experts_expected", nullptr},
                       {"resident_hits", nullptr},
                       {"fixed_us_per_layer", decode.fixed_us_per_layer},
                       {"reads", reads},
                       {"profiled_step_us", decode.profiled_step_us},
                       {"times", times}};
  if (decode.host_read_gb_s > 0) json["host_read_gb_s"] = decode.host_read_gb_s;
  if (decode.experts_per_step > 0) {
    json["experts_per_step"] = decode.experts_per_step;
    json["experts_expected"] = decode.experts_expected;
  }
  if (decode.is_hybrid) json["resident_hits"] = decode.resident_hits;
  return json;
}

ordered_json json_of(const ReportRow& row) {
  return {{"n_streams", row.streams},
          {"ttft_cold_ms", json_of(row.ttft_cold_ms)},
          {"ttft_cached_ms", json_of(row.ttft_cached_ms)},
          {"cached_tokens", row.cached_tokens},
          {"tpot_ms", json_of(row.tpot_ms)},
          {"generated_tokens", row.generated_tokens},
          {"wall_s", row.wall_s},
          {"output_tok_s", row.output_tok_s},
          {"prefill_s", row.prefill_s},
          {"prefill_tok_s", row.prefill_tok_s},
          {"prefill_roof_share", row.prefill_roof_share},
          {"decode", json_of(row.decode)}};
}

}  // namespace

std::string report_json(const Report& report) {
  ordered_json rows = ordered_json::array();
  for (const ReportRow& row : report.rows) rows.push_back(json_of(row));
  ordered_json server_rows = ordered_json::array();
  for (const ServerRow& row : report.server.rows)
    server_rows.push_back(to_json(row, report.server.load));
  const ordered_json json = {{"title", report.title},
                             {"date", report.date},
                             {"version", report.version},
                             {"command", report.command},
                             {"machine", json_of(report.machine)},
                             {"model", json_of(report.model)},
                             {"load",
                              {{"input_tokens", report.load.input_tokens},
                               {"output_tokens", report.load.output_tokens},
                               {"step_tokens", report.load.step_tokens},
                               {"repeats", report.load.repeats},
                               {"temperature", report.load.temperature}}},
                             {"rows", rows},
                             {"http",
                              {{"note", report.server.note},
                               {"serve_command", report.server.serve_command},
                               {"bench_command", report.server.bench_command},
                               {"rows", server_rows}}}};
  return json.dump(1);
}

}  // namespace sluice::apps
