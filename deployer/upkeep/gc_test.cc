// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/gc.h"

#include "deployer/boot_order.h"
#include "deployer/sysroot/running.h"
#include "deployer/test_support.h"
#include "deployer/upkeep/needed_objects.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

class GarbageTest : public DeviceTest {
 protected:
  /// Each release has a file of its own, one that it shares with all and one with its neighbour.
  release::ReleaseDescription offer_number(uint64_t number) {
    FakeRelease release = first_release();
    release.version = std::to_string(number);
    release.epoch = number;
    release.files["/usr/bin/own"] = random_text(30'000, 500 + number);
    release.files["/usr/bin/pair"] = random_text(20'000, 600 + number / 2);
    return offer(release);
  }
  /// Installs these releases one after the other, each of which proves good.
  void live_through(std::initializer_list<unsigned> numbers) {
    for (unsigned number : numbers) {
      offer_number(number);
      ASSERT_DONE(update());
      ASSERT_EQ(reboot_well(), std::to_string(number));
    }
  }
  std::string id_of(const std::string& version) {
    for (const Deployment& one : inventory().deployments) {
      if (one.version == version) return one.id;
    }
    return "none of " + version;
  }
  Inventory inventory() {
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kRead).value();
    return read_inventory(sysroot).value();
  }
  /// "3 2": those that are whole, newest first.
  std::string whole() {
    std::string versions;
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
    const Inventory now = read_inventory(sysroot).value();
    for (const Deployment& one : now.deployments) {
      if (one.collected) continue;
      Result<> complete = check_image_is_complete(sysroot, one.digest);
      EXPECT_TRUE(complete) << one.version << ": " << complete.error().describe();
      EXPECT_TRUE(open_uki(sysroot, one)) << one.version;
      versions += (versions.empty() ? "" : " ") + one.version;
    }
    return versions;
  }
  std::vector<std::string> entry_files() { return names_in("esp/EFI/Linux"); }
  /// Everything that the sysroot holds of releases.
  std::string everything() {
    std::string names;
    for (const char* directory : {"objects", "images", "releases", "deployments", "refs"}) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(
               path("sysroot/cfs/" + std::string(directory)))) {
        if (!entry.is_directory()) names += entry.path().string() + "\n";
      }
    }
    return names;
  }
};

TEST_F(GarbageTest, AfterABlessingTheLastTwoStay) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2, 3, 4});
  EXPECT_EQ(whole(), "4 3");
  EXPECT_THAT(names_in("sysroot/cfs/images"), testing::SizeIs(2));
  EXPECT_THAT(names_in("sysroot/cfs/releases"), testing::SizeIs(2));
  EXPECT_THAT(names_in("sysroot/cfs/deployments"), testing::SizeIs(2));
  EXPECT_THAT(output_, HasSubstr("garbage: removed 2 (epoch 2), "));
  // All objects that are there are needed.
  Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
  std::set<verity::Digest> needed;
  const Inventory now = read_inventory(sysroot).value();
  for (const Deployment& one : now.deployments) {
    needed.insert(one.digest);
    const std::vector<tree::ObjectReference> objects =
        objects_of_image(sysroot.objects(), one.digest).value();
    for (const tree::ObjectReference& object : objects) needed.insert(object.digest);
  }
  EXPECT_EQ(sysroot.objects().list().value().size(), needed.size());
}

TEST_F(GarbageTest, TheWayBackBootsAfterIt) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2, 3});
  ASSERT_DONE(rollback());
  EXPECT_EQ(reboot_well(), "2");
  EXPECT_EQ(whole(), "3 2");
}

TEST_F(GarbageTest, ADryRunTellsTheSameAndChangesNothing) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  offer_number(3);
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "3");
  ASSERT_DONE(command({"mark-bad", "--reason", "smell"}));
  ASSERT_EQ(reboot(), "2");
  ASSERT_DONE(command({"note-boot"}));
  const std::string before = everything();
  ASSERT_DONE(command({"gc", "--dry-run"}));
  const std::string told = output_;
  EXPECT_THAT(told, StartsWith("would remove 3 (epoch 3), "));
  EXPECT_EQ(everything(), before);
  ASSERT_DONE(command({"gc"}));
  EXPECT_EQ("would remove" + output_.substr(std::string("removed").size()), told);
  ASSERT_DONE(command({"gc"}));
  EXPECT_EQ(output_, "removed 0 objects, 0 B\n");
}

