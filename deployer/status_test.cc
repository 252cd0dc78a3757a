// SPDX-License-Identifier: Apache-2.0
#include "deployer/status.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "deployer/test_support.h"
#include "lib/json/reader.h"

namespace cfs::deployer {
namespace {

class StatusTest : public DeviceTest {};

TEST_F(StatusTest, StatusForPrograms) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  reboot();
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_DONE(command({"status", "--json"}));
  Result<json::Value> json = json::parse(output_, {}, "status");
  ASSERT_TRUE(json) << json.error().describe();
  json::Reader reader(*json, "status");
  EXPECT_EQ(reader.member("booted")->member("digest")->sha256().value(), one.image.digest);
  EXPECT_EQ(reader.member("booted")->member("state")->text(10).value(), "trial");
  EXPECT_EQ(reader.member("staged")->member("version")->text(10).value(), "2");
  EXPECT_TRUE(reader.member("previous")->value().is_null());
  json::Reader space = reader.member("space").value();
  EXPECT_EQ(space.member("objects")->integer().value(), one.objects.count + 4);
  EXPECT_GT(space.member("shared_disk_bytes")->integer().value(), one.objects.size_bytes / 2);
  EXPECT_EQ(space.member("reclaimable_disk_bytes")->integer().value(), 0U);
  EXPECT_THAT(status(),
              AllOf(HasSubstr(" for it alone\n"), HasSubstr("'cfs-deploy gc' frees 0 B\n")));
}

TEST_F(StatusTest, WhatOnlyRanLastIsNotSaidToRun) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  EXPECT_THAT(status(), StartsWith("test 1 is running and boots next."));
  write("cmdline", "quiet\n");
  EXPECT_THAT(status(), StartsWith("Nothing of this sysroot is running; 1 boots next."));
}

TEST_F(StatusTest, ItSaysWhyNothingWouldBeCollected) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  write("sysroot/cfs/refs/previous", "x");
  EXPECT_THAT(
      status(),
      HasSubstr("'cfs-deploy gc' would refuse: what must stay is not known: refs/previous"));
  ASSERT_DONE(command({"status", "--json"}));
  EXPECT_THAT(output_, HasSubstr("\"reclaimable_disk_bytes\":null"));
}

TEST_F(StatusTest, APasswordIsNotShown) {
  offer(first_release());
  std::string url = server_.url();
  url.insert(std::string("http://").size(), "device:secret@");
  ASSERT_DONE(run_command({"init", "--sysroot", path("sysroot"), "--url", url, "--root",
                           path("root.json"), "--name", "test"}));
  EXPECT_THAT(read("sysroot/cfs/origin.json"), HasSubstr("device:secret@"));
  EXPECT_THAT(status(), AllOf(HasSubstr("origin    http://127.0.0.1"), Not(HasSubstr("secret"))));
  ASSERT_DONE(command({"status", "--json"}));
  EXPECT_THAT(output_, AllOf(HasSubstr("http://127.0.0.1"), Not(HasSubstr("secret"))));
  ASSERT_DONE(update());
  EXPECT_THAT(output_, Not(HasSubstr("secret")));
  fault_ = [](const Request&, Response& response) { response = {.status = 500}; };
  Result<int> failed = update();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().describe() + failed.error().hint, Not(HasSubstr("secret")));
}

TEST_F(StatusTest, AHistoryThatIsLostStopsNobody) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  const std::string file = "sysroot/cfs/history.json";
  const std::string content = read(file);
  for (const std::string& damaged :
       {std::string(), std::string(content.size(), '\0'), content.substr(0, content.size() / 2),
        std::string("{}"), content + std::string(8 << 20, ' ')}) {
    SCOPED_TRACE(std::to_string(damaged.size()) + " bytes");
    write(file, damaged);
    EXPECT_THAT(status(), AllOf(StartsWith("test 1 is running and boots next."),
                                HasSubstr("damaged   history.json: ")));
    Result<int> told = run_command({"history", "--sysroot", path("sysroot")});
    expect_exit(told, 7, "history.json");
    EXPECT_THAT(told.error().hint, HasSubstr("begins a new one"));
    expect_up_to_date("1");
    EXPECT_THAT(status(), Not(HasSubstr("damaged")));
    ASSERT_DONE(run_command({"history", "--sysroot", path("sysroot")}));
    EXPECT_THAT(output_, HasSubstr("  1  "));
  }
  int result = in_own_mounts([&] {
    // Reading this file from its beginning gives EIO.
    const std::string mounted = path(file);
    if (::mount("/proc/self/mem", mounted.c_str(), nullptr, MS_BIND, nullptr) != 0) return 101;
    if (read_file(AT_FDCWD, mounted, 512).error().sys_errno != EIO) return 102;
    if (!command({"status"})) return 1;
    return output_.find("damaged   history.json: ") == std::string::npos ? 2 : 0;
  });
  EXPECT_EQ(result, 0);
}

