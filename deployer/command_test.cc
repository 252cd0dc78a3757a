// SPDX-License-Identifier: Apache-2.0
// The whole command, in-process, against a repository behind the fake server.
#include "deployer/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <thread>

#include "deployer/fake_release.h"
#include "deployer/sysroot/sysroot.h"
#include "deployer/work_directory.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/boot/esp.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/mount/self_test.h"
#include "lib/net/fake_server.h"
#include "lib/verity/kernel.h"

namespace cfs::deployer {
namespace {

using net::FakeServer;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Request = FakeServer::Request;
using Response = FakeServer::Response;

/// Two releases: the second changes one file and adds one.
FakeRelease first_release() {
  FakeRelease release{.version = "1", .epoch = 1};
  for (uint64_t i = 0; i < 20; ++i) {
    release.files["/usr/bin/program" + std::to_string(i)] = random_text(1000 + 4000 * i, i);
  }
  release.files["/etc/hostname"] = "device";
  release.files["/var/lib/data"] = random_text(5000, 100);
  release.files["/var/lib/small"] = "inline";
  return release;
}

FakeRelease second_release() {
  FakeRelease release = first_release();
  release.version = "2";
  release.epoch = 2;
  release.files["/usr/bin/program3"] = random_text(10'000, 200);
  release.files["/usr/bin/new"] = random_text(20'000, 201);
  return release;
}

class CliTest : public ::testing::Test {
 protected:
  CliTest() {
    environment_.print = [this](std::string_view text) { output_ += text; };
    // The file system below the tests may have no fs-verity.
    environment_.verity = store::VerityPolicy::kIfSupported;
    environment_.network.first_backoff = std::chrono::milliseconds(1);
    environment_.network.max_backoff = std::chrono::milliseconds(5);
    environment_.now = [] { return trust::FakeRepository::kNow; };
    environment_.kernel_command_line = path("cmdline");
    environment_.efi_variables = path("efivars");
    set_booted("");
    for (const char* name : {"sysroot", "esp", "efivars"}) {
      EXPECT_TRUE(make_directories(AT_FDCWD, path(name)));
    }
    write("root.json", repository_.files[release::metadata_path("root", 1)]);
  }

  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  void write(const std::string& name, const std::string& content) {
    EXPECT_TRUE(write_file_atomically(AT_FDCWD, path(name), as_bytes(content)));
  }
  std::string read(const std::string& name) const {
    return read_file(AT_FDCWD, path(name), 64 << 20).value_or("cannot read " + name);
  }

  /// Offers a release from now on.
  release::ReleaseDescription offer(const FakeRelease& release) {
    std::lock_guard lock(mutex_);
    Result<release::ReleaseDescription> description = publish(repository_, release);
    if (!description) ADD_FAILURE() << description.error().describe();
    repository_.publish_next();
    return description.value();
  }

  Result<int> run_command(std::vector<std::string> arguments) {
    output_.clear();
    return run(std::move(arguments), environment_);
  }
  Result<int> init() {
    return run_command({"init", "--sysroot", path("sysroot"), "--url", server_.url(), "--root",
                        path("root.json"), "--name", "test"});
  }
  Result<int> update(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"update", "--sysroot", path("sysroot"), "--esp",
                                          path("esp")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments);
  }
  void expect_up_to_date(const std::string& version) {
    Result<int> result = update();
    ASSERT_TRUE(result) << result.error().describe();
    EXPECT_EQ(*result, 10);
    EXPECT_THAT(output_, HasSubstr("up to date: test " + version));
  }
  Result<int> rollback() {
    return run_command({"rollback", "--sysroot", path("sysroot"), "--esp", path("esp")});
  }
  std::string status() {
    Result<int> result = run_command({"status", "--sysroot", path("sysroot")});
    EXPECT_TRUE(result) << result.error().describe();
    return output_;
  }

  void set_booted(const std::string& digest) {
    write("cmdline", digest.empty() ? "quiet\n" : "quiet composefs.digest=" + digest + "\n");
  }
  /// What sd-boot tells the firmware.
  void set_selected_entry(const std::string& name) {
    std::string value("\6\0\0\0", 4);
    for (char c : name + '\0') value += {static_cast<char>(std::tolower(c)), '\0'};
    write("efivars/LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", value);
  }
  /// The machine reboots into what its boot loader starts. Returns the version.
  std::string reboot() {
    boot::Esp esp = boot::Esp::open(AT_FDCWD, path("esp")).value();
    std::optional<std::string> name = esp.default_entry().value();
    std::vector<boot::BootEntry> entries = esp.list().value();
    for (const boot::BootEntry& entry : entries) {
      if (entry.name != name) continue;
      set_booted(entry.digest.value().hex());
      set_selected_entry(*name);
      return name->substr(4, name->find('_', 4) - 4);
    }
    return "nothing";
  }
  std::string boots_next() {
    return boot::Esp::open(AT_FDCWD, path("esp")).value().default_entry().value().value_or("");
  }
  std::string reference(const std::string& name) {
    std::error_code error;
    return std::filesystem::read_symlink(path("sysroot/cfs/refs/" + name), error).string();
  }
  std::vector<std::string> names_in(const std::string& directory) {
    return list_directory(AT_FDCWD, path(directory)).value_or(std::vector<std::string>{});
  }
  /// The sysroot has nothing of a release that boots.
  void expect_nothing_installed() {
    EXPECT_THAT(names_in("sysroot/cfs/images"), IsEmpty());
    EXPECT_THAT(names_in("sysroot/cfs/deployments"), IsEmpty());
    EXPECT_THAT(names_in("esp/EFI/Linux"), IsEmpty());
    EXPECT_EQ(boots_next(), "");
    EXPECT_EQ(reference("staged"), "");
  }
  void expect_exit(const Result<int>& result, int status, const std::string& words) {
    ASSERT_FALSE(result) << output_;
    EXPECT_EQ(exit_status(result.error().code), status) << result.error().describe();
    EXPECT_THAT(result.error().describe(), HasSubstr(words));
  }

  static void unmount_all_below(const std::string& directory) {
    std::istringstream table(read_file(AT_FDCWD, "/proc/self/mountinfo", 4 << 20).value());
    for (std::string line; std::getline(table, line);) {
      std::optional<mount::MountInfo> info = mount::parse_mountinfo_line(line);
      if (info && info->target.starts_with(directory + "/")) {
        (void)::umount2(info->target.c_str(), MNT_DETACH);  // may have gone with one above it
      }
    }
  }

  /// Runs `body` in a child with mounts of its own; returns its result, or 100 when there is no way
  /// to have them.
  int in_own_mounts(const std::function<int()>& body) {
    pid_t child = ::fork();
    if (child == 0) {
      const uid_t uid = ::geteuid();
      const gid_t gid = ::getegid();
      if (::unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)) != 0) ::_exit(100);
      if (uid != 0) {
        auto write_proc = [](const char* file, const std::string& text) {
          UniqueFd fd(::open(file, O_WRONLY | O_CLOEXEC));
          if (!write_full(fd.get(), as_bytes(text))) ::_exit(100);
        };
        auto same = [](unsigned id) {
          return std::to_string(id) + " " + std::to_string(id) + " 1";
        };
        write_proc("/proc/self/setgroups", "deny");
        write_proc("/proc/self/uid_map", same(uid));
        write_proc("/proc/self/gid_map", same(gid));
      }
      // EINVAL: / is no mount point (a chroot), where mounts may show elsewhere too until undone.
      if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 && errno != EINVAL) {
        ::_exit(100);
      }
      int result = body();
      unmount_all_below(directory_.path());
      ::_exit(result);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
  }

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
};

#define ASSERT_DONE(...)                          \
  do {                                            \
    Result<int> done = (__VA_ARGS__);             \
    ASSERT_TRUE(done) << done.error().describe(); \
    ASSERT_EQ(*done, 0) << output_;               \
  } while (false)

TEST_F(CliTest, TheLifeOfADevice) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  EXPECT_THAT(output_, AllOf(HasSubstr("test stable: new: 1 (epoch 1)"), HasSubstr("staged 1")));
  EXPECT_EQ(server_.count("/obj/"), one.objects.count + 1);
  const std::string entry1 = "cfs_1_" + one.image.digest.hex().substr(0, 12) + ".0.efi";
  EXPECT_EQ(boots_next(), entry1);
  EXPECT_THAT(names_in("sysroot/cfs/images"), ElementsAre(one.image.digest.hex()));
  EXPECT_EQ(names_in("sysroot/cfs/releases/" + one.image.digest.hex()),
            (std::vector<std::string>{"release.json", "test_1.efi"}));
  EXPECT_THAT(names_in("sysroot/cfs/tmp"), IsEmpty());

