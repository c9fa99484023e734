#include "model/device_upload.h"

#include <atomic>
#include <cstring>

#include "core/math.h"

namespace sluice::model {
namespace {

constexpr int64_t kAlignment = 256;

bool keeps_floats(const PlannedMatrix& p) {
  return p.widen == Widen::kF32;
}

int64_t packed_bytes(const PlannedMatrix& p) {
  const int64_t outputs = p.stored.outputs(), inputs = p.inputs_kept();
  const int64_t bytes = keeps_floats(p)
                            ? outputs * core::bytes_of(core::DType::kF32, inputs)
                            : kernels::device_weight_bytes(p.stored.type, outputs, inputs, p.use);
  return core::round_up(bytes, kAlignment);
}

int64_t table_bytes(const core::TensorView& table) {
  return core::round_up(core::bytes_of(kernels::device_table_type(table.type), table.values()),
                        kAlignment);
}

}  // namespace

PlacementSizes DeviceUpload::sizes(const Weights& weights) const {
  PlacementSizes sizes{.rest_bytes = table_bytes(weights.embedding),
                       .free_bytes = loader_.device->info().free_bytes};
  sizes.unread_bytes = sizes.rest_bytes;
  const ExpertSpec& experts = loader_.spec.experts;
  if (experts.count > 0) {
    sizes.used_share = 1.0 * experts.used / experts.count;
    sizes.experts = experts.count;
  }
  sizes.expert_bytes.resize(static_cast<size_t>(loader_.spec.layers));
  for (const PlannedMatrix& p : planned_) {
    (p.experts_of ? sizes.expert_bytes[static_cast<size_t>(*p.experts_of)] : sizes.rest_bytes) +=
        packed_bytes(p);
    if (p.token_share == 0) sizes.unread_bytes += packed_bytes(p);
  }
  return sizes;
}

core::Result<void> DeviceUpload::run(Weights* weights) {
  core::TensorView& embedding = weights->embedding;
  int64_t storage_bytes = table_bytes(embedding);
  for (const PlannedMatrix& p : planned_) storage_bytes += packed_bytes(p);
  weights->device_matrices =
      TRY(loader_.device->allocate(storage_bytes, kernels::MemoryKind::kDevice));
  to_ = weights->device_matrices.data();
  int64_t total_bytes = 0, done_bytes = 0;
  for (const PlannedMatrix& p : planned_) total_bytes += p.stored.bytes;
  upload_table(&embedding);
  for (const PlannedMatrix& p : planned_) {
    upload_matrix(p);
    weights->sources.push_back({p.tensor, p.matrix, p.file_bytes(), p.token_share});
    for (const core::TensorView& view : p.stored.tensors) loader_.checkpoint.release(view);
    done_bytes += p.stored.bytes;
    if (loader_.progress) loader_.progress(done_bytes, total_bytes);
  }
  return {};
}

void DeviceUpload::upload_table(core::TensorView* table) {
  const core::DType type = kernels::device_table_type(table->type);
  const std::byte* from = table->data;
  if (type != table->type) {
    packed_.resize(static_cast<size_t>(table->values()) * sizeof(float));
    loader_.pool.run([&](int thread, int threads) {
      const core::Range rows = core::split(table->rows(), 1, thread, threads);
      kernels::decode(table->type, table->data + rows.begin * table->row_bytes(),
                      (rows.end - rows.begin) * table->columns(),
                      reinterpret_cast<float*>(packed_.data()) + rows.begin * table->columns());
    });
    from = packed_.data();
  }
  const int64_t bytes = table_bytes(*table);
  loader_.device->upload(to_, from, core::bytes_of(type, table->values()));
  table->type = type;
  table->data = to_;
  to_ += bytes;
}

// (outputs, inputs that are kept)
const std::byte* DeviceUpload::kept_blocks(const PlannedMatrix& p) {
  const std::byte* blocks = blocks_of(p.stored, loader_.pool, &blocks_);
  if (p.has_all_inputs()) return blocks;
  const int64_t row_bytes = core::bytes_of(p.stored.type, p.stored.inputs());
  const int64_t first = core::bytes_of(p.stored.type, p.inputs.begin);
  const int64_t kept = core::bytes_of(p.stored.type, p.inputs_kept());
  kept_.resize(static_cast<size_t>(p.stored.outputs() * kept));
  loader_.pool.run([&](int thread, int threads) {
    const core::Range rows = core::split(p.stored.outputs(), 1, thread, threads);
    for (int64_t row = rows.begin; row < rows.end; ++row)
      std::memcpy(kept_.data() + row * kept, blocks + row * row_bytes + first,
                  static_cast<size_t>(kept));
  });
  return kept_.data();
}

void DeviceUpload::upload_matrix(const PlannedMatrix& p) {
  const bool is_finite = check_finite(loader_, p.tensor, p.stored, &problems_);
  const kernels::DevicePackArgs args{.type = p.stored.type,
                                     .outputs = p.stored.outputs(),
                                     .inputs = p.inputs_kept(),
                                     .weights = kept_blocks(p),
                                     .use = p.use};
  *p.matrix = {{args.type, args.outputs, args.inputs, to_}};
  to_ += packed_bytes(p);
  std::byte* const to = const_cast<std::byte*>(p.matrix->data);
  if (keeps_floats(p))
    return loader_.device->upload(to, args.weights,
                                  args.outputs * core::bytes_of(args.type, args.inputs));
  p.matrix->type = kernels::device_weight_type(args.type, p.use);
  const int64_t bytes = kernels::device_weight_bytes(args.type, args.outputs, args.inputs, p.use);
  const std::byte* from = args.weights;
  if (!kernels::device_reads_file_blocks(args.type)) {
    packed_.resize(static_cast<size_t>(bytes));
    std::atomic<int64_t> row_out_of_f16 = -1;
    loader_.pool.run([&](int thread, int threads) {
      kernels::DevicePackArgs to_host = args;
      to_host.packed = packed_.data();
      kernels::pack_for_device(to_host, thread, threads);
      const int64_t row = kernels::find_row_out_of_f16(to_host, thread, threads);
      if (row >= 0) row_out_of_f16 = row;
    });
    if (row_out_of_f16 >= 0 && is_finite)
      problems_.add("tensor '{}', row {}: holds scales beyond 65,504, the most that a device has",
                    loader_.checkpoint.stored_name(p.tensor), p.stored.first_row + row_out_of_f16);
    from = packed_.data();
  }
  loader_.device->upload(to, from, bytes);
}

}  // namespace sluice::model
