// Certificates that a test makes for itself, signed by an authority that it makes too.
#pragma once

#include <memory>
#include <string>

struct evp_pkey_st;
struct x509_st;

namespace sluice::net {

struct CertificateOptions {
  std::string names = "DNS:localhost,IP:127.0.0.1";  // as OpenSSL's subjectAltName has them
  int64_t valid_from_s = -3600;                      // from now
  int64_t valid_to_s = 3600;
};

// An authority and the files of what it signs, in a folder that goes with it.
class Authority {
 public:
  Authority();
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  std::string file() const;  // its own certificate, PEM
  struct Files {
    std::string certificate;
    std::string key;
  };
  Files issue(const std::string& name, const CertificateOptions& options = {}) const;

 private:
  const std::string folder_;
  evp_pkey_st* key_;
  x509_st* certificate_;
};

}  // namespace sluice::net