  // Staged, not yet booted: nothing more to do.
  server_.forget();
  expect_up_to_date("1");
  EXPECT_EQ(server_.count("/obj/"), 0u);

  EXPECT_EQ(reboot(), "1");
  expect_up_to_date("1");
  EXPECT_THAT(reference("booted"), StartsWith("../deployments/"));
  EXPECT_EQ(reference("staged"), "");

  // The second release: two objects and the image are new.
  release::ReleaseDescription two = offer(second_release());
  server_.forget();
  ASSERT_DONE(update({"--check"}));
  EXPECT_THAT(output_, HasSubstr("1 (epoch 1) -> 2 (epoch 2)"));
  EXPECT_THAT(output_, HasSubstr("in 4 files"));
  EXPECT_EQ(server_.count("/obj/"), 0u);
  EXPECT_EQ(boots_next(), entry1);
  ASSERT_DONE(update());
  EXPECT_EQ(server_.count("/obj/"), 3u);
  EXPECT_EQ(server_.count("/targets/"), 3u);  // the description twice, the UKI once
  EXPECT_EQ(reboot(), "2");

  ASSERT_DONE(rollback());
  EXPECT_EQ(boots_next(), entry1);
  ASSERT_DONE(rollback());  // again before the reboot: the same
  EXPECT_EQ(boots_next(), entry1);
  EXPECT_EQ(reboot(), "1");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 1"), HasSubstr("previous  test 2"),
                              Not(HasSubstr("staged"))));
  ASSERT_DONE(rollback());  // again after the reboot: back
  EXPECT_EQ(reboot(), "2");
  expect_up_to_date("2");
}

TEST_F(CliTest, RollbackGivesUpAnUpdateThatHasNotRun) {
  offer(first_release());
  ASSERT_DONE(init());
  expect_exit(rollback(), 1, "no earlier good deployment");
  ASSERT_DONE(update());
  expect_exit(rollback(), 1, "no earlier good deployment");
  ASSERT_EQ(reboot(), "1");
  expect_exit(rollback(), 1, "no earlier good deployment");
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_DONE(rollback());
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  EXPECT_EQ(reference("staged"), "");
  server_.forget();
  ASSERT_DONE(update());  // what was fetched is still there
  EXPECT_EQ(server_.count("/obj/"), 0u);
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
}

TEST_F(CliTest, StatusForPrograms) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  reboot();
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_DONE(run_command({"status", "--json", "--sysroot", path("sysroot")}));
  Result<json::Value> json = json::parse(output_, {}, "status");
  ASSERT_TRUE(json) << json.error().describe();
  json::Reader reader(*json, "status");
  EXPECT_EQ(reader.member("booted")->member("digest")->sha256().value(), one.image.digest);
  EXPECT_EQ(reader.member("booted")->member("state")->text(10).value(), "good");
  EXPECT_EQ(reader.member("staged")->member("version")->text(10).value(), "2");
  EXPECT_TRUE(reader.member("previous")->value().is_null());
  EXPECT_EQ(reader.member("objects")->member("count")->integer().value(), one.objects.count + 4);
}

