#include "contract/receipt.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>

namespace sluice::contract {
namespace {

constexpr size_t kSignatureBytes = 64;
constexpr size_t kKeyIdBytes = 8;

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Key = std::unique_ptr<EVP_PKEY, Free>;
using Context = std::unique_ptr<EVP_MD_CTX, Free>;
using Bio = std::unique_ptr<BIO, Free>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Bio memory(std::string_view text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string content(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

core::Error io_error(const std::string& file) {
  return {core::ErrorCode::kIo, fmt::format("{}: {}", file, std::strerror(errno))};
}

class File {
 public:
  File(const std::string& path, int flags)
      : number_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~File() {
    if (number_ >= 0) ::close(number_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool open() const { return number_ >= 0; }
  int number() const { return number_; }

 private:
  int number_;
};

core::Result<Key> read_key(const std::string& path, const File& file) {
  constexpr size_t kPemBytesMax = 4096;
  struct stat status = {};
  if (::fstat(file.number(), &status) != 0) return io_error(path);
  if ((status.st_mode & 0077) != 0)
    return core::invalid("{}: mode {:o}; a signing key may be read by its owner alone (chmod 600)",
                         path, status.st_mode & 07777);
  std::string pem(kPemBytesMax, '\0');
  const ssize_t size = ::read(file.number(), pem.data(), pem.size());
  if (size < 0) return io_error(path);
  pem.resize(static_cast<size_t>(size));
  Key key(PEM_read_bio_PrivateKey(memory(pem).get(), nullptr, nullptr, nullptr));
  if (!key || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519)
    return core::invalid("{}: no Ed25519 private key in PEM", path);
  return key;
}

// Written beside its place and linked there: of two processes that start at once one makes the key,
// and nobody reads half of one.
core::Result<void> make_key(const std::string& path) {
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const Bio pem(BIO_new(BIO_s_mem()));
  if (!key || PEM_write_bio_PKCS8PrivateKey(pem.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                            nullptr) != 1)
    return core::Error{core::ErrorCode::kIo, "OpenSSL made no Ed25519 key"};
  const std::string text = content(pem.get());
  const std::string beside = fmt::format("{}.{}", path, ::getpid());
  const File file(beside, O_WRONLY | O_CREAT | O_EXCL);
  if (!file.open()) return io_error(beside);
  const bool written =
      ::write(file.number(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      ::fsync(file.number()) == 0;
  const bool linked = written && (::link(beside.c_str(), path.c_str()) == 0 || errno == EEXIST);
  const core::Error error = io_error(path);
  ::unlink(beside.c_str());
  if (!linked) return error;
  return {};
}

std::string key_id_of(EVP_PKEY* key) {
  unsigned char raw[32];
  size_t raw_size = sizeof raw;
  unsigned char digest[EVP_MAX_MD_SIZE];
  const bool done = EVP_PKEY_get_raw_public_key(key, raw, &raw_size) == 1 &&
                    EVP_Digest(raw, raw_size, digest, nullptr, EVP_sha256(), nullptr) == 1;
  ASSERT(done, "no public key of {} bytes", raw_size);
  std::string id;
  for (size_t i = 0; i < kKeyIdBytes; ++i) id += fmt::format("{:02x}", digest[i]);
  return id;
}

std::string base64(std::span<const unsigned char> bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and OpenSSL's NUL
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

}  // namespace

std::string receipt_text(const UsageEvent& event) {
  constexpr int64_t kNsPerSecond = 1'000'000'000;
  std::string text = fmt::format(
      "sluice-receipt-v1\nrequest: {}\ntime: {:%Y-%m-%dT%H:%M:%SZ}\ntenant: {}\nkey: {}\n"
      "model: {}\noutcome: {}\n",
      to_text(event.id), fmt::gmtime(event.started_unix_ns / kNsPerSecond), event.tenant, event.key,
      event.model, to_text(event.outcome));
  __int128 total = 0;
  for (const UsageLine& line : event.lines) {
    if (line.side == LineSide::kCostOnly) continue;
    text += fmt::format("line: {} {} {}\n", to_text(line.unit), line.quantity, line.amount.nano);
    total += line.amount.nano;
  }
  return text + fmt::format("total_nano: {}\n", total);
}

std::string receipt_header(const Receipt& receipt) {
  const std::span<const unsigned char> text(bytes_of(receipt.text), receipt.text.size());
  return fmt::format("{}.{}.{}", receipt.key_id, base64(text), receipt.signature);
}

struct ReceiptSigner::Impl {
  Key key;
  std::string key_id;
  std::string public_key_pem;
};

ReceiptSigner::ReceiptSigner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ReceiptSigner::ReceiptSigner(ReceiptSigner&&) noexcept = default;
ReceiptSigner& ReceiptSigner::operator=(ReceiptSigner&&) noexcept = default;
ReceiptSigner::~ReceiptSigner() = default;

core::Result<ReceiptSigner> ReceiptSigner::open(const std::string& key_file) {
  if (::access(key_file.c_str(), F_OK) != 0) TRY(make_key(key_file));
  const File file(key_file, O_RDONLY);
  if (!file.open()) return io_error(key_file);
  auto impl = std::make_unique<Impl>();
  impl->key = TRY(read_key(key_file, file));
  impl->key_id = key_id_of(impl->key.get());
  const Bio pem(BIO_new(BIO_s_mem()));
  const int written = PEM_write_bio_PUBKEY(pem.get(), impl->key.get());
  ASSERT(written == 1, "PEM_write_bio_PUBKEY gave {}", written);
  impl->public_key_pem = content(pem.get());
  return ReceiptSigner(std::move(impl));
}

Receipt ReceiptSigner::sign(const UsageEvent& event) const {
  Receipt receipt = {.text = receipt_text(event), .signature = {}, .key_id = impl_->key_id};
  unsigned char signature[kSignatureBytes];
  size_t size = sizeof signature;
  const Context context(EVP_MD_CTX_new());
  const bool done =
      EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, impl_->key.get()) == 1 &&
      EVP_DigestSign(context.get(), signature, &size, bytes_of(receipt.text),
                     receipt.text.size()) == 1;
  ASSERT(done && size == kSignatureBytes, "Ed25519 gave {} bytes", size);
  receipt.signature = base64(signature);
  return receipt;
}

const std::string& ReceiptSigner::key_id() const {
  return impl_->key_id;
}
const std::string& ReceiptSigner::public_key_pem() const {
  return impl_->public_key_pem;
}

core::Result<bool> verify_receipt(std::string_view public_key_pem, const Receipt& receipt) {
  const Key key(PEM_read_bio_PUBKEY(memory(public_key_pem).get(), nullptr, nullptr, nullptr));
  if (!key || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519)
    return core::invalid("no Ed25519 public key in PEM");
  if (receipt.signature.size() != (kSignatureBytes + 2) / 3 * 4)
    return core::invalid("a signature of {} characters, Ed25519's have 88 in base64",
                         receipt.signature.size());
  std::vector<unsigned char> signature(receipt.signature.size());
  if (EVP_DecodeBlock(signature.data(), bytes_of(receipt.signature),
                      static_cast<int>(receipt.signature.size())) < 0)
    return core::invalid("the signature is no base64");
  const Context context(EVP_MD_CTX_new());
  return EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
         EVP_DigestVerify(context.get(), signature.data(), kSignatureBytes, bytes_of(receipt.text),
                          receipt.text.size()) == 1;
}

}  // namespace sluice::contract
