#include "tests/net/certificates.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "core/assert.h"

namespace sluice::net {
namespace {

std::string make_folder() {
  std::string path = (std::filesystem::temp_directory_path() / "sluice-tls-XXXXXX").string();
  ASSERT(::mkdtemp(path.data()) != nullptr, "no folder {}", path);
  return path;
}

void add_extension(X509* certificate, int kind, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
  ASSERT(extension != nullptr, "extension {}", value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* make_certificate(EVP_PKEY* key, const std::string& name, const CertificateOptions& options) {
  static long serial = 0;
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), static_cast<long>(options.valid_from_s));
  X509_gmtime_adj(X509_getm_notAfter(certificate), static_cast<long>(options.valid_to_s));
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  return certificate;
}

void write_certificate(const std::string& path, X509* certificate) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  ASSERT(file != nullptr && PEM_write_X509(file, certificate) == 1, "cannot write {}", path);
  std::fclose(file);
}

void write_key(const std::string& path, EVP_PKEY* key) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  ASSERT(file != nullptr && PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr),
         "cannot write {}", path);
  std::fclose(file);
}

}  // namespace

Authority::Authority()
    : folder_(make_folder()),
      key_(EVP_EC_gen("P-256")),
      certificate_(make_certificate(key_, "authority of " + folder_, {})) {
  X509_set_issuer_name(certificate_, X509_get_subject_name(certificate_));
  add_extension(certificate_, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate_, NID_key_usage, "critical,keyCertSign");
  ASSERT(X509_sign(certificate_, key_, EVP_sha256()) > 0, "the authority is not signed");
  write_certificate(file(), certificate_);
}

Authority::~Authority() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
  std::filesystem::remove_all(folder_);
}

std::string Authority::file() const {
  return folder_ + "/authority.pem";
}

Authority::Files Authority::issue(const std::string& name,
                                  const CertificateOptions& options) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = make_certificate(key, name, options);
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate_));
  add_extension(certificate, NID_subject_alt_name, options.names);
  ASSERT(X509_sign(certificate, key_, EVP_sha256()) > 0, "{} is not signed", name);
  Files files{.certificate = folder_ + "/" + name + ".pem", .key = folder_ + "/" + name + ".key"};
  write_certificate(files.certificate, certificate);
  write_key(files.key, key);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return files;
}

}  // namespace sluice::net
