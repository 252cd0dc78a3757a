// SPDX-License-Identifier: Apache-2.0
// The command as its user sees it: run in-process on small build outputs, looked at with the code
// that devices run.
#include "signer/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "lib/base/subprocess.h"
#include "lib/command/captured_io.h"
#include "lib/release/layout.h"
#include "lib/transport/encoding.h"
#include "lib/trust/fake_repository.h"
#include "lib/trust/metadata.h"
#include "lib/trust/releases.h"
#include "signer/fake_build.h"
#include "signer/repository.h"

namespace cfs::signer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class CommandTest : public ::testing::Test {
 protected:
  Result<int> sign(const std::vector<std::string>& arguments) {
    command::CapturedIo io;
    Result<int> status = run(arguments, io.io());
    out_ = io.output();
    return status;
  }
  void expect_ok(const std::vector<std::string>& arguments) {
    Result<int> result = sign(arguments);
    ASSERT_TRUE(result) << result.error().describe();
  }
  void expect_error(ErrorCode code, const std::string& message,
                    const std::vector<std::string>& arguments) {
    Result<int> result = sign(arguments);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, code) << result.error().describe();
    EXPECT_THAT(result.error().describe(), HasSubstr(message));
  }
  std::vector<std::string> init() { return {"init", repository_, "--keys", keys_}; }
  std::vector<std::string> add() {
    return {"release", "add", repository_, "--keys", keys_, build_};
  }
  std::vector<std::string> publish() { return {"publish", repository_, "--keys", keys_}; }

  trust::Fetch fetch() {
    return [this](const std::string& path, size_t limit) -> Result<Unverified<std::string>> {
      return Unverified(CFS_TRY(read_file(AT_FDCWD, repository_ + "/" + path, limit)));
    };
  }
  /// What a device that knows 1.root.json sees.
  Result<trust::Verified<trust::Targets>> device() {
    trust::MetadataInMemory store;
    CFS_TRY(trust::trust_root(
        store,
        Unverified(CFS_TRY(read_file(AT_FDCWD, repository_ + "/metadata/1.root.json", 1 << 20)))));
    return trust::refresh(store, fetch(), current_time());
  }
  std::string repository_file(const std::string& path) {
    Result<std::string> text = read_file(AT_FDCWD, repository_ + "/" + path, 1 << 26);
    EXPECT_TRUE(text) << text.error().describe();
    return text ? *text : "";
  }
  /// Every file of the repository with its content.
  std::map<std::string, std::string> snapshot(const std::string& below = "") {
    std::map<std::string, std::string> files;
    std::vector<std::string> names = *list_directory(AT_FDCWD, repository_ + "/" + below);
    for (const std::string& name : names) {
      std::string path = below + name;
      if (S_ISDIR(stat_at(AT_FDCWD, repository_ + "/" + path, AT_SYMLINK_NOFOLLOW)->st_mode)) {
        files.merge(snapshot(path + "/"));
      } else {
        files[path] = repository_file(path);
      }
    }
    return files;
  }
  void write_build() { fake_.write(build_); }
  std::string object_path(const std::string& content) {
    return build_ + "/objects/" + verity::digest_of(as_bytes(content)).object_path();
  }

  TemporaryDirectory directory_ = *TemporaryDirectory::create();
  std::string repository_ = directory_.path() + "/repository";
  std::string keys_ = directory_.path() + "/keys";
  std::string build_ = directory_.path() + "/build";
  FakeBuild fake_;
  std::string out_;
};

TEST_F(CommandTest, HelpAndUsage) {
  expect_ok({"--help"});
  EXPECT_THAT(out_, AllOf(HasSubstr("keygen"), HasSubstr("publish"), HasSubstr("1.root.json")));
  expect_ok({"release", "add", "--help"});
  EXPECT_THAT(out_, AllOf(HasSubstr("BUILD"), Not(HasSubstr("keygen"))));
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {},
           {"unknown"},
           {"init"},
           {"init", "x"},
           {"release"},
           {"publish", "--keys", "x"},
           {"publish", "x", "--keys", "y", "z"},
           {"publish", "x", "--keys", "y", "--expires-days", "-1"},
           {"publish", "x", "--keys", "y", "--expires-days", "0"},
           {"init", "x", "--keys", "y", "--expires-days", "0"}}) {
    Result<int> result = sign(wrong);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kUsage);
  }
}

TEST_F(CommandTest, AnEmptyPathIsRefusedAndNothingIsMade) {
  for (const auto& [option, arguments] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"--keys", {"init", repository_, "--keys", ""}},
           {"--keys", {"publish", repository_, "--keys", ""}},
           {"--keys", {"release", "add", repository_, "--keys=", build_}},
           {"REPO", {"init", "", "--keys", keys_}},
           {"BUILD", {"release", "add", repository_, "--keys", keys_, ""}},
           {"--out", {"keygen", "--out", ""}}}) {
    expect_error(ErrorCode::kUsage, option + ": the value is empty", arguments);
  }
  EXPECT_THAT(*list_directory(AT_FDCWD, directory_.path()), IsEmpty());
}

TEST_F(CommandTest, ARepositoryWithoutKeysIsNotBegun) {
  Result<Published> made =
      Repository::create(repository_, KeyDirectory(keys_), Lifetimes{}, current_time());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(made.error().message, "there is no key '" + keys_ + "/root.pem'");
  EXPECT_THAT(*list_directory(AT_FDCWD, directory_.path()), IsEmpty());
}

TEST_F(CommandTest, KeygenNeverOverwrites) {
  std::string file = directory_.path() + "/my.pem";
  expect_ok({"keygen", "--out", file});
  EXPECT_THAT(out_, HasSubstr(file + ".pub"));
  std::string key = *read_file(AT_FDCWD, file, 1000);
  expect_error(ErrorCode::kExists, "my.pem' exists", {"keygen", "--out", file});
  EXPECT_EQ(*read_file(AT_FDCWD, file, 1000), key);
}