TEST_F(GarbageTest, PinnedOnesStayUntilTheyAreUnpinned) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1});
  ASSERT_DONE(run_command({"pin", id_of("1"), "--sysroot", path("sysroot")}));
  live_through({2, 3, 4});
  EXPECT_EQ(whole(), "4 3 1");
  EXPECT_THAT(status(), HasSubstr("  pinned\n"));
  ASSERT_DONE(command({"boot", id_of("1")}));
  EXPECT_EQ(reboot_well(), "1");
  ASSERT_DONE(command({"boot", id_of("4")}));
  EXPECT_EQ(reboot_well(), "4");
  ASSERT_DONE(run_command({"unpin", id_of("1"), "--sysroot", path("sysroot")}));
  expect_exit(run_command({"unpin", id_of("1"), "--sysroot", path("sysroot")}), 10, "not pinned");
  live_through({5, 6});
  EXPECT_EQ(whole(), "6 5");
}

TEST_F(GarbageTest, TheRecoveryStaysAndWaitsBehindAllOthers) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1});
  ASSERT_DONE(command({"recovery", "set", id_of("1")}));
  live_through({2, 3, 4});
  EXPECT_EQ(whole(), "4 3 1");
  EXPECT_THAT(status(), HasSubstr("recovery  test 1 "));
  const std::string entry = "cfs_1_" + id_of("1");
  EXPECT_THAT(entry_files(), testing::Contains(entry + "+0.efi"));
  // All others are gone.
  for (const std::string& name : entry_files()) {
    if (!name.starts_with(entry)) std::filesystem::remove(path("esp/EFI/Linux/" + name));
  }
  EXPECT_EQ(reboot(), "1");
  offer_number(5);
  ASSERT_DONE(update());
  EXPECT_EQ(reboot_well(), "5");
  ASSERT_DONE(command({"recovery", "clear"}));
  live_through({6, 7});
  EXPECT_EQ(whole(), "7 6");
}

TEST_F(GarbageTest, WhatWasFetchedAndWaitsStays) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  offer_number(3);
  ASSERT_DONE(command({"fetch"}));
  ASSERT_DONE(command({"gc"}));
  EXPECT_EQ(whole(), "3 2 1");
  ASSERT_DONE(command({"apply"}));
  EXPECT_EQ(reboot_well(), "3");
}

TEST_F(GarbageTest, ABadReleaseIsHeldWithoutItsObjectsUntilANewerOneIsGood) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  offer_number(3);
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "3");
  ASSERT_DONE(command({"mark-bad", "--reason", "smell"}));
  ASSERT_EQ(reboot_well(), "2");
  const std::string bad = id_of("3");
  EXPECT_EQ(whole(), "2 1");
  EXPECT_THAT(names_in("sysroot/cfs/deployments"), testing::Contains(bad));
  Result<int> held = update();
  ASSERT_TRUE(held);
  EXPECT_EQ(*held, 10);
  EXPECT_THAT(output_, HasSubstr("held: test 3"));
  expect_exit(command({"boot", bad}), 1, "garbage collection has removed it");
  expect_exit(run_command({"pin", bad, "--sysroot", path("sysroot")}), 1, "garbage collection");
  ASSERT_DONE(command({"fetch", "--retry"}));
  EXPECT_EQ(whole(), "3 2 1");
  ASSERT_DONE(command({"apply"}));
  EXPECT_EQ(boots_next().substr(0, 6), "cfs_3_");
  ASSERT_DONE(command({"cancel"}));
  live_through({4, 5});
  EXPECT_EQ(whole(), "5 4");
  EXPECT_THAT(names_in("sysroot/cfs/deployments"), testing::SizeIs(2));
}

