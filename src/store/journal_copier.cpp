#include "store/journal_copier.h"

#include "contract/request_id.h"
#include "core/turns.h"

namespace sluice::store {

core::Result<std::unique_ptr<JournalCopier>> JournalCopier::open(const StoreAddress& address,
                                                                 const Source& source) {
  auto store = TRY(Store::open(address, OpenFor::kService));
  auto writer = TRY(BatchWriter::open(store->database(), source.gateway));
  auto reader = TRY(JournalReader::open(source.folder, writer->applied_sequence()));
  return std::unique_ptr<JournalCopier>(
      new JournalCopier(std::move(store), std::move(writer), std::move(reader)));
}

core::Result<CopiedBatch> JournalCopier::copy(int64_t records_max, Commit commit) {
  records_.clear();
  while (static_cast<int64_t>(records_.size()) < records_max) {
    const auto next = TRY(reader_->next());
    if (!next) break;
    auto record = contract::decode(next->kind, next->version, next->bytes);
    if (!record.ok()) return record.error().within(fmt::format("record {}", next->sequence));
    records_.push_back({next->sequence, std::move(record).value()});
    core::let_others_first();
  }
  const WrittenBatch written = TRY(writer_->apply(records_, commit));
  if (commit == Commit::kDurable && durable_sequence_ < writer_->applied_sequence()) {
    if (records_.empty()) TRY(writer_->make_durable());
    durable_sequence_ = writer_->applied_sequence();
  }
  return CopiedBatch{.records = static_cast<int64_t>(records_.size()),
                     .applied_sequence = writer_->applied_sequence(),
                     .durable_sequence = durable_sequence_,
                     .written = written};
}

core::Result<std::vector<contract::Reservation>> JournalCopier::left_open_before(uint64_t start) {
  std::vector<contract::Reservation> left = TRY(store_->open_reservations());
  std::erase_if(left, [&](const contract::Reservation& reservation) {
    return reservation.id.gateway != reader_->gateway() ||
           contract::start_of(reservation.id) >= start;
  });
  return left;
}

}  // namespace sluice::store
