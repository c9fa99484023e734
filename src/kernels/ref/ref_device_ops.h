// Parts of the reference device that are files of their own.
#pragma once

#include "kernels/device_bring.h"
#include "kernels/device_latent_args.h"
#include "kernels/device_pull.h"
#include "kernels/device_sample_args.h"

namespace sluice::kernels::ref {

// A row of a matrix as pack_for_device() left it, or of an F32 one, decoded.
void decode_packed_row(const PackedWeights& w, int64_t row, float* out);

void device_latent_attention(const DeviceLatentArgs& args);
void device_route(const DeviceRouteArgs& args);
void device_experts(const DeviceExpertArgs& args);
void device_unpack(const BroughtMatrix& matrix);
void device_pick(const DevicePickArgs& args);
void device_pull(const DevicePullArgs& args);
void device_sample(const DeviceSampleArgs& args);

// x (heads, head_dim): the first rope.dims of each head, turned to the position.
void turn_to(const DeviceRope& rope, int32_t position, int32_t heads, int32_t head_dim, float* x);

}  // namespace sluice::kernels::ref