TEST_F(CommandTest, FromInitToDevice) {
  expect_ok(init());
  EXPECT_THAT(out_, AllOf(HasSubstr("new key: " + keys_ + "/root.pem"),
                          HasSubstr("published: root 1, targets 1")));
  EXPECT_EQ(stat_at(AT_FDCWD, keys_, 0)->st_mode & 07777u, 0700u);
  EXPECT_TRUE((*device())->entries.empty());

  write_build();
  expect_ok(add());
  EXPECT_THAT(out_, AllOf(HasSubstr("added os 1: channel stable, epoch 1"), HasSubstr("objects: 2"),
                          HasSubstr("3 new")));
  EXPECT_TRUE((*device())->entries.empty());  // not published yet
  EXPECT_THAT(*list_directory(AT_FDCWD, repository_), Not(Contains(HasSubstr(".cfs-sign-"))));

  expect_ok(publish());
  EXPECT_THAT(out_, HasSubstr("published: root 1, targets 2, snapshot 2, timestamp 2"));
  trust::Verified<trust::Targets> targets = *device();
  trust::ReleaseTarget newest = *trust::newest_release(targets, "os", "stable");
  EXPECT_EQ(newest.target, "os_1.release.json");
  trust::Verified<release::ReleaseDescription> description =
      *trust::fetch_release(targets, newest.target, fetch());
  release::ReleaseDescription expected = fake_.description;
  expected.transport = description->transport;
  EXPECT_EQ(*description, expected);
  trust::Verified<transport::Manifest> manifest = *trust::fetch_transport(description, fetch());
  ASSERT_EQ(manifest->objects.size(), 2u);
  std::vector<transport::Entry> all = manifest->objects;
  all.push_back(manifest->image);
  for (const transport::Entry& entry : all) {
    std::string path = repository_ + "/" + release::encoded_object_path(entry.digest);
    UniqueFd file = *open_at(AT_FDCWD, path, O_RDONLY);
    EXPECT_TRUE(transport::check_encoded_object(file.get(), entry.digest, entry.size_bytes));
    EXPECT_EQ(static_cast<uint64_t>(fstat_fd(file.get())->st_size), entry.encoded_size_bytes);
  }
  EXPECT_EQ(
      repository_file(release::target_path(verity::sha256(as_bytes(fake_.uki)).hex(), "os_1.efi")),
      fake_.uki);
}

TEST_F(CommandTest, OpensslVerifiesTheMetadata) {
  expect_ok(init());
  for (trust::Role role : trust::kRoles) {
    std::string path = role == trust::Role::kTimestamp
                           ? std::string(release::kTimestampPath)
                           : release::metadata_path(trust::role_name(role), 1);
    std::string text = repository_file(path);
    trust::SignedDocument document = *trust::parse_document(role, text);
    // Plain text processing finds the signed bytes: our files are canonical.
    size_t start = text.find("\"signed\":") + 9;
    std::string message = text.substr(start, text.size() - start - 2);
    std::vector<std::byte> signature(64);
    ASSERT_TRUE(from_hex(document.signatures.at(0).hex, signature));
    write_test_file(directory_.path() + "/message", message);
    write_test_file(directory_.path() + "/signature", as_text(signature));
    std::string key = keys_ + "/" + std::string(trust::role_name(role)) + ".pem.pub";
    Result<std::string> verdict =
        run_command({.arguments = {"openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key,
                                   "-rawin", "-in", directory_.path() + "/message", "-sigfile",
                                   directory_.path() + "/signature"}});
    EXPECT_TRUE(verdict) << path << ": " << verdict.error().describe();
  }
}

TEST_F(CommandTest, ASecondReleaseSharesObjects) {
  expect_ok(init());
  write_build();
  expect_ok(add());
  std::map<std::string, std::string> before = snapshot();
  fake_.version = "2";
  fake_.epoch = 2;
  fake_.files["world"] = std::string(300000, 'v');
  fake_.kernel = "MZ another kernel";
  build_ += "2";
  write_build();
  expect_ok(add());
  EXPECT_THAT(out_, HasSubstr("2 new"));  // one object and the image
  std::map<std::string, std::string> after = snapshot();
  for (const auto& [path, content] : before) EXPECT_EQ(after[path], content) << path;
  expect_ok(publish());
  EXPECT_THAT(out_, HasSubstr("targets 3, snapshot 2"));
  EXPECT_EQ(trust::list_releases(*device()).size(), 2u);
  EXPECT_EQ(trust::newest_release(*device(), "os", "stable")->version, "2");
}

TEST_F(CommandTest, EqualBuildsGiveEqualRepositories) {
  expect_ok(init());
  write_build();
  expect_ok(add());
  std::map<std::string, std::string> first = snapshot();
  repository_ += "2";
  expect_ok(init());
  expect_ok(add());
  for (const auto& [path, content] : snapshot()) {
    if (path.starts_with("metadata/")) continue;
    EXPECT_EQ(first[path], content) << path;
  }
}

TEST_F(CommandTest, AddingTwiceIsNothingToDo) {
  expect_ok(init());
  write_build();
  expect_ok(add());
  std::map<std::string, std::string> before = snapshot();
  expect_error(ErrorCode::kNothingToDo, "in the repository already", add());
  expect_ok(publish());
  expect_error(ErrorCode::kNothingToDo, "in the repository already", add());
  before.erase(std::string(release::kTimestampPath));
  std::map<std::string, std::string> after = snapshot();
  for (const auto& [path, content] : before) EXPECT_EQ(after[path], content) << path;
}

TEST_F(CommandTest, EpochMustGrow) {
  expect_ok(init());
  fake_.epoch = 5;
  write_build();
  expect_ok(add());
  std::map<std::string, std::string> before = snapshot();
  for (uint64_t epoch : {uint64_t{5}, uint64_t{4}, uint64_t{0}}) {
    fake_.version = "2";
    fake_.epoch = epoch;
    write_build();
    expect_error(ErrorCode::kRollback, "is not above epoch 5 of version '1'", add());
  }
  EXPECT_EQ(snapshot(), before);
  // Channels and names have epochs of their own.
  fake_.channel = "edge";
  write_build();
  expect_ok(add());
  fake_.name = "other";
  fake_.channel = "stable";
  write_build();
  expect_ok(add());
}

TEST_F(CommandTest, OneVersionOneRelease) {
  expect_ok(init());
  write_build();
  expect_ok(add());
  fake_.epoch = 2;
  write_build();
  expect_error(ErrorCode::kExists, "another release 'os' version '1'", add());
}

