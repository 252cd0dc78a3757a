// SPDX-License-Identifier: Apache-2.0
// For tests only: a small HTTP/1.1 server inside the test's own process, with faults on demand.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/unique_fd.h"

namespace cfs::net {

class FakeServer {
 public:
  struct Request {
    std::string method;
    std::string target;                          ///< "/obj/ab/cd.zst"
    std::map<std::string, std::string> headers;  ///< names in lower case
  };

  struct Response {
    int status = 200;
    std::map<std::string, std::string> headers;
    std::string body;

    bool honour_range = true;                     ///< answer "Range: bytes=N-" with 206
    std::optional<uint64_t> declared_length;      ///< Content-Length that is not the body's
    std::optional<size_t> cut_after;              ///< close after that many bytes of the body
    std::optional<size_t> endless_after;          ///< no length; then 'x' for ever
    std::chrono::milliseconds delay_per_byte{0};  ///< send byte by byte
    std::chrono::milliseconds delay_before{0};    ///< before the status line
  };

  /// Called by several threads at once.
  using Handler = std::function<Response(const Request&)>;

  /// Listens on a free port of 127.0.0.1.
  explicit FakeServer(Handler handler);
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  ~FakeServer();

  /// "http://127.0.0.1:PORT"
  [[nodiscard]] const std::string& url() const { return url_; }
  /// Targets of all requests so far, in order of arrival.
  [[nodiscard]] std::vector<std::string> targets() const;
  /// How many of them begin with `prefix`.
  [[nodiscard]] size_t count(const std::string& prefix) const;
  void forget();
  /// The most connections that were open at once.
  [[nodiscard]] unsigned peak_connections() const { return peak_connections_; }

 private:
  void accept_connections();
  void serve(int fd);
  bool answer(int fd, const Request& request);

  Handler handler_;
  std::string url_;
  UniqueFd listener_;
  std::atomic<bool> stopping_{false};
  std::atomic<unsigned> open_connections_{0};
  std::atomic<unsigned> peak_connections_{0};
  mutable std::mutex mutex_;
  std::vector<std::string> targets_;
  std::vector<int> connections_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace cfs::net
