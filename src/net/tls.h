// TLS 1.2 and 1.3 for the server and the client of this folder (OpenSSL 3). No renegotiation, no
// compression; the protocol inside is http/1.1 (ALPN). Errors name files and reasons, never keys.
#pragma once

#include <memory>
#include <string>

#include "core/result.h"

namespace sluice::net {

struct TlsStreamSource;  // internal: net/tls_stream.h

struct TlsServerFiles {
  std::string certificate_file;  // PEM: the server's certificate, then those that lead to the root
  std::string key_file;          // PEM, without a passphrase
};

// What a server proves who it is with. From any thread; several servers may share one.
class TlsServer {
 public:
  // An Error where a file is missing or damaged, or the key is not the certificate's.
  static core::Result<std::shared_ptr<TlsServer>> load(TlsServerFiles files);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  // Reads the files again. New connections use what they hold now, open ones keep what they have.
  // With an Error everything stays as it was.
  core::Result<void> reload();

  std::shared_ptr<const TlsStreamSource> source() const;  // for this folder

 private:
  struct Impl;
  explicit TlsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whom a client believes: it always verifies the peer's certificate and that it is for the host it
// asked for (a name, also sent as SNI, or an address). Immutable: any thread, any number of
// clients.
class TlsClient {
 public:
  // authorities_file: PEM of the authorities to trust; empty: the system's.
  static core::Result<std::shared_ptr<const TlsClient>> load(const std::string& authorities_file);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  const TlsStreamSource& source() const { return *source_; }  // for this folder

 private:
  explicit TlsClient(std::unique_ptr<TlsStreamSource> source);
  std::unique_ptr<TlsStreamSource> source_;
};

}  // namespace sluice::net