TEST_F(CliTest, VarIsFilledOnce) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  const std::string var = "sysroot/cfs/state/var/lib/";
  EXPECT_EQ(read(var + "data"), random_text(5000, 100));
  EXPECT_EQ(read(var + "small"), "inline");
  EXPECT_EQ(std::filesystem::read_symlink(path(var + "link")), "target");
  struct stat first = {};
  struct stat second = {};
  struct stat directory = {};
  ASSERT_EQ(::stat(path(var + "first").c_str(), &first), 0);
  ASSERT_EQ(::stat(path(var + "second").c_str(), &second), 0);
  ASSERT_EQ(::stat(path(var).c_str(), &directory), 0);
  EXPECT_EQ(first.st_ino, second.st_ino);
  EXPECT_EQ(first.st_mode & 07777, 0600u);
  EXPECT_EQ(first.st_mtim.tv_sec, 1'700'000'000);
  EXPECT_EQ(directory.st_mode & 07777, 0750u);
  EXPECT_EQ(directory.st_mtim.tv_sec, 1'700'000'000);

  write(var + "small", "changed by the device");
  FakeRelease next = second_release();
  next.files["/var/lib/small"] = "changed by the release";
  offer(next);
  ASSERT_DONE(update());
  EXPECT_EQ(read(var + "small"), "changed by the device");
}

TEST_F(CliTest, AWrongObjectEndsTheUpdate) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  std::string victim = release::encoded_object_path(
      verity::digest_of(as_bytes(first_release().files["/usr/bin/program7"])));
  fault_ = [&](const Request& request, Response& response) {
    if (request.target == "/" + victim) response.body[response.body.size() / 2] ^= 0x10;
  };
  expect_exit(update(), 7, "while fetching object");
  expect_nothing_installed();
  fault_ = [&](const Request& request, Response& response) {
    if (request.target == "/" + victim) response.body.resize(response.body.size() / 2);
  };
  expect_exit(update(), 7, "cut short");
  expect_nothing_installed();
  fault_ = [&](const Request& request, Response& response) {
    if (request.target == "/" + victim) response = {.status = 404};
  };
  Result<int> missing = update();
  expect_exit(missing, 8, "404");
  EXPECT_THAT(missing.error().hint, HasSubstr("the repository lacks a file"));
  expect_nothing_installed();
  fault_ = [](const Request&, Response&) {};
  ASSERT_DONE(update());
  EXPECT_EQ(reboot(), "1");
}

TEST_F(CliTest, WrongMetadataEndsTheUpdate) {
  offer(first_release());
  ASSERT_DONE(init());
  auto with_fault = [&](const std::string& suffix,
                        const std::function<void(std::string&)>& change) {
    fault_ = [suffix, change](const Request& request, Response& response) {
      if (request.target.ends_with(suffix)) change(response.body);
    };
    return update();
  };
  expect_exit(with_fault("timestamp.json",
                         [](std::string& text) {
                           size_t sig = text.find("\"sig\":\"") + 7;
                           text[sig] = text[sig] == '0' ? '1' : '0';
                         }),
              6, "");
  expect_exit(with_fault("targets.json", [](std::string& text) { text += " "; }), 7, "");
  expect_exit(with_fault("manifest", [](std::string& text) { text[30] ^= 1; }), 7, "");
  expect_exit(with_fault(".release.json", [](std::string& text) { text[10] ^= 1; }), 7, "");
  expect_exit(with_fault(".efi", [](std::string& text) { text[1000] ^= 1; }), 7, "");
  expect_nothing_installed();
  fault_ = [](const Request&, Response&) {};
  environment_.now = [] { return trust::FakeRepository::kNow + 2 * 86400; };
  expect_exit(update(), 6, "");
  EXPECT_EQ(server_.count("/obj/"), 0u);
}

TEST_F(CliTest, AnAddressWithoutARepositoryIsANetworkError) {
  ASSERT_DONE(init());
  fault_ = [](const Request&, Response& response) { response = {.status = 404}; };
  Result<int> result = update();
  expect_exit(result, 8, "/metadata/timestamp.json");
  EXPECT_THAT(result.error().hint, HasSubstr("no release repository is there"));
  expect_exit(update({"--url", "file://" + path("nowhere")}), 8, "timestamp.json");
}

// What S3 says about files that are not there.
TEST_F(CliTest, ForbiddenMeansMissing) {
  offer(first_release());
  ASSERT_DONE(init());
  fault_ = [](const Request&, Response& response) {
    if (response.status == 404) response.status = 403;
  };
  ASSERT_DONE(update());
}

TEST_F(CliTest, ADamagedTrustedRootDoesNotLockTheDeviceOut) {
  offer(first_release());
  ASSERT_DONE(init());
  write("sysroot/cfs/trust/root.json", "");
  ASSERT_DONE(update());
  EXPECT_EQ(read("sysroot/cfs/trust/root.json"), read("root.json"));
}

TEST_F(CliTest, AUkiThatPinsAnotherImageIsRefused) {
  FakeRelease release = first_release();
  release.pin = std::string(64, 'a');
  offer(release);
  ASSERT_DONE(init());
  expect_exit(update(), 7, "does not pin");
  expect_nothing_installed();
}

// An epoch so large that no release can follow, made by mistake or by a thief of the targets key.
TEST_F(CliTest, AChangeOfTheTargetsKeysCountsEpochsAnew) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  FakeRelease last = second_release();
  last.epoch = (uint64_t{1} << 53) - 1;
  offer(last);
  ASSERT_DONE(update());
  FakeRelease next = first_release();
  next.version = "3";
  next.epoch = 3;
  {
    std::lock_guard lock(mutex_);
    repository_.targets.clear();
  }
  offer(next);
  expect_exit(update(), 6, "is older than the installed 2 (epoch 9007199254740991)");
  {
    std::lock_guard lock(mutex_);
    repository_.roles["targets"].keys = {trust::FakeKey(70)};
    repository_.roles["root"].version = 2;
    repository_.publish_root();
    repository_.publish_next();
  }
  ASSERT_DONE(update());
  EXPECT_EQ(reboot(), "3");
  expect_up_to_date("3");
  // From here on they grow again.
  next.version = "4";
  next.epoch = 2;
  {
    std::lock_guard lock(mutex_);
    repository_.targets.clear();
  }
  offer(next);
  expect_exit(update(), 6, "is older than the installed 3 (epoch 3)");
}

