#include "contract/record_codec.h"

#include <bit>
#include <concepts>
#include <cstring>
#include <limits>
#include <type_traits>

namespace sluice::contract {
namespace {

static_assert(std::endian::native == std::endian::little, "ids are copied as they stand");

constexpr uint64_t zigzag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t unzigzag(uint64_t value) {
  return static_cast<int64_t>((value >> 1) ^ (0 - (value & 1)));
}

// Writer and Reader have the same verbs, one for each kind of field, so that the order of the
// fields stands once for both: in the functions fields().
class Writer {
 public:
  explicit Writer(std::span<std::byte> out)
      : begin_(out.data()), at_(out.data()), end_(out.data() + out.size()) {}

  void fixed(uint64_t value) { raw(&value, sizeof value); }
  void varint(uint64_t value) {
    while (value >= 0x80) {
      byte(static_cast<uint8_t>(value | 0x80));
      value >>= 7;
    }
    byte(static_cast<uint8_t>(value));
  }
  template <typename Integer>
  void integer(Integer value) {
    varint(zigzag(value));
  }
  template <typename Enum>
  void enumerator(Enum value, Enum /*last*/) {
    varint(static_cast<uint64_t>(value));
  }
  void flag(bool value) { varint(value ? 1 : 0); }
  void text(const std::string& value) {
    varint(value.size());
    raw(value.data(), value.size());
  }
  template <typename T>
  void list(const std::vector<T>& values, size_t /*bytes_min*/) {
    varint(values.size());
    for (const T& value : values) fields(*this, value);
  }

  std::optional<size_t> bytes() const {
    if (full_) return std::nullopt;
    return static_cast<size_t>(at_ - begin_);
  }

 private:
  void byte(uint8_t value) {
    if (at_ == end_) {
      full_ = true;
      return;
    }
    *at_++ = std::byte{value};
  }
  void raw(const void* data, size_t size) {
    if (size > static_cast<size_t>(end_ - at_)) {
      full_ = true;
      return;
    }
    if (size > 0) std::memcpy(at_, data, size);
    at_ += size;
  }

  std::byte* begin_;
  std::byte* at_;
  std::byte* end_;
  bool full_ = false;
};

// After the first fault nothing more is read and every value is empty.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  void fixed(uint64_t& value) {
    const auto taken = take(sizeof value);
    if (!failed()) std::memcpy(&value, taken.data(), sizeof value);
  }
  void varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto taken = take(1);
      if (failed()) return;
      const auto byte = std::to_integer<uint64_t>(taken[0]);
      if (shift == 63 && byte > 1) return fail("a varint of more than 64 bits");
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (byte == 0 && shift > 0) fail("a varint that is not the shortest");
        return;
      }
    }
    fail("a varint of more than 10 bytes");
  }
  template <typename Integer>
  void integer(Integer& value) {
    uint64_t bits = 0;
    varint(bits);
    const int64_t wide = unzigzag(bits);
    if (wide < std::numeric_limits<Integer>::min() || wide > std::numeric_limits<Integer>::max())
      return fail("an integer out of its range");
    value = static_cast<Integer>(wide);
  }
  template <typename Enum>
  void enumerator(Enum& value, Enum last) {
    uint64_t number = 0;
    varint(number);
    if (number > static_cast<uint64_t>(last)) return fail("an enumerator that does not exist");
    value = static_cast<Enum>(number);
  }
  void flag(bool& value) {
    uint64_t number = 0;
    varint(number);
    if (number > 1) return fail("a flag that is neither 0 nor 1");
    value = number == 1;
  }
  void text(std::string& value) {
    uint64_t size = 0;
    varint(size);
    const auto taken = take(size);
    value.assign(reinterpret_cast<const char*>(taken.data()), taken.size());
  }
  template <typename T>
  void list(std::vector<T>& values, size_t bytes_min) {
    uint64_t count = 0;
    varint(count);
    if (count > (bytes_.size() - offset_) / bytes_min) return fail("a list longer than its bytes");
    values.resize(count);
    for (T& value : values) {
      fields(*this, value);
      if (failed()) return;
    }
  }

  core::Result<void> finish() {
    if (!failed() && offset_ != bytes_.size()) fail("bytes behind the end");
    if (failed()) return core::invalid("at byte {} of {}: {}", offset_, bytes_.size(), fault_);
    return {};
  }

 private:
  bool failed() const { return fault_ != nullptr; }
  void fail(const char* fault) {
    if (!failed()) fault_ = fault;
  }
  std::span<const std::byte> take(uint64_t count) {
    if (failed()) return {};
    if (count > bytes_.size() - offset_) {
      fail("the end comes too early");
      return {};
    }
    const auto taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }

  std::span<const std::byte> bytes_;
  size_t offset_ = 0;
  const char* fault_ = nullptr;
};

