#include "runtime/net_probe/tls_channel.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

namespace keepwell {

namespace {

struct ContextFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

std::string reason() {
  unsigned long code = ERR_get_error();
  const char* text = code == 0 ? nullptr : ERR_reason_error_string(code);
  ERR_clear_error();
  return text == nullptr ? "unknown TLS error" : text;
}

struct Context {
  std::unique_ptr<SSL_CTX, ContextFree> ssl;
  std::int64_t changed = 0;  // of the CA file, as seen when it was read
};

std::int64_t change_time(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return -1;
  return status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
}

// One context for each way to verify, made when first needed: reading the host's CA store takes
// milliseconds. A CA file is read again when it has changed.
Result<SSL_CTX*> context_for(bool verify, const std::string& ca_file) {
  static std::map<std::string, Context> contexts;
  const std::string key = !verify ? "" : ca_file.empty() ? "host" : ca_file;
  const std::int64_t changed = verify && !ca_file.empty() ? change_time(ca_file) : 0;
  Context& kept = contexts[key];
  if (kept.ssl && kept.changed == changed) return kept.ssl.get();
  std::unique_ptr<SSL_CTX, ContextFree> context(SSL_CTX_new(TLS_client_method()));
  if (!context) return fail(Errc::os, "cannot set up TLS: " + reason());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  if (verify && ca_file.empty()) SSL_CTX_set_default_verify_paths(context.get());
  if (verify && !ca_file.empty() &&
      SSL_CTX_load_verify_locations(context.get(), ca_file.c_str(), nullptr) != 1) {
    return fail(Errc::invalid,
                "cannot use tls.ca " + ca_file + ": " + reason() + "; name a readable PEM file");
  }
  kept = {std::move(context), changed};
  return kept.ssl.get();
}

bool is_address(const std::string& name) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, name.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

}  // namespace

struct TlsChannel::State {
  std::unique_ptr<SSL, SslFree> ssl;
  BIO* in = nullptr;   // owned by ssl
  BIO* out = nullptr;  // owned by ssl
  std::string queued;  // plain text that waits for the handshake
};

TlsChannel::TlsChannel(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsChannel::~TlsChannel() = default;

Result<std::unique_ptr<TlsChannel>> TlsChannel::open(const TlsOptions& options) {
  const std::string& server_name = options.server_name;
  const bool verify = options.verify;
  const std::string& alpn = options.alpn;
  Result<SSL_CTX*> context = context_for(verify, options.ca_file);
  if (!context) return fail(context.error());
  auto state = std::make_unique<State>();
  state->ssl.reset(SSL_new(*context));
  if (!state->ssl) return fail(Errc::os, "cannot set up TLS: " + reason());
  SSL* ssl = state->ssl.get();
  state->in = BIO_new(BIO_s_mem());
  state->out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl, state->in, state->out);
  SSL_set_connect_state(ssl);
  if (is_address(server_name)) {
    if (verify) X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server_name.c_str());
  } else {
    SSL_set_tlsext_host_name(ssl, server_name.c_str());
    if (verify) SSL_set1_host(ssl, server_name.c_str());
  }
  SSL_set_verify(ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (!alpn.empty()) {
    std::string wire(1, static_cast<char>(alpn.size()));
    wire += alpn;
    SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(wire.data()),
                        static_cast<unsigned>(wire.size()));
  }
  std::unique_ptr<TlsChannel> channel(new TlsChannel(std::move(state)));
  if (Status begun = channel->advance(); !begun) return fail(begun.error());
  return channel;
}

bool TlsChannel::established() const { return SSL_is_init_finished(state_->ssl.get()) == 1; }

Status TlsChannel::advance() {
  SSL* ssl = state_->ssl.get();
  ERR_clear_error();
  if (!established()) {
    int rc = SSL_do_handshake(ssl);
    if (rc != 1 && SSL_get_error(ssl, rc) != SSL_ERROR_WANT_READ) {
      long verdict = SSL_get_verify_result(ssl);
      std::string why = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : reason();
      ERR_clear_error();
      return fail(Errc::denied, "cannot agree on TLS: " + why);
    }
  }
  if (established() && !state_->queued.empty()) {
    int rc = SSL_write(ssl, state_->queued.data(), static_cast<int>(state_->queued.size()));
    if (rc <= 0) return fail(Errc::os, "cannot send over TLS: " + reason());
    state_->queued.clear();
  }
  return {};
}

Result<std::string> TlsChannel::receive(std::string_view ciphertext) {
  BIO_write(state_->in, ciphertext.data(), static_cast<int>(ciphertext.size()));
  if (Status advanced = advance(); !advanced) return fail(advanced.error());
  std::string plain;
  char buffer[4096];
  while (established()) {
    int count = SSL_read(state_->ssl.get(), buffer, sizeof buffer);
    if (count <= 0) {
      int error = SSL_get_error(state_->ssl.get(), count);
      if (error == SSL_ERROR_SSL) return fail(Errc::os, "cannot read over TLS: " + reason());
      break;
    }
    plain.append(buffer, static_cast<std::size_t>(count));
  }
  return plain;
}

Status TlsChannel::send(std::string_view plain) {
  state_->queued += plain;
  return advance();
}

std::string TlsChannel::take_output() {
  std::string bytes(BIO_ctrl_pending(state_->out), '\0');
  if (!bytes.empty()) BIO_read(state_->out, bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

}  // namespace keepwell
