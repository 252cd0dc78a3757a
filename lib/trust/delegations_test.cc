// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/trust/client.h"
#include "lib/trust/fake_repository.h"

namespace cfs::trust {
namespace {

using json::Value;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(DelegationTest, PatternsOfPaths) {
  auto covers = [](const char* pattern, const char* target) {
    Delegation delegation;
    delegation.role = "r";
    delegation.paths = {pattern};
    return delegation.covers(target);
  };
  // The specification's examples.
  EXPECT_TRUE(covers("targets/*.tgz", "targets/foo.tgz"));
  EXPECT_FALSE(covers("targets/*.tgz", "targets/foo.txt"));
  EXPECT_TRUE(covers("foo-version-?.tgz", "foo-version-2.tgz"));
  EXPECT_FALSE(covers("foo-version-?.tgz", "foo-version-alpha.tgz"));
  EXPECT_TRUE(covers("*.tgz", "bar.tgz"));
  EXPECT_FALSE(covers("*.tgz", "targets/foo.tgz"));

  EXPECT_TRUE(covers("*", "anything"));
  EXPECT_TRUE(covers("*", ""));
  EXPECT_FALSE(covers("*", "a/b"));
  EXPECT_TRUE(covers("*/*", "a/b"));
  EXPECT_FALSE(covers("*/*", "a/b/c"));
  EXPECT_TRUE(covers("**a*b*", "xxaxbxx"));
  EXPECT_FALSE(covers("**a*b*", "xxbxaxx"));
  EXPECT_TRUE(covers("*a/*b", "aa/ab"));
  EXPECT_FALSE(covers("*a/*b", "ab/aa"));
  EXPECT_FALSE(covers("a?c", "a/c"));
  EXPECT_FALSE(covers("", "a"));
  EXPECT_TRUE(covers("", ""));
  EXPECT_FALSE(covers("A", "a"));
  EXPECT_FALSE(covers("[a]", "a"));
  // Many stars cost no more than their product with the text.
  std::string pattern;
  for (int i = 0; i < 500; ++i) pattern += "*a";
  EXPECT_FALSE(covers((pattern + "b").c_str(), std::string(3000, 'a').c_str()));
}

TEST(DelegationTest, PrefixesOfHashes) {
  const std::string hash = verity::sha256(as_bytes("name")).hex();
  auto covers = [](std::vector<std::string> prefixes) {
    return Delegation{
        .role = "r", .keys = {}, .paths = {}, .path_hash_prefixes = std::move(prefixes)}
        .covers("name");
  };
  EXPECT_TRUE(covers({hash.substr(0, 2)}));
  EXPECT_TRUE(covers({"x", hash}));
  EXPECT_FALSE(covers({hash.substr(1, 2)}));
  EXPECT_FALSE(covers({}));
}

class SearchTest : public ::testing::Test {
 protected:
  // One arrow of the graph.
  struct Arrow {
    std::string from;
    std::string to;
    std::vector<std::string> paths = {"*"};
    bool terminating = false;
  };