// E is `const UsageEvent` for the Writer, `UsageEvent` for the Reader, and so on.
template <typename E, typename T>
concept Like = std::same_as<std::remove_const_t<E>, T>;

template <typename Codec, typename Id>
void id_fields(Codec& codec, Id& id) {
  codec.fixed(id.gateway);
  codec.fixed(id.sequence);
}

template <typename Codec, Like<UsageLine> E>
void fields(Codec& codec, E& line) {
  codec.text(line.replica);
  codec.text(line.pool);
  codec.text(line.owner);
  codec.enumerator(line.unit, Unit::kComputeMicrosecond);
  codec.enumerator(line.side, LineSide::kCostOnly);
  codec.integer(line.quantity);
  codec.integer(line.sale_version);
  codec.integer(line.cost_version);
  codec.integer(line.amount.nano);
  codec.integer(line.cost.nano);
}
constexpr size_t kLineBytesMin = 10;

template <typename Codec, Like<UsageEvent> E>
void fields(Codec& codec, E& event) {
  id_fields(codec, event.id);
  id_fields(codec, event.parent);
  codec.enumerator(event.kind, EventKind::kEmbedding);
  codec.enumerator(event.outcome, Outcome::kKeyRevoked);
  codec.enumerator(event.decision, ValveDecision::kRefused);
  codec.flag(event.target_met);
  codec.integer(event.status);
  codec.text(event.tenant);
  codec.text(event.project);
  codec.text(event.key);
  codec.text(event.model);
  codec.text(event.model_digest);
  codec.text(event.finish_reason);
  codec.integer(event.started_unix_ns);
  codec.integer(event.ttft_ns);
  codec.integer(event.tpot_ns);
  codec.integer(event.total_ns);
  codec.integer(event.reserved.nano);
  codec.list(event.lines, kLineBytesMin);
}

template <typename Codec, Like<Reservation> E>
void fields(Codec& codec, E& reservation) {
  id_fields(codec, reservation.id);
  codec.text(reservation.tenant);
  codec.text(reservation.key);
  codec.text(reservation.model);
  codec.integer(reservation.started_unix_ns);
  codec.integer(reservation.amount.nano);
  codec.integer(reservation.tokens);
}

template <typename Codec, Like<ChangeRecord> E>
void fields(Codec& codec, E& change) {
  codec.text(change.actor);
  codec.text(change.action);
  codec.text(change.object);
  codec.text(change.hash_before);
  codec.text(change.hash_after);
  codec.integer(change.generation);
  codec.integer(change.unix_ns);
}

template <typename Codec, Like<BalanceChange> E>
void fields(Codec& codec, E& change) {
  codec.text(change.id);
  codec.text(change.tenant);
  codec.enumerator(change.kind, BalanceChange::Kind::kAdjustment);
  codec.integer(change.amount.nano);
  codec.text(change.actor);
  codec.text(change.reason);
  codec.integer(change.unix_ns);
}

template <typename E>
std::optional<size_t> write(const E& record, std::span<std::byte> out) {
  Writer writer(out);
  fields(writer, record);
  return writer.bytes();
}

template <typename E>
core::Result<Record> read(std::string_view kind, std::span<const std::byte> bytes) {
  Reader reader(bytes);
  E record;
  fields(reader, record);
  if (const auto whole = reader.finish(); !whole.ok()) return whole.error().within(kind);
  return Record(std::move(record));
}

}  // namespace

RecordKind kind_of(const Record& record) {
  constexpr RecordKind kKinds[] = {RecordKind::kReservation, RecordKind::kUsage,
                                   RecordKind::kChange, RecordKind::kBalance};
  return kKinds[record.index()];
}

std::optional<size_t> encode(const Reservation& reservation, std::span<std::byte> out) {
  return write(reservation, out);
}
std::optional<size_t> encode(const UsageEvent& event, std::span<std::byte> out) {
  return write(event, out);
}
std::optional<size_t> encode(const ChangeRecord& change, std::span<std::byte> out) {
  return write(change, out);
}
std::optional<size_t> encode(const BalanceChange& change, std::span<std::byte> out) {
  return write(change, out);
}

core::Result<Record> decode(RecordKind kind, uint8_t version, std::span<const std::byte> bytes) {
  if (version != kRecordVersion)
    return core::unsupported("a record of version {}, this build knows {}", version,
                             kRecordVersion);
  switch (kind) {
    case RecordKind::kReservation:
      return read<Reservation>("reservation", bytes);
    case RecordKind::kUsage:
      return read<UsageEvent>("usage event", bytes);
    case RecordKind::kChange:
      return read<ChangeRecord>("change", bytes);
    case RecordKind::kBalance:
      return read<BalanceChange>("balance change", bytes);
  }
  return core::unsupported("a record of kind {}", static_cast<int>(kind));
}

}  // namespace sluice::contract
