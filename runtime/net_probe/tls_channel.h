// TLS as a filter between two byte streams, without a socket: ciphertext that arrived goes in,
// ciphertext to be sent comes out, and plain text the same on the other side. OpenSSL over memory
// BIOs. TLS 1.2 or newer.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "config/result.h"

namespace keepwell {

struct TlsOptions {
  std::string server_name;  // sent as SNI, unless it is an address
  // Whether the certificate must be issued for server_name and trusted by the host's CA store, or
  // by ca_file (PEM) alone where that is given.
  bool verify = true;
  std::string ca_file;
  std::string alpn;  // one protocol, or empty
};

class TlsChannel {
 public:
  // Begins as a client. Fails where OPTIONS cannot be used (a ca_file that cannot be read).
  static Result<std::unique_ptr<TlsChannel>> open(const TlsOptions& options);
  ~TlsChannel();
  TlsChannel(const TlsChannel&) = delete;
  TlsChannel& operator=(const TlsChannel&) = delete;

  // Takes ciphertext and returns the plain text that it made whole. Fails on a bad handshake,
  // certificate or record: the text says which.
  Result<std::string> receive(std::string_view ciphertext);

  // Queues plain text; it is sent once the handshake is done.
  Status send(std::string_view plain);

  // Ciphertext to be sent now.
  std::string take_output();

  bool established() const;

 private:
  struct State;
  explicit TlsChannel(std::unique_ptr<State> state);
  Status advance();

  std::unique_ptr<State> state_;
};

}  // namespace keepwell
