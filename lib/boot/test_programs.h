// SPDX-License-Identifier: Apache-2.0
// Inputs for the tests of this folder and the fuzzer: a UKI around the real stub.
#pragma once

#include "lib/boot/uki.h"

namespace cfs::boot {

constexpr std::string_view kTestOsRelease =
    "ID=debian\nPRETTY_NAME=\"Debian test\"\nVERSION_ID=1\n";
constexpr std::string_view kTestUname = "6.12.0-test";

/// A UKI with a kernel that is none.
inline std::vector<std::byte> make_test_uki(const std::string& cmdline,
                                            std::string_view os_release = kTestOsRelease) {
  std::string stub = read_efi_program(kSystemdStubPath).value();
  std::string kernel = "MZ" + std::string(70'001, 'k');
  std::string initrd(5'000, 'i');
  return make_uki({.stub = as_bytes(stub),
                   .os_release = os_release,
                   .cmdline = cmdline,
                   .uname = kTestUname,
                   .kernel = as_bytes(kernel),
                   .initrd = as_bytes(initrd)})
      .value();
}

}  // namespace cfs::boot
