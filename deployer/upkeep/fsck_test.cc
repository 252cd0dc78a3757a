// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/fsck.h"

#include "deployer/test_support.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

class FsckTest : public DeviceTest {
 protected:
  /// A device that runs the second release and has the first one to fall back to.
  void prepare() {
    first_ = offer(first_release());
    ASSERT_DONE(init());
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), "1");
    offer(second_release());
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), "2");
    expect_fsck({}, 0, "nothing is wrong");
  }
  /// Below the test's directory.
  static std::string in_sysroot(const std::string& path) { return "sysroot/cfs/" + path; }
  static verity::Digest object_of(const FakeRelease& release, const std::string& path) {
    return verity::digest_of(as_bytes(release.files.at(path)));
  }
  void flip(const std::string& file) {
    std::string content = read(file);
    content[content.size() / 2] = static_cast<char>(content[content.size() / 2] ^ 1);
    write(file, content);
  }
  [[nodiscard]] Deployment record_of(const std::string& id) const {
    return parse_deployment(read(in_sysroot(sysroot::record_path(id)))).value();
  }
  void lose(const std::string& file) { ASSERT_TRUE(std::filesystem::remove(path(file))); }
  void expect_fsck(std::vector<std::string> options, int status, const std::string& words) {
    options.insert(options.begin(), "fsck");
    Result<int> result = command(options);
    ASSERT_TRUE(result) << result.error().describe();
    EXPECT_EQ(*result, status) << output_;
    EXPECT_THAT(output_, HasSubstr(words));
  }
  void expect_repair(const std::string& words) {
    expect_fsck({}, 7, words);
    expect_fsck({"--repair"}, 0, words);
    EXPECT_THAT(output_, HasSubstr("1 wrong, 1 repaired"));
    expect_fsck({"--deep"}, 0, "nothing is wrong");
  }

  release::ReleaseDescription first_;
};

TEST_F(FsckTest, FlippedByte) {
  prepare();
  flip(in_sysroot(sysroot::object_path(object_of(first_release(), "/usr/bin/program7"))));
  expect_repair("    /usr/bin/program7 in test 2 (epoch 2)\n    /usr/bin/program7 in test 1");
}

// Without its counter it would be taken for the way back.
TEST_F(FsckTest, TheRecoverysEntryIsPutBackBehindAllOthers) {
  prepare();
  const std::string id = first_.image.digest.hex().substr(0, 12) + ".0";
  ASSERT_DONE(command({"recovery", "set", id}));
  offer(third_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "3");
  const std::string entry = file_of("cfs_1_" + id + "+0");
  lose(entry);
  expect_repair("cfs_1_" + id + ": there is no such boot entry");
  EXPECT_TRUE(std::filesystem::exists(path(entry)));
}

TEST_F(FsckTest, MissingObject) {
  prepare();
  lose(in_sysroot(sysroot::object_path(object_of(first_release(), "/usr/bin/program3"))));
  expect_repair("it is missing\n    /usr/bin/program3 in test 1 (epoch 1)\n");
}

TEST_F(FsckTest, ReplacedObjectAndWhatStandsInItsPlace) {
  prepare();
  const std::string file =
      in_sysroot(sysroot::object_path(object_of(first_release(), "/usr/bin/program4")));
  write(file, "something else");
  expect_repair("its content is not that of its name");
  lose(file);
  std::filesystem::create_symlink("/etc/passwd", path(file));
  expect_repair("it is not a file");
  lose(file);
  ASSERT_TRUE(make_directories(AT_FDCWD, path(file + "/within")));
  expect_repair("it is not a file");
}

TEST_F(FsckTest, AModeIsMendedWithoutTheNetwork) {
  prepare();
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  const std::string file =
      in_sysroot(sysroot::object_path(object_of(first_release(), "/usr/bin/program4")));
  ASSERT_EQ(::chmod(path(file).c_str(), 04755), 0);
  expect_repair("its mode is 4755, not 0444\n    /usr/bin/program4");
  // It keeps nobody from using the object.
  const std::string image = in_sysroot(sysroot::object_path(first_.image.digest));
  ASSERT_EQ(::chmod(path(image).c_str(), 0644), 0);
  EXPECT_EQ(rollback().value(), 0);
  expect_repair("its mode is 0644, not 0444\n    the image of test 1");
}