TEST_F(GarbageTest, WhatCannotBeReadStopsIt) {
  offer_number(1);
  ASSERT_DONE(init());
  expect_exit(command({"gc"}), 7, "no deployment is in use");
  live_through({1, 2});
  offer_number(3);
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "3");
  ASSERT_DONE(command({"mark-bad"}));
  ASSERT_EQ(reboot(), "2");
  ASSERT_DONE(command({"note-boot"}));
  const Deployment two = inventory().references.booted.value();
  const std::string one = id_of("1");
  struct Case {
    std::string file, words;
  };
  for (const Case& damage :
       {Case{"sysroot/cfs/refs/previous", "refs/previous"},
        Case{"sysroot/cfs/refs/pinned/nothing.0", "is pinned, and is not a deployment"},
        Case{"sysroot/cfs/deployments/" + one + "/deployment.json", one},
        Case{"sysroot/cfs/objects/" + two.digest.object_path(), "needs"}}) {
    SCOPED_TRACE(damage.file);
    const std::string whole_file = path(damage.file), aside = path("aside");
    const bool was_there =
        std::filesystem::symlink_status(whole_file).type() != std::filesystem::file_type::not_found;
    if (was_there) std::filesystem::rename(whole_file, aside);
    write(damage.file, "damaged");
    const std::string before = everything();
    const std::vector<std::string> entries = entry_files();
    Result<int> refused = command({"gc"});
    expect_exit(refused, 7, damage.words);
    EXPECT_THAT(refused.error().hint, HasSubstr("nothing was removed"));
    EXPECT_EQ(everything(), before);
    EXPECT_EQ(entry_files(), entries);
    std::filesystem::remove(whole_file);
    if (was_there) std::filesystem::rename(aside, whole_file);
  }
  ASSERT_DONE(command({"gc"}));
  EXPECT_EQ(whole(), "2 1");
}

TEST_F(GarbageTest, APinnedOneThatIsDamagedForGoodCanBeGivenUp) {
  const std::string image = offer_number(1).image.digest.object_path();
  ASSERT_DONE(init());
  live_through({1});
  const std::string id = id_of("1");
  auto expect_refusal = [&](const std::string& way_out) {
    Result<int> refused = command({"gc"});
    expect_exit(refused, 7, "while looking what image");
    EXPECT_EQ(refused.error().hint,
              "nothing was removed; 'cfs-deploy fsck --repair' mends the image" + way_out);
  };
  // What runs cannot be given up.
  ASSERT_DONE(command({"recovery", "set", id}));
  const std::string whole_image = read("sysroot/cfs/objects/" + image);
  write("sysroot/cfs/objects/" + image, "damaged");
  expect_refusal("");
  write("sysroot/cfs/objects/" + image, whole_image);
  ASSERT_DONE(run_command({"pin", id, "--sysroot", path("sysroot")}));
  live_through({2, 3, 4});
  write("sysroot/cfs/objects/" + image, "damaged");
  const std::string give_up = "; where the repository has it no more, give the release up with ";
  expect_refusal(give_up + "'cfs-deploy unpin " + id + "' and 'cfs-deploy recovery clear'");
  ASSERT_DONE(run_command({"unpin", id, "--sysroot", path("sysroot")}));
  expect_refusal(give_up + "'cfs-deploy recovery clear'");
  ASSERT_DONE(command({"recovery", "clear"}));
  ASSERT_DONE(command({"gc"}));
  EXPECT_EQ(whole(), "4 3");
}

TEST_F(GarbageTest, ADamagedRecordThatNothingRefersToStaysAndIsNoHindrance) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/deployments/0123456789ab.7")));
  write("sysroot/cfs/deployments/0123456789ab.7/deployment.json", "{");
  ASSERT_DONE(command({"gc"}));
  EXPECT_TRUE(std::filesystem::exists(path("sysroot/cfs/deployments/0123456789ab.7")));
}

TEST_F(GarbageTest, AnEntryWithoutARecordKeepsItsImage) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  const std::string one = id_of("1");
  const std::string image = inventory().references.previous.value().digest.hex();
  std::filesystem::remove(path("sysroot/cfs/refs/previous"));
  std::filesystem::remove_all(path("sysroot/cfs/deployments/" + one));
  ASSERT_DONE(command({"gc"}));
  EXPECT_THAT(names_in("sysroot/cfs/images"), testing::Contains(image));
  Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
  EXPECT_TRUE(check_image_is_complete(sysroot, verity::Digest::parse(image).value()));
}

