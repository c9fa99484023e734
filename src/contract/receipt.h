// A signed statement of what one request came to. Text, one fact a line, so that a client can read
// it and openssl's command line can check it (docs/receipts.md):
//
//     sluice-receipt-v1
//     request: req_00000000000000a1_0000010000000007
//     time: 2026-11-22T18:00:00Z          when it began
//     tenant: acme
//     key: key_1f
//     model: smollm2
//     outcome: complete
//     line: prompt_token 12 1800          unit, quantity, amount in nano-units
//     total_nano: 1800
//
// The signature is Ed25519 (RFC 8032) over these bytes, base64.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "contract/usage_event.h"
#include "core/result.h"

namespace sluice::contract {

struct Receipt {
  std::string text;
  std::string signature;  // base64, 88 characters
  std::string key_id;     // first 16 hexadecimal digits of the SHA-256 of the public key
};

std::string receipt_text(const UsageEvent& event);

// As it stands in a header: "<key id>.<text in base64>.<signature>".
std::string receipt_header(const Receipt& receipt);

class ReceiptSigner {
 public:
  // The private key of `key_file` (PEM, PKCS #8); made at the first use, with mode 0600. A file
  // that others may read is refused.
  static core::Result<ReceiptSigner> open(const std::string& key_file);

  ReceiptSigner(ReceiptSigner&&) noexcept;
  ReceiptSigner& operator=(ReceiptSigner&&) noexcept;
  ~ReceiptSigner();

  // From any thread; 50 µs.
  Receipt sign(const UsageEvent& event) const;

  const std::string& key_id() const;
  const std::string& public_key_pem() const;  // for whoever verifies

 private:
  struct Impl;
  explicit ReceiptSigner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whether the key of the PEM made the signature over the text. kInvalid: no Ed25519 key, no base64.
core::Result<bool> verify_receipt(std::string_view public_key_pem, const Receipt& receipt);

}  // namespace sluice::contract