TEST_F(CommandTest, DamagedBuildsAreRefusedAndLeaveNothing) {
  expect_ok(init());
  std::map<std::string, std::string> before = snapshot();
  const std::string hello = fake_.files["hello"];
  const std::string digest_path = verity::digest_of(as_bytes(hello)).object_path();

  write_build();
  ASSERT_TRUE(remove_file(AT_FDCWD, object_path(hello)));
  expect_error(ErrorCode::kNotFound, "lacks 'objects/" + digest_path, add());

  write_build();
  write_test_file(object_path(hello), std::string(4999, 'h') + "x");
  expect_error(ErrorCode::kDigestMismatch, digest_path, add());

  write_build();
  write_test_file(object_path(hello), hello + "h");
  expect_error(ErrorCode::kDigestMismatch, digest_path, add());

  write_build();  // a link out of the store is not followed
  write_test_file(directory_.path() + "/elsewhere", hello);
  ASSERT_TRUE(remove_file(AT_FDCWD, object_path(hello)));
  ASSERT_EQ(symlink((directory_.path() + "/elsewhere").c_str(), object_path(hello).c_str()), 0);
  EXPECT_FALSE(sign(add()));
  ASSERT_TRUE(remove_file(AT_FDCWD, object_path(hello)));

  write_build();
  std::string image = *read_file(AT_FDCWD, build_ + "/image.cfs", 1 << 20);
  image[image.size() - 1] ^= 1;
  write_test_file(build_ + "/image.cfs", image);
  expect_error(ErrorCode::kDigestMismatch, "'image.cfs' is not the image", add());

  write_build();
  write_test_file(build_ + "/os_1.efi", std::string(fake_.uki.size(), 'x'));
  expect_error(ErrorCode::kDigestMismatch, "'os_1.efi' is not the file", add());
  write_test_file(build_ + "/os_1.efi", fake_.uki + "x");
  expect_error(ErrorCode::kDigestMismatch, "'os_1.efi' is not the file", add());
  ASSERT_TRUE(remove_file(AT_FDCWD, build_ + "/os_1.efi"));
  expect_error(ErrorCode::kNotFound, "os_1.efi", add());

  for (bool count : {true, false}) {
    write_build();
    release::ReleaseDescription wrong = fake_.description;
    ++(count ? wrong.objects.count : wrong.objects.size_bytes);
    write_test_file(build_ + "/release.json", *release::serialise_description(wrong));
    expect_error(ErrorCode::kInvalidInput, "the image refers to 2 objects", add());
  }

  write_build();
  write_test_file(build_ + "/release.json", "{}");
  expect_error(ErrorCode::kCorrupt, "release.json: 'schema' is missing", add());
  expect_error(ErrorCode::kNotFound, "nowhere",
               {"release", "add", repository_, "--keys", keys_, directory_.path() + "/nowhere"});

  EXPECT_EQ(snapshot(), before);
  write_build();
  expect_ok(add());
}

TEST_F(CommandTest, AReleaseThatNoDeviceBootsIsRefused) {
  expect_ok(init());
  std::map<std::string, std::string> before = snapshot();
  auto refused = [&](ErrorCode code, const std::string& message) {
    expect_error(code, message, add());
    EXPECT_EQ(snapshot(), before);
  };
  write_build();
  const release::ReleaseDescription good = fake_.description;
  fake_.description.files.clear();
  fake_.write_description(build_);
  refused(ErrorCode::kInvalidInput, "has no UKI");
  fake_.description.files = good.files;
  fake_.description.files[0].role = "kernel";
  fake_.write_description(build_);
  refused(ErrorCode::kInvalidInput, "has no UKI");
  fake_.description.files = {good.files[0], good.files[0]};
  fake_.description.files[1].name = "other.efi";
  fake_.write_description(build_);
  refused(ErrorCode::kInvalidInput, "more than one");

  const std::string uki = fake_.uki;
  fake_.write_uki(build_, "not an EFI program");
  refused(ErrorCode::kCorrupt, "checking 'os_1.efi'");
  fake_.write_uki(build_, uki.substr(0, uki.size() - 4096));
  refused(ErrorCode::kCorrupt, "checking 'os_1.efi'");

  // The UKI of another build.
  fake_.files["hello"] += "!";
  fake_.write(directory_.path() + "/other");
  std::string other = fake_.uki;
  fake_.files["hello"].pop_back();
  write_build();
  fake_.write_uki(build_, other);
  refused(ErrorCode::kCorrupt, "does not pin the release's image");

  // Command lines that pin the image and yet do not boot, or do not mean what they seem to mean.
  for (const char* options : {"cfs.verify=none ", "cfs.verify=boot cfs.verify=full ",
                              "cfs.on_failure=shell ", "rootdelay=soon "}) {
    fake_.options = options;
    write_build();
    refused(ErrorCode::kCorrupt, "with which it would not boot");
  }
  for (const char* options : {"cfs.verfy=full ", "composefs.diegst=1 ", "root=sda2 "}) {
    fake_.options = options;
    write_build();
    refused(ErrorCode::kInvalidInput, std::string(options).substr(0, 4));
  }
  fake_.options = "";
  write_build();
  fake_.description.kernel.cmdline += " quiet";
  fake_.write_description(build_);
  refused(ErrorCode::kInvalidInput, "is not what 'release.json' says");
  fake_.description.kernel = {"6.13.0", good.kernel.cmdline};
  fake_.write_description(build_);
  refused(ErrorCode::kInvalidInput, "is not what 'release.json' says");

  write_build();
  expect_ok(add());
}

TEST_F(CommandTest, AnImageThatCannotBeVerifiedIsRefused) {
  expect_ok(init());
  write_build();
  tree::Tree tree;
  tree::Node* node = *tree.add(tree.root(), "file", {.mode = S_IFREG | 0644});
  ASSERT_TRUE(tree.set_external(*node, "some/path", nullptr, 5000));
  UniqueFd image = *open_at(AT_FDCWD, build_ + "/image.cfs", O_WRONLY | O_TRUNC);
  erofs::ImageInfo info = *erofs::write_image(tree, {}, image.get());
  fake_.description.image = {info.digest, info.size_bytes};
  fake_.description.kernel.cmdline = "composefs.digest=" + info.digest.hex();
  std::string stub = *boot::read_efi_program(boot::kSystemdStubPath);
  std::vector<std::byte> uki = *boot::make_uki({.stub = as_bytes(stub),
                                                .os_release = "NAME=x\n",
                                                .cmdline = fake_.description.kernel.cmdline,
                                                .uname = fake_.description.kernel.version,
                                                .kernel = as_bytes("MZ"),
                                                .initrd = as_bytes("initrd")});
  fake_.write_uki(build_, std::string(as_text(uki)));
  expect_error(ErrorCode::kInvalidInput, "'/file' is not bound to an object", add());
}

TEST_F(CommandTest, DamagedObjectsInTheRepositoryAreRepaired) {
  expect_ok(init());
  write_build();
  expect_ok(add());
  std::string path =
      release::encoded_object_path(verity::digest_of(as_bytes(fake_.files["world"])));
  std::string good = repository_file(path);
  write_test_file(repository_ + "/" + path, good.substr(0, good.size() / 2));
  fake_.version = "2";
  fake_.epoch = 2;
  write_build();
  expect_ok(add());
  EXPECT_EQ(repository_file(path), good);
}

TEST_F(CommandTest, InitDoesNotTouchARepository) {
  expect_ok(init());
  std::map<std::string, std::string> before = snapshot();
  expect_error(ErrorCode::kExists, "is a repository already", init());
  EXPECT_EQ(snapshot(), before);
}