  // Each role has a key of its own and the targets that `entries` names for it.
  void publish(const std::vector<Arrow>& arrows) {
    std::map<std::string, Value::Object> members;
    std::set<std::string> roles;
    for (const Arrow& arrow : arrows) {
      roles.insert(arrow.to);
      Value::Object& member = members[arrow.from];
      if (member.empty()) member = {{"keys", Value::Object{}}, {"roles", Value::Array{}}};
      const FakeKey& key =
          keys_.try_emplace(arrow.to, static_cast<uint8_t>(100 + keys_.size())).first->second;
      (*member["keys"].as<Value::Object>())[key.id()] = key.object();
      Value::Array paths(arrow.paths.begin(), arrow.paths.end());
      member["roles"].as<Value::Array>()->emplace_back(
          Value::Object{{"name", arrow.to},
                        {"keyids", Value::Array{key.id()}},
                        {"threshold", 1},
                        {"terminating", arrow.terminating},
                        {"paths", paths}});
    }
    for (const std::string& role : roles) {
      Value::Object content = repository_.common("targets");
      content["targets"] = entries_[role];
      if (members.contains(role)) content["delegations"] = members[role];
      write(role, content, keys_.at(role));
    }
    if (!arrows.empty()) repository_.delegations = members["targets"];
    repository_.publish_next();
  }
  void write(const std::string& role, const Value& content, const FakeKey& key) {
    const uint64_t version = repository_.roles["targets"].version;
    std::string text = FakeRepository::sign(content, {key});
    repository_.delegated[role + ".json"] = describe_file(version, text);
    repository_.files[release::metadata_path(role, version)] = text;
  }
  void add(const std::string& role, const std::string& name, const std::string& content) {
    entries_[role][name] =
        to_json(TargetEntry{name, content.size(), verity::sha256(as_bytes(content)), {}});
  }

  Result<Verified<TargetEntry>> search(const std::string& name) {
    if (store_.files.empty()) {
      EXPECT_TRUE(trust_root(store_, Unverified(repository_.files["metadata/1.root.json"])));
    }
    Result<Verified<Targets>> targets = refresh(store_, repository_.fetch(), FakeRepository::kNow);
    if (!targets) return std::move(targets).error();
    repository_.fetched.clear();
    return search_target(store_, repository_.fetch(), *targets, name, FakeRepository::kNow);
  }
  // The roles that a search for a missing target asks, in order.
  std::vector<std::string> visited(const std::vector<Arrow>& arrows) {
    repository_ = {};
    store_ = {};
    publish(arrows);
    Result<Verified<TargetEntry>> missing = search("missing");
    EXPECT_FALSE(missing);
    if (!missing) {
      EXPECT_EQ(missing.error().code, ErrorCode::kNotFound) << missing.error().describe();
    }
    std::vector<std::string> roles;
    for (const std::string& path : repository_.fetched) {
      roles.push_back(path.substr(path.find('.') + 1, path.rfind('.') - path.find('.') - 1));
    }
    return roles;
  }

