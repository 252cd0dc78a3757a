// SPDX-License-Identifier: Apache-2.0
#include "lib/net/fake_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

#include "lib/base/check.h"
#include "lib/base/io.h"

namespace cfs::net {
namespace {

bool send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t count = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    text.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

}  // namespace

FakeServer::FakeServer(Handler handler) : handler_(std::move(handler)) {
  listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  CFS_CHECK(::bind(listener_.get(), generic, length) == 0);
  CFS_CHECK(::listen(listener_.get(), 64) == 0);
  CFS_CHECK(::getsockname(listener_.get(), generic, &length) == 0);
  url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  acceptor_ = std::thread([this] { accept_connections(); });
}

FakeServer::~FakeServer() {
  stopping_ = true;
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  {
    std::lock_guard lock(mutex_);
    for (int fd : connections_) ::shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
}

std::vector<std::string> FakeServer::targets() const {
  std::lock_guard lock(mutex_);
  return targets_;
}

size_t FakeServer::count(const std::string& prefix) const {
  std::lock_guard lock(mutex_);
  return static_cast<size_t>(
      std::count_if(targets_.begin(), targets_.end(),
                    [&](const std::string& target) { return target.starts_with(prefix); }));
}

void FakeServer::forget() {
  std::lock_guard lock(mutex_);
  targets_.clear();
}

void FakeServer::accept_connections() {
  for (;;) {
    int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0 || stopping_) {
      if (fd >= 0) ::close(fd);
      return;
    }
    int one = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    unsigned open = ++open_connections_;
    peak_connections_ = std::max<unsigned>(peak_connections_, open);
    std::lock_guard lock(mutex_);
    connections_.push_back(fd);
    threads_.emplace_back([this, fd] {
      serve(fd);
      --open_connections_;
      std::lock_guard done(mutex_);
      std::erase(connections_, fd);
      ::close(fd);
    });
  }
}

void FakeServer::serve(int fd) {
  std::string input;
  for (;;) {
    size_t end = input.find("\r\n\r\n");
    if (end == std::string::npos) {
      char buffer[4096];
      ssize_t count = ::recv(fd, buffer, sizeof(buffer), 0);
      if (count <= 0) return;
      input.append(buffer, static_cast<size_t>(count));
      continue;
    }
    Request request;
    std::string head = input.substr(0, end);
    input.erase(0, end + 4);
    size_t line_end = std::min(head.find("\r\n"), head.size());
    std::string first = head.substr(0, line_end);
    size_t space = first.find(' ');
    request.method = first.substr(0, space);
    request.target = first.substr(space + 1, first.rfind(' ') - space - 1);
    for (size_t start = line_end; start < head.size();) {
      start += 2;
      size_t stop = std::min(head.find("\r\n", start), head.size());
      std::string line = head.substr(start, stop - start);
      size_t colon = line.find(':');
      if (colon != std::string::npos) {
        request.headers[lower(line.substr(0, colon))] =
            line.substr(std::min(line.size(), colon + 2));
      }
      start = stop;
    }
    {
      std::lock_guard lock(mutex_);
      targets_.push_back(request.target);
    }
    if (!answer(fd, request)) return;
  }
}

/// False: the connection is to be closed.
bool FakeServer::answer(int fd, const Request& request) {
  Response response = handler_(request);
  auto range = request.headers.find("range");
  if (response.honour_range && response.status == 200 && range != request.headers.end()) {
    size_t start = std::stoull(range->second.substr(std::string("bytes=").size()));
    std::string total = std::to_string(response.body.size());
    if (start >= response.body.size()) {
      response = Response{.status = 416};
    } else {
      response.status = 206;
      response.headers["Content-Range"] = "bytes " + std::to_string(start) + "-" +
                                          std::to_string(response.body.size() - 1) + "/" + total;
      response.body.erase(0, start);
    }
  }
  auto pause = [&](std::chrono::milliseconds time) {
    for (auto left = time; left.count() > 0 && !stopping_; left -= std::chrono::milliseconds(10)) {
      std::this_thread::sleep_for(std::min(left, std::chrono::milliseconds(10)));
    }
  };
  pause(response.delay_before);
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " Status\r\n";
  for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
  if (response.endless_after) {
    head += "Connection: close\r\n";
  } else {
    head += "Content-Length: " +
            std::to_string(response.declared_length.value_or(response.body.size())) + "\r\n";
  }
  if (!send_all(fd, head + "\r\n") || request.method == "HEAD") return false;
  std::string_view body = response.body;
  if (response.cut_after) body = body.substr(0, *response.cut_after);
  if (response.endless_after) body = body.substr(0, *response.endless_after);
  if (response.delay_per_byte.count() > 0) {
    for (char c : body) {
      pause(response.delay_per_byte);
      if (stopping_ || !send_all(fd, std::string_view(&c, 1))) return false;
    }
  } else if (!send_all(fd, body)) {
    return false;
  }
  if (response.endless_after) {
    const std::string filler(64 << 10, 'x');
    while (!stopping_ && send_all(fd, filler)) {
    }
  }
  bool whole = body.size() == response.body.size() && !response.declared_length;
  return whole && !response.endless_after;
}

}  // namespace cfs::net