TEST_F(StatusTest, AFifoInPlaceOfADocumentDoesNotHangIt) {
  ASSERT_DONE(init());
  for (const char* name : {"meta.json", "origin.json"}) {
    std::filesystem::rename(path(std::string("sysroot/cfs/") + name), path("kept"));
    ASSERT_EQ(::mkfifo(path(std::string("sysroot/cfs/") + name).c_str(), 0600), 0);
    expect_exit(run_command({"status", "--sysroot", path("sysroot")}), 1, "is not a regular file");
    std::filesystem::rename(path("kept"), path(std::string("sysroot/cfs/") + name));
  }
}

TEST_F(StatusTest, ARecordCannotForgeALine) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  const std::string record = "sysroot/cfs/" + reference("staged").substr(3) + "/deployment.json";
  std::string text = read(record);
  text.replace(text.find("\"version\":\"1\""), 13, R"("version":"1\n\u001b[1mbooted")");
  write(record, text);
  EXPECT_THAT(status(), AllOf(HasSubstr("damaged   deployments/"), Not(HasSubstr("\x1b")),
                              Not(HasSubstr("\nbooted    t"))));
}

TEST_F(StatusTest, WhatBecomesOfTheStateIsSaid) {
  ASSERT_DONE(init());
  EXPECT_THAT(status(), AllOf(Not(HasSubstr("conflict")), Not(HasSubstr("reset"))));
  const std::string home = std::string(64, 'a') + ".merge";
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/state/etc/" + home + "/tree/ssh")));
  write("sysroot/cfs/state/etc/" + home + "/tree/ssh/sshd_config.cfs-new", "x");
  std::filesystem::create_symlink(home, path("sysroot/cfs/state/etc/last"));
  ASSERT_DONE(run_command({"reset", "--sysroot", path("sysroot"), "--var"}));
  EXPECT_THAT(status(),
              AllOf(HasSubstr("\nconflict  /etc/ssh/sshd_config: the release's own is beside "
                              "it, as /etc/ssh/sshd_config.cfs-new\n"),
                    HasSubstr("\nreset     at the next boot, /var\n")));
  ASSERT_DONE(command({"status", "--json"}));
  EXPECT_THAT(output_,
              AllOf(HasSubstr("\"etc_conflicts\":[\"/etc/ssh/sshd_config\"]"),
                    HasSubstr("\"reset\":{\"etc\":false,\"identity\":false,\"var\":true}")));
  write("sysroot/cfs/state/reset", "x");
  EXPECT_THAT(status(), HasSubstr("damaged   state/reset: "));
}

TEST_F(StatusTest, ErrorsInTheFileSystemAreSaid) {
  ASSERT_DONE(init());
  EXPECT_THAT(status(), Not(HasSubstr("errors in the file system")));
  struct stat top = stat_at(AT_FDCWD, path("sysroot/cfs"), 0).value();
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sys/dev/block")));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sys/fs/ext4/vda2")));
  std::filesystem::create_symlink("../../devices/pci0/block/vda/vda2",
                                  path("sys/dev/block/" + std::to_string(major(top.st_dev)) + ":" +
                                       std::to_string(minor(top.st_dev))));
  write("sys/fs/ext4/vda2/errors_count", "3\n");
  EXPECT_THAT(status(), HasSubstr("disk      3 errors in the file system"));
  ASSERT_DONE(command({"status", "--json"}));
  EXPECT_THAT(output_, HasSubstr("\"file_system_errors\":3"));
}

}  // namespace
}  // namespace cfs::deployer