TEST_F(CommandTest, WhatCannotBePrintedIsDoneAllTheSame) {
  const UniqueFd full = *open_at(AT_FDCWD, "/dev/full", O_WRONLY);
  write_build();
  for (const std::vector<std::string>& arguments : {init(), add(), publish()}) {
    Result<int> result = run(arguments, {.in_fd = -1, .out_fd = full.get()});
    ASSERT_FALSE(result) << arguments[0];
    EXPECT_EQ(result.error().code, ErrorCode::kIo);
    EXPECT_THAT(result.error().describe(), HasSubstr("cannot print the result"));
  }
  Result<trust::Verified<trust::Targets>> seen = device();
  ASSERT_TRUE(seen) << seen.error().describe();
  EXPECT_EQ((*seen)->targets_version, 2u);
}

TEST_F(CommandTest, NoRepositoryNoKeys) {
  expect_error(ErrorCode::kNotFound, "repository", publish());
  ASSERT_TRUE(make_directories(AT_FDCWD, repository_));
  expect_error(ErrorCode::kNotFound, "is not a release repository", publish());
  expect_error(ErrorCode::kNotFound, "is not a release repository", add());
  expect_ok(init());
  write_build();
  auto without = [&](const std::string& role, auto check) {
    std::string key = keys_ + "/" + role + ".pem";
    ASSERT_TRUE(rename_at(AT_FDCWD, key, AT_FDCWD, key + ".away"));
    check(key);
    ASSERT_TRUE(rename_at(AT_FDCWD, key + ".away", AT_FDCWD, key));
  };
  for (const char* role : {"snapshot", "timestamp"}) {
    without(role, [&](const std::string& key) {
      expect_error(ErrorCode::kNotFound, "there is no key '" + key, publish());
    });
  }
  // The targets key may be elsewhere as long as there is nothing to sign with it.
  without("targets", [&](const std::string& key) {
    expect_ok(publish());
    expect_error(ErrorCode::kNotFound, "there is no key '" + key, add());
  });
  // Root's key may stay in a safe.
  ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/root.pem"));
  expect_ok(add());
  without("targets", [&](const std::string& key) {
    expect_error(ErrorCode::kNotFound, "there is no key '" + key, publish());
  });
  expect_ok(publish());
}

TEST_F(CommandTest, OtherKeysAreRefusedBeforeAnythingIsWritten) {
  expect_ok(init());
  write_build();
  std::map<std::string, std::string> before = snapshot();
  for (const char* role : {"targets", "snapshot", "timestamp"}) {
    std::string key = keys_ + "/" + role + ".pem";
    std::string good = *read_file(AT_FDCWD, key, 1000);
    ASSERT_TRUE(remove_file(AT_FDCWD, key));
    ASSERT_TRUE(remove_file(AT_FDCWD, key + ".pub"));
    expect_ok({"keygen", "--out", key});
    const std::string message = key + "' is not this repository's " + role + " key";
    expect_error(ErrorCode::kSignature, message, publish());
    if (std::string(role) == "targets") expect_error(ErrorCode::kSignature, message, add());
    EXPECT_EQ(snapshot(), before);
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, key, as_bytes(good), 0600));
  }
  expect_ok(add());
  expect_ok(publish());
}

TEST_F(CommandTest, KeysThatOthersCanReadAreRefused) {
  expect_ok(init());
  write_build();
  ASSERT_EQ(chmod((keys_ + "/targets.pem").c_str(), 0644), 0);
  expect_error(ErrorCode::kPermission, "is open to others", add());
  expect_error(ErrorCode::kPermission, "is open to others", publish());
}

// Signed once, but not what is staged.
TEST_F(CommandTest, OldTargetsUnderANewNameAreRefused) {
  expect_ok(init());
  write_build();
  expect_ok(add());
  expect_ok(publish());
  const std::string old = repository_file("metadata/1.targets.json");
  for (const char* name :
       {"999.targets.json", "9007199254740991.targets.json", "18446744073709551615.targets.json"}) {
    const std::string path = std::string("metadata/") + name;
    for (const auto& [content, code] :
         {std::pair{old, ErrorCode::kRollback}, std::pair{std::string("{"), ErrorCode::kCorrupt},
          std::pair{std::string(), ErrorCode::kCorrupt}}) {
      write_test_file(repository_ + "/" + path, content);
      std::map<std::string, std::string> before = snapshot();
      fake_.version = "2";
      fake_.epoch = 2;
      write_build();
      expect_error(code, "in '" + path + "'", add());
      expect_error(code, "in '" + path + "'", publish());
      EXPECT_THAT(sign(publish()).error().hint, HasSubstr("remove that file"));
      EXPECT_EQ(snapshot(), before);
    }
    ASSERT_TRUE(remove_file(AT_FDCWD, repository_ + "/" + path));
  }
  // Names that are no version's are nobody's.
  write_test_file(repository_ + "/metadata/0999.targets.json", old);
  write_test_file(repository_ + "/metadata/99999999999999999999.targets.json", old);
  expect_ok(add());
  expect_ok(publish());
  EXPECT_THAT(out_, HasSubstr("targets 3"));
}

// A staged file of a line that was given up, put back later.
TEST_F(CommandTest, StagedTargetsMustHaveAllThatIsPublished) {
  expect_ok(init());
  write_build();
  expect_ok(add());
  fake_.version = "2";
  fake_.epoch = 2;
  write_build();
  expect_ok(add());
  const std::string given_up = repository_file("metadata/3.targets.json");
  ASSERT_TRUE(remove_file(AT_FDCWD, repository_ + "/metadata/2.targets.json"));
  ASSERT_TRUE(remove_file(AT_FDCWD, repository_ + "/metadata/3.targets.json"));
  fake_.version = "3";
  fake_.epoch = 3;
  write_build();
  expect_ok(add());
  expect_ok(publish());
  EXPECT_THAT(out_, HasSubstr("targets 2"));
  write_test_file(repository_ + "/metadata/3.targets.json", given_up);
  expect_error(ErrorCode::kRollback, "does not have the 'os_3.", publish());
  fake_.version = "4";
  fake_.epoch = 4;
  write_build();
  expect_error(ErrorCode::kRollback, "does not have the 'os_3.", add());
}

TEST_F(CommandTest, LeftoversWithHighNumbersAreNotBuiltOn) {
  expect_ok(init());
  for (const char* name : {"999.root.json", "999.snapshot.json", "9007199254740991.snapshot.json",
                           "9007199254740991.root.json"}) {
    write_test_file(repository_ + "/metadata/" + name, "{}");
  }
  write_build();
  expect_ok(add());
  expect_ok(publish());
  EXPECT_THAT(out_, HasSubstr("published: root 1, targets 2, snapshot 2, timestamp 2"));
  EXPECT_TRUE(device());
}

