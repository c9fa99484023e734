#include "apps/bench/step_parts.h"

#include <string_view>
#include <utility>

namespace sluice::apps {
namespace {

constexpr std::string_view kProcessor = "processor", kDevice = "device";
constexpr std::string_view kCache = "keys and values", kHeads = "attention's heads";

// The part of a device's queue that reads it.
model::QueuePart part_of(const PartRead& read) {
  struct Reader {
    std::string_view read;
    model::QueuePart part;
  };
  constexpr Reader kReaders[] = {
      {kCache, model::QueuePart::kAttention},  {kHeads, model::QueuePart::kAttention},
      {"dense ffn", model::QueuePart::kFfn},   {"router", model::QueuePart::kRouter},
      {"experts", model::QueuePart::kExperts}, {"shared experts", model::QueuePart::kSharedExperts},
      {"output", model::QueuePart::kOutput},   {kPulledExperts, model::QueuePart::kPulled},
  };
  for (const Reader& reader : kReaders)
    if (reader.read == read.part) return reader.part;
  return model::QueuePart::kAttentionProducts;  // its matrices; norms and biases, a few kilobytes
}

class Table {
 public:
  explicit Table(const std::vector<PartRead>& reads) : reads_(reads) {}

  // With what is_in takes of the place's reads.
  template <typename IsIn>
  void add(std::string_view part, std::string_view place, double us, const IsIn& is_in) {
    PartTime time{.part = std::string(part), .place = std::string(place), .us = us};
    for (const PartRead& read : reads_) {
      if (read.place != place || !is_in(read)) continue;
      time.bytes += read.bytes;
      time.limit_us += read.limit_us;
    }
    times_.push_back(std::move(time));
  }
  void add(std::string_view part, std::string_view place, double us) {
    add(part, place, us, [](const PartRead&) { return false; });
  }
  std::vector<PartTime> take() { return std::move(times_); }

 private:
  const std::vector<PartRead>& reads_;
  std::vector<PartTime> times_;
};

bool any(const PartRead&) {
  return true;
}

void add_queue(const StepShares& forward, Table* table) {
  const double queued_us = forward.queued_us();
  if (queued_us == 0) return table->add("forward pass", kDevice, forward.whole_us, any);
  for (int p = 0; p < model::kQueueParts; ++p) {
    const auto part = static_cast<model::QueuePart>(p);
    const double us = forward.queue_us[static_cast<size_t>(p)];
    if (us > 0)
      table->add(name_of(part), kDevice, us,
                 [&](const PartRead& read) { return part_of(read) == part; });
  }
  table->add("rest of the forward pass", kDevice, forward.whole_us - queued_us);
}

void add_processor(const StepParts& step, Table* table) {
  const StepShares& forward = step.forward;
  const auto is_cache = [](const PartRead& read) { return read.part == kCache; };
  if (step.is_hybrid) {
    table->add("routed experts", kProcessor, forward.linear_us, any);
    table->add("waiting for the device", kProcessor, forward.device_us);
  } else {
    table->add("products with weights", kProcessor, forward.linear_us,
               [&](const PartRead& read) { return !is_cache(read); });
    table->add("attention", kProcessor, forward.attention_us, is_cache);
  }
  table->add("row-wise operations", kProcessor, forward.rows_us);
  table->add("threads that wait for others", kProcessor, forward.waiting_us);
  table->add("rest of the forward pass", kProcessor, forward.rest_us());
}

}  // namespace

std::vector<PartTime> times_of_parts(const StepParts& step) {
  Table table(step.reads);
  if (step.has_device) add_queue(step.forward, &table);
  if (!step.has_device || step.is_hybrid) add_processor(step, &table);
  table.add("sampling", "engine", step.sampling_us);
  table.add("scheduling and events", "engine", step.other_us);
  return table.take();
}

}  // namespace sluice::apps
