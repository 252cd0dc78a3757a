// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/uki.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/boot/pe.h"
#include "lib/boot/test_programs.h"

namespace cfs::boot {
namespace {

using ::testing::HasSubstr;

const std::string kHex(64, 'a');
const std::string kCmdline = "quiet composefs.digest=" + kHex;

TEST(Uki, BinutilsAndSbverifyReadIt) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  std::string path = dir.path() + "/x.efi";
  std::vector<std::byte> uki = make_test_uki(kCmdline);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, uki));

  std::string table = run_command({.arguments = {"objdump", "-h", path}}).value();
  for (const char* name : {".text", ".sbat", ".osrel", ".cmdline", ".uname", ".linux", ".initrd"}) {
    EXPECT_THAT(table, HasSubstr(name));
  }
  std::string copied = dir.path() + "/cmdline";
  ASSERT_TRUE(run_command({.arguments = {"objcopy", "--dump-section", ".cmdline=" + copied, path,
                                         dir.path() + "/copy"}}));
  EXPECT_EQ(read_file(AT_FDCWD, copied, 1000).value(), kCmdline);

  // Signing and verifying with other people's tools finds fault with neither layout nor checksum.
  std::string key = dir.path() + "/key";
  std::string certificate = dir.path() + "/cert";
  std::string signed_path = dir.path() + "/signed.efi";
  ASSERT_TRUE(
      run_command({.arguments = {"openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes",
                                 "-subj", "/CN=test", "-keyout", key, "-out", certificate}}));
  ASSERT_TRUE(run_command({.arguments = {"sbsign", "--key", key, "--cert", certificate, "--output",
                                         signed_path, path}}));
  EXPECT_TRUE(run_command({.arguments = {"sbverify", "--cert", certificate, signed_path}}));
  std::string warnings =
      run_command({.arguments = {"sh", "-c", "sbverify --list \"$0\" 2>&1", signed_path}}).value();
  EXPECT_THAT(warnings, ::testing::Not(HasSubstr("warning")));
  EXPECT_EQ(read_uki(open_at(AT_FDCWD, signed_path, O_RDONLY).value().get()).value().cmdline,
            kCmdline);
}

TEST(Uki, ReadsBackWhatWasPutIn) {
  std::vector<std::byte> uki = make_test_uki(kCmdline);
  UkiInfo info = read_uki(uki).value();
  EXPECT_EQ(info.cmdline, kCmdline);
  EXPECT_EQ(info.os_release + "\n", kTestOsRelease);
  EXPECT_EQ(info.uname, kTestUname);
  EXPECT_EQ(uki, make_test_uki(kCmdline));
}

TEST(Uki, RefusesPartsThatWouldNotBoot) {
  std::string stub = read_efi_program(kSystemdStubPath).value();
  const UkiParts good = {.stub = as_bytes(stub),
                         .os_release = "ID=x\n",
                         .cmdline = "quiet",
                         .uname = "6.12",
                         .kernel = as_bytes("MZ kernel"),
                         .initrd = as_bytes("initrd")};
  ASSERT_TRUE(make_uki(good));
  auto refused = [&](auto change) {
    UkiParts parts = good;
    change(parts);
    Result<std::vector<std::byte>> made = make_uki(parts);
    return !made && made.error().code == ErrorCode::kInvalidInput;
  };
  const std::string long_line(3000, 'x');
  EXPECT_TRUE(refused([](UkiParts& parts) { parts.os_release = "HOME_URL=x\nNAME=\n"; }));
  EXPECT_TRUE(refused([](UkiParts& parts) { parts.cmdline = ""; }));
  EXPECT_TRUE(refused([](UkiParts& parts) { parts.cmdline = "a\nb"; }));
  EXPECT_TRUE(refused([&](UkiParts& parts) { parts.cmdline = long_line; }));
  EXPECT_TRUE(refused([](UkiParts& parts) { parts.uname = ""; }));
  EXPECT_TRUE(refused([](UkiParts& parts) {
    parts.kernel = as_bytes(
        "\x7f"
        "ELF");
  }));
  EXPECT_TRUE(refused([](UkiParts& parts) { parts.initrd = {}; }));
  UkiParts no_stub = good;
  no_stub.stub = as_bytes("MZ");
  EXPECT_EQ(make_uki(no_stub).error().code, ErrorCode::kCorrupt);
}

TEST(Uki, ReaderRefusesBrokenOnes) {
  std::vector<std::byte> uki = make_test_uki(kCmdline);
  PeHeaders headers = parse_pe(uki, uki.size()).value();
  const PeSection* cmdline = headers.find(".cmdline");
  for (std::string_view bad : {std::string_view("a\0b", 3), std::string_view("a\nb")}) {
    std::vector<std::byte> broken = uki;
    std::memcpy(broken.data() + cmdline->file_offset, bad.data(), bad.size());
    EXPECT_EQ(read_uki(broken).error().code, ErrorCode::kCorrupt);
  }
  for (size_t size : {size_t{0}, size_t{600}, size_t{70'000}, uki.size() - 4096}) {
    EXPECT_EQ(read_uki(Bytes(uki).first(size)).error().code, ErrorCode::kCorrupt) << size;
  }
  std::string stub = read_efi_program(kSystemdStubPath).value();
  EXPECT_EQ(read_uki(as_bytes(stub)).error().code, ErrorCode::kCorrupt);  // no kernel in it
  const NewSection no_initrd[] = {{".linux", as_bytes("MZ")}, {".cmdline", as_bytes(kCmdline)}};
  EXPECT_EQ(read_uki(append_sections(as_bytes(stub), no_initrd).value()).error().code,
            ErrorCode::kCorrupt);
  const std::string text(70'000, 'x');
  const NewSection sections[] = {
      {".linux", as_bytes("MZ")}, {".initrd", as_bytes("x")}, {".cmdline", as_bytes(text)}};
  EXPECT_EQ(read_uki(append_sections(as_bytes(stub), sections).value()).error().code,
            ErrorCode::kCorrupt);
}

TEST(Uki, AMissingStubNamesThePackage) {
  Result<std::string> missing = read_efi_program("/nonexistent/linuxx64.efi.stub");
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().hint, HasSubstr("systemd-boot-efi"));
}

TEST(Uki, BootsTheImageItPins) {
  const verity::Digest digest = verity::Digest::parse(kHex).value();
  const UkiInfo good{.os_release = "NAME=x", .cmdline = kCmdline, .uname = ""};
  auto check = [&](const std::string& cmdline) {
    UkiInfo uki = good;
    uki.cmdline = cmdline;
    return check_boots_image(uki, digest);
  };
  EXPECT_TRUE(check(kCmdline));
  EXPECT_TRUE(check(kCmdline + " cfs.verify=full cfs.of_a_later_version=1"));
  const std::string other(64, 'b');
  for (const std::string& bad :
       {std::string("quiet"), std::string("composefs.digest="), "composefs.digest=" + other,
        kCmdline + " composefs.digest=" + other, kCmdline + " cfs.verify=none",
        kCmdline + " cfs.verify=boot cfs.verify=full", kCmdline + " rootdelay=x",
        kCmdline + std::string(2048 - kCmdline.size(), ' ')}) {
    Result<> refused = check(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, ErrorCode::kCorrupt) << bad;
  }
  UkiInfo hidden = good;
  hidden.os_release = "VERSION=1";
  EXPECT_EQ(check_boots_image(hidden, digest).error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace cfs::boot
