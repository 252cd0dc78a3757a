// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "lib/base/io.h"
#include "lib/net/fake_server.h"
#include "lib/net/http_client.h"

namespace cfs::net {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Request = FakeServer::Request;
using Response = FakeServer::Response;

/// Times for tests: everything that waits, waits milliseconds.
ClientOptions fast() {
  ClientOptions options;
  options.first_backoff = milliseconds(2);
  options.max_backoff = milliseconds(10);
  options.stall_timeout = std::chrono::seconds(1);
  return options;
}

Client make_client(const ClientOptions& options = fast()) {
  Result<Client> client = Client::create(options);
  if (!client) std::abort();
  return std::move(*client);
}

Url parsed(const std::string& url) { return Url::parse(url).value(); }

Result<std::string> fetch(Client& client, const std::string& url, uint64_t limit = 16 << 20) {
  Download download = CFS_TRY(client.get(parsed(url), limit));
  return download.read_all();
}

std::string pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 31 + i / 251) % 26);
  return text;
}

TEST(Client, FetchesManyAtOnceOverFewConnections) {
  FakeServer server([](const Request& request) {
    return Response{.body = "body of " + request.target, .delay_before = milliseconds(5)};
  });
  Client client = make_client();
  std::vector<Download> downloads;
  for (int i = 0; i < 40; ++i) {
    auto download = client.get(parsed(server.url() + "/" + std::to_string(i)), 100);
    ASSERT_TRUE(download);
    downloads.push_back(std::move(*download));
  }
  for (int i = 0; i < 40; ++i) {
    auto body = downloads[static_cast<size_t>(i)].read_all();
    ASSERT_TRUE(body) << body.error().describe();
    EXPECT_EQ(*body, "body of /" + std::to_string(i));
  }
  EXPECT_EQ(server.targets().size(), 40u);
  EXPECT_LE(server.peak_connections(), 8u);
  EXPECT_GE(server.peak_connections(), 2u);
}

TEST(Client, ASlowReaderDoesNotLoseBytesNorFillMemory) {
  const std::string body = pattern(5 << 20);
  FakeServer server([&](const Request&) { return Response{.body = body}; });
  Client client = make_client();
  auto download = client.get(parsed(server.url() + "/big"), body.size());
  ASSERT_TRUE(download);
  std::this_thread::sleep_for(milliseconds(50));  // the buffer fills and the transfer pauses
  auto other = fetch(client, server.url() + "/other");
  ASSERT_TRUE(other) << "a paused transfer must not hold up others";
  auto got = download->read_all();
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_TRUE(*got == body);
}

TEST(Client, EmptyBody) {
  FakeServer server([](const Request&) { return Response{}; });
  Client client = make_client();
  auto body = fetch(client, server.url() + "/empty");
  ASSERT_TRUE(body) << body.error().describe();
  EXPECT_EQ(*body, "");
}

TEST(Client, NotFoundIsItsOwnErrorAndIsNotRetried) {
  for (int status : {403, 404, 410}) {
    FakeServer server([&](const Request&) { return Response{.status = status, .body = "no"}; });
    Client client = make_client();
    auto body = fetch(client, server.url() + "/missing");
    ASSERT_FALSE(body);
    EXPECT_EQ(body.error().code, ErrorCode::kNotFound) << status;
    EXPECT_THAT(body.error().message,
                AllOf(HasSubstr("/missing"), HasSubstr(std::to_string(status))));
    EXPECT_EQ(server.targets().size(), 1u);
  }
}

TEST(Client, ServerErrorsAreRetried) {
  std::atomic<int> requests{0};
  FakeServer server([&](const Request&) {
    if (++requests < 4) return Response{.status = 503, .body = "later"};
    return Response{.body = "now"};
  });
  Client client = make_client();
  auto body = fetch(client, server.url() + "/x");
  ASSERT_TRUE(body) << body.error().describe();
  EXPECT_EQ(*body, "now");
  EXPECT_EQ(requests, 4);
}