TEST_F(GarbageTest, WhatRunsStaysEvenIfNothingElseTellsOfIt) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  const Deployment one = inventory().references.previous.value();
  set_booted(one.digest.hex());  // by kexec, from a record and an entry that have gone since
  std::filesystem::remove(path("sysroot/cfs/refs/previous"));
  std::filesystem::remove_all(path("sysroot/cfs/deployments/" + one.id));
  std::filesystem::remove(path(file_of(one.entry)));
  ASSERT_DONE(command({"gc"}));
  EXPECT_THAT(names_in("sysroot/cfs/images"), testing::Contains(one.digest.hex()));
  Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
  EXPECT_TRUE(check_image_is_complete(sysroot, one.digest));
}

TEST_F(GarbageTest, TheRecoveryIsNotCountedAmongThoseThatAreKept) {
  offer_number(1);
  ASSERT_DONE(init());
  ASSERT_TRUE(make_directories(AT_FDCWD, path("local")));
  write("local/deploy.yaml", "keep: 3\n");
  live_through({1});
  ASSERT_DONE(command({"recovery", "set", id_of("1")}));
  live_through({2, 3, 4, 5});
  EXPECT_EQ(whole(), "5 4 3 1");
}

TEST_F(GarbageTest, ABadOneIsNoRecovery) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  ASSERT_DONE(command({"mark-bad"}));
  expect_exit(command({"recovery", "set", id_of("2")}), 1, "2 was not proven good here");
  EXPECT_EQ(reference("recovery"), "");
}

TEST_F(GarbageTest, ADamagedOneIsNotPinned) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1});
  const Deployment one = inventory().references.booted.value();
  const std::string file = "sysroot/cfs/objects/" + one.digest.object_path();
  std::filesystem::remove(path(file));
  expect_exit(run_command({"pin", one.id, "--sysroot", path("sysroot")}), 1, "not in the store");
  EXPECT_THAT(names_in("sysroot/cfs/refs/pinned"), IsEmpty());
  ASSERT_DONE(command({"fsck", "--repair"}));
  const std::string uki = "sysroot/cfs/" + sysroot::uki_path(one.digest, one.uki.value());
  write(uki, "damaged");
  expect_exit(run_command({"pin", one.id, "--sysroot", path("sysroot")}), 7, "is damaged");
  EXPECT_THAT(names_in("sysroot/cfs/refs/pinned"), IsEmpty());
}

TEST_F(GarbageTest, APinThatLeadsToNoDeploymentCanBeTakenAway) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1});
  std::filesystem::create_symlink("../../deployments/gone.0",
                                  path("sysroot/cfs/refs/pinned/gone.0"));
  expect_exit(command({"gc"}), 7, "gone.0");
  ASSERT_DONE(run_command({"unpin", "gone.0", "--sysroot", path("sysroot")}));
  ASSERT_DONE(command({"gc"}));
}

TEST_F(GarbageTest, WhatHasArrivedOfAReleaseOnItsWayStays) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  offer_number(3);
  ASSERT_DONE(command({"fetch"}));
  const std::string three = id_of("3");
  const Deployment record = inventory().deployments.front();
  ASSERT_EQ(record.version, "3");
  std::filesystem::remove_all(path("sysroot/cfs/deployments/" + three));
  std::filesystem::remove(path("sysroot/cfs/images/" + record.digest.hex()));
  Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
  boot::SystemdBoot esp = loader();
  Inventory now = note_what_booted(sysroot, environment_, esp).value();
  GarbageOptions options{.keep = 2, .also = {record.digest}};
  const std::vector<tree::ObjectReference> needed =
      objects_of_image(sysroot.objects(), record.digest).value();
  for (const tree::ObjectReference& object : needed) {
    options.also.push_back(object.digest);
  }
  EXPECT_EQ(collect_garbage(sysroot, esp, environment_, now, options).value().objects.objects, 0U);
  EXPECT_TRUE(check_image_is_complete(sysroot, record.digest));
  EXPECT_TRUE(open_uki(sysroot, record));
  options.also.clear();
  EXPECT_GT(collect_garbage(sysroot, esp, environment_, now, options).value().objects.objects, 0U);
  EXPECT_FALSE(open_uki(sysroot, record));
}