TEST_F(FsckTest, WhatStandsInThePlaceOfADirectory) {
  prepare();
  const verity::Digest object = object_of(first_release(), "/usr/bin/program4");
  const std::string directory = in_sysroot("objects/" + object.hex().substr(0, 2));
  std::filesystem::remove_all(path(directory));
  write(directory, "a file");
  expect_fsck({}, 7, "objects/" + object.hex().substr(0, 2) + ": it is not a directory");
  expect_fsck({"--repair"}, 0, " repaired");
  expect_fsck({"--deep"}, 0, "nothing is wrong");
  std::filesystem::remove_all(path(directory));
  std::filesystem::create_directory_symlink("/etc", path(directory));
  expect_fsck({}, 7, ": it is not a directory");
  expect_fsck({"--repair"}, 0, " repaired");
  expect_fsck({"--deep"}, 0, "nothing is wrong");
}

TEST_F(FsckTest, DirectoriesAndTheirModes) {
  prepare();
  ASSERT_EQ(::chmod(path(in_sysroot("objects")).c_str(), 0777), 0);
  std::filesystem::remove_all(path(in_sysroot("state/boot")));
  expect_fsck({}, 7, "2 wrong");
  EXPECT_THAT(output_, HasSubstr("state/boot: it is missing"));
  expect_fsck({"--repair"}, 0, "");
  expect_fsck({}, 0, "nothing is wrong");
}

TEST_F(FsckTest, DamagedImage) {
  prepare();
  flip(in_sysroot(sysroot::object_path(offered_.image.digest)));
  expect_repair("    the image of test 2 (epoch 2)\n");
}

TEST_F(FsckTest, ImageObjectsAndDescriptionAtOnce) {
  prepare();
  lose(in_sysroot(sysroot::object_path(offered_.image.digest)));
  lose(in_sysroot(sysroot::object_path(object_of(second_release(), "/usr/bin/new"))));
  write(in_sysroot(sysroot::description_path(offered_.image.digest)), "{}");
  expect_fsck({"--repair"}, 0, "3 wrong, 3 repaired");
  expect_fsck({"--deep"}, 0, "nothing is wrong");
}

TEST_F(FsckTest, DamagedUkiCopyAndEntryAndLink) {
  prepare();
  const std::string uki =
      in_sysroot(sysroot::uki_path(first_.image.digest, first_.file_with_role("uki")->sha256));
  flip(uki);
  expect_repair("is damaged");
  lose(uki);
  expect_repair(".efi");
  flip(file_of(boots_next()));
  expect_repair("the boot entry is damaged");
  lose(file_of(boots_next()));
  expect_fsck({"--repair"}, 0, "there is no such boot entry");
  expect_fsck({}, 0, "nothing is wrong");
  lose(in_sysroot(sysroot::image_path(first_.image.digest)));
  expect_repair("it is missing");
}

TEST_F(FsckTest, CorruptObjectThatNobodyNeeds) {
  prepare();
  const std::string name = sysroot::object_path(verity::digest_of(as_bytes("nobody's")));
  ASSERT_TRUE(make_directories(AT_FDCWD, path(in_sysroot(name.substr(0, name.rfind('/'))))));
  write(in_sysroot(name), "another content");
  expect_repair("no installed release needs it");
  EXPECT_FALSE(std::filesystem::exists(path(in_sysroot(name))));
}

TEST_F(FsckTest, LinksThatLeadElsewhere) {
  prepare();
  const std::string link = in_sysroot(sysroot::image_path(first_.image.digest));
  lose(link);
  std::filesystem::create_symlink(sysroot::image_target(offered_.image.digest), path(link));
  expect_repair("it is no link to the image");
  // Of a release that is not installed: nobody needs it.
  const std::string other = in_sysroot(sysroot::image_path(verity::digest_of(as_bytes("another"))));
  std::filesystem::create_symlink("/etc/passwd", path(other));
  expect_repair("it leads to something else than the image");
  EXPECT_FALSE(std::filesystem::is_symlink(path(other)));
}

TEST_F(FsckTest, AReferenceThatLeadsToNothingGoes) {
  prepare();
  for (const char* name : {"refs/previous", "refs/staged"}) {
    std::filesystem::remove(path(in_sysroot(name)));
    std::filesystem::create_symlink("../deployments/zzz", path(in_sysroot(name)));
    expect_exit(command({"gc"}), 7, "what must stay is not known");
    expect_repair(name);
    ASSERT_DONE(command({"gc"}));
  }
  EXPECT_EQ(names_in("sysroot/cfs/deployments").size(), 2U);
}

TEST_F(FsckTest, TheChoiceOfTheBootLoaderIsPutBack) {
  prepare();
  const std::string next = boots_next();
  for (const char* conf : {"", "timeout 3\n", "default @saved\n", "default another_system\n"}) {
    write("esp/loader/loader.conf", conf);
    expect_repair("chosen");
    EXPECT_EQ(boots_next(), next) << conf;
  }
  lose("esp/loader/loader.conf");
  expect_repair("no boot entry is chosen");
  EXPECT_EQ(boots_next(), next);
}