TEST(Client, GivesUpAfterSomeAttempts) {
  FakeServer server([](const Request&) { return Response{.status = 500}; });
  Client client = make_client();
  auto body = fetch(client, server.url() + "/x");
  ASSERT_FALSE(body);
  EXPECT_EQ(body.error().code, ErrorCode::kNetwork);
  EXPECT_THAT(body.error().describe(), AllOf(HasSubstr(server.url() + "/x"), HasSubstr("500"),
                                             HasSubstr("after 5 attempts")));
  EXPECT_EQ(server.targets().size(), 5u);
}

TEST(Client, RespectsRetryAfter) {
  std::atomic<int> requests{0};
  FakeServer server([&](const Request&) {
    if (++requests == 1) return Response{.status = 429, .headers = {{"Retry-After", "1"}}};
    return Response{.body = "ok"};
  });
  Client client = make_client();
  auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(fetch(client, server.url() + "/x"));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(950));
}

TEST(Client, OtherStatusesAreFinal) {
  for (int status : {204, 206, 301, 400, 401, 505}) {
    FakeServer server([&](const Request&) { return Response{.status = status}; });
    Client client = make_client();
    auto body = fetch(client, server.url() + "/x");
    ASSERT_FALSE(body) << status;
    EXPECT_EQ(body.error().code, ErrorCode::kNetwork);
    EXPECT_THAT(body.error().message, HasSubstr(std::to_string(status)));
    EXPECT_EQ(server.targets().size(), 1u) << status;
  }
}

TEST(Client, CutConnectionGoesOnWhereItStopped) {
  const std::string body = pattern(300'000);
  std::vector<std::string> ranges;
  std::mutex mutex;
  for (bool honour_range : {true, false}) {
    ranges.clear();
    FakeServer server([&](const Request& request) {
      Response response{.body = body, .honour_range = honour_range};
      std::lock_guard lock(mutex);
      auto range = request.headers.find("range");
      ranges.push_back(range == request.headers.end() ? "" : range->second);
      if (ranges.size() < 3) response.cut_after = 100'000 * ranges.size();
      return response;
    });
    Client client = make_client();
    auto got = fetch(client, server.url() + "/x");
    ASSERT_TRUE(got) << got.error().describe();
    EXPECT_TRUE(*got == body);
    ASSERT_EQ(ranges.size(), honour_range ? 2u : 3u);  // the second cut lies past the range's end
    EXPECT_EQ(ranges[0], "");
    EXPECT_EQ(ranges[1], "bytes=100000-");
  }
}

TEST(Client, AServerThatAlwaysCutsIsGivenUp) {
  const std::string body = pattern(1000);
  FakeServer server([&](const Request&) {
    return Response{.body = body, .honour_range = false, .cut_after = 10};
  });
  Client client = make_client();
  auto got = fetch(client, server.url() + "/x");
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kNetwork);
  EXPECT_EQ(server.targets().size(), 5u);
}

TEST(Client, AnotherRangeThanAskedIsRefused) {
  const std::string body = pattern(1000);
  FakeServer server([&](const Request& request) {
    if (!request.headers.contains("range")) {
      return Response{.body = body, .honour_range = false, .cut_after = 10};
    }
    return Response{
        .status = 206, .headers = {{"Content-Range", "bytes 0-999/1000"}}, .body = body};
  });
  Client client = make_client();
  auto got = fetch(client, server.url() + "/x");
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().message, HasSubstr("another range"));
}

TEST(Client, WrongLengthIsAFailure) {
  FakeServer server([](const Request&) {
    return Response{.body = "short", .honour_range = false, .declared_length = 50};
  });
  Client client = make_client();
  auto got = fetch(client, server.url() + "/x");
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kNetwork);
}

TEST(Client, MoreThanTheLimitIsRefused) {
  FakeServer server([](const Request& request) {
    if (request.target == "/endless") return Response{.body = "start", .endless_after = 5};
    return Response{.body = std::string(1001, 'x')};
  });
  Client client = make_client();
  for (const char* target : {"/endless", "/known"}) {
    auto got = fetch(client, server.url() + target, 1000);
    ASSERT_FALSE(got) << target;
    EXPECT_EQ(got.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(got.error().message, AllOf(HasSubstr(target), HasSubstr("1000")));
  }
  EXPECT_TRUE(fetch(client, server.url() + "/known", 1001));
}

TEST(Client, ATrickleIsAFailure) {
  FakeServer server([](const Request&) {
    return Response{.body = std::string(1000, 'x'), .delay_per_byte = milliseconds(20)};
  });
  ClientOptions options = fast();
  options.max_attempts = 1;
  Client client = make_client(options);
  auto start = std::chrono::steady_clock::now();
  auto got = fetch(client, server.url() + "/slow");
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kNetwork);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

TEST(Client, TheDeadlineCoversAllAttempts) {
  FakeServer server([](const Request&) { return Response{.status = 503}; });
  ClientOptions options = fast();
  options.max_attempts = 1'000'000;
  options.base_deadline = milliseconds(300);
  Client client = make_client(options);
  auto got = fetch(client, server.url() + "/x", 0);
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().message, HasSubstr("took too long"));
}

