#include "model/matrix_finder.h"

#include <algorithm>
#include <cmath>

#include "core/math.h"
#include "formats/hugging_face_quantization.h"

namespace sluice::model {
namespace {

using core::DType;
using core::TensorView;
using kernels::Int4Layout;
using kernels::Int4Matrix;

constexpr std::string_view kWeight = "weight";
constexpr std::string_view kCodes[] = {"weight_packed", "qweight"};
constexpr std::string_view kCompanions[] = {"weight_scale_inv", "weight_scale", "weight_zero_point",
                                            "weight_g_idx",     "weight_shape", "scales",
                                            "qzeros",           "g_idx"};
constexpr std::string_view kCompressedMethod = "compressed-tensors",
                           kCompressed = "'compressed-tensors'";
constexpr int64_t kWordCodes = 8;
constexpr int64_t kBlock = 32;

std::string text(TensorShape shape) {
  if (shape.count > 1) return fmt::format("{}×{}×{}", shape.count, shape.rows, shape.columns);
  if (shape.rows == 1) return fmt::format("{}", shape.columns);
  return fmt::format("{}×{}", shape.rows, shape.columns);
}

// "blk.3.ffn_up.weight" and "scales" → "blk.3.ffn_up.scales".
std::string companion(std::string_view tensor, std::string_view suffix) {
  return fmt::format("{}{}", tensor.substr(0, tensor.size() - kWeight.size()), suffix);
}
bool is_weight(std::string_view tensor) {
  return tensor.ends_with(kWeight) && tensor.size() > kWeight.size() &&
         tensor[tensor.size() - kWeight.size() - 1] == '.';
}

const int32_t* ints(const TensorView* view) {
  return view == nullptr ? nullptr : reinterpret_cast<const int32_t*>(view->data);
}

// Zeros in the middle of the codes are what formats without zeros have.
bool is_symmetric(const Int4Matrix& m) {
  if (m.zeros == nullptr) return true;
  for (int64_t output = 0; output < m.outputs; ++output)
    for (int64_t group = 0; group < m.groups(); ++group)
      if (int4_zero(m, output, group) != 8) return false;
  return true;
}

bool groups_are_even(const Int4Matrix& m) {
  std::vector<int64_t> inputs(static_cast<size_t>(m.groups()));
  for (int64_t i = 0; i < m.inputs; ++i) ++inputs[static_cast<size_t>(m.group_of_input[i])];
  return std::all_of(inputs.begin(), inputs.end(), [&](int64_t n) { return n == m.group; });
}

// Of rows whose inputs lie, or are put, in the order of their groups.
DType block_type(const Int4Matrix& m) {
  if (m.group % kBlock != 0) return DType::kF32;
  return is_symmetric(m) ? DType::kI4_B32 : DType::kI4_Z32;
}

StoredMatrix stored(StoredValues values, TensorShape shape, DType joined,
                    std::vector<TensorView> tensors) {
  StoredMatrix m{.values = values,
                 .columns = shape.columns,
                 .rows = shape.rows,
                 .joined = joined,
                 .type = joined,
                 .tensors = std::move(tensors)};
  for (const TensorView& view : m.tensors) m.bytes += view.bytes();
  return m;
}

StoredMatrix stored_int4(const Int4Matrix& values, TensorShape shape,
                         std::vector<TensorView> tensors) {
  const bool in_order = values.group_of_input == nullptr;
  StoredMatrix m =
      stored(values, shape, in_order ? block_type(values) : DType::kF32, std::move(tensors));
  if (!in_order && groups_are_even(values)) m.sorted = block_type(values);
  return m;
}

// Of a salvaged checkpoint: some tensor that the matrix may be stored in is lost.
bool is_lost(const formats::Checkpoint& checkpoint, std::string_view tensor) {
  if (checkpoint.is_lost(tensor)) return true;
  return is_weight(tensor) &&
         std::any_of(std::begin(kCodes), std::end(kCodes), [&](std::string_view codes) {
           return checkpoint.is_lost(companion(tensor, codes));
         });
}

}  // namespace

bool has_matrix(const formats::Checkpoint& checkpoint, std::string_view tensor) {
  if (checkpoint.find(tensor) != nullptr || is_lost(checkpoint, tensor)) return true;
  return is_weight(tensor) &&
         std::any_of(std::begin(kCodes), std::end(kCodes), [&](std::string_view codes) {
           return checkpoint.find(companion(tensor, codes)) != nullptr;
         });
}

MatrixFinder::MatrixFinder(const formats::Checkpoint& checkpoint, formats::Problems* problems)
    : checkpoint_(checkpoint), problems_(*problems) {}

std::optional<std::string> MatrixFinder::matrix_of(std::string_view tensor) {
  const size_t dot = tensor.rfind('.');
  const std::string_view suffix = tensor.substr(dot == std::string_view::npos ? 0 : dot + 1);
  if (std::find(std::begin(kCompanions), std::end(kCompanions), suffix) != std::end(kCompanions))
    return std::nullopt;
  if (std::find(std::begin(kCodes), std::end(kCodes), suffix) != std::end(kCodes))
    return fmt::format("{}{}", tensor.substr(0, tensor.size() - suffix.size()), kWeight);
  return std::string(tensor);
}

// What is left to say of a salvaged checkpoint whose quantisation is not known: nothing of modules
// that have other tensors than a plain weight.
bool MatrixFinder::is_module_of_unknown_format(std::string_view tensor) {
  if (!checkpoint_.config_faults().in_quantization || !is_weight(tensor)) return false;
  const TensorView* view = checkpoint_.find(tensor);
  if (view != nullptr && core::decodes_alone(view->type)) return false;
  const std::string_view module = tensor.substr(0, tensor.size() - kWeight.size());
  const auto& tensors = checkpoint_.tensors();
  const auto first = tensors.lower_bound(module);
  auto it = first;
  for (; it != tensors.end() && it->first.starts_with(module); ++it) used_.emplace(it->first);
  return it != first;
}

void MatrixFinder::check_scales() {
  for (const auto& [name, view] : checkpoint_.tensors()) {
    const std::string_view suffix = name.substr(name.rfind('.') + 1);
    const bool is_scale =
        suffix == "scales" || suffix == "weight_scale" || suffix == "weight_scale_inv";
    const bool is_float =
        view.type == DType::kF32 || view.type == DType::kF16 || view.type == DType::kBF16;
    if (is_scale && is_float) are_finite(std::string(name), view);
  }
}

// What numbers mean in a format of several tensors, the configuration must say. Said once: the
// other tensors of the format lack the same.
void MatrixFinder::require_method(const std::string& tensor, std::string_view expected,
                                  std::initializer_list<std::string_view> methods) {
  const std::string found(checkpoint_.metadata().text_or(formats::kQuantMethodKey, "").value());
  if (std::find(methods.begin(), methods.end(), found) != methods.end()) return;
  if (!methods_asked_.emplace(expected).second) return;
  const std::string name = checkpoint_.stored_name(tensor);
  const std::string_view type = core::info(checkpoint_.find(tensor)->type).name;
  if (found.empty())
    problems_.add(
        "config.json has no 'quantization_config', and tensor '{}' is of {}: 'quant_method' {} is "
        "missing",
        name, type, expected);
  else
    problems_.add(
        "config.json, 'quantization_config': 'quant_method' is '{}', tensor '{}' of {} "
        "needs {}",
        found, name, type, expected);
}

std::optional<StoredMatrix> MatrixFinder::find(const std::string& tensor, TensorShape shape) {
  if (is_module_of_unknown_format(tensor)) return std::nullopt;
  const TensorView* view = checkpoint_.find(tensor);
  const bool is_plain = view != nullptr && core::decodes_alone(view->type);
  if (!is_plain && is_weight(tensor))
    for (const std::string_view suffix : kCompanions)
      if (const std::string name = companion(tensor, suffix); checkpoint_.find(name) != nullptr)
        used_.insert(name);
  if (view == nullptr && is_weight(tensor)) {
    if (const auto* packed = checkpoint_.find(companion(tensor, "weight_packed")))
      return packed->type == DType::kU8 ? find_mxfp4(tensor, shape) : find_packed(tensor, shape);
    if (checkpoint_.find(companion(tensor, "qweight")) != nullptr)
      return find_awq_or_gptq(tensor, shape);
  }
  if (view != nullptr && view->type == DType::kF8_E4M3) return find_fp8(tensor, shape);
  if (view != nullptr && view->type == DType::kI8) return find_int8(tensor, shape);
  view = find_tensor(tensor, shape);
  if (view == nullptr) return std::nullopt;
  if (core::decodes_alone(view->type)) return stored_blocks(*view);
  refuse_type(tensor, view->type);
  return std::nullopt;
}

TensorShape MatrixFinder::shape_by(std::string_view stored_tensor) const {
  const TensorView& view = *checkpoint_.find(stored_tensor);
  const int64_t rows = view.rows(), columns = view.columns();
  if (stored_tensor.ends_with(".weight_packed"))
    return {.rows = rows, .columns = columns * (view.type == DType::kU8 ? 2 : kWordCodes)};
  if (!stored_tensor.ends_with(".qweight"))
    return {.rows = rows, .columns = columns, .dims = view.dims};
  if (checkpoint_.metadata().text_or(formats::kInt4LayoutKey, "").value() == formats::kAwqLayout)
    return {.rows = columns * kWordCodes, .columns = rows};
  return {.rows = columns, .columns = rows * kWordCodes};
}

const TensorView* MatrixFinder::find_tensor(const std::string& name, TensorShape shape) {
  const TensorView* view = checkpoint_.find(name);
  if (view == nullptr) {
    if (!is_lost(checkpoint_, name))
      problems_.add("tensor '{}' is missing, expected {}", checkpoint_.stored_name(name),
                    text(shape));
    return nullptr;
  }
  used_.insert(name);
  if (view->columns() == shape.columns && view->rows() == shape.count * shape.rows &&
      view->dims <= shape.dims && (shape.count == 1 || view->shape[0] == shape.count))
    return view;
  problems_.add("tensor '{}': shape {}, expected {}", checkpoint_.stored_name(name),
                core::shape_text(*view), text(shape));
  return nullptr;
}

void MatrixFinder::refuse_type(const std::string& name, DType type) {
  problems_.add("tensor '{}': values of type {} have no meaning here",
                checkpoint_.stored_name(name), core::info(type).name);
}

const TensorView* MatrixFinder::find_typed(const std::string& name, TensorShape shape,
                                           Types types) {
  const TensorView* view = find_tensor(name, shape);
  if (view == nullptr || std::find(types.begin(), types.end(), view->type) != types.end())
    return view;
  refuse_type(name, view->type);
  return nullptr;
}

// Vectors may have a dimension of one behind the others.
const TensorView* MatrixFinder::find_scales(const std::string& name, TensorShape shape) {
  const TensorView* view = checkpoint_.find(name);
  if (view != nullptr && shape.columns == 1 && view->dims == 1 && view->values() == shape.rows)
    shape = {.columns = shape.rows};
  shape.dims = 2;
  view = find_typed(name, shape, {DType::kF32, DType::kF16, DType::kBF16});
  return view != nullptr && are_finite(name, *view) ? view : nullptr;
}

bool MatrixFinder::are_finite(const std::string& name, const TensorView& scales) {
  for (int64_t i = 0; i < scales.values(); ++i) {
    if (std::isfinite(kernels::load_scale(scales.type, scales.data, i))) continue;
    problems_.add("tensor '{}': holds scales that are not finite", checkpoint_.stored_name(name));
    return false;
  }
  return true;
}

std::optional<StoredMatrix> MatrixFinder::find_fp8(const std::string& tensor, TensorShape shape) {
  const TensorView* codes = find_tensor(tensor, shape);
  if (codes == nullptr) return std::nullopt;
  require_method(tensor, "'fp8'", {"fp8"});
  if (shape.columns % kScaleBlock != 0) {
    problems_.add("tensor '{}': FP8 rows of {} values, expected whole blocks of {}",
                  checkpoint_.stored_name(tensor), shape.columns, kScaleBlock);
    return std::nullopt;
  }
  const std::string name = companion(tensor, "weight_scale_inv");
  const TensorShape of_blocks{.rows = core::div_ceil(shape.rows, kScaleBlock),
                              .columns = shape.columns / kScaleBlock,
                              .dims = 2};
  const TensorView* scales = find_typed(name, of_blocks, {DType::kF32});
  if (scales == nullptr || !are_finite(name, *scales)) return std::nullopt;
  return stored(Fp8Matrix{codes->data, reinterpret_cast<const float*>(scales->data)}, shape,
                DType::kF8_B128, {*codes, *scales});
}

std::optional<StoredMatrix> MatrixFinder::find_int8(const std::string& tensor, TensorShape shape) {
  const TensorView* codes = find_tensor(tensor, shape);
  const TensorView* scales =
      find_scales(companion(tensor, "weight_scale"), {.rows = shape.rows, .columns = 1});
  require_method(tensor, kCompressed, {kCompressedMethod});
  if (codes == nullptr || scales == nullptr) return std::nullopt;
  const kernels::Int8Matrix matrix{.inputs = shape.columns,
                                   .codes = reinterpret_cast<const int8_t*>(codes->data),
                                   .scales = scales->data,
                                   .scale_type = scales->type};
  return stored(matrix, shape, shape.columns % kBlock == 0 ? DType::kI8_B32 : DType::kF32,
                {*codes, *scales});
}

std::optional<StoredMatrix> MatrixFinder::find_mxfp4(const std::string& tensor, TensorShape shape) {
  const std::string codes_name = companion(tensor, "weight_packed");
  const std::string scales_name = companion(tensor, "weight_scale");
  const TensorView* codes =
      find_tensor(codes_name, {.rows = shape.rows, .columns = shape.columns / 2});
  const TensorView* scales =
      find_typed(scales_name, {.rows = shape.rows, .columns = shape.columns / kBlock, .dims = 2},
                 {DType::kU8});
  require_method(codes_name, kCompressed, {kCompressedMethod});
  check_stored_shape(companion(tensor, "weight_shape"), shape);
  if (codes == nullptr || scales == nullptr) return std::nullopt;
  const auto* exponents = reinterpret_cast<const uint8_t*>(scales->data);
  if (shape.columns % kBlock != 0 ||
      std::any_of(exponents, exponents + scales->values(),
                  [](uint8_t exponent) { return exponent > kMxfp4ExponentMax; })) {
    problems_.add("tensor '{}': holds scales that are not numbers up to 2^16",
                  checkpoint_.stored_name(scales_name));
    return std::nullopt;
  }
  const kernels::Mxfp4Matrix matrix{.inputs = shape.columns,
                                    .codes = reinterpret_cast<const uint8_t*>(codes->data),
                                    .scales = exponents};
  return stored(matrix, shape, DType::kMXFP4, {*codes, *scales});
}

std::optional<StoredMatrix> MatrixFinder::find_packed(const std::string& tensor,
                                                      TensorShape shape) {
  const std::string scales_name = companion(tensor, "weight_scale");
  const std::string zeros_name = companion(tensor, "weight_zero_point");
  require_method(companion(tensor, "weight_packed"), kCompressed, {kCompressedMethod});
  const TensorView* codes = find_typed(
      companion(tensor, "weight_packed"),
      {.rows = shape.rows, .columns = core::div_ceil(shape.columns, kWordCodes)}, {DType::kI32});
  check_stored_shape(companion(tensor, "weight_shape"), shape);
  const auto groups = find_groups(scales_name, 1, shape.columns);
  if (codes == nullptr || !groups) return std::nullopt;
  const TensorView* scales = find_scales(scales_name, {.rows = shape.rows, .columns = *groups});
  bool is_good = scales != nullptr;
  const TensorView* zeros = find_zeros(
      zeros_name, {.rows = core::div_ceil(shape.rows, kWordCodes), .columns = *groups, .dims = 2},
      &is_good);
  if (!is_good) return std::nullopt;
  Int4Matrix matrix{.layout = Int4Layout::kCompressedTensors,
                    .outputs = shape.rows,
                    .inputs = shape.columns,
                    .group = shape.columns / *groups,
                    .codes = ints(codes),
                    .zeros = ints(zeros),
                    .scales = scales->data,
                    .scale_type = scales->type};
  if (!add_input_groups(companion(tensor, "weight_g_idx"), &matrix)) return std::nullopt;
  return stored_int4(matrix, shape, {*codes, *scales});
}

std::optional<StoredMatrix> MatrixFinder::find_awq_or_gptq(const std::string& tensor,
                                                           TensorShape shape) {
  const auto& metadata = checkpoint_.metadata();
  const auto layout = metadata.text_or(formats::kInt4LayoutKey, "");
  const auto zero_offset = metadata.integer_or(formats::kInt4ZeroOffsetKey, 0);
  const std::string codes_name = companion(tensor, "qweight");
  const std::string scales_name = companion(tensor, "scales");
  const std::string zeros_name = companion(tensor, "qzeros");
  if (!layout.ok() || layout.value().empty() || !zero_offset.ok()) {
    require_method(codes_name, "'awq' or 'gptq'", {formats::kAwqLayout, formats::kGptqLayout});
    used_.insert(codes_name);
    return std::nullopt;
  }
  const bool is_awq = layout.value() == formats::kAwqLayout;
  const TensorShape of_codes =
      is_awq ? TensorShape{.rows = shape.columns, .columns = shape.rows / kWordCodes, .dims = 2}
             : TensorShape{.rows = shape.columns / kWordCodes, .columns = shape.rows, .dims = 2};
  const TensorView* codes = find_typed(codes_name, of_codes, {DType::kI32});
  const auto groups = find_groups(scales_name, 0, shape.columns);
  if (codes == nullptr || !groups) return std::nullopt;
  const TensorView* scales = find_scales(scales_name, {.rows = *groups, .columns = shape.rows});
  bool is_good = scales != nullptr;
  const TensorView* zeros = find_zeros(
      zeros_name, {.rows = *groups, .columns = shape.rows / kWordCodes, .dims = 2}, &is_good);
  if (!is_good) return std::nullopt;
  Int4Matrix matrix{.layout = is_awq ? Int4Layout::kAwq : Int4Layout::kGptq,
                    .outputs = shape.rows,
                    .inputs = shape.columns,
                    .group = shape.columns / *groups,
                    .codes = ints(codes),
                    .zeros = ints(zeros),
                    .zero_offset = static_cast<int32_t>(*zero_offset),
                    .scales = scales->data,
                    .scale_type = scales->type};
  if (!add_input_groups(companion(tensor, "g_idx"), &matrix)) return std::nullopt;
  return stored_int4(matrix, shape, {*codes, *scales});
}

std::optional<int64_t> MatrixFinder::find_groups(const std::string& scales, int groups_dim,
                                                 int64_t inputs) {
  const TensorView* view = checkpoint_.find(scales);
  if (view == nullptr) {
    if (!is_lost(checkpoint_, scales))
      problems_.add("tensor '{}' is missing", checkpoint_.stored_name(scales));
    return std::nullopt;
  }
  const int64_t groups = groups_dim == 0 ? view->rows() : view->dims == 1 ? 1 : view->columns();
  if (groups > 0 && inputs % groups == 0) return groups;
  problems_.add("tensor '{}': shape {}, its groups do not divide {} inputs",
                checkpoint_.stored_name(scales), core::shape_text(*view), inputs);
  return std::nullopt;
}

// Whether the configuration says that the tensor is there, which it is not: a problem.
bool MatrixFinder::is_promised(const std::string& name, std::string_view key) const {
  if (!formats::says_has(checkpoint_.metadata(), key)) return false;
  if (!is_lost(checkpoint_, name))
    problems_.add("tensor '{}' is missing, config.json says that it is there",
                  checkpoint_.stored_name(name));
  return true;
}

const TensorView* MatrixFinder::find_zeros(const std::string& name, TensorShape shape,
                                           bool* is_good) {
  const bool is_there = checkpoint_.find(name) != nullptr;
  const TensorView* zeros = is_there ? find_typed(name, shape, {DType::kI32}) : nullptr;
  if (is_there ? zeros == nullptr : is_promised(name, formats::kHasZerosKey)) *is_good = false;
  return zeros;
}

// Inputs in the order of their groups need no list.
bool MatrixFinder::add_input_groups(const std::string& name, Int4Matrix* matrix) {
  if (checkpoint_.find(name) == nullptr) return !is_promised(name, formats::kHasInputGroupsKey);
  const TensorView* view = find_typed(name, {.columns = matrix->inputs}, {DType::kI32});
  if (view == nullptr) return false;
  const int32_t* groups = ints(view);
  bool in_order = true;
  for (int64_t i = 0; i < matrix->inputs; ++i) {
    if (groups[i] < 0 || groups[i] >= matrix->groups()) {
      problems_.add("tensor '{}': input {} is in group {} of {}", checkpoint_.stored_name(name), i,
                    groups[i], matrix->groups());
      return false;
    }
    in_order = in_order && groups[i] == i / matrix->group;
  }
  if (!in_order) matrix->group_of_input = groups;
  return true;
}

void MatrixFinder::check_stored_shape(const std::string& name, TensorShape shape) {
  if (checkpoint_.find(name) == nullptr) return;
  const TensorView* view = find_typed(name, {.columns = 2}, {DType::kI64, DType::kI32});
  if (view == nullptr) return;
  const auto at = [&](int i) {
    return view->type == DType::kI64 ? reinterpret_cast<const int64_t*>(view->data)[i]
                                     : int64_t{ints(view)[i]};
  };
  if (at(0) != shape.rows || at(1) != shape.columns)
    problems_.add("tensor '{}': says {}×{}, expected {}×{}", checkpoint_.stored_name(name), at(0),
                  at(1), shape.rows, shape.columns);
}

}  // namespace sluice::model
