// SPDX-License-Identifier: Apache-2.0
#include "deployer/update.h"

#include <signal.h>

#include <atomic>
#include <thread>

#include "deployer/test_support.h"
#include "lib/base/interrupt.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

class UpdateTest : public DeviceTest {
 protected:
  /// Runs `body`, which downloads, in a child process; the server sends eight objects and lets the
  /// others wait. Returns the child once `requests` objects have been asked for.
  pid_t start_without_end(int requests, const std::function<int()>& body) {
    fault_ = [this](const Request& request, Response& response) {
      if (request.target.starts_with("/obj/") && ++objects_requested_ > 8) {
        response.delay_before = std::chrono::seconds(60);
      }
    };
    pid_t child = ::fork();
    if (child == 0) ::_exit(body());
    while (objects_requested_ < requests) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return child;
  }

 private:
  std::atomic<int> objects_requested_{0};
};

/// The object of a file of first_release(), in the sysroot.
std::string object_of(const std::string& file) {
  return "sysroot/cfs/objects/" +
         verity::digest_of(as_bytes(first_release().files[file])).object_path();
}

TEST_F(UpdateTest, TheLifeOfADevice) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  EXPECT_THAT(output_, AllOf(HasSubstr("test stable: new: 1 (epoch 1)"), HasSubstr("staged 1")));
  EXPECT_EQ(server_.count("/obj/"), one.objects.count + 1);
  const std::string entry1 = "cfs_1_" + one.image.digest.hex().substr(0, 12) + ".0";
  EXPECT_EQ(boots_next(), entry1);
  EXPECT_THAT(names_in("sysroot/cfs/images"), ElementsAre(one.image.digest.hex()));
  EXPECT_EQ(names_in("sysroot/cfs/releases/" + one.image.digest.hex()),
            (std::vector<std::string>{one.files.at(0).sha256.hex() + ".efi", "release.json"}));
  EXPECT_THAT(names_in("sysroot/cfs/tmp"), IsEmpty());

  // Staged, not yet booted: nothing more to do.
  server_.forget();
  expect_up_to_date("1");
  EXPECT_EQ(server_.count("/obj/"), 0u);

  EXPECT_EQ(reboot_well(), "1");
  expect_up_to_date("1");
  EXPECT_THAT(reference("booted"), StartsWith("../deployments/"));
  EXPECT_EQ(reference("staged"), "");

  // The second release: two objects and the image are new.
  release::ReleaseDescription two = offer(second_release());
  server_.forget();
  ASSERT_DONE(command({"check"}));
  EXPECT_THAT(output_, HasSubstr("1 (epoch 1) -> 2 (epoch 2)"));
  EXPECT_THAT(output_, HasSubstr("in 4 files"));
  EXPECT_THAT(output_, HasSubstr("changes: the kernel stays 6.12.0-test\n"));
  EXPECT_EQ(server_.count("/obj/"), 0u);
  EXPECT_EQ(boots_next(), entry1);
  ASSERT_DONE(update());
  EXPECT_EQ(server_.count("/obj/"), 3u);
  EXPECT_EQ(server_.count("/targets/"), 3u);  // the description twice, the UKI once
  EXPECT_EQ(reboot_well(), "2");

  ASSERT_DONE(rollback());
  EXPECT_EQ(boots_next(), entry1);
  ASSERT_DONE(rollback());  // again before the reboot: the same
  EXPECT_EQ(boots_next(), entry1);
  EXPECT_EQ(reboot_well(), "1");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 1"), HasSubstr("previous  test 2"),
                              Not(HasSubstr("staged"))));
  ASSERT_DONE(rollback());  // again after the reboot: back
  EXPECT_EQ(reboot_well(), "2");
  expect_up_to_date("2");
}