// Somebody puts metadata of his own under a root of his own that also names our keys, and waits for
// us to sign what he wrote.
TEST_F(CommandTest, WhatOthersSignedIsNotBuiltOn) {
  expect_ok(init());
  write_build();
  KeyDirectory keys(keys_);
  auto forge = [&](uint64_t version) {
    trust::FakeRepository forged;
    for (const char* role : {"targets", "snapshot", "timestamp"}) {
      forged.roles[role].version = version;
    }
    forged.add_target("evil.efi", "evil");
    forged.publish();
    json::Value::Object root = forged.root_content();
    for (trust::Role role : trust::kRoles) {
      const Signers ours = *keys.load(role);
      const trust::PublicKey& key = ours.front()->public_key();
      (*root["keys"].as<json::Value::Object>())[key.id()] = key.object();
      json::Value& role_keys =
          (*root["roles"].as<json::Value::Object>())[std::string(trust::role_name(role))];
      (*role_keys.as<json::Value::Object>())["keyids"].as<json::Value::Array>()->push_back(
          key.id());
    }
    forged.files[release::metadata_path("root", 1)] =
        trust::FakeRepository::sign(root, forged.roles["root"].keys);
    for (const auto& [path, content] : forged.files) {
      if (path.starts_with("metadata/")) write_test_file(repository_ + "/" + path, content);
    }
  };
  forge(1);
  expect_error(ErrorCode::kSignature, "is not signed by our targets key", add());
  expect_error(ErrorCode::kSignature, "is not signed by our targets key", publish());
  forge(uint64_t{json::kMaxInteger} - 1);
  expect_error(ErrorCode::kSignature, "is not signed by our targets key", publish());
}

TEST_F(CommandTest, ADamagedRepositoryIsNotANetworkError) {
  expect_ok(init());
  ASSERT_TRUE(remove_file(AT_FDCWD, repository_ + "/metadata/1.snapshot.json"));
  expect_error(ErrorCode::kCorrupt, "the repository lacks 'metadata/1.snapshot.json'", publish());
}

TEST_F(CommandTest, AFileOfARepositoryThatIsTooLargeIsCorrupt) {
  expect_ok(init());
  for (const auto& [path, content] : snapshot("metadata/")) {
    write_test_file(repository_ + "/" + path, content + std::string(40 << 20, ' '));
    expect_error(ErrorCode::kCorrupt, "reading '" + path, publish());
    write_test_file(repository_ + "/" + path, content);
  }
  expect_ok(publish());
  write_build();
  write_test_file(build_ + "/release.json", std::string(40 << 20, ' '));
  expect_error(ErrorCode::kCorrupt, "while reading 'release.json'", add());
}

TEST_F(CommandTest, ForgedStagedTargetsAreNotSigned) {
  expect_ok(init());
  std::string forged = repository_file("metadata/1.targets.json");
  forged.replace(forged.find("\"version\":1"), 11, "\"version\":2");
  write_test_file(repository_ + "/metadata/2.targets.json", forged);
  expect_error(ErrorCode::kSignature, "targets.json", publish());
  write_build();
  expect_error(ErrorCode::kSignature, "targets.json", add());
}

TEST_F(CommandTest, OneAtATime) {
  expect_ok(init());
  UniqueFd other = *open_at(AT_FDCWD, repository_ + "/.cfs-sign.lock", O_RDWR);
  ASSERT_EQ(flock(other.get(), LOCK_EX), 0);
  expect_error(ErrorCode::kBusy, "another cfs-sign", publish());
}

// A repository is there for everybody to read.
TEST_F(CommandTest, WhoMayOnlyReadCannotHoldTheLock) {
  const mode_t mask = ::umask(0);
  expect_ok(init());
  ::umask(mask);
  EXPECT_EQ(stat_at(AT_FDCWD, repository_ + "/.cfs-sign.lock", 0)->st_mode & 07777u, 0600u);
  UniqueFd reader = *open_at(AT_FDCWD, repository_, O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(reader.get(), LOCK_EX), 0);
  expect_ok(publish());
}

TEST_F(CommandTest, AWebServerReadsWhatIsMadeWhateverTheUmask) {
  write_build();
  auto expect_modes = [](const std::string& path, mode_t directory, mode_t file) {
    ASSERT_EQ(stat_at(AT_FDCWD, path, 0)->st_mode & 07777U, directory) << path;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      const struct stat status = *stat_at(AT_FDCWD, entry.path(), 0);
      if (entry.path().filename() == ".cfs-sign.lock" || entry.path().extension() == ".pub") {
        continue;
      }
      EXPECT_EQ(status.st_mode & 07777U, entry.is_directory() ? directory : file) << entry.path();
    }
  };
  for (const mode_t mask : {mode_t{077}, mode_t{0}}) {
    const mode_t before = ::umask(mask);
    expect_ok(init());
    expect_ok(add());
    expect_ok(publish());
    EXPECT_EQ(::umask(before), mask);  // as it was
    expect_modes(repository_, 0755, 0644);
    expect_modes(keys_, 0700, 0600);
    repository_ += "2";
    keys_ += "2";
  }
}

TEST_F(CommandTest, RemainsOfAnInterruptedRunDoNoHarmAndGo) {
  expect_ok(init());
  write_build();
  const std::string left = ".cfs-sign-0123456789abcdef";
  ASSERT_TRUE(make_directories(AT_FDCWD, repository_ + "/" + left));
  write_test_file(repository_ + "/" + left + "/half", "half");
  write_test_file(repository_ + "/metadata/.cfs-tmp-0123456789abcdef", "half");
  // A publish that was cut off before the timestamp.
  write_test_file(repository_ + "/metadata/2.snapshot.json", "never finished");
  expect_ok(add());
  expect_ok(publish());
  EXPECT_THAT(out_, HasSubstr("snapshot 3"));
  EXPECT_TRUE(device());
  EXPECT_THAT(*list_directory(AT_FDCWD, repository_), Not(Contains(left)));
  EXPECT_THAT(*list_directory(AT_FDCWD, repository_ + "/metadata"),
              UnorderedElementsAre("1.root.json", "1.targets.json", "2.targets.json",
                                   "1.snapshot.json", "3.snapshot.json", "timestamp.json"));
  // Cut off one step later: the snapshot is whole, and nobody was told of it.
  const std::string timestamp = repository_file("metadata/timestamp.json");
  expect_ok(publish());
  write_test_file(repository_ + "/metadata/timestamp.json", timestamp);
  expect_ok(publish());
  EXPECT_THAT(out_, HasSubstr("snapshot 5, timestamp 5"));
  EXPECT_THAT(*list_directory(AT_FDCWD, repository_ + "/metadata"),
              Not(Contains("4.snapshot.json")));
  EXPECT_TRUE(device());
}