  FakeRepository repository_;
  FakeMetadataStore store_;
  std::map<std::string, FakeKey> keys_;
  std::map<std::string, Value::Object> entries_;
};

TEST_F(SearchTest, PreOrderDepthFirst) {
  EXPECT_THAT(visited({}), IsEmpty());
  EXPECT_THAT(visited({{"targets", "a"}, {"targets", "b"}, {"a", "c"}, {"a", "d"}}),
              ElementsAre("a", "c", "d", "b"));
  EXPECT_THAT(visited({{"targets", "a"}, {"targets", "b"}, {"b", "c"}, {"c", "b"}, {"c", "a"}}),
              ElementsAre("a", "b", "c"));
  EXPECT_THAT(
      visited(
          {{"targets", "a"}, {"targets", "b"}, {"a", "c", {"*"}, true}, {"a", "d"}, {"c", "e"}}),
      ElementsAre("a", "c", "e"));
  EXPECT_THAT(visited({{"targets", "a", {"*.py"}}, {"targets", "b"}, {"a", "c"}}),
              ElementsAre("b"));
  std::vector<Arrow> many;
  for (int i = 0; i < 40; ++i) many.push_back({"targets", "r" + std::to_string(i)});
  EXPECT_EQ(visited(many).size(), 32u);
}

TEST_F(SearchTest, FindsWhatEveryRoleOnTheWayMayDelegate) {
  add("b", "x/file", "content");
  add("b", "y/file", "other");
  const std::vector<Arrow> arrows = {{"targets", "a", {"x/*"}}, {"a", "b", {"x/*", "y/*"}}};
  publish(arrows);
  Result<Verified<TargetEntry>> found = search("x/file");
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_TRUE(verify_target(*found, Unverified(std::string("content"))));
  EXPECT_EQ(verify_target(*found, Unverified(std::string("Content"))).error().code,
            ErrorCode::kDigestMismatch);
  EXPECT_EQ(search("y/file").error().code, ErrorCode::kNotFound);
  // What was verified is not fetched again.
  EXPECT_TRUE(search("x/file"));
  EXPECT_THAT(repository_.fetched, IsEmpty());
  // The targets themselves come first.
  repository_.add_target("x/file", "of targets");
  repository_.publish_next();
  EXPECT_EQ((*search("x/file"))->size_bytes, 10u);
}

// Two delegators name one role with different keys: the metadata is signed by one of these.
TEST_F(SearchTest, ARoleIsVerifiedWithTheKeysOfItsPresentDelegator) {
  add("c", "x/file", "content");
  add("c", "y/file", "content");
  publish({{"targets", "a", {"x/*"}}, {"targets", "b", {"y/*"}}, {"a", "c"}, {"b", "c"}});
  EXPECT_FALSE(search("x/file"));  // "*" covers no directory
  publish({{"targets", "a", {"x/*"}},
           {"targets", "b", {"y/*"}},
           {"a", "c", {"x/*"}},
           {"b", "c", {"y/*"}}});
  ASSERT_TRUE(search("x/file"));
  ASSERT_TRUE(search("y/file"));
  const FakeKey other(99);
  Value::Object content = repository_.common("targets");
  content["delegations"] =
      Value::Object{{"keys", Value::Object{{other.id(), other.object()}}},
                    {"roles", Value::Array{Value::Object{{"name", "c"},
                                                         {"keyids", Value::Array{other.id()}},
                                                         {"threshold", 1},
                                                         {"terminating", false},
                                                         {"paths", Value::Array{"y/*"}}}}}};
  write("b", content, keys_.at("b"));
  repository_.publish_next();
  EXPECT_TRUE(search("x/file"));
  EXPECT_EQ(search("y/file").error().code, ErrorCode::kSignature);
}

TEST_F(SearchTest, WhatCannotBeVerifiedEndsTheSearch) {
  add("b", "file", "content");
  publish({{"targets", "a"}, {"targets", "b"}});
  ASSERT_TRUE(search("file"));
  write("a", repository_.common("targets"), FakeKey(99));
  repository_.publish_next();
  Result<Verified<TargetEntry>> refused = search("file");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().describe(), HasSubstr("a.json: valid signatures by 0 of the 1"));
  repository_.delegated.erase("a.json");
  store_ = {};
  repository_.publish_next();
  EXPECT_THAT(search("file").error().describe(), HasSubstr("does not name the role 'a'"));
}

// Their metadata would be stored over that of the role itself.
TEST_F(SearchTest, NamesThatCannotBeDelegatedTo) {
  for (const char* name : {"root", "timestamp", "snapshot", "targets", "initial_root", ""}) {
    repository_ = {};
    repository_.roles["targets"].version = 7;
    store_ = {};
    publish({{"targets", name}});
    Result<Verified<TargetEntry>> refused = search("file");
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().describe(), HasSubstr("cannot be delegated to")) << name;
    EXPECT_EQ(store_.files["root.json"], repository_.files["metadata/1.root.json"]);
  }
  // Others are escaped.
  add("../x", "file", "content");
  repository_ = {};
  store_ = {};
  publish({{"targets", "../x"}});
  repository_.files["metadata/1...%2Fx.json"] = repository_.files["metadata/1.../x.json"];
  EXPECT_TRUE(search("file"));
  EXPECT_TRUE(store_.files.contains("..%2Fx.json"));
}

// Nothing of it touches who only wants the targets themselves.
TEST_F(SearchTest, DamagedDelegationsMatterOnlyToTheSearch) {
  repository_.add_target("file", "content");
  repository_.delegations = "nonsense";
  repository_.publish_next();
  EXPECT_TRUE(search("file"));
  EXPECT_EQ(search("other").error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace cfs::trust
