// sluice quantize IN OUT --type TYPE: the same model in other element types.
#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/model/byte_size.h"
#include "apps/model/model_options.h"
#include "apps/model/tokenizer_files.h"
#include "apps/model/tokenizer_metadata.h"
#include "apps/terminal/progress.h"
#include "apps/verbs.h"
#include "core/cpu.h"
#include "formats/byte_source.h"
#include "model/model.h"
#include "quantize/checksum.h"
#include "quantize/convert.h"
#include "quantize/convert_folder.h"
#include "quantize/encode.h"

namespace sluice::apps {
namespace {

using quantize::ConvertedTensor;
using quantize::Module;

struct ModuleOption {
  Module module;
  const char* option;
};
constexpr ModuleOption kModuleOptions[] = {
    {Module::kEmbedding, "--embedding"},          {Module::kOutput, "--output-matrix"},
    {Module::kAttention, "--attention"},          {Module::kFfn, "--ffn"},
    {Module::kSharedExperts, "--shared-experts"}, {Module::kExperts, "--experts"},
};

struct Options {
  std::string in, out;
  std::string type;
  std::array<std::string, quantize::kModuleCount> modules;
  int threads = 0;
  bool plan_only = false;
  bool verify = false;
  std::string output = "text";
};

core::Result<quantize::Recipe> read_recipe(const Options& options) {
  if (options.type.empty())
    return core::invalid("--type is missing, expected one of {}", quantize::recipe_names());
  quantize::Recipe recipe = TRY(quantize::find_recipe(options.type));
  for (const auto& [module, option] : kModuleOptions) {
    const std::string& name = options.modules[static_cast<size_t>(module)];
    if (name.empty()) continue;
    const auto type = core::dtype_from_name(name);
    if (!type || !quantize::can_encode(*type))
      return core::unsupported("{}: type '{}', expected one of {}", option, name,
                               quantize::encodable_types());
    recipe.modules[static_cast<size_t>(module)] = *type;
  }
  return recipe;
}

// Whether the new checkpoint is a folder: its types have names of their own.
bool makes_folder(const Options& options) {
  return quantize::is_folder_type(options.type) ||
         std::any_of(options.modules.begin(), options.modules.end(),
                     [](const std::string& name) { return quantize::is_folder_type(name); });
}

core::Result<quantize::FolderRecipe> read_folder_recipe(const Options& options) {
  quantize::FolderRecipe recipe;
  if (!options.type.empty())
    recipe = quantize::folder_recipe(TRY(quantize::find_folder_type(options.type)));
  for (const auto& [module, option] : kModuleOptions) {
    const std::string& name = options.modules[static_cast<size_t>(module)];
    if (name.empty()) continue;
    const auto type = quantize::find_folder_type(name);
    if (!type.ok()) return type.error().within(option);
    recipe.modules[static_cast<size_t>(module)] = *type;
  }
  return recipe;
}

struct Totals {
  int64_t tensors = 0;
  int64_t values = 0;
  int64_t bytes = 0;
};

// Which shapes forced another type than the recipe's.
void print_fallbacks(const std::vector<ConvertedTensor>& tensors) {
  std::map<std::tuple<int64_t, core::DType, core::DType>, std::pair<int64_t, std::string>> found;
  for (const ConvertedTensor& t : tensors) {
    if (t.choice.wanted == t.choice.type) continue;
    auto& [count, example] = found[{t.columns, t.choice.wanted, t.choice.type}];
    if (count++ == 0) example = t.name;
  }
  for (const auto& [key, tensors_of_it] : found) {
    const auto& [columns, wanted, type] = key;
    fmt::print("rows of {} are no whole blocks of {} ({} values): {} tensors get {}, e.g. {}\n",
               columns, core::info(wanted).name, core::info(wanted).block_values,
               tensors_of_it.first, core::info(type).name, tensors_of_it.second);
  }
}

// A source that was quantised before has lost what the new type could have kept.
void print_requantized(const std::vector<ConvertedTensor>& tensors) {
  int64_t count = 0;
  for (const ConvertedTensor& t : tensors)
    if (core::info(t.from).block_values > 1 && t.from != t.choice.type) ++count;
  if (count > 0)
    fmt::print("{} tensors were quantised already: the loss adds to that of their source\n", count);
}

void print_text(const std::vector<ConvertedTensor>& tensors) {
  std::map<core::DType, Totals> by_type;
  Totals all;
  for (const ConvertedTensor& t : tensors) {
    for (Totals* totals : {&by_type[t.choice.type], &all}) {
      ++totals->tensors;
      totals->values += t.values;
      totals->bytes += t.bytes;
    }
  }
  print_fallbacks(tensors);
  print_requantized(tensors);
  for (const auto& [type, totals] : by_type)
    fmt::print("{:<6} {:>5} tensors, {:>12} values, {}\n", core::info(type).name, totals.tensors,
               totals.values, byte_size_text(totals.bytes));
  fmt::print("total  {:>5} tensors, {:>12} values, {}, {:.3f} bits a value\n", all.tensors,
             all.values, byte_size_text(all.bytes),
             8 * static_cast<double>(all.bytes) / static_cast<double>(all.values));
}

void print_json(const std::vector<ConvertedTensor>& tensors, int64_t resumed) {
  nlohmann::ordered_json out = {{"resumed_tensors", resumed}};
  for (const ConvertedTensor& t : tensors)
    out["tensors"].push_back({{"name", t.name},
                              {"from", core::info(t.from).name},
                              {"wanted", core::info(t.choice.wanted).name},
                              {"type", core::info(t.choice.type).name},
                              {"bytes", t.bytes}});
  fmt::print("{}\n", out.dump(1));
}

std::string type_text(const quantize::FolderChoice& choice, core::DType from) {
  if (choice.type == quantize::FolderType::kAsStored)
    return std::string(from == core::DType::kF8_B128 ? "BF16" : core::info(from).name);
  if (choice.group > 0) return fmt::format("int4 g{}", choice.group);
  return std::string(name_of(choice.type));
}

void print_folder_text(const std::vector<quantize::FolderTensor>& tensors) {
  std::map<std::string, Totals> by_type;
  std::map<std::tuple<int64_t, std::string, std::string>, int64_t> fallbacks;
  for (const quantize::FolderTensor& t : tensors) {
    const std::string type = type_text(t.choice, t.from);
    Totals& totals = by_type[type];
    ++totals.tensors;
    totals.values += t.values;
    totals.bytes += t.bytes;
    if (t.choice.type != t.choice.wanted || (t.choice.group > 0 && t.choice.group < 128))
      ++fallbacks[{t.columns, std::string(name_of(t.choice.wanted)), type}];
  }
  for (const auto& [key, count] : fallbacks) {
    const auto& [columns, wanted, type] = key;
    fmt::print("rows of {} are no whole blocks of 128 for {}: {} tensors get {}\n", columns, wanted,
               count, type);
  }
  for (const auto& [type, totals] : by_type)
    fmt::print("{:<9} {:>5} tensors, {:>12} values, {}\n", type, totals.tensors, totals.values,
               byte_size_text(totals.bytes));
}

void print_folder_json(const std::vector<quantize::FolderTensor>& tensors, int64_t resumed) {
  nlohmann::ordered_json out = {{"resumed_tensors", resumed}};
  for (const quantize::FolderTensor& t : tensors)
    out["tensors"].push_back({{"name", t.name},
                              {"from", core::info(t.from).name},
                              {"wanted", name_of(t.choice.wanted)},
                              {"type", type_text(t.choice, t.from)},
                              {"bytes", t.bytes}});
  fmt::print("{}\n", out.dump(1));
}

core::Result<void> run_folder(const Options& options) {
  const quantize::FolderRecipe recipe = TRY(read_folder_recipe(options));
  const auto source = TRY(model::open_checkpoint(options.in));
  if (options.plan_only) {
    const auto planned = TRY(quantize::plan_folder(*source, recipe));
    options.output == "json" ? print_folder_json(planned, 0) : print_folder_text(planned);
    return {};
  }
  if (options.out.empty()) return core::invalid("OUT is missing: the folder to write");
  core::ThreadPool pool(options.threads > 0 ? options.threads : core::detect_cpu().cores);
  Progress progress("quantizing");
  const auto report = TRY(quantize::convert_folder(
      *source,
      {.source = options.in,
       .path = options.out,
       .recipe = recipe,
       .add_files = [&](const std::string& folder) -> core::Result<void> {
         if (std::filesystem::is_directory(options.in)) return {};
         return write_tokenizer_files(source->metadata(), folder);
       },
       .progress = [&](int64_t done, int64_t total) { progress.update(done, total); }},
      pool));
  progress.finish();
  if (options.output == "json") {
    print_folder_json(report.tensors, report.resumed_tensors);
    return {};
  }
  if (report.resumed_tensors > 0)
    fmt::print("{} tensors of an interrupted run were kept\n", report.resumed_tensors);
  print_folder_text(report.tensors);
  fmt::print("{}: {}\n", options.out, byte_size_text(report.bytes));
  return {};
}

core::Result<void> verify(const Options& options) {
  if (std::filesystem::is_directory(options.in)) {
    Progress progress("checking");
    return quantize::verify_folder(
        options.in, [&](int64_t done, int64_t total) { progress.update(done, total); });
  }
  auto bytes = TRY(formats::map_file(options.in));
  const auto file = TRY(formats::read_gguf(std::move(bytes)));
  Progress progress("checking");
  return quantize::verify_checksums(
      file, [&](int64_t done, int64_t total) { progress.update(done, total); });
}

core::Result<void> run(const Options& options) {
  if (makes_folder(options)) return run_folder(options);
  const quantize::Recipe recipe = TRY(read_recipe(options));
  const auto source = TRY(model::open_checkpoint(options.in));
  if (options.plan_only) {
    const auto planned = TRY(quantize::plan_conversion(*source, recipe));
    options.output == "json" ? print_json(planned, 0) : print_text(planned);
    return {};
  }
  if (options.out.empty()) return core::invalid("OUT is missing: the file to write");
  core::ThreadPool pool(options.threads > 0 ? options.threads : core::detect_cpu().cores);
  Progress progress("quantizing");
  const quantize::ConvertOptions conversion{
      .path = options.out,
      .recipe = recipe,
      .add_metadata = [&](formats::GgufWriter* writer) -> core::Result<void> {
        if (!std::filesystem::is_directory(options.in)) return {};
        return add_tokenizer_metadata(options.in, writer);
      },
      .progress = [&](int64_t done, int64_t total) { progress.update(done, total); }};
  const auto report = TRY(quantize::convert(*source, conversion, pool));
  progress.finish();
  if (options.output == "json") {
    print_json(report.tensors, report.resumed_tensors);
    return {};
  }
  if (report.resumed_tensors > 0)
    fmt::print("{} tensors of an interrupted run were kept\n", report.resumed_tensors);
  print_text(report.tensors);
  fmt::print("{}: {}\n", options.out, byte_size_text(report.file_bytes));
  return {};
}

void add_options(CLI::App& app, Options* options) {
  app.add_option("IN", options->in, "GGUF file, any part of a split one, or a Hugging Face folder")
      ->required();
  app.add_option("OUT", options->out, "GGUF file, or folder of int4, w8a8 and fp8, to write");
  app.add_option("--type", options->type,
                 "type of the matrices, as llama-quantize names it: " + quantize::recipe_names() +
                     "; or int4, w8a8, fp8 for a Hugging Face folder");
  for (const auto& [module, option] : kModuleOptions)
    app.add_option(option, options->modules[static_cast<size_t>(module)],
                   fmt::format("type of the {} instead", quantize::name_of(module)));
  app.add_option("-t,--threads", options->threads, "threads; every core if not given")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--dry-run", options->plan_only, "print types and sizes, write nothing");
  app.add_flag("--verify", options->verify,
               "read IN, made by this verb, and compare its tensors with their checksums");
  add_output_option(app, &options->output);
}

}  // namespace

int run_quantize(int argc, char** argv) {
  Options options;
  CLI::App app{
      "The same model in other element types, as a GGUF file or a Hugging Face folder. Streams in\n"
      "little memory; run again after an interruption, it goes on where it was. The new files "
      "carry\n"
      "a checksum of each tensor.",
      "sluice quantize"};
  add_options(app, &options);
  app.footer(
      "Examples: sluice quantize model-f16.gguf model-q4.gguf --type Q4_K_M --experts Q4_0\n"
      "          sluice quantize folder new-folder --experts int4 --attention w8a8");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = options.verify ? verify(options) : run(options);
  if (!done.ok()) return report("quantize", done.error().within(fmt::format("'{}'", options.in)));
  if (options.verify) fmt::print("{}: all tensors have their checksums\n", options.in);
  return 0;
}

}  // namespace sluice::apps