TEST_F(CliTest, AReleaseOlderThanTheInstalledOneIsRefused) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  offer(second_release());
  ASSERT_DONE(update());
  {
    // The signer takes the second release back, with everything signed and fresh.
    std::lock_guard lock(mutex_);
    repository_.targets.erase("test_2.release.json");
    repository_.publish_next();
  }
  Result<int> older = update();
  expect_exit(older, 6, "is older than the installed 2 (epoch 2)");
  EXPECT_EQ(older.error().code, ErrorCode::kRollback);
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
}

TEST_F(CliTest, AnInterruptedUpdateGoesOn) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  std::atomic<int> objects{0};
  fault_ = [&](const Request& request, Response& response) {
    if (request.target.starts_with("/obj/") && ++objects > 12) response = {.status = 403};
  };
  expect_exit(update(), 8, "403");
  expect_nothing_installed();
  write("sysroot/cfs/tmp/left-behind", "by a power cut");
  fault_ = [](const Request&, Response&) {};
  server_.forget();
  ASSERT_DONE(update());
  EXPECT_LE(server_.count("/obj/"), one.objects.count + 1 - 4);
  EXPECT_EQ(server_.count("/targets/"), 1u) << "the UKI was fetched again";
  EXPECT_THAT(names_in("sysroot/cfs/tmp"), IsEmpty());
  EXPECT_THAT(names_in("sysroot/cfs/objects/.cfs/tmp"), IsEmpty());
  EXPECT_EQ(reboot(), "1");
}

TEST_F(CliTest, AKilledUpdateLeavesNothingHalf) {
  offer(first_release());
  ASSERT_DONE(init());
  std::atomic<int> objects{0};
  fault_ = [&](const Request& request, Response& response) {
    if (request.target.starts_with("/obj/") && ++objects > 8) {
      response.delay_before = std::chrono::seconds(60);
    }
  };
  pid_t child = ::fork();
  if (child == 0) {
    (void)update();
    ::_exit(0);
  }
  while (objects < 12) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  expect_nothing_installed();
  EXPECT_THAT(names_in("sysroot/cfs/objects/.cfs/tmp"), Not(IsEmpty()));
  fault_ = [](const Request&, Response&) {};
  ASSERT_DONE(update());
  EXPECT_THAT(names_in("sysroot/cfs/objects/.cfs/tmp"), IsEmpty());
  EXPECT_THAT(names_in("sysroot/cfs/tmp"), IsEmpty());
  EXPECT_EQ(reboot(), "1");
}

TEST_F(CliTest, CutsBetweenTheStepsOfActivation) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "1");
  const std::string old_conf = read("esp/loader/loader.conf");
  release::ReleaseDescription two = offer(second_release());
  ASSERT_DONE(update());
  const std::string entry = boots_next();

  // Undo the steps from the last to the first; after each, the next update does them again.
  const std::function<void()> undo[] = {
      [&] { write("esp/loader/loader.conf", old_conf); },
      [&] { std::filesystem::remove(path("esp/EFI/Linux/" + entry)); },
      [&] { std::filesystem::resize_file(path("esp/EFI/Linux/" + entry), 1000); },
      [&] { std::filesystem::remove(path("sysroot/cfs/refs/staged")); },
      [&] {
        std::filesystem::remove_all(
            path("sysroot/cfs/deployments/" + two.image.digest.hex().substr(0, 12) + ".0"));
      },
      [&] {
        std::filesystem::remove(
            path("sysroot/cfs/releases/" + two.image.digest.hex() + "/release.json"));
      },
      [&] { std::filesystem::remove(path("sysroot/cfs/images/" + two.image.digest.hex())); },
  };
  for (size_t steps = 1; steps <= std::size(undo); ++steps) {
    for (size_t i = 0; i < steps; ++i) {
      if (i == 2 || (i == 1 && steps == 3)) continue;  // removed or cut short, not both
      undo[i]();
    }
    if (steps == 3) undo[2]();
    EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
    server_.forget();
    ASSERT_DONE(update());
    EXPECT_EQ(server_.count("/obj/"), 0u);
    EXPECT_EQ(boots_next(), entry) << steps;
    EXPECT_THAT(names_in("sysroot/cfs/images"), testing::SizeIs(2));
    expect_up_to_date("2");
  }
  EXPECT_EQ(reboot(), "2");
}

TEST_F(CliTest, ADamagedObjectIsFetchedAgain) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  const std::string object =
      "sysroot/cfs/objects/" +
      verity::digest_of(as_bytes(first_release().files["/usr/bin/program9"])).object_path();
  std::filesystem::permissions(path(object), std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
  write(object, "not what it was");
  offer(second_release());
  server_.forget();
  ASSERT_DONE(update());
  EXPECT_EQ(server_.count("/obj/"), 4u);
  EXPECT_EQ(read(object), first_release().files["/usr/bin/program9"]);
}

TEST_F(CliTest, OneAtATime) {
  offer(first_release());
  ASSERT_DONE(init());
  {
    Sysroot other = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
    for (const Result<int>& result : {update(), rollback()}) {
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, ErrorCode::kBusy);
      EXPECT_THAT(result.error().message, HasSubstr("another cfs-deploy"));
    }
    EXPECT_THAT(status(), HasSubstr("booted    none"));  // looking is always possible
  }
  ASSERT_DONE(update());
}

