// SPDX-License-Identifier: Apache-2.0
// For tests: a device on which cfs-deploy runs, in-process, and a release repository behind the
// fake server.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "deployer/command.h"
#include "deployer/fake_release.h"
#include "lib/base/io.h"
#include "lib/boot/boot_counter.h"
#include "lib/boot/systemd_boot.h"
#include "lib/command/captured_io.h"
#include "lib/mount/self_test.h"
#include "lib/net/fake_server.h"

namespace cfs::deployer {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

using net::FakeServer;
using Request = FakeServer::Request;
using Response = FakeServer::Response;

/// Three releases: the second changes one file and adds one, the third adds another.
FakeRelease first_release();
FakeRelease second_release();
FakeRelease third_release();

class DeviceTest : public ::testing::Test {
 protected:
  DeviceTest();
  ~DeviceTest() override;

  [[nodiscard]] std::string path(const std::string& name) const;
  void write(const std::string& name, const std::string& content);
  [[nodiscard]] std::string read(const std::string& name) const;

  /// Offers a release from now on.
  release::ReleaseDescription offer(const FakeRelease& release);

  Result<int> run_command(const std::vector<std::string>& arguments);
  Result<int> init();
  Result<int> update(std::vector<std::string> more = {});
  void expect_up_to_date(const std::string& version);
  /// A command that takes a sysroot and an ESP.
  Result<int> command(std::vector<std::string> arguments);
  Result<int> rollback() { return command({"rollback"}); }
  std::string status();

  void set_booted(const std::string& digest);
  /// What sd-boot tells the firmware.
  void set_selected_entry(const std::string& id);
  /// Empty: removes the variable.
  void set_variable(const std::string& name, const std::string& text);
  /// Another kernel runs from now on. `loader_type`: of Linux' x86/boot.rst; 13 is kexec.
  void start_kernel(unsigned loader_type = 2);
  boot::SystemdBoot loader();
  /// The machine reboots into what its boot loader starts. Returns the version.
  std::string reboot();
  /// As sd-boot does.
  void count_boot(const boot::BootEntry& entry);
  /// Boots what boots next, and it proves good.
  std::string reboot_well();
  /// The id of the entry that boots next; "" when there is none.
  std::string boots_next();
  /// Its file.
  std::string file_of(const std::string& entry) { return "esp/EFI/Linux/" + entry + ".efi"; }
  std::string reference(const std::string& name);
  std::vector<std::string> names_in(const std::string& directory);
  /// The sysroot has nothing of a release that boots.
  void expect_nothing_installed();
  void expect_exit(const Result<int>& result, int status, const std::string& words);

  static void unmount_all_below(const std::string& directory);

  /// Runs `body` in a child with mounts of its own; returns its result, or 100 when there is no way
  /// to have them.
  int in_own_mounts(const std::function<int()>& body);

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  std::mutex mutex_;
  trust::FakeRepository repository_;
  std::function<void(const Request&, Response&)> fault_ = [](const Request&, Response&) {};
  FakeServer server_{[this](const Request& request) {
    std::lock_guard lock(mutex_);
    auto file = repository_.files.find(request.target.substr(1));
    Response response;
    if (file == repository_.files.end()) {
      response.status = 404;
    } else {
      response.body = file->second;
    }
    fault_(request, response);
    return response;
  }};
  Environment environment_;
  std::string output_;
  release::ReleaseDescription offered_;  ///< the last one
  unsigned boots_ = 0;
  bool firmware_renames_ = true;  ///< or the boot loader cannot count
};

#define ASSERT_DONE(...)                          \
  do {                                            \
    Result<int> done = (__VA_ARGS__);             \
    ASSERT_TRUE(done) << done.error().describe(); \
    ASSERT_EQ(*done, 0) << output_;               \
  } while (false)

}  // namespace cfs::deployer