TEST_F(FsckTest, NothingIsRemovedWhileItIsNotKnownWhatIsNeeded) {
  prepare();
  const std::string name =
      in_sysroot(sysroot::object_path(object_of(first_release(), "/usr/bin/program3")));
  write(name, "another content");
  const std::string image = in_sysroot(sysroot::object_path(first_.image.digest));
  lose(image);
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  expect_fsck({"--repair"}, 7, "2 wrong, 0 repaired");
  EXPECT_TRUE(std::filesystem::exists(path(name)));
  fault_ = [](const Request&, Response&) {};
  expect_fsck({"--repair"}, 0, "2 wrong, 2 repaired");
  expect_fsck({"--deep"}, 0, "nothing is wrong");
}

TEST_F(FsckTest, ADeploymentThatTheDeviceFellBackFromGetsNoEntryBack) {
  prepare();
  ASSERT_DONE(command({"mark-bad"}));
  const std::string bad = std::filesystem::path(reference("booted")).filename();
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  for (const std::string& file : names_in("esp/EFI/Linux")) {
    if (file.starts_with(bad)) lose("esp/EFI/Linux/" + file);
  }
  expect_fsck({"--repair"}, 0, "nothing is wrong");
}

TEST_F(FsckTest, WithoutNetworkTheRestIsRepaired) {
  prepare();
  lose(in_sysroot(sysroot::object_path(object_of(first_release(), "/usr/bin/program7"))));
  lose(in_sysroot(sysroot::image_path(first_.image.digest)));
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  expect_fsck({"--repair"}, 8, "2 wrong, 1 repaired");
  EXPECT_THAT(output_, HasSubstr("not repaired: "));
  fault_ = [](const Request&, Response&) {};
  expect_fsck({"--repair"}, 0, "1 wrong, 1 repaired");
}

TEST_F(FsckTest, AnObjectThatIsNotToBeHadCostsNoOtherOne) {
  prepare();
  const verity::Digest gone = object_of(first_release(), "/usr/bin/program7");
  for (int i = 5; i < 10; ++i) {
    lose(in_sysroot(
        sysroot::object_path(object_of(first_release(), "/usr/bin/program" + std::to_string(i)))));
  }
  fault_ = [&](const Request& request, Response& response) {
    if (request.target.find(gone.hex().substr(2)) != std::string::npos) response.body = "bad";
  };
  expect_fsck({"--repair"}, 7, "5 wrong, 4 repaired");
}

TEST_F(FsckTest, ADamagedRecordIsMadeAgain) {
  prepare();
  const std::string id = std::filesystem::path(reference("previous")).filename();
  const std::string record = in_sysroot(sysroot::record_path(id));
  Deployment before = parse_deployment(read(record)).value();
  write(record, "{");
  expect_fsck({}, 7, "deployments/" + id);
  expect_exit(command({"gc"}), 7, "what must stay is not known");
  expect_fsck({"--repair"}, 0, "2 wrong, 2 repaired");  // the reference to it too
  Deployment after = parse_deployment(read(record)).value();
  EXPECT_LE(after.installed, before.installed);
  after.installed = before.installed;
  EXPECT_EQ(after.blessed > 0, before.blessed > 0);
  after.blessed = before.blessed;
  after.targets_keys = before.targets_keys;
  EXPECT_EQ(after, before);
  expect_fsck({}, 0, "nothing is wrong");
  ASSERT_DONE(command({"gc"}));
}

TEST_F(FsckTest, WhatWasMarkedBadStaysBadWithoutItsRecord) {
  prepare();
  const std::string id = std::filesystem::path(reference("booted")).filename();
  ASSERT_DONE(command({"mark-bad", "--reason", "the screen stays dark"}));
  ASSERT_EQ(reboot(), "1");
  const std::string record = in_sysroot(sysroot::record_path(id));
  const Deployment before = parse_deployment(read(record)).value();
  ASSERT_EQ(before.state, DeploymentState::kBad);
  write(record, "{");
  expect_fsck({"--repair"}, 0, "2 wrong, 2 repaired");  // the reference to it too
  const Deployment after = parse_deployment(read(record)).value();
  EXPECT_EQ(after.state, DeploymentState::kBad);
  EXPECT_EQ(after.held, before.held);
}