// A copy of a part of the repository comes back, older than what devices have seen.
TEST_F(CommandTest, ARestoredTimestampIsNotGoneOnFrom) {
  expect_ok(init());
  const std::string old = repository_file("metadata/timestamp.json");
  trust::MetadataInMemory store;
  ASSERT_TRUE(trust::trust_root(store, Unverified(repository_file("metadata/1.root.json"))));
  for (int i = 0; i < 5; ++i) expect_ok(publish());
  EXPECT_EQ((*trust::refresh(store, fetch(), current_time()))->timestamp_version, 6u);
  write_test_file(repository_ + "/metadata/timestamp.json", old);
  EXPECT_EQ(trust::refresh(store, fetch(), current_time()).error().code, ErrorCode::kRollback);

  write_build();
  expect_ok(add());
  expect_ok(publish());
  Result<trust::Verified<trust::Targets>> targets = trust::refresh(store, fetch(), current_time());
  ASSERT_TRUE(targets) << targets.error().describe();
  EXPECT_GT((*targets)->timestamp_version, 6u);
  EXPECT_TRUE(trust::newest_release(*targets, "os", "stable"));
}

TEST_F(CommandTest, ALostTimestampIsMadeAnew) {
  expect_ok(init());
  trust::MetadataInMemory store;
  ASSERT_TRUE(trust::trust_root(store, Unverified(repository_file("metadata/1.root.json"))));
  for (int i = 0; i < 3; ++i) expect_ok(publish());
  EXPECT_EQ((*trust::refresh(store, fetch(), current_time()))->timestamp_version, 4u);
  ASSERT_TRUE(remove_file(AT_FDCWD, repository_ + "/metadata/timestamp.json"));
  // Neither a damaged snapshot nor one of somebody else's is what devices have seen last.
  write_test_file(repository_ + "/metadata/9.snapshot.json", "{}");
  trust::FakeRepository others;
  others.roles["snapshot"].version = 8;
  others.publish();
  write_test_file(repository_ + "/metadata/8.snapshot.json",
                  others.files.at("metadata/8.snapshot.json"));
  expect_error(ErrorCode::kExists, "is a repository already", init());

  write_build();
  expect_ok(add());
  expect_ok(publish());
  EXPECT_THAT(out_, AllOf(HasSubstr("targets 2, snapshot 5, timestamp 5"),
                          HasSubstr("note: timestamp.json was lost and has been made anew")));
  Result<trust::Verified<trust::Targets>> targets = trust::refresh(store, fetch(), current_time());
  ASSERT_TRUE(targets) << targets.error().describe();
  EXPECT_EQ((*targets)->timestamp_version, 5u);
  EXPECT_TRUE(trust::newest_release(*targets, "os", "stable"));
}

TEST_F(CommandTest, OtherLostMetadataIsToBeRestored) {
  for (const char* name : {"1.root.json", "1.snapshot.json", "1.targets.json"}) {
    repository_ = directory_.path() + "/without-" + name;
    expect_ok(init());
    ASSERT_TRUE(remove_file(AT_FDCWD, repository_ + "/metadata/" + name));
    Result<int> result = sign(publish());
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(result.error().message, std::string("the repository lacks 'metadata/") + name + "'");
    EXPECT_THAT(result.error().hint, HasSubstr("restore it from a backup or a mirror"));
  }
}

// Roots that others made with the same keys: of more keys a role, and with replaced ones.
class RootTest : public CommandTest {
 protected:
  RootTest() {
    EXPECT_TRUE(sign(init()));
    now_ = current_time();
  }
  /// A new key in KEYS as `file`.
  void make_key(const std::string& file) {
    ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/" + file));
    ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/" + file + ".pub"));
    expect_ok({"keygen", "--out", keys_ + "/" + file});
  }
  /// Signs the next root, in which `change` has been made, with all root keys there are.
  template <typename Change>
  void publish_root(Change change) {
    uint64_t version = 1;
    while (stat_at(AT_FDCWD, root_path(version + 1), 0)) ++version;
    trust::RootMetadata root = *trust::parse_root(*trust::parse_document(
        trust::Role::kRoot, *read_file(AT_FDCWD, root_path(version), 1 << 20)));
    ++root.version;
    change(root);
    write_test_file(root_path(version + 1),
                    *sign_document(trust::Role::kRoot, trust::to_json(root),
                                   *KeyDirectory(keys_).load(trust::Role::kRoot)));
  }
  /// The keys at hand become those of the role.
  void use_keys_at_hand(trust::RootMetadata& root, trust::Role role, uint64_t threshold = 1) {
    const Signers signers = *KeyDirectory(keys_).load(role);
    root.roles[role] = {.key_ids = {}, .threshold = threshold};
    for (const std::unique_ptr<Signer>& signer : signers) {
      root.keys.insert_or_assign(signer->public_key().id(), signer->public_key());
      root.roles[role].key_ids.insert(signer->public_key().id());
    }
  }
  Result<Published> publish_at(int days) {
    Repository repository = CFS_TRY(Repository::open(repository_));
    return repository.publish(KeyDirectory(keys_), {}, now_ + days * 86400);
  }
  std::string root_path(uint64_t version) {
    return repository_ + "/" + release::metadata_path("root", version);
  }
  UnixTime now_ = 0;
};

TEST_F(RootTest, ARootOfTwoKeysIsRenewedByTwoKeys) {
  make_key("root.second.pem");
  publish_root([&](trust::RootMetadata& root) { use_keys_at_hand(root, trust::Role::kRoot, 2); });
  Result<Published> published = publish_at(1);
  ASSERT_TRUE(published) << published.error().describe();
  EXPECT_EQ(published->root_version, 2u);
  EXPECT_THAT(published->notes, IsEmpty());
  published = publish_at(200);
  ASSERT_TRUE(published) << published.error().describe();
  EXPECT_EQ(published->root_version, 3u);
  EXPECT_EQ(trust::parse_document(trust::Role::kRoot, *read_file(AT_FDCWD, root_path(3), 1 << 20))
                ->signatures.size(),
            2u);

  // One of the two is elsewhere: the rest goes on, and it is said what does not.
  ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/root.second.pem"));
  published = publish_at(400);
  ASSERT_TRUE(published) << published.error().describe();
  EXPECT_EQ(published->root_version, 3u);
  EXPECT_EQ(published->timestamp_version, 4u);
  EXPECT_THAT(published->notes,
              ElementsAre(AllOf(HasSubstr("root.json was not renewed and expires 20"),
                                HasSubstr("needs signatures by 2 keys"), HasSubstr("has 1"))));
}

