#include "net/tls.h"

#include <mutex>
#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "net/tls_stream.h"

namespace sluice::net {
namespace {

constexpr unsigned char kProtocol[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

// What OpenSSL's queue of errors says, which is emptied.
std::string last_reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "unknown reason" : reason;
}

core::Error bad_file(std::string_view what, const std::string& file) {
  return core::Error{core::ErrorCode::kInvalid,
                     fmt::format("{} '{}': {}", what, file, last_reason())};
}

// Nobody is there to be asked for a passphrase.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_bytes,
                    const unsigned char* offered, unsigned offered_bytes, void*) {
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, out_bytes, kProtocol, sizeof(kProtocol), offered,
                                          offered_bytes);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

std::unique_ptr<TlsStreamSource> make_source(const SSL_METHOD* method) {
  SSL_CTX* context = SSL_CTX_new(method);
  ASSERT(context != nullptr, "SSL_CTX_new: {}", last_reason());
  auto source = std::make_unique<TlsStreamSource>(context);
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  return source;
}

core::Result<std::shared_ptr<const TlsStreamSource>> server_source(const TlsServerFiles& files) {
  std::shared_ptr<const TlsStreamSource> source = make_source(TLS_server_method());
  SSL_CTX* context = source->context;
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, files.certificate_file.c_str()) != 1)
    return bad_file("certificate", files.certificate_file);
  if (SSL_CTX_use_PrivateKey_file(context, files.key_file.c_str(), SSL_FILETYPE_PEM) != 1)
    return bad_file("private key", files.key_file);
  if (SSL_CTX_check_private_key(context) != 1) return bad_file("private key", files.key_file);
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  return source;
}

}  // namespace

TlsStreamSource::~TlsStreamSource() {
  SSL_CTX_free(context);
}

struct TlsServer::Impl {
  TlsServerFiles files;
  mutable std::mutex mutex;
  std::shared_ptr<const TlsStreamSource> source;  // under mutex
};

TlsServer::TlsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsServer::~TlsServer() = default;

core::Result<std::shared_ptr<TlsServer>> TlsServer::load(TlsServerFiles files) {
  auto impl = std::make_unique<Impl>();
  impl->files = std::move(files);
  impl->source = TRY(server_source(impl->files));
  return std::shared_ptr<TlsServer>(new TlsServer(std::move(impl)));
}

core::Result<void> TlsServer::reload() {
  std::shared_ptr<const TlsStreamSource> fresh = TRY(server_source(impl_->files));
  std::lock_guard lock(impl_->mutex);
  impl_->source = std::move(fresh);
  return {};
}

std::shared_ptr<const TlsStreamSource> TlsServer::source() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->source;
}

TlsClient::TlsClient(std::unique_ptr<TlsStreamSource> source) : source_(std::move(source)) {}
TlsClient::~TlsClient() = default;

core::Result<std::shared_ptr<const TlsClient>> TlsClient::load(
    const std::string& authorities_file) {
  std::unique_ptr<TlsStreamSource> source = make_source(TLS_client_method());
  SSL_CTX* context = source->context;
  ERR_clear_error();
  const int loaded = authorities_file.empty()
                         ? SSL_CTX_set_default_verify_paths(context)
                         : SSL_CTX_load_verify_file(context, authorities_file.c_str());
  if (loaded != 1) return bad_file("authorities", authorities_file);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_alpn_protos(context, kProtocol, sizeof(kProtocol));
  return std::shared_ptr<const TlsClient>(new TlsClient(std::move(source)));
}

}  // namespace sluice::net