TEST(Client, NobodyListening) {
  std::string url;
  {
    url = FakeServer([](const Request&) { return Response{}; }).url();
  }
  Client client = make_client();
  auto got = fetch(client, url + "/x");
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kNetwork);
  EXPECT_THAT(got.error().message, HasSubstr(url));
}

TEST(Client, FollowsRedirectsToHttpOnly) {
  TemporaryDirectory directory = std::move(*TemporaryDirectory::create());
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, directory.path() + "/secret", as_bytes("secret")));
  FakeServer server([&](const Request& request) {
    std::string to = request.target == "/a"      ? "/b"
                     : request.target == "/file" ? "file://" + directory.path() + "/secret"
                     : request.target == "/loop" ? "/loop"
                                                 : "";
    if (to.empty()) return Response{.body = "here"};
    return Response{.status = 302, .headers = {{"Location", to}}};
  });
  Client client = make_client();
  auto got = fetch(client, server.url() + "/a");
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_EQ(*got, "here");
  EXPECT_FALSE(fetch(client, server.url() + "/file"));
  server.forget();
  EXPECT_FALSE(fetch(client, server.url() + "/loop"));
  EXPECT_EQ(server.targets().size(), 6u);
}

TEST(Client, AsksForNoEncodingAndDecodesNone) {
  FakeServer server([&](const Request& request) {
    EXPECT_FALSE(request.headers.contains("accept-encoding"));
    return Response{.headers = {{"Content-Encoding", "gzip"}}, .body = "not gzip"};
  });
  Client client = make_client();
  auto got = fetch(client, server.url() + "/x");
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_EQ(*got, "not gzip");
}

TEST(Client, DroppingADownloadCancelsIt) {
  FakeServer server([](const Request&) { return Response{.body = "x", .endless_after = 1}; });
  Client client = make_client();
  for (int i = 0; i < 20; ++i) {  // more than there are connections
    auto download = client.get(parsed(server.url() + "/endless"), UINT64_MAX);
    ASSERT_TRUE(download);
    std::byte buffer[10];
    auto count = download->read(buffer);
    ASSERT_TRUE(count) << count.error().describe();
    EXPECT_GT(*count, 0u);
  }
}

TEST(Client, LocalFiles) {
  TemporaryDirectory directory = std::move(*TemporaryDirectory::create());
  const std::string body = pattern(200'000);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, directory.path() + "/a b", as_bytes(body)));
  Client client = make_client();
  auto got = fetch(client, "file://" + directory.path() + "/a%20b", body.size());
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_TRUE(*got == body);
  auto longer = fetch(client, "file://" + directory.path() + "/a%20b", body.size() - 1);
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().code, ErrorCode::kCorrupt);
  auto missing = fetch(client, "file://" + directory.path() + "/none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
}

TEST(Client, MessagesDoNotShowPasswords) {
  FakeServer server([](const Request&) { return Response{.status = 403}; });
  Client client = make_client();
  std::string url = server.url();
  url.insert(std::string("http://").size(), "me:secret@");
  auto got = fetch(client, url + "/x");
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().describe(), AllOf(HasSubstr("127.0.0.1"), Not(HasSubstr("secret"))));
}

TEST(Client, AJoinedPlusArrives) {
  TemporaryDirectory directory = TemporaryDirectory::create().value();
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, directory.path() + "/a+b", as_bytes("plus")));
  Client client = make_client();
  Url url = parsed("file://" + directory.path()).join("a+b");
  EXPECT_EQ(*client.get(url, 4)->read_all(), "plus");
}

}  // namespace
}  // namespace cfs::net