TEST_F(RootTest, PublishSaysWhatItCouldNotRenew) {
  ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/root.pem"));
  EXPECT_THAT(publish_at(100)->notes, IsEmpty());  // in time enough
  EXPECT_THAT(publish_at(190)->notes,
              ElementsAre(AllOf(HasSubstr("root.json was not renewed and expires 20"),
                                HasSubstr("there is no key"))));
  ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/targets.pem"));
  EXPECT_THAT(publish_at(240)->notes, ElementsAre(HasSubstr("root.json was not renewed"),
                                                  HasSubstr("targets.json was not renewed")));
  // The command says it too: more days than root has left.
  make_key("root.pem");
  expect_ok({"publish", repository_, "--keys", keys_, "--expires-days", "500"});
  EXPECT_THAT(out_, HasSubstr("note: root.json was not renewed"));
  EXPECT_THAT(out_, HasSubstr("is not this repository's root key"));
}

TEST_F(RootTest, ARotatedTimestampKeyCanBePublished) {
  write_build();
  expect_ok(add());
  expect_ok(publish());
  make_key("timestamp.pem");
  publish_root([&](trust::RootMetadata& root) { use_keys_at_hand(root, trust::Role::kTimestamp); });
  EXPECT_EQ(device().error().code, ErrorCode::kSignature);  // until it is published
  ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/root.pem"));  // it may be in its safe again
  expect_ok(publish());
  EXPECT_THAT(out_, HasSubstr("published: root 2, targets 2, snapshot 3, timestamp 3"));
  ASSERT_TRUE(device()) << device().error().describe();
  EXPECT_TRUE(trust::newest_release(*device(), "os", "stable"));
}

TEST_F(RootTest, EveryKeyCanBeRotatedWithTheRootKeyAtHand) {
  write_build();
  expect_ok(add());
  expect_ok(publish());
  fake_.version = "2";
  fake_.epoch = 2;
  write_build();
  expect_ok(add());  // staged, signed by the old key
  for (trust::Role role : {trust::Role::kSnapshot, trust::Role::kTargets}) {
    make_key(std::string(trust::role_name(role)) + ".pem");
    publish_root([&](trust::RootMetadata& root) { use_keys_at_hand(root, role); });
    ASSERT_TRUE(rename_at(AT_FDCWD, keys_ + "/root.pem", AT_FDCWD, keys_ + "/root.away"));
    expect_error(ErrorCode::kSignature, "is not signed by our", publish());
    EXPECT_THAT(sign(publish()).error().hint, HasSubstr("put the root key beside the others"));
    ASSERT_TRUE(rename_at(AT_FDCWD, keys_ + "/root.away", AT_FDCWD, keys_ + "/root.pem"));
    expect_ok(publish());
    ASSERT_TRUE(device()) << device().error().describe();
    EXPECT_EQ(trust::newest_release(*device(), "os", "stable")->version, "2");
  }
  // And the root key itself.
  ASSERT_TRUE(rename_at(AT_FDCWD, keys_ + "/root.pem", AT_FDCWD, keys_ + "/root.old.pem"));
  make_key("root.pem");
  publish_root([&](trust::RootMetadata& root) { use_keys_at_hand(root, trust::Role::kRoot); });
  ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/root.old.pem"));
  expect_ok(publish());
  EXPECT_TRUE(device());
}

// The root that a release's base was signed under must be ours, not just the newest one: a true
// root can be given a forged one before it, by one more signature.
TEST_F(RootTest, AForgedFirstRootVouchesForNothing) {
  make_key("targets.pem");
  publish_root([&](trust::RootMetadata& root) { use_keys_at_hand(root, trust::Role::kTargets); });
  trust::SignedDocument second =
      *trust::parse_document(trust::Role::kRoot, *read_file(AT_FDCWD, root_path(2), 1 << 20));

  trust::FakeRepository forged;
  forged.add_target("evil.efi", "evil");
  forged.publish();
  const trust::FakeKey& evil = forged.roles["root"].keys.front();
  second.signatures.push_back({evil.id(), to_hex(evil.sign(trust::signing_form(second)))});
  for (const auto& [path, content] : forged.files) {
    if (path.starts_with("metadata/")) write_test_file(repository_ + "/" + path, content);
  }
  write_test_file(root_path(2), trust::serialise_document(second));
  write_build();
  expect_error(ErrorCode::kSignature, "targets.json is not signed by our targets key", add());
  expect_error(ErrorCode::kSignature, "targets.json is not signed by our targets key", publish());
}

TEST_F(CommandTest, LostFilesOfAReleaseArePutBack) {
  expect_ok(init());
  write_build();
  expect_ok(add());
  expect_ok(publish());
  const std::map<std::string, std::string> whole = snapshot();
  size_t lost = 0;
  for (const auto& [path, content] : whole) {
    if (path.starts_with("metadata/") || path.starts_with(".")) continue;
    ASSERT_TRUE(remove_file(AT_FDCWD, repository_ + "/" + path));
    expect_ok(add());
    EXPECT_THAT(out_, HasSubstr("os 1 is in the repository already: 1 files put back"));
    EXPECT_EQ(snapshot(), whole) << path;
    write_test_file(repository_ + "/" + path, content.substr(0, content.size() / 2));
    expect_ok(add());
    EXPECT_EQ(snapshot(), whole) << path;
    ++lost;
  }
  for (const auto& [path, content] : whole) {
    if (path.starts_with("metadata/") || path.starts_with(".")) continue;
    write_test_file(repository_ + "/" + path, content + std::string(3 << 20, ' '));
    expect_ok(add());
    EXPECT_EQ(snapshot(), whole) << path;
  }
  EXPECT_EQ(lost, 6u);  // two objects, the image, manifest, UKI, description
  for (const auto& [path, content] : whole) {
    if (path.starts_with("metadata/")) continue;
    ASSERT_TRUE(remove_file(AT_FDCWD, repository_ + "/" + path));
  }
  expect_ok(add());
  EXPECT_THAT(out_, HasSubstr("6 files put back"));
  EXPECT_EQ(snapshot(), whole);
  expect_error(ErrorCode::kNothingToDo, "in the repository already", add());

  // Another build of that version does not get in this way.
  ASSERT_TRUE(remove_tree(AT_FDCWD, repository_ + "/targets"));
  fake_.files["hello"] += "!";
  write_build();
  expect_error(ErrorCode::kExists, "another release 'os' version '1'", add());
}

