// SPDX-License-Identifier: Apache-2.0
#include "deployer/fetch/repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include "deployer/fake_release.h"
#include "lib/base/io.h"
#include "lib/net/fake_server.h"
#include "lib/verity/merkle.h"

namespace cfs::deployer {
namespace {

using net::FakeServer;
using ::testing::HasSubstr;
using Request = FakeServer::Request;
using Response = FakeServer::Response;

std::string compress(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

/// A repository of objects behind the fake server, and a store to fetch them into.
class RepositoryTest : public ::testing::Test {
 protected:
  transport::Entry add(const std::string& content) {
    verity::Digest digest = verity::digest_of(as_bytes(content));
    std::string encoded = compress(content);
    bodies_["/obj/" + digest.object_path() + ".zst"] = encoded;
    return {digest, content.size(), encoded.size()};
  }

  std::vector<transport::Entry> add_some(unsigned count) {
    std::vector<transport::Entry> entries;
    for (unsigned i = 0; i < count; ++i) entries.push_back(add(random_text(100 + 3000 * i, i)));
    return entries;
  }

  Result<> fetch(std::span<const transport::Entry> entries) {
    net::ClientOptions options;
    options.first_backoff = std::chrono::milliseconds(1);
    options.max_backoff = std::chrono::milliseconds(5);
    Repository repository =
        CFS_TRY(Repository::open(net::Url::parse(server_.url()).value(), options));
    Progress progress("", 0);
    return repository.fetch_objects(entries, store_, progress);
  }

  Result<NotFetched> fetch_again(std::span<const transport::Entry> entries) {
    net::ClientOptions options;
    options.max_attempts = 1;
    Repository repository =
        CFS_TRY(Repository::open(net::Url::parse(server_.url()).value(), options));
    Progress progress("", 0);
    return repository.fetch_again(entries, store_, progress);
  }

  size_t stored() { return store_.list().value().size(); }

  std::map<std::string, std::string> bodies_;
  std::function<void(const Request&, Response&)> fault_ = [](const Request&, Response&) {};
  FakeServer server_{[this](const Request& request) {
    auto body = bodies_.find(request.target);
    Response response;
    if (body == bodies_.end()) {
      response.status = 404;
    } else {
      response.body = body->second;
    }
    fault_(request, response);
    return response;
  }};
  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  store::ObjectStore store_ =
      store::ObjectStore::open(AT_FDCWD, directory_.path() + "/objects", {.object_mode = 0444})
          .value();
};

TEST_F(RepositoryTest, FetchesAgainWhatSeemsRightAndGoesOnWithoutWhatIsNotToBeHad) {
  std::vector<transport::Entry> entries = add_some(60);
  ASSERT_TRUE(fetch(entries));
  auto inode = [&](const transport::Entry& entry) {
    return stat_at(store_.directory_fd(), entry.digest.object_path(), 0).value().st_ino;
  };
  std::vector<ino_t> before;
  for (const auto& entry : entries) before.push_back(inode(entry));
  for (size_t i = 10; i < 30; ++i)
    bodies_.erase("/obj/" + entries[i].digest.object_path() + ".zst");
  bodies_["/obj/" + entries[5].digest.object_path() + ".zst"] = compress("another");
  Result<NotFetched> left = fetch_again(entries);
  ASSERT_TRUE(left) << left.error().describe();
  EXPECT_EQ(left->size(), 21U);
  EXPECT_EQ(left->at(entries[10].digest).code, ErrorCode::kNotFound);
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(inode(entries[i]) == before[i], left->contains(entries[i].digest)) << i;
  }
}

TEST_F(RepositoryTest, DoesNotGoOnAskingOneThatDoesNotAnswer) {
  std::vector<transport::Entry> entries = add_some(60);
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  Result<NotFetched> left = fetch_again(entries);
  ASSERT_TRUE(left) << left.error().describe();
  EXPECT_EQ(left->size(), 60U);
  for (const auto& [digest, why] : *left) EXPECT_EQ(why.code, ErrorCode::kNetwork);
  EXPECT_LT(server_.targets().size(), 20U);
}

TEST_F(RepositoryTest, FetchesInGroupsAndVerifies) {
  std::vector<transport::Entry> entries = add_some(60);
  Result<> fetched = fetch(entries);
  ASSERT_TRUE(fetched) << fetched.error().describe();
  EXPECT_EQ(stored(), 60u);
  for (const auto& entry : entries) EXPECT_TRUE(store_.contains(entry.digest).value());
  EXPECT_EQ(server_.targets().size(), 60u);
}

TEST_F(RepositoryTest, AWrongObjectIsNotPublished) {
  std::vector<transport::Entry> entries = add_some(10);
  // Well-formed, of the right sizes, and something else.
  std::string wrong = random_text(entries[5].size_bytes, 99);
  std::string encoded = compress(wrong);
  entries[5].encoded_size_bytes = encoded.size();
  bodies_["/obj/" + entries[5].digest.object_path() + ".zst"] = encoded;
  Result<> fetched = fetch(entries);
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code, ErrorCode::kDigestMismatch);
  EXPECT_THAT(fetched.error().describe(), HasSubstr(entries[5].digest.hex()));
  EXPECT_EQ(stored(), 0u);
}

TEST_F(RepositoryTest, FaultsOfTheServer) {
  struct Case {
    const char* name;
    std::function<void(Response&)> fault;
    ErrorCode code;
  };
  const Case cases[] = {
      {"missing", [](Response& r) { r = {.status = 404}; }, ErrorCode::kNetwork},
      {"flipped", [](Response& r) { r.body[r.body.size() / 2] ^= 1; }, ErrorCode::kCorrupt},
      {"shorter", [](Response& r) { r.body.pop_back(); }, ErrorCode::kCorrupt},
      {"longer", [](Response& r) { r.body += "x"; }, ErrorCode::kCorrupt},
      {"endless", [](Response& r) { r.endless_after = r.body.size(); }, ErrorCode::kCorrupt},
      {"always cut", [](Response& r) { r.cut_after = 5, r.honour_range = false; },
       ErrorCode::kNetwork},
      {"unwilling", [](Response& r) { r = {.status = 503}; }, ErrorCode::kNetwork},
  };
  std::vector<transport::Entry> entries = {add(random_text(50'000, 5))};
  for (const Case& one : cases) {
    fault_ = [&](const Request&, Response& response) { one.fault(response); };
    Result<> fetched = fetch(entries);
    ASSERT_FALSE(fetched) << one.name;
    // A flipped byte may also decode to something of the right size.
    bool as_expected =
        fetched.error().code == one.code || (std::string_view(one.name) == "flipped" &&
                                             fetched.error().code == ErrorCode::kDigestMismatch);
    EXPECT_TRUE(as_expected) << one.name << ": " << fetched.error().describe();
    EXPECT_EQ(stored(), 0u) << one.name;
  }
}

TEST_F(RepositoryTest, WhatArrivedBeforeTheNetworkFailedStays) {
  std::vector<transport::Entry> entries = add_some(30);
  std::string last = "/obj/" + entries[0].digest.object_path() + ".zst";  // smallest: fetched last
  fault_ = [&](const Request& request, Response& response) {
    if (request.target == last) response = {.status = 404};
  };
  ASSERT_FALSE(fetch(entries));
  size_t arrived = stored();
  EXPECT_GE(arrived, 20u);
  fault_ = [](const Request&, Response&) {};
  std::vector<transport::Entry> missing;
  for (const auto& entry : entries) {
    if (!store_.contains(entry.digest).value()) missing.push_back(entry);
  }
  EXPECT_EQ(missing.size() + arrived, 30u);
  ASSERT_TRUE(fetch(missing));
  EXPECT_EQ(stored(), 30u);
}

TEST_F(RepositoryTest, FilesAreComparedWithTheirHash) {
  const std::string content = random_text(700'000, 3);
  release::ReleaseFile file{.name = "x.efi",
                            .role = "uki",
                            .sha256 = verity::sha256(as_bytes(content)),
                            .size_bytes = content.size()};
  Directory top = Directory::open(AT_FDCWD, directory_.path()).value();
  ASSERT_TRUE(top.make_directories("release", 0755));
  net::ClientOptions options;
  options.max_attempts = 1;
  Repository repository = Repository::open(net::Url::parse(server_.url()).value(), options).value();
  Progress progress("", 0);
  const std::string target = "/targets/" + file.sha256.hex() + ".x.efi";

  for (const std::string& wrong : {content.substr(1), content + "x", "y" + content.substr(1)}) {
    bodies_[target] = wrong;
    Result<> fetched = repository.fetch_file(file, top, "release/x.efi", progress);
    ASSERT_FALSE(fetched);
    EXPECT_EQ(exit_status(fetched.error().code), 7);
    EXPECT_FALSE(file_is_there(file, top, "release/x.efi").value());
    EXPECT_TRUE(top.list("release")->empty());
  }
  bodies_[target] = content;
  ASSERT_TRUE(repository.fetch_file(file, top, "release/x.efi", progress));
  EXPECT_TRUE(file_is_there(file, top, "release/x.efi").value());
  ASSERT_TRUE(top.write_file("release/x.efi", as_bytes("y" + content.substr(1)), 0644));
  EXPECT_FALSE(file_is_there(file, top, "release/x.efi").value());
}

}  // namespace
}  // namespace cfs::deployer