TEST_F(UpdateTest, WhatChangesIsSaid) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(command({"check"}));
  EXPECT_THAT(output_, Not(HasSubstr("changes")));
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  FakeRelease second = second_release();
  second.kernel_version = "6.13.0-test";
  second.state_version = 4;
  offer(second);
  ASSERT_DONE(command({"check"}));
  EXPECT_THAT(output_,
              HasSubstr("changes: kernel 6.12.0-test -> 6.13.0-test; state version 0 -> 4: "
                        "a rollback across it needs --force\n"));
  ASSERT_DONE(command({"check", "--json"}));
  EXPECT_THAT(output_, HasSubstr(R"("changes":{"kernel":{"from":"6.12.0-test","to":"6.13.0-test"},)"
                                 R"("state_version":{"from":0,"to":4}})"));
}

TEST_F(UpdateTest, AWrongObjectEndsTheUpdate) {
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

TEST_F(UpdateTest, WrongMetadataEndsTheUpdate) {
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

TEST_F(UpdateTest, AnAddressWithoutARepositoryIsANetworkError) {
  ASSERT_DONE(init());
  fault_ = [](const Request&, Response& response) { response = {.status = 404}; };
  Result<int> result = update();
  expect_exit(result, 8, "/metadata/timestamp.json");
  EXPECT_THAT(result.error().hint, HasSubstr("no release repository is there"));
  expect_exit(update({"--url", "file://" + path("nowhere")}), 8, "timestamp.json");
}

// What S3 says about files that are not there.
TEST_F(UpdateTest, ForbiddenMeansMissing) {
  offer(first_release());
  ASSERT_DONE(init());
  fault_ = [](const Request&, Response& response) {
    if (response.status == 404) response.status = 403;
  };
  ASSERT_DONE(update());
}

TEST_F(UpdateTest, ADamagedTrustedRootDoesNotLockTheDeviceOut) {
  offer(first_release());
  ASSERT_DONE(init());
  write("sysroot/cfs/trust/root.json", "");
  ASSERT_DONE(update());
  EXPECT_EQ(read("sysroot/cfs/trust/root.json"), read("root.json"));
  ASSERT_TRUE(remove_file(AT_FDCWD, path("sysroot/cfs/trust/root.json")));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/trust/root.json/full")));
  offer(second_release());
  ASSERT_DONE(update());
  EXPECT_EQ(read("sysroot/cfs/trust/root.json"), read("root.json"));
}

TEST_F(UpdateTest, SavedMetadataThatIsLostIsFetchedAgain) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  for (const char* name : {"timestamp.json", "snapshot.json", "targets.json"}) {
    const std::string file = std::string("sysroot/cfs/trust/") + name;
    const std::string content = read(file);
    for (const std::string& damaged :
         {std::string(), std::string(content.size(), '\0'), content.substr(0, content.size() / 2),
          std::string("{}"), content + std::string(32 << 20, ' ')}) {
      SCOPED_TRACE(std::string(name) + ", " + std::to_string(damaged.size()) + " bytes");
      write(file, damaged);
      EXPECT_THAT(status(), HasSubstr("staged    test 1"));
      expect_up_to_date("1");
      EXPECT_EQ(read(file), content);
    }
    ASSERT_TRUE(remove_file(AT_FDCWD, path(file)));
    expect_up_to_date("1");
    EXPECT_EQ(read(file), content);
  }
}

TEST_F(UpdateTest, AReleaseOlderThanTheInstalledOneIsRefused) {
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

TEST_F(UpdateTest, AnInterruptedUpdateGoesOn) {
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

TEST_F(UpdateTest, AKilledUpdateLeavesNothingHalf) {
  offer(first_release());
  ASSERT_DONE(init());
  pid_t child = start_without_end(12, [this] { return update() ? 0 : 1; });
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

TEST_F(UpdateTest, ADamagedObjectIsFetchedAgain) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  const std::string object = object_of("/usr/bin/program9");
  std::filesystem::permissions(path(object), std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
  write(object, "not what it was");
  offer(second_release());
  server_.forget();
  ASSERT_DONE(update());
  EXPECT_EQ(server_.count("/obj/"), 4u);
  EXPECT_EQ(read(object), first_release().files["/usr/bin/program9"]);
}

TEST_F(UpdateTest, NoSpaceIsFoundBeforeAnythingIsFetched) {
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

// The entry of the running release is lost, so the ESP has to take two.
TEST_F(UpdateTest, RoomOnTheEspIsNeededForTheWayBackToo) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  const uint64_t uki = std::filesystem::file_size(path(file_of(boots_next())));
  offer(second_release());
  server_.forget();
  auto update_with_room_for = [&](uint64_t half_ukis) {
    const std::string options = "size=" + std::to_string((256 << 10) + (half_ukis * uki / 2));
    return in_own_mounts([&] {
      if (::mount("none", path("esp").c_str(), "tmpfs", 0, options.c_str()) != 0) return 101;
      Result<int> result = update();
      return result ? *result : exit_status(result.error().code);
    });
  };
  EXPECT_EQ(update_with_room_for(3), 9);
  EXPECT_EQ(server_.count("/obj/"), 0u);
  EXPECT_EQ(update_with_room_for(6), 0);
}

TEST_F(UpdateTest, GarbageGoesWhenThereIsNoRoom) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  FakeRelease second = second_release();
  second.files["/usr/bin/large"] = random_text(2 << 20, 7);
  offer(second);
  int status = in_own_mounts([&] {
    const std::string small = path("small");
    if (!make_directories(AT_FDCWD, small) ||
        ::mount("none", small.c_str(), "tmpfs", 0, "size=12m") != 0) {
      return 101;
    }
    std::filesystem::copy(
        path("sysroot"), small,
        std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
    auto on_small = [&](const std::string& verb) {
      return run_command({verb, "--sysroot", small, "--esp", path("esp")});
    };
    const std::string full = "another release of this size would not fit: the sysroot needs ";
    if (!on_small("status") || output_.find(full) != std::string::npos) return 102;
    const std::string garbage =
        "small/cfs/" + sysroot::object_path(verity::digest_of(as_bytes("of no release")));
    std::filesystem::create_directories(std::filesystem::path(path(garbage)).parent_path());
    write(garbage, std::string(11 << 20, 'g'));
    // It would go before an update.
    if (!on_small("status") || output_.find(full) != std::string::npos) return 103;
    std::filesystem::remove(path(garbage));
    write("small/not-ours", std::string(11 << 20, 'x'));
    if (!on_small("status") || output_.find(full) == std::string::npos) return 106;
    std::filesystem::remove(path("small/not-ours"));
    write(garbage, std::string(11 << 20, 'g'));
    Result<int> updated = on_small("update");
    if (!updated) return exit_status(updated.error().code);
    if (output_.find("garbage: ") == std::string::npos) return 104;
    return std::filesystem::exists(path(garbage)) ? 105 : 0;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(reboot(), "2");
}

TEST_F(UpdateTest, ARootOfAnotherRepositoryIsHintedAt) {
  offer(first_release());
  trust::FakeRepository other;
  other.roles["root"].keys = {trust::FakeKey(77)};
  other.roles["timestamp"].keys = {trust::FakeKey(78)};
  other.publish();
  write("root.json", other.files[release::metadata_path("root", 1)]);
  ASSERT_DONE(init());  // which asks nobody
  Result<int> result = update();
  expect_exit(result, 6, "timestamp.json");
  EXPECT_THAT(result.error().hint,
              AllOf(HasSubstr("'" + server_.url()), HasSubstr("is another repository than that of"),
                    HasSubstr("--root")));
}

TEST_F(UpdateTest, FetchesFromALocalDirectoryToo) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_TRUE(write_repository(repository_, path("repository")));
  ASSERT_DONE(init());
  server_.forget();
  ASSERT_DONE(update({"--url", "file://" + path("repository")}));
  EXPECT_THAT(server_.targets(), IsEmpty());
  EXPECT_EQ(reboot(), "1");
}

TEST_F(UpdateTest, AnInterruptEndsADownload) {
  offer(first_release());
  ASSERT_DONE(init());
  pid_t child = start_without_end(10, [this] {
    catch_interrupts();
    Result<int> result = update();
    return !result && result.error().code == ErrorCode::kInterrupted ? 0 : 1;
  });
  auto started = std::chrono::steady_clock::now();
  ASSERT_EQ(::kill(child, SIGINT), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(10));
  expect_nothing_installed();
  EXPECT_THAT(names_in("sysroot/cfs/objects/.cfs/tmp"), IsEmpty());
}

TEST_F(UpdateTest, WithoutVerityNothingIsFetched) {
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

TEST_F(UpdateTest, AStagedReleaseThatLostAnObjectIsCompleted) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  const std::string object = object_of("/usr/bin/program9");
  const std::function<void()> damages[] = {
      [&] { std::filesystem::remove(path(object)); },
      [&] {
        std::filesystem::remove(path(object));
        write(object, "not what it was");
      },
      [&] {
        std::filesystem::remove(path(object));
        ASSERT_TRUE(make_directories(AT_FDCWD, path(object + "/directory/in/its/place")));
      },
  };
  for (const auto& damage : damages) {
    damage();
    server_.forget();
    ASSERT_DONE(update());
    EXPECT_THAT(output_, HasSubstr("incomplete: 1 (epoch 1)"));
    EXPECT_EQ(server_.count("/obj/"), 1u);
    EXPECT_EQ(read(object), first_release().files["/usr/bin/program9"]);
    expect_up_to_date("1");
  }
  // The image itself, and the running release too.
  ASSERT_EQ(reboot(), "1");
  std::filesystem::remove(path("sysroot/cfs/objects/" + offered_.image.digest.object_path()));
  ASSERT_DONE(update());
  expect_up_to_date("1");
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  EXPECT_EQ(reference("staged"), "");
}

TEST_F(UpdateTest, AMissingCopyOfTheUkiIsFetchedAgain) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  const std::string copy = "sysroot/cfs/releases/" + offered_.image.digest.hex() + "/" +
                           offered_.files.at(0).sha256.hex() + ".efi";
  write(copy, "damaged");
  ASSERT_DONE(update());
  EXPECT_EQ(verity::sha256(as_bytes(read(copy))), offered_.files.at(0).sha256);
  expect_up_to_date("1");
}

TEST_F(UpdateTest, AClockBeforeTheInstalledReleaseIsNotBelieved) {
  FakeRelease release = first_release();
  release.created = trust::FakeRepository::kNow + 50'000;
  offer(release);
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  {
    std::lock_guard lock(mutex_);
    repository_.roles["timestamp"].expires = trust::FakeRepository::kNow + 40'000;
    repository_.publish_next();
  }
  Result<int> result = update();  // the clock has not moved
  expect_exit(result, 6, "");
  EXPECT_EQ(result.error().code, ErrorCode::kExpired) << result.error().describe();
  EXPECT_THAT(output_, HasSubstr("it is taken to be 2027-01-15T21:53:20Z"));
}

TEST_F(UpdateTest, ANameThatNoReleaseHasIsToldWhatThereIs) {
  offer(first_release());
  ASSERT_DONE(run_command({"init", "--sysroot", path("sysroot"), "--url", server_.url(), "--root",
                           path("root.json"), "--name", "tset"}));
  Result<int> result = update();
  expect_exit(result, 1, "tset");
  EXPECT_THAT(result.error().hint, HasSubstr("test"));
}

TEST_F(UpdateTest, ADamagedWayBackIsRepaired) {
  const release::ReleaseDescription first = offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  // Of the first release alone; that of another one would be fetched anyway.
  const verity::Digest object =
      verity::digest_of(as_bytes(first_release().files.at("/usr/bin/program3")));
  const std::string file = path("sysroot/cfs/" + sysroot::object_path(object));
  const std::string uki = path(
      "sysroot/cfs/" + sysroot::uki_path(first.image.digest, first.file_with_role("uki")->sha256));
  ASSERT_TRUE(std::filesystem::remove(file));
  ASSERT_TRUE(std::filesystem::remove(uki));
  ASSERT_DONE(update());
  EXPECT_THAT(output_, HasSubstr("repaired 1 (epoch 1), the way back"));
  EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_TRUE(std::filesystem::exists(uki));
  EXPECT_EQ(reboot(), "2");
}

TEST_F(UpdateTest, TheRecordOfWhatRunsIsMadeAgain) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  const std::string directory =
      "sysroot/cfs/deployments/" + std::filesystem::path(reference("booted")).filename().string();
  const std::string before = read(directory + "/deployment.json");
  write(directory + "/deployment.json", std::string(500, '\0'));
  offer(second_release());
  ASSERT_DONE(update());
  EXPECT_THAT(output_, HasSubstr("which runs, was lost and is made again"));
  const std::string after = read(directory + "/deployment.json");
  for (const char* member : {R"("entry":)", R"("uki":)", R"("state":"good")"}) {
    const std::string value = before.substr(before.find(member), 30);
    EXPECT_THAT(after, HasSubstr(value.substr(0, value.find(','))));
  }
  for (int boots = 0; boots < 3; ++boots) ASSERT_EQ(reboot(), "2");
  EXPECT_EQ(reboot(), "1");
}

// Without its record nobody knows that the running release is the way back.
TEST_F(UpdateTest, ADamagedRecordOfWhatRunsIsNoReasonToDoWithoutAWayBack) {
  const release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  const std::string id = std::filesystem::path(reference("booted")).filename();
  write("sysroot/cfs/deployments/" + id + "/deployment.json", std::string(500, '\0'));
  std::filesystem::remove(path("sysroot/cfs/" + sysroot::description_path(one.image.digest)));
  offer(second_release());
  Result<int> result = update();
  ASSERT_FALSE(result) << output_;
  EXPECT_EQ(result.error().code, ErrorCode::kNoWayBack);
  EXPECT_EQ(reboot(), "1");
}

TEST_F(UpdateTest, WhatWasStagedBeforeLeavesNoEntryThatCouldBoot) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  ASSERT_DONE(update());
  offer(third_release());
  ASSERT_DONE(update());
  EXPECT_THAT(names_in("esp/EFI/Linux"), ElementsAre(StartsWith("cfs_1_"), StartsWith("cfs_3_")));
  ASSERT_DONE(command({"cancel"}));
  EXPECT_THAT(names_in("esp/EFI/Linux"), ElementsAre(StartsWith("cfs_1_")));
}

TEST_F(UpdateTest, WithoutAWayBackThatCanBeRepairedNothingIsSwitched) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  const verity::Digest object =
      verity::digest_of(as_bytes(first_release().files.at("/usr/bin/program3")));
  ASSERT_TRUE(std::filesystem::remove(path("sysroot/cfs/" + sysroot::object_path(object))));
  fault_ = [&](const Request& request, Response& response) {
    if (request.target.find(object.hex().substr(2)) != std::string::npos) response.status = 404;
  };
  Result<int> result = update();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNoWayBack);
  EXPECT_EQ(reboot(), "1");
}

// An epoch so large that no release can follow, made by mistake or by a thief of the targets key.
TEST_F(UpdateTest, AChangeOfTheTargetsKeysCountsEpochsAnew) {
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

// A device that was switched off for long finds its stored timestamp expired, and looks for a new
// one all the same.
TEST_F(UpdateTest, AnExpiredStoredTimestampDoesNotKeepItFromLooking) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  constexpr UnixTime kTwoMonthsLater = trust::FakeRepository::kNow + 60 * 86400;
  environment_.now = [] { return kTwoMonthsLater; };
  expect_exit(update(), 6, "expired");  // what is on offer has expired too
  {
    std::lock_guard lock(mutex_);
    for (auto& [name, role] : repository_.roles) role.expires = kTwoMonthsLater + 86400;
    repository_.roles["root"].version = 2;
    repository_.publish_root();
  }
  offer(second_release());
  ASSERT_DONE(update());
  EXPECT_EQ(reboot_well(), "2");
}

}  // namespace
}  // namespace cfs::deployer
