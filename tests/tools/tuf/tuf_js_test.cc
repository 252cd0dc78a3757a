// SPDX-License-Identifier: Apache-2.0
// tuf-js verifies what cfs-sign published, over HTTP; and our client verifies what tuf-js signed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <charconv>

#include "lib/base/subprocess.h"
#include "lib/command/captured_io.h"
#include "lib/json/canonical.h"
#include "lib/release/layout.h"
#include "lib/trust/client.h"
#include "signer/command.h"
#include "signer/fake_build.h"

namespace cfs {
namespace {

using ::testing::HasSubstr;

// A web server for the files below a directory, on a port of its own on the loopback interface.
class WebServer {
 public:
  explicit WebServer(const std::string& directory)
      : process_(*Subprocess::start({.arguments = {"python3", "-u", "-m", "http.server", "--bind",
                                                   "127.0.0.1", "--directory", directory, "0"}})) {
    // "Serving HTTP on 127.0.0.1 port 35541 (http://127.0.0.1:35541/) ..."
    std::string line;
    char c = 0;
    while (line.find("/)") == std::string::npos && ::read(process_.stdout_fd(), &c, 1) == 1) {
      line += c;
    }
    size_t start = line.find("(http://");
    CFS_CHECK(start != std::string::npos);
    url_ = line.substr(start + 1, line.size() - start - 3);
  }
  [[nodiscard]] const std::string& url() const { return url_; }

 private:
  Subprocess process_;
  std::string url_;
};

class TufJsTest : public ::testing::Test {
 protected:
  void sign(const std::vector<std::string>& arguments) {
    command::CapturedIo io;
    Result<int> result = signer::run(arguments, io.io());
    ASSERT_TRUE(result) << result.error().describe();
  }
  void release(const std::string& version, uint64_t epoch) {
    build_.version = version;
    build_.epoch = epoch;
    build_.kernel = "MZ kernel of " + version;
    build_.write(path("build" + version));
    ukis_[version] = build_.uki;
    sign({"release", "add", path("repository"), "--keys", path("keys"), path("build" + version)});
    sign({"publish", path("repository"), "--keys", path("keys")});
  }
  std::string path(const std::string& name) { return directory_.path() + "/" + name; }
  std::string read(const std::string& file) {
    Result<std::string> text = read_file(AT_FDCWD, file, 1 << 20);
    EXPECT_TRUE(text) << text.error().describe();
    return text ? *text : "";
  }
  Result<std::string> update(const WebServer& server, const std::string& target) {
    return run_command({.arguments = {"node", std::string(SCRIPTS) + "/update.mjs", server.url(),
                                      path("state"), target}});
  }

  TemporaryDirectory directory_ = *TemporaryDirectory::create();
  signer::FakeBuild build_;
  std::map<std::string, std::string> ukis_;  // by version
};

TEST_F(TufJsTest, VerifiesWhatWePublish) {
  sign({"init", path("repository"), "--keys", path("keys")});
  release("1", 1);
  ASSERT_TRUE(make_directories(AT_FDCWD, path("state")));
  signer::write_test_file(path("state/root.json"), read(path("repository/metadata/1.root.json")));
  WebServer server(path("repository"));

  Result<std::string> file = update(server, "os_1.release.json");
  ASSERT_TRUE(file) << file.error().describe();
  release::ReleaseDescription description = *release::parse_description(read(*file));
  EXPECT_EQ(description.image.digest, build_.description.image.digest);
  file = update(server, "os_1.efi");
  ASSERT_TRUE(file) << file.error().describe();
  EXPECT_EQ(read(*file), ukis_["1"]);

  // An update of the same client, and a renewed root.
  std::string first_timestamp = read(path("repository/metadata/timestamp.json"));
  release("2", 2);
  sign({"publish", path("repository"), "--keys", path("keys"), "--expires-days", "1000"});
  file = update(server, "os_2.efi");
  ASSERT_TRUE(file) << file.error().describe();
  EXPECT_EQ(read(*file), ukis_["2"]);
  EXPECT_EQ(read(path("state/root.json")), read(path("repository/metadata/2.root.json")));
  EXPECT_THAT(update(server, "os_3.efi").error().describe(), HasSubstr("no target os_3.efi"));

  // It does look: a changed target, a changed signature, a rollback.
  std::string uki =
      path("repository/" + release::target_path(verity::sha256(as_bytes(ukis_["2"])).hex(), "os_2.efi"));
  std::string changed_uki = ukis_["2"];
  changed_uki.back() ^= 1;
  signer::write_test_file(uki, changed_uki);
  EXPECT_FALSE(update(server, "os_2.efi"));
  signer::write_test_file(uki, ukis_["2"]);
  ASSERT_TRUE(update(server, "os_2.efi"));
  std::string timestamp = path("repository/metadata/timestamp.json");
  std::string good = read(timestamp);
  signer::write_test_file(timestamp, first_timestamp);
  EXPECT_FALSE(update(server, "os_2.efi"));
  std::string changed = good;
  changed.replace(changed.find("\"version\":4"), 11, "\"version\":9");
  signer::write_test_file(timestamp, changed);
  EXPECT_FALSE(update(server, "os_2.efi"));
}

TEST_F(TufJsTest, WeVerifyWhatItSigns) {
  Result<std::string> made =
      run_command({.arguments = {"node", SCRIPTS "/make_repository.mjs", path("foreign")}});
  ASSERT_TRUE(made) << made.error().describe();
  trust::Fetch fetch = [&](const std::string& name,
                           size_t limit) -> Result<Unverified<std::string>> {
    return Unverified(CFS_TRY(read_file(AT_FDCWD, path("foreign/" + name), limit)));
  };
  trust::MetadataInMemory store;
  ASSERT_TRUE(trust::trust_root(store, Unverified(read(path("foreign/metadata/1.root.json")))));
  Result<trust::Verified<trust::Targets>> targets = trust::refresh(store, fetch, current_time());
  ASSERT_TRUE(targets) << targets.error().describe();
  const trust::TargetEntry& entry = **trust::find_target(*targets, "file.txt");
  EXPECT_EQ(
      json::to_canonical(entry.custom),
      R"({"größe":[-1,null,true,{"ẞ€":"é"}],"quote\"back\\slash":"tab\u0009newline\u000abell\u0007"})");
  Result<Unverified<std::string>> file = fetch(entry.path(), entry.size_bytes);
  ASSERT_TRUE(file);
  EXPECT_TRUE(trust::verify_target(*targets, "file.txt", *file));
}

}  // namespace
}  // namespace cfs