TEST_F(CliTest, NoSpaceIsFoundBeforeAnythingIsFetched) {
  FakeRelease release = first_release();
  release.files["/usr/big"] = random_text(3'000'000, 300);
  offer(release);
  int status = in_own_mounts([&] {
    if (::mount("none", path("sysroot").c_str(), "tmpfs", 0, "size=4m") != 0) return 101;
    if (!init()) return 102;
    Result<int> result = update();
    return result ? 103 : exit_status(result.error().code);
  });
  EXPECT_EQ(status, 9);
  EXPECT_EQ(server_.count("/rel/"), 1u);
  EXPECT_EQ(server_.count("/obj/"), 0u);
}

TEST_F(CliTest, ASysrootThatIsShownReadOnlyIsUpdated) {
  offer(first_release());
  ASSERT_DONE(init());
  const std::string sysroot = path("sysroot");
  int status = in_own_mounts([&] {
    auto mount = [&](unsigned long flags) {
      return ::mount(sysroot.c_str(), sysroot.c_str(), nullptr, flags, nullptr) == 0;
    };
    if (!mount(MS_BIND) || !mount(MS_BIND | MS_REMOUNT | MS_RDONLY)) return 101;
    Result<int> result = update();
    return result ? *result : 102;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(reboot(), "1");
}

TEST_F(CliTest, FetchesFromALocalDirectoryToo) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_TRUE(write_repository(repository_, path("repository")));
  ASSERT_DONE(init());
  server_.forget();
  ASSERT_DONE(update({"--url", "file://" + path("repository")}));
  EXPECT_THAT(server_.targets(), IsEmpty());
  EXPECT_EQ(reboot(), "1");
}

TEST_F(CliTest, InstallMakesADiskOffline) {
  release::ReleaseDescription one = offer(first_release());
  auto install = [&](const std::string& disk) {
    return run_command({"install", "--disk", path(disk), "--url", server_.url(), "--root",
                        path("root.json"), "--name", "test", "--device-url",
                        "https://updates.example/os", "--free", "16MiB"});
  };
  ASSERT_DONE(install("disk"));
  EXPECT_THAT(output_, HasSubstr(one.image.digest.hex()));
  EXPECT_EQ(server_.count("/obj/"), one.objects.count + 1);
  EXPECT_THAT(names_in(""),
              ElementsAre("cmdline", "disk", "efivars", "esp", "root.json", "sysroot"));

  // As other people's programs see it.
  auto say = [](std::vector<std::string> arguments) {
    std::vector<std::string> shell = {
        "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; \"$@\" 2>&1 || echo failed", "sh"};
    shell.insert(shell.end(), arguments.begin(), arguments.end());
    return cfs::run_command({.arguments = shell}).value_or("cannot run a shell");
  };
  const std::string entry = "cfs_1_" + one.image.digest.hex().substr(0, 12) + ".0.efi";
  const std::string esp = path("disk") + "@@1M";
  EXPECT_THAT(say({"mtype", "-i", esp, "::/loader/loader.conf"}), HasSubstr("default " + entry));
  EXPECT_THAT(say({"mdir", "-b", "-i", esp, "::/EFI/Linux"}), HasSubstr(entry));
  EXPECT_THAT(say({"mdir", "-b", "-i", esp, "::/EFI/BOOT"}), HasSubstr("BOOTX64.EFI"));
  std::string table = say({"sfdisk", "--dump", path("disk")});
  size_t second = table.find("start=", table.find("start=") + 1);
  ASSERT_NE(second, std::string::npos) << table;
  const std::string root =
      path("disk") + "?offset=" + std::to_string(std::stoull(table.substr(second + 6)) * 512);
  auto debugfs = [&](const std::string& command) { return say({"debugfs", "-R", command, root}); };
  const std::string id = one.image.digest.hex().substr(0, 12) + ".0";
  EXPECT_THAT(debugfs("cat /cfs/deployments/" + id + "/deployment.json"),
              AllOf(HasSubstr("\"state\":\"staged\""), HasSubstr(entry)));
  EXPECT_THAT(debugfs("stat /cfs/refs/staged"), HasSubstr("../deployments/" + id));
  EXPECT_THAT(debugfs("stat /cfs/images/" + one.image.digest.hex()), HasSubstr("Type: symlink"));
  EXPECT_THAT(debugfs("cat /cfs/origin.json"), HasSubstr("https://updates.example/os"));
  EXPECT_THAT(debugfs("cat /cfs/trust/targets.json"), HasSubstr("test_1.release.json"));
  EXPECT_THAT(debugfs("cat /cfs/state/var/lib/small"), HasSubstr("inline"));
  EXPECT_THAT(debugfs("cat /cfs/state/var/lib/data"), HasSubstr(random_text(5000, 100)));
  EXPECT_THAT(debugfs("stat /cfs/state/var/lib/second"), HasSubstr("Links: 2"));
  const std::string image = debugfs("stat /cfs/objects/" + one.image.digest.object_path());
  EXPECT_THAT(image, AllOf(HasSubstr("Mode:  0444"), HasSubstr("Flags: 0x180000")));  // and verity
  EXPECT_THAT(debugfs("ls -p /cfs"), Not(HasSubstr("/lock/")));
  EXPECT_THAT(debugfs("ls -p /cfs/objects"), Not(HasSubstr("/.cfs/")));

  ASSERT_DONE(install("again"));
  EXPECT_EQ(say({"cmp", path("disk"), path("again")}), "");

  fault_ = [](const Request& request, Response& response) {
    if (request.target.starts_with("/obj/")) response = {.status = 404};
  };
  expect_exit(install("third"), 8, "404");
  EXPECT_THAT(names_in(""),
              ElementsAre("again", "cmdline", "disk", "efivars", "esp", "root.json", "sysroot"));
}

TEST_F(CliTest, InstallFindsWhatCannotWorkBeforeItFetches) {
  offer(first_release());
  auto install = [&](const std::string& disk, const std::string& free = "16MiB") {
    return run_command({"install", "--disk", disk, "--url", server_.url(), "--root",
                        path("root.json"), "--name", "test", "--free", free});
  };
  write("disk", "somebody's machine");
  Result<int> exists = install(path("disk"));
  expect_exit(exists, 1, "exists");
  EXPECT_EQ(exists.error().code, ErrorCode::kExists);
  EXPECT_THAT(exists.error().hint, HasSubstr("remove it"));
  EXPECT_EQ(read("disk"), "somebody's machine");
  std::filesystem::create_symlink("disk", path("link"));
  expect_exit(install(path("link")), 1, "is not a regular file");
  std::filesystem::create_symlink("nowhere", path("dangling"));
  expect_exit(install(path("dangling")), 1, "is not a regular file");
  expect_exit(install(path("esp")), 1, "is a directory");
  expect_exit(install(path("new/")), 1, "names no file");
  expect_exit(install(""), 1, "names no file");
  expect_exit(install(path(std::string(256, 'x'))), 1, "too long");
  expect_exit(install(path("missing/disk")), 1, "missing");
  expect_exit(install("/proc/disk"), 1, "/proc");
  expect_exit(install("/dev/null"), 1, "is not a regular file");
  for (const char* bad : {"-1", "-1GB", "1.5G", "", "G", "1X", "1iB", "2TiB", "1048577M", "0x10",
                          "18446744073709551615", "18446744073709551615T", "16777216T", "1e3"}) {
    expect_exit(install(path("new"), bad), 2, "is not a size from 0 to 1TiB");
  }
  pid_t child = ::fork();
  if (child == 0) {
    ::setenv("PATH", path("no-programs").c_str(), 1);  // mtools lies in /usr/bin alone
    Result<int> result = install(path("new"));
    bool is_said = !result && result.error().code == ErrorCode::kNotFound &&
                   result.error().hint.find("Debian package mtools") != std::string::npos;
    ::_exit(is_said ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(server_.targets().size(), 0u);
  EXPECT_FALSE(stat_at(AT_FDCWD, path("new"), 0));

  // An empty file, as mktemp makes it, may be filled; sizes have units.
  write("empty", "");
  ASSERT_DONE(install(path("empty"), "16mb"));
  EXPECT_GT(std::filesystem::file_size(path("empty")), 100u << 20);
}

TEST_F(CliTest, AKilledInstallsFilesGoWithTheNextOne) {
  offer(first_release());
  auto install = [&] {
    return run_command({"install", "--disk", path("disks/disk"), "--url", server_.url(), "--root",
                        path("root.json"), "--name", "test", "--free", "0"});
  };
  std::atomic<int> objects{0};
  std::atomic<bool> is_slow{true};
  fault_ = [&](const Request& request, Response& response) {
    if (!is_slow || !request.target.starts_with("/obj/")) return;
    ++objects;
    response.delay_before = std::chrono::seconds(60);
  };
  ASSERT_TRUE(make_directories(AT_FDCWD, path("disks/cfs-backup")));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("disks/.cfs-deploy-mine")));
  pid_t child = ::fork();
  if (child == 0) {
    (void)install();
    ::_exit(0);
  }
  while (objects == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  is_slow = false;
  EXPECT_THAT(names_in("disks"), testing::SizeIs(3));
  {
    // One that runs is left alone.
    WorkDirectory other = WorkDirectory::create(path("disks")).value();
    EXPECT_THAT(names_in("disks"), testing::SizeIs(4));
  }
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_THAT(names_in("disks"), testing::SizeIs(3));
  ASSERT_DONE(install());
  EXPECT_THAT(names_in("disks"), ElementsAre(".cfs-deploy-mine", "cfs-backup", "disk"));
}

TEST_F(CliTest, TwoReleasesOfOneImage) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "1");
  FakeRelease same = first_release();  // only the kernel is another
  same.version = "2";
  same.epoch = 2;
  ASSERT_EQ(offer(same).image.digest, one.image.digest);
  ASSERT_DONE(update());
  EXPECT_THAT(names_in("esp/EFI/Linux"), testing::SizeIs(2));
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 1"), HasSubstr("staged    test 2")));
  ASSERT_DONE(rollback());  // the update is given up
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 1"), Not(HasSubstr("staged    "))));

  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "2");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 2"), HasSubstr("previous  test 1")));
  expect_up_to_date("2");
  ASSERT_DONE(rollback());
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 2"), HasSubstr("staged    test 1")));
  ASSERT_EQ(reboot(), "1");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 1"), HasSubstr("previous  test 2"),
                              Not(HasSubstr("staged    "))));

  // The same once more under the same version: an entry of its own.
  same.epoch = 3;
  offer(same);
  ASSERT_DONE(update());
  EXPECT_THAT(names_in("esp/EFI/Linux"), testing::SizeIs(3));
  ASSERT_EQ(reboot(), "2");
  EXPECT_THAT(status(), HasSubstr("booted    test 2 (epoch 3"));

  // Where no boot loader says what it started, what is known to have run runs still.
  ASSERT_DONE(rollback());
  const std::string note = "efivars/LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
  std::filesystem::remove(path(note));
  same.version = "4";
  same.epoch = 4;
  offer(same);
  ASSERT_DONE(update());
  EXPECT_THAT(status(),
              AllOf(HasSubstr("booted    test 2 (epoch 3"), HasSubstr("staged    test 4")));
  // Nor does an entry of another image count: it is what ran before a kexec.
  FakeRelease other = second_release();
  other.version = "5";
  other.epoch = 5;
  offer(other);
  ASSERT_DONE(update());
  set_selected_entry(boots_next());
  EXPECT_THAT(status(),
              AllOf(HasSubstr("booted    test 2 (epoch 3"), HasSubstr("staged    test 5")));
}

