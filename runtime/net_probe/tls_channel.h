// TLS as a filter between two byte streams, without a socket: ciphertext that arrived goes in,
// ciphertext to be sent comes out, and plain text the same on the other side. OpenSSL over memory
// BIOs. TLS 1.2 or newer.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "config/result.h"

namespace keepwell {

class TlsChannel {
 public:
  // Begins as a client. SERVER_NAME is sent as SNI and, with VERIFY, must be what a certificate
  // that the host's CA store trusts was issued for (a name, or an IP address). ALPN is one protocol
  // or empty.
  static Result<std::unique_ptr<TlsChannel>> open(const std::string& server_name, bool verify,
                                                  std::string_view alpn);
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
