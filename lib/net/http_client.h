// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/net/url.h"

namespace cfs::net {

/// Limits of a client. The defaults suit devices on bad links; tests shorten the times.
struct ClientOptions {
  unsigned max_connections = 8;
  unsigned max_attempts = 5;  ///< in a row without worthwhile progress
  std::chrono::milliseconds connect_timeout{15'000};
  std::chrono::milliseconds first_backoff{500};  ///< doubles each attempt, with jitter
  std::chrono::milliseconds max_backoff{30'000};
  std::chrono::seconds stall_timeout{30};  ///< slower than the minimum for so long is a failure
  uint64_t min_bytes_per_second = 1000;
  /// A whole download, retries included, may take this and limit_bytes / min_bytes_per_second.
  std::chrono::milliseconds base_deadline{120'000};
};

/// A body on its way: pull it with read(). Destroying it cancels the transfer. One thread at a
/// time; must not outlive its Client.
class Download {
 public:
  Download(Download&&) noexcept;
  Download& operator=(Download&&) noexcept;
  ~Download();

  /// Waits for data and fills the buffer with at least one byte; 0 = the end, everything arrived.
  ///
  /// Broken connections, time-outs and HTTP 408, 429, 500, 502, 503 and 504 are retried here with
  /// growing delays (`Retry-After` is respected); what has been read stays read: the next attempt
  /// asks for the rest (RFC 9110 §14) or skips what is known.
  /// Errors: kNotFound (HTTP 404 and 410, no such file; also 403, which is what S3 and its kin say
  /// about a missing file to those who may not list); kNetwork (everything else that goes wrong
  /// on the way, with the URL); kCorrupt (more than `limit_bytes` came); kInterrupted.
  [[nodiscard]] Result<size_t> read(std::span<std::byte> buffer);

  /// Reads to the end. For metadata: `limit_bytes` of the download bounds the memory.
  [[nodiscard]] Result<std::string> read_all();

 private:
  friend class Client;
  struct State;
  explicit Download(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Fetches files by their URLs, several at once, each bounded in size and time.
///
/// One network thread drives all transfers (libcurl multi); bodies wait in small buffers and a slow
/// reader slows its own transfer only. Redirects: at most 5, to http and https only, and never from
/// https to http. No cookies, no content encodings; proxies as libcurl takes them from the
/// environment. Thread-safe. Trust: everything a Download yields is unverified.
class Client {
 public:
  [[nodiscard]] static Result<Client> create(const ClientOptions& options = {});
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  /// Cancels what is under way.
  ~Client();

  /// Starts a download; it makes progress from now on. More than `limit_bytes` are refused.
  /// Errors of a file:// URL: those of opening the file. All others come from read().
  [[nodiscard]] Result<Download> get(const Url& url, uint64_t limit_bytes);

 private:
  friend class Download;
  class Engine;
  explicit Client(std::unique_ptr<Engine> engine);
  std::unique_ptr<Engine> engine_;
};

}  // namespace cfs::net