TEST_F(CliTest, WhatIsNotADeploymentIsReportedAndLeftAlone) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(run_command({"status", "--json", "--sysroot", path("sysroot")}));
  EXPECT_THAT(output_, HasSubstr("\"damaged\":[]"));
  expect_up_to_date("1");

  release::ReleaseDescription two = offer(second_release());
  const std::string deployments = "sysroot/cfs/deployments/";
  const std::string id = two.image.digest.hex().substr(0, 12);
  for (const char* name : {"alien", "text", "other-id", "fifo", "cut-off", "\x1b[31m\xff"}) {
    ASSERT_TRUE(make_directories(AT_FDCWD, path(deployments + name)));
  }
  ASSERT_TRUE(make_directories(AT_FDCWD, path(deployments + id + ".0/alien")));
  write(deployments + "alien/file", "of somebody");
  write(deployments + "stray", "a file");
  write(deployments + "text/deployment.json", "{\"schema\":");
  write(deployments + "\x1b[31m\xff/deployment.json", "");
  write(deployments + "other-id/deployment.json",
        json::to_canonical(to_json(Deployment{.id = "x", .entry = "x.efi"})));
  ASSERT_EQ(::mkfifo(path(deployments + "fifo/deployment.json").c_str(), 0600), 0);
  write(deployments + "cut-off/.tmp-0123456789abcdef", "{");
  std::filesystem::create_symlink("../deployments/gone", path("sysroot/cfs/refs/previous"));
  std::filesystem::create_directory(path("sysroot/cfs/refs/staged"));

  const std::string text = status();
  for (const char* reported :
       {"deployments/alien: the directory has no deployment.json", "deployments/stray: ",
        "deployments/text: ", "deployments/other-id: deployment.json belongs to 'x'",
        "deployments/fifo: ", "deployments/?[31m?: ",
        "refs/previous: points to 'gone', which is not a deployment",
        "refs/staged: not a symlink to a deployment"}) {
    EXPECT_THAT(text, HasSubstr(std::string("damaged   ") + reported));
  }
  EXPECT_THAT(text, AllOf(HasSubstr("booted    test 1"), HasSubstr("deployments/" + id + ".0: "),
                          Not(HasSubstr("cut-off"))));
  ASSERT_DONE(run_command({"status", "--json", "--sysroot", path("sysroot")}));
  Result<json::Value> json = json::parse(output_, {}, "status");
  ASSERT_TRUE(json) << json.error().describe();
  EXPECT_EQ(json::Reader(*json, "status").member("damaged")->elements(100)->size(), 9u);

  std::filesystem::remove(path("sysroot/cfs/refs/staged"));
  expect_exit(rollback(), 1, "no earlier good deployment");
  ASSERT_DONE(update());
  EXPECT_THAT(boots_next(), HasSubstr(id + ".1.efi"));
  ASSERT_EQ(reboot(), "2");
  ASSERT_DONE(rollback());
  EXPECT_EQ(reboot(), "1");
  EXPECT_EQ(read(deployments + "alien/file"), "of somebody");
  EXPECT_EQ(read(deployments + "text/deployment.json"), "{\"schema\":");
  EXPECT_THAT(names_in(deployments + id + ".0"), ElementsAre("alien"));
  EXPECT_THAT(names_in(deployments + "cut-off"), IsEmpty()) << "a killed process's temporary";
}

