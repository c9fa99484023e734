// Routed experts on the processor in steps of a device. Decode steps are recorded whole: a layer's
// rows are posted by the queue and the processor answers while the queue waits, so nobody waits
// for the stream. Other steps, prompts above all, stop at each layer. Of several cards the first
// one does this, and the answer is a part of its summand.
#include <algorithm>
#include <cstring>
#include <new>

#include "model/device_forward.h"

namespace sluice::model {

int64_t DeviceForward::place_mail(Placer placer) {
  const int64_t choices = rows_max_ * spec_.experts.used;
  placer.place(&mail_.box, 1);
  placer.place(&mail_.normed, rows_max_ * spec_.hidden);
  placer.place(&mail_.ids, choices);
  placer.place(&mail_.own, choices);
  placer.place(&mail_.weights, choices);
  placer.place(&mail_.out, rows_max_ * spec_.hidden);
  placer.place(&mail_.guessed, 2 * choices);
  return placer.bytes();
}

core::Result<void> DeviceForward::open_mail() {
  mail_storage_ = TRY(device_.allocate(place_mail(Placer(nullptr)), kernels::MemoryKind::kPinned));
  std::memset(mail_storage_.data(), 0, static_cast<size_t>(mail_storage_.bytes()));
  place_mail(Placer(mail_storage_.data()));
  new (mail_.box) kernels::Mailbox();
  device_.upload(reinterpret_cast<std::byte*>(turns_),
                 reinterpret_cast<const std::byte*>(&turns_posted_), sizeof turns_posted_);
  return {};
}

size_t DeviceForward::host_layer_of(const LayerWeights& layer) const {
  const auto at = std::find(host_layers_.begin(), host_layers_.end(), &layer);
  ASSERT(at != host_layers_.end(), "a layer of {} on the host", host_layers_.size());
  return static_cast<size_t>(at - host_layers_.begin());
}

int32_t DeviceForward::number_of(const LayerWeights& layer) const {
  return static_cast<int32_t>(&layer - weights_.layers.data());
}

RoutedRows DeviceForward::mailed(int64_t rows) const {
  return {.rows = rows,
          .x = mail_.normed,
          .ids = mail_.ids,
          .weights = mail_.weights,
          .out = mail_.out};
}

// A layer of drafts has them on the device.
bool DeviceForward::is_on_host(int32_t number) const {
  return number < spec_.layers && spec_.has_experts(number) &&
         weights_.placement.experts(number) == Place::kHost;
}

// What the next layer may choose, if its experts are the host's, by what the residual stream is so
// far: there is no other use for the time in which the host has this layer.
void DeviceForward::guess_next(int32_t number, const Shape& shape) {
  if (!shape.is_recorded || !share_.is_first() || !is_on_host(number + 1)) return;
  kernels::DeviceRouteArgs route = route_of(layer_of(number + 1), shape, shape.rows);
  route.normed = guesses_.normed;
  route.ids = guesses_.ids;
  route.weights = guesses_.weights;
  device_.route(route);
  device_.post_guess({.ids = guesses_.ids,
                      .choices = shape.rows * spec_.experts.used,
                      .host_ids = mail_.guessed,
                      .choices_max = rows_max_ * spec_.experts.used,
                      .mailbox = mail_.box,
                      .turns = turns_});
  end_part(QueuePart::kHandOver);
}

// The processor has the routed experts while the device has the shared ones.
void DeviceForward::post_experts(const LayerWeights& layer, int64_t at, const Shape& shape) {
  const int64_t rows = shape.rows;
  pull_experts(layer, at, rows);
  device_.post({.x = normed_,
                .rows = rows,
                .inputs = spec_.hidden,
                .used = spec_.experts.used,
                .ids = expert_ids_ + at,
                .own = pulls_.host_ids,
                .weights = expert_weights_ + at,
                .host_x = mail_.normed,
                .host_ids = mail_.ids,
                .host_own = mail_.own,
                .host_weights = mail_.weights,
                .mailbox = mail_.box,
                .turns = turns_});
  end_part(QueuePart::kHandOver);
  shared_experts(layer, rows);
  guess_next(number_of(layer), shape);
  resident_experts(layer, at, rows);
  pulled_experts(layer, at, rows);
  device_.collect({.answer = mail_.out,
                   .to = experts_to(),
                   .count = rows * spec_.hidden,
                   .mailbox = mail_.box,
                   .turns = turns_});
  end_part(QueuePart::kAnswer);
}

// The other side of a recorded step, which has just been queued. Its padding is nobody's.
void DeviceForward::answer_posts(const StepBatch& batch) {
  if (host_layers_.empty()) return;
  host_->answer_routed({.layers = host_layers_,
                        .rows = mailed(std::ssize(batch.token_ids)),
                        .mailbox = *mail_.box,
                        .first_turn = turns_posted_ + 1,
                        .own = mail_.own,
                        .guessed = mail_.guessed,
                        .guessed_max = rows_max_ * spec_.experts.used,
                        .caches = residents_.caches,
                        .pull_share = pulls_.share,
                        .counts = pulls_.counts,
                        .deferred = hybrid_.deferred,
                        .device = device_,
                        .profile = batch.profile});
  turns_posted_ += static_cast<uint32_t>(host_layers_.size());
}

void DeviceForward::host_experts(const LayerWeights& layer, int64_t at, int64_t rows) {
  const int64_t choices = rows * spec_.experts.used, values = rows * spec_.hidden;
  const auto fetch = [&](auto* to, const auto* from, int64_t count) {
    device_.fetch(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from),
                  count * static_cast<int64_t>(sizeof(*to)));
  };
  fetch(mail_.normed, normed_, values);
  fetch(mail_.ids, expert_ids_ + at, choices);
  fetch(mail_.weights, expert_weights_ + at, choices);
  device_.wait();
  shared_experts(layer, rows);
  host_->run_routed(layer, mailed(rows));
  device_.send(reinterpret_cast<std::byte*>(host_out_),
               reinterpret_cast<const std::byte*>(mail_.out), values * int64_t{sizeof(float)});
  device_.add(experts_to(), host_out_, values);
}

}  // namespace sluice::model