TEST_F(GarbageTest, WhatIsToldIsWhatIsFreed) {
  offer_number(1);
  ASSERT_DONE(init());
  ASSERT_TRUE(make_directories(AT_FDCWD, path("local")));
  write("local/deploy.yaml", "keep: 9\n");
  live_through({1, 2});
  const Deployment one = inventory().references.previous.value();
  live_through({3});
  // Of the first release also the entry, which an update has removed, and an /etc.
  const std::string uki = sysroot::uki_path(one.digest, one.uki.value());
  write(file_of(one.entry + "+0"), read("sysroot/cfs/" + uki));
  const std::string home = "sysroot/cfs/state/etc/" + one.digest.hex() + ".overlay/upper";
  ASSERT_TRUE(make_directories(AT_FDCWD, path(home)));
  write(home + "/hosts", std::string(30'000, 'h'));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/state/etc/kept")));
  std::filesystem::create_symlink("kept", path("sysroot/cfs/state/etc/last"));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/objects/aa")));
  write("sysroot/cfs/objects/aa/" + std::string(62, 'b'), std::string(9000, 'x'));
  write("local/deploy.yaml", "keep: 2\n");

  auto allocated = [&](const std::string& directory) {
    return Directory::open(AT_FDCWD, path(directory)).value().disk_bytes(".").value();
  };
  auto esp_bytes = [&] {
    uint64_t bytes = 0;
    for (const std::string& name : entry_files()) {
      bytes += std::filesystem::file_size(path("esp/EFI/Linux/" + name));
    }
    return bytes;
  };
  auto answer = [&](std::vector<std::string> words, const std::string& part) {
    words.emplace_back("--json");
    EXPECT_TRUE(command(words)) << output_;
    const json::Value json = json::parse(output_, {}, "answer").value();
    const auto& object = *json.as<json::Value::Object>();
    return part.empty() ? object : *object.at(part).as<json::Value::Object>();
  };
  const json::Value::Object told = answer({"gc", "--dry-run"}, "");
  const json::Value::Object space = answer({"status"}, "space");
  EXPECT_EQ(space.at("reclaimable_disk_bytes"), told.at("disk_bytes"));
  EXPECT_EQ(space.at("reclaimable_esp_bytes"), told.at("esp_bytes"));
  EXPECT_THAT(status(), HasSubstr(" on the ESP\n"));
  const uint64_t disk_before = allocated("sysroot/cfs");
  const uint64_t esp_before = esp_bytes();
  const json::Value::Object freed = answer({"gc"}, "");
  EXPECT_EQ(freed, told);
  EXPECT_EQ(freed.at("disk_bytes"), json::Value(disk_before - allocated("sysroot/cfs")));
  EXPECT_EQ(freed.at("esp_bytes"), json::Value(esp_before - esp_bytes()));
  EXPECT_GT(esp_before, esp_bytes());
  EXPECT_FALSE(std::filesystem::exists(path(home)));
  EXPECT_FALSE(std::filesystem::exists(path("sysroot/cfs/" + uki)));
}

TEST_F(GarbageTest, ADryRunNeedsNoLock) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  Sysroot writer = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
  ASSERT_DONE(command({"gc", "--dry-run"}));
  expect_exit(command({"gc"}), 1, "another cfs-deploy");
}

TEST_F(GarbageTest, WhileSomebodyReadsTheObjectsStayAndTheNextRunRemovesThem) {
  offer_number(1);
  ASSERT_DONE(init());
  live_through({1, 2});
  {
    Sysroot reader = Sysroot::open(environment_, path("sysroot"), Access::kRead).value();
    live_through({3});
    EXPECT_THAT(output_, HasSubstr("garbage: not collected: the object store is in use"));
  }
  EXPECT_EQ(whole(), "3 2");
  ASSERT_DONE(command({"gc"}));
  EXPECT_THAT(output_, Not(HasSubstr("removed 0 objects")));
}

}  // namespace
}  // namespace cfs::deployer