TEST_F(CommandTest, AbsurdEpochsAreRefused) {
  constexpr uint64_t kMax = uint64_t{json::kMaxInteger};
  expect_ok(init());
  for (uint64_t epoch : {kMax, kMax - 1, kMax / 2 + 1}) {
    fake_.epoch = epoch;
    write_build();
    expect_error(ErrorCode::kInvalidInput, "more than half of the numbers", add());
  }
  for (uint64_t epoch : {kMax / 2, uint64_t{100'000'000'001}}) {
    fake_.epoch = epoch;
    write_build();
    expect_error(ErrorCode::kInvalidInput, "from 0, where a channel begins", add());
    EXPECT_THAT(sign(add()).error().hint, HasSubstr("--epoch-jump"));
  }
  fake_.epoch = 20261231;
  write_build();
  expect_ok(add());
  auto next = [&](const char* version, uint64_t epoch) {
    fake_.version = version;
    fake_.epoch = epoch;
    write_build();
    return add();
  };
  expect_ok(next("2", 20261231 + 100'000'000'000));
  std::vector<std::string> command = next("3", 20261231 + 200'000'000'001);
  expect_error(ErrorCode::kInvalidInput, "jumps by 100000000001", command);
  EXPECT_THAT(sign(command).error().hint, HasSubstr("--epoch-jump"));
  command.emplace_back("--epoch-jump");
  expect_ok(command);
  // No word of the operator makes it the last one of its channel.
  command = next("4", kMax);
  command.emplace_back("--epoch-jump");
  expect_error(ErrorCode::kInvalidInput, "more than half of the numbers", command);
}

TEST_F(CommandTest, WarnsOfCommandLinesThatOpenADoor) {
  expect_ok(init());
  fake_.options = "quiet systemd.debug_shell LD_PRELOAD=/var/x.so ";
  write_build();
  expect_ok(add());
  EXPECT_THAT(out_, AllOf(HasSubstr("warning: kernel command line: 'systemd.debug_shell'"),
                          HasSubstr("warning: kernel command line: 'LD_PRELOAD=/var/x.so'")));
}

// The process is killed at ever later moments of its work: devices see the old release or the new
// one, and the work can be done again.
TEST_F(CommandTest, KilledAtAnyMoment) {
  expect_ok(init());
  constexpr unsigned kSteps = 25;
  std::chrono::microseconds whole{};
  for (unsigned step = 0; step <= kSteps; ++step) {
    fake_.version = std::to_string(step);
    fake_.epoch = step + 1;
    fake_.files["new"] = "new in " + fake_.version + std::string(20000, 'n');
    write_build();
    uint64_t seen = (*device())->entries.size();
    auto start = std::chrono::steady_clock::now();
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool done = sign(add()) && sign(publish());
      ::_exit(done ? 0 : 1);
    }
    if (step > 0) {  // the first one says how long it takes
      ::usleep(static_cast<useconds_t>(whole.count() * step / kSteps));
      ::kill(child, SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (step == 0) {
      ASSERT_EQ(status, 0);
      whole = std::chrono::duration_cast<std::chrono::microseconds>(
          std::chrono::steady_clock::now() - start);
    }

    Result<trust::Verified<trust::Targets>> targets = device();
    ASSERT_TRUE(targets) << targets.error().describe();
    bool is_new = (*targets)->entries.size() == seen + 2;
    EXPECT_TRUE(is_new || (*targets)->entries.size() == seen);
    Result<int> again = sign(add());
    EXPECT_TRUE(again || again.error().code == ErrorCode::kNothingToDo);
    expect_ok(publish());
    trust::Verified<trust::Targets> published = *device();
    trust::ReleaseTarget newest = *trust::newest_release(published, "os", "stable");
    EXPECT_EQ(newest.version, fake_.version);
    trust::Verified<release::ReleaseDescription> description =
        *trust::fetch_release(published, newest.target, fetch());
    trust::Verified<transport::Manifest> manifest = *trust::fetch_transport(description, fetch());
    for (const transport::Entry& entry : manifest->objects) {
      UniqueFd file = *open_at(
          AT_FDCWD, repository_ + "/" + release::encoded_object_path(entry.digest), O_RDONLY);
      EXPECT_TRUE(transport::check_encoded_object(file.get(), entry.digest, entry.size_bytes));
    }
  }
}

TEST_F(CommandTest, AFullDiskLeavesTheRepositoryAsItWas) {
  expect_ok(init());
  std::string noise(300000, '\0');
  uint32_t state = 1;
  for (char& c : noise) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  fake_.files["noise"] = noise;
  write_build();
  std::map<std::string, std::string> before = snapshot();
  struct rlimit old = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  struct rlimit small = {.rlim_cur = 100000, .rlim_max = old.rlim_max};
  (void)signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error(ErrorCode::kNoSpace, "into the repository's 'obj/", add());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_EQ(snapshot(), before);
  expect_ok(add());
}

TEST_F(CommandTest, ExpiryTimes) {
  std::vector<std::string> command = init();
  command.insert(command.end(), {"--expires-days", "1"});
  expect_ok(command);
  EXPECT_NEAR(static_cast<double>((*device())->expires),
              static_cast<double>(current_time() + 86400), 60);
  command = publish();
  command.insert(command.end(), {"--expires-days", "30"});
  expect_ok(command);
  UnixTime now = current_time();
  EXPECT_NEAR(static_cast<double>((*device())->expires), static_cast<double>(now + 30 * 86400), 60);
  // Longer than targets and root last: they are renewed.
  command.back() = "1000";
  expect_ok(command);
  EXPECT_THAT(out_, HasSubstr("root 2, targets 2,"));
  EXPECT_NEAR(static_cast<double>((*device())->expires), static_cast<double>(now + 1000 * 86400),
              60);
}

TEST_F(CommandTest, RootAndTargetsAreRenewedHalfWay) {
  expect_ok(init());
  UnixTime now = current_time();
  KeyDirectory keys(keys_);
  auto publish_at = [&](int days) {
    Repository repository = *Repository::open(repository_);
    return repository.publish(keys, {}, now + days * 86400);
  };
  EXPECT_EQ(publish_at(44)->targets_version, 1u);
  EXPECT_EQ(publish_at(46)->targets_version, 2u);
  EXPECT_EQ(publish_at(181)->root_version, 1u);
  EXPECT_EQ(publish_at(184)->root_version, 2u);
  ASSERT_TRUE(remove_file(AT_FDCWD, keys_ + "/root.pem"));
  EXPECT_EQ(publish_at(500)->root_version, 2u);
  EXPECT_EQ(publish_at(550).error().code, ErrorCode::kExpired);
}

}  // namespace
}  // namespace cfs::signer