TEST_F(CliTest, ARollbackToWhatIsNotWholeChangesNothing) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "1");
  offer(second_release());
  ASSERT_DONE(update());
  const std::string entry1 = names_in("esp/EFI/Linux")[0];
  ASSERT_EQ(reboot(), "2");
  expect_up_to_date("2");
  const std::string object =
      path("sysroot/cfs/objects/") +
      verity::digest_of(as_bytes(first_release().files["/usr/bin/program3"])).object_path();
  std::filesystem::rename(object, path("away"));
  expect_exit(rollback(), 1, "while checking the objects of image");
  std::filesystem::rename(path("away"), object);
  std::filesystem::resize_file(path("esp/EFI/Linux/" + entry1), 1000);
  expect_exit(rollback(), 1, "the boot entry '" + entry1 + "' of 1 is missing or damaged");
  std::filesystem::remove(path("esp/EFI/Linux/" + entry1));
  expect_exit(rollback(), 1, "is missing or damaged");
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
  EXPECT_EQ(reference("staged"), "");
}

TEST_F(CliTest, ADamagedRecordOfTheRunningSystemIsSurvived) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "1");
  expect_up_to_date("1");
  const std::string record = "sysroot/cfs/" + reference("booted").substr(3) + "/deployment.json";
  write(record, "");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    none"), HasSubstr("damaged   deployments/"),
                              HasSubstr("damaged   refs/booted: points to")));
  offer(second_release());
  ASSERT_DONE(update());
  EXPECT_EQ(reboot(), "2");
  expect_up_to_date("2");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 2"), Not(HasSubstr("refs/booted:"))));
  EXPECT_EQ(read(record), "");
}

TEST_F(CliTest, AnInterruptEndsADownload) {
  offer(first_release());
  ASSERT_DONE(init());
  std::atomic<int> objects{0};
  fault_ = [&](const Request& request, Response& response) {
    if (request.target.starts_with("/obj/") && ++objects > 8) {
      response.delay_before = std::chrono::seconds(60);
    }
  };
  pid_t child = ::fork();
  if (child == 0) {
    catch_interrupts();
    Result<int> result = update();
    ::_exit(!result && result.error().code == ErrorCode::kInterrupted ? 0 : 1);
  }
  while (objects < 10) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  auto started = std::chrono::steady_clock::now();
  ASSERT_EQ(::kill(child, SIGINT), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(10));
  expect_nothing_installed();
  EXPECT_THAT(names_in("sysroot/cfs/objects/.cfs/tmp"), IsEmpty());
}