TEST_F(FsckTest, TheReferenceSaysThatItWasGood) {
  prepare();
  const std::string id = std::filesystem::path(reference("previous")).filename();
  lose(in_sysroot(sysroot::kHistory));
  lose(in_sysroot(sysroot::record_path(id)));
  expect_fsck({"--repair"}, 0, "1 wrong, 1 repaired");
  EXPECT_EQ(record_of(id).state, DeploymentState::kGood);
  expect_fsck({}, 0, "nothing is wrong");
  ASSERT_DONE(rollback());
  ASSERT_EQ(reboot_well(), "1");
}

TEST_F(FsckTest, APinnedOneWhoseRecordIsGoneComesBack) {
  prepare();
  const std::string id = std::filesystem::path(reference("previous")).filename();
  ASSERT_DONE(run_command({"pin", id, "--sysroot", path("sysroot")}));
  std::filesystem::remove(path(in_sysroot(sysroot::reference_path("previous"))));
  std::filesystem::remove_all(path(in_sysroot(sysroot::deployment_directory(id))));
  expect_exit(command({"gc"}), 7, "is pinned, and is not a deployment");
  expect_fsck({}, 7, "refs/pinned/" + id + ": there is no such deployment");
  expect_fsck({"--repair"}, 0, "1 wrong, 1 repaired");
  EXPECT_EQ(record_of(id).state, DeploymentState::kGood);
  ASSERT_DONE(command({"gc"}));
}

TEST_F(FsckTest, ARecordIsNotMadeOfAnotherReleaseOfTheSameImage) {
  prepare();
  const std::string id = std::filesystem::path(reference("booted")).filename();
  FakeRelease same = second_release();  // only the kernel is another
  same.version = "3";
  same.epoch = 3;
  offer(same);
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "3");
  ASSERT_DONE(command({"note-boot"}));
  write(in_sysroot(sysroot::record_path(id)), "{");
  expect_fsck({"--repair"}, 7, "not repaired: the stored release is 3, that of '" + id + "' was 2");
  lose(in_sysroot(sysroot::kHistory));
  expect_fsck({"--repair"}, 7, "not repaired: the stored release is 3, and the boot entry 'cfs_2_");
  EXPECT_EQ(read(in_sysroot(sysroot::record_path(id))), "{");
}

TEST_F(FsckTest, ARollbackIsNotUndoneByALostRecord) {
  prepare();
  const std::string id = std::filesystem::path(reference("booted")).filename();
  ASSERT_DONE(rollback());
  ASSERT_EQ(reboot_well(), "1");
  write(in_sysroot(sysroot::record_path(id)), "{");
  expect_fsck({"--repair"}, 0, "2 wrong, 2 repaired");  // the reference to it too
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_EQ(*held, 10);
  EXPECT_THAT(output_, HasSubstr("held: test 2"));
}

TEST_F(FsckTest, ADamagedRecordOfWhatIsGoneGoesToo) {
  prepare();
  const std::string id = std::filesystem::path(reference("booted")).filename();
  ASSERT_DONE(command({"mark-bad", "--reason", "the screen stays dark"}));
  ASSERT_EQ(reboot_well(), "1");
  const std::string record = in_sysroot(sysroot::record_path(id));
  ASSERT_TRUE(parse_deployment(read(record)).value().collected);
  write(record, "{");
  expect_fsck({"--repair"}, 0, "1 wrong, 1 repaired");
  EXPECT_FALSE(std::filesystem::exists(path(in_sysroot(sysroot::deployment_directory(id)))));
  expect_fsck({}, 0, "nothing is wrong");
  ASSERT_DONE(command({"gc"}));
}

TEST_F(FsckTest, ARecordOfWhichNothingIsKnownIsTold) {
  prepare();
  const std::string id = std::filesystem::path(reference("previous")).filename();
  write(in_sysroot(sysroot::record_path(id)), "{");
  for (const std::string& name : names_in("sysroot/cfs/releases")) {
    if (name.starts_with(id.substr(0, 12))) {
      std::filesystem::remove_all(path("sysroot/cfs/releases/" + name));
    }
  }
  expect_fsck({"--repair"}, 7, "no release that is stored says what the record of '" + id);
  EXPECT_EQ(std::filesystem::path(reference("previous")).filename(), id);
}

TEST_F(FsckTest, Json) {
  prepare();
  lose(in_sysroot(sysroot::object_path(object_of(first_release(), "/usr/bin/program3"))));
  expect_fsck({"--json"}, 7, R"("kind":"object","left":null,"problem":"it is missing")");
  EXPECT_THAT(output_, HasSubstr(R"json("uses":["/usr/bin/program3 in test 1 (epoch 1)"])json"));
}

}  // namespace
}  // namespace cfs::deployer
