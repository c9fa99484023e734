// Which tensors of a checkpoint make up a matrix. A folder may store every module in another way;
// the tensors say which, so that lists of targets and exceptions in its configuration need not be
// asked:
//
//   weight                                      a type that decodes by itself
//   weight, weight_scale_inv                    FP8 in blocks of 128×128
//   weight, weight_scale                        INT8 per channel (compressed-tensors)
//   weight_packed, weight_scale [, weight_zero_point, weight_g_idx, weight_shape]
//                                               INT4 in groups, or MXFP4 where codes are bytes
//   qweight, scales [, qzeros, g_idx]           AWQ or GPTQ, which the metadata tell apart
#pragma once

#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "formats/checkpoint.h"
#include "formats/problems.h"
#include "model/stored_matrix.h"

namespace sluice::model {

struct TensorShape {
  int64_t count = 1;  // 1: no dimension of its own
  int64_t rows = 1;
  int64_t columns = 0;
  // Most that are allowed: a vector is no matrix of one row; a table of scales may be.
  int dims = count > 1 ? 3 : rows > 1 ? 2 : 1;
};

// Whether tensors of the matrix are there, in any format, or were in a file that is lost.
bool has_matrix(const formats::Checkpoint& checkpoint, std::string_view tensor);

// What is missing or wrong goes to the problems.
class MatrixFinder {
 public:
  MatrixFinder(const formats::Checkpoint& checkpoint, formats::Problems* problems);

  // `tensor` as a plain checkpoint calls it, "blk.3.ffn_up.weight". A stack of matrices (count > 1)
  // is one of count · rows rows.
  bool has(std::string_view tensor) const { return has_matrix(checkpoint_, tensor); }
  std::optional<StoredMatrix> find(const std::string& tensor, TensorShape shape);
  const core::TensorView* find_tensor(const std::string& name, TensorShape shape);
  void refuse_type(const std::string& name, core::DType type);

  // Of the matrix that a tensor of codes, or a plain tensor, belongs to.
  TensorShape shape_by(std::string_view stored_tensor) const;

  // The tensors that were asked for.
  const std::set<std::string, std::less<>>& used() const { return used_; }

  // All scales that are there must be numbers, whatever they belong to.
  void check_scales();

  // "blk.3.ffn_up.weight_packed" → "blk.3.ffn_up.weight"; none for scales, zeros and the like;
  // other names stay.
  static std::optional<std::string> matrix_of(std::string_view tensor);

 private:
  using Types = std::initializer_list<core::DType>;
  const core::TensorView* find_typed(const std::string& name, TensorShape shape, Types types);
  const core::TensorView* find_scales(const std::string& name, TensorShape shape);
  void require_method(const std::string& tensor, std::string_view expected,
                      std::initializer_list<std::string_view> methods);
  bool is_module_of_unknown_format(std::string_view tensor);
  bool are_finite(const std::string& name, const core::TensorView& scales);

  std::optional<StoredMatrix> find_fp8(const std::string& tensor, TensorShape shape);
  std::optional<StoredMatrix> find_int8(const std::string& tensor, TensorShape shape);
  std::optional<StoredMatrix> find_mxfp4(const std::string& tensor, TensorShape shape);
  std::optional<StoredMatrix> find_packed(const std::string& tensor, TensorShape shape);
  std::optional<StoredMatrix> find_awq_or_gptq(const std::string& tensor, TensorShape shape);
  // The number of groups by the scales' shape, which has them in dimension `groups_dim`.
  std::optional<int64_t> find_groups(const std::string& scales, int groups_dim, int64_t inputs);
  bool add_input_groups(const std::string& name, kernels::Int4Matrix* matrix);
  // None where there is none; an error, and `is_good` false, where there must be or it is wrong.
  const core::TensorView* find_zeros(const std::string& name, TensorShape shape, bool* is_good);
  bool is_promised(const std::string& name, std::string_view key) const;
  void check_stored_shape(const std::string& name, TensorShape shape);

  const formats::Checkpoint& checkpoint_;
  formats::Problems& problems_;
  std::set<std::string, std::less<>> used_;
  std::set<std::string, std::less<>> methods_asked_;
};

}  // namespace sluice::model