TEST_F(CliTest, InitRefusesWhatCannotWork) {
  ASSERT_DONE(init());
  expect_exit(init(), 1, "is a sysroot already");

  ASSERT_TRUE(make_directories(AT_FDCWD, path("other")));
  auto init_other = [&](const std::string& root) {
    return run_command({"init", "--sysroot", path("other"), "--url", server_.url(), "--root",
                        path(root), "--name", "test"});
  };
  expect_exit(init_other("none.json"), 1, "none.json");
  write("bad.json", "{}");
  expect_exit(init_other("bad.json"), 7, "trust anchor");
  EXPECT_THAT(names_in("other"), IsEmpty());
  for (const auto& [option, value] : {std::pair{"--name", "Test"},
                                      {"--name", ""},
                                      {"--name", "a/b"},
                                      {"--channel", "a.b"},
                                      {"--channel", ""},
                                      {"--url", "test"},
                                      {"--sysroot", ""}}) {
    std::vector<std::string> arguments = {"init",        "--sysroot", path("other"),    "--url",
                                          server_.url(), "--root",    path("root.json")};
    if (option != std::string("--name")) arguments.insert(arguments.end(), {"--name", "test"});
    if (option == std::string("--url")) arguments[4] = "";
    if (option == std::string("--sysroot"))
      arguments.erase(arguments.begin() + 1, arguments.begin() + 3);
    arguments.insert(arguments.end(), {option, value});
    Result<int> result = run_command(arguments);
    ASSERT_FALSE(result) << option << value;
    EXPECT_EQ(result.error().code, ErrorCode::kUsage) << option << value;
    EXPECT_THAT(names_in("other"), IsEmpty());
  }
  ASSERT_TRUE(make_directories(AT_FDCWD, path("alien/cfs/stuff")));
  expect_exit(run_command({"init", "--sysroot", path("alien"), "--url", server_.url(), "--root",
                           path("root.json"), "--name", "test"}),
              1, "is there and is not a sysroot");
  EXPECT_THAT(names_in("alien/cfs"), ElementsAre("stuff"));
  expect_exit(run_command({"update", "--sysroot", path("other"), "--esp", path("esp")}), 1,
              "holds no cfs sysroot");

  // With the policy of devices it depends on the file system below.
  write("probe", "x");
  UniqueFd probe = open_at(AT_FDCWD, path("probe"), O_RDONLY).value();
  bool has_verity = verity::enable(probe.get()).has_value();
  environment_.verity = store::VerityPolicy::kRequired;
  Result<int> result = init_other("root.json");
  if (has_verity) {
    EXPECT_TRUE(result) << result.error().describe();
  } else {
    expect_exit(result, 7, "");
    EXPECT_EQ(result.error().code, ErrorCode::kNoVerity);
    EXPECT_THAT(result.error().hint, HasSubstr("-O verity"));
    EXPECT_THAT(names_in("other"), IsEmpty());
  }
}

TEST_F(CliTest, WithoutVerityNothingIsFetched) {
  offer(first_release());
  ASSERT_DONE(init());
  environment_.verity = store::VerityPolicy::kRequired;
  // proc and devpts apart, tmpfs is what surely has none (before Linux 6.7 not even the ioctl).
  int status = in_own_mounts([&] {
    const std::string copy = path("copy");
    if (!make_directories(AT_FDCWD, copy) ||
        ::mount("none", copy.c_str(), "tmpfs", 0, nullptr) != 0) {
      return 101;
    }
    std::filesystem::copy(path("sysroot"), copy, std::filesystem::copy_options::recursive);
    Result<int> result = run_command({"update", "--sysroot", copy, "--esp", path("esp")});
    return !result && result.error().code == ErrorCode::kNoVerity ? 0 : 102;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(server_.count("/obj/"), 0u);
  EXPECT_EQ(server_.count("/targets/"), 1u);  // the description
}

TEST_F(CliTest, SysrootPathsOfAllKinds) {
  offer(first_release());
  std::filesystem::create_directory_symlink("sysroot", path("link"));
  ASSERT_EQ(::chdir(directory_.path().c_str()), 0);
  ASSERT_DONE(run_command({"init", "--sysroot", "sysroot/", "--url", server_.url(), "--root",
                           "root.json", "--name", "test"}));
  EXPECT_EQ(std::filesystem::status(path("sysroot/cfs")).permissions(),
            static_cast<std::filesystem::perms>(0755));
  for (const std::string& sysroot : {std::string("./sysroot"), std::string("link"),
                                     path("link") + "//", std::string("esp/../sysroot")}) {
    Result<int> result = run_command({"update", "--sysroot", sysroot, "--esp", "esp/"});
    ASSERT_TRUE(result) << sysroot << ": " << result.error().describe();
    EXPECT_EQ(*result, sysroot == "./sysroot" ? 0 : 10);
    ASSERT_DONE(run_command({"status", "--sysroot", sysroot}));
  }
  ASSERT_EQ(::chdir("/"), 0);
  expect_exit(run_command({"status", "--sysroot", path("root.json")}), 1, "root.json");
  expect_exit(run_command({"status", "--sysroot", path("none")}), 1, "holds no cfs sysroot");
}

TEST_F(CliTest, AReadOnlyFileSystemIsSaidSo) {
  offer(first_release());
  int status = in_own_mounts([&] {
    const std::string sysroot = path("sysroot");
    if (::mount("none", sysroot.c_str(), "tmpfs", 0, nullptr) != 0 || !init()) return 101;
    if (::mount(nullptr, sysroot.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
      return 102;
    Result<int> result = update();
    if (result || result.error().code != ErrorCode::kPermission) return 103;
    return result.error().message.find("is read-only") == std::string::npos ? 104 : 0;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(CliTest, Usage) {
  for (std::vector<std::string> arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"fly"},
                                             {"init"},
                                             {"update", "--bogus"},
                                             {"update", "--url", "ftp://x/"},
                                             {"install", "--disk"}}) {
    Result<int> result = run_command(arguments);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kUsage);
  }
  ASSERT_DONE(run_command({"--help"}));
  EXPECT_THAT(output_, AllOf(HasSubstr("install"), HasSubstr("Exit status")));
  ASSERT_DONE(run_command({"update", "--help"}));
  EXPECT_THAT(output_, HasSubstr("--check"));
}

}  // namespace
}  // namespace cfs::deployer
