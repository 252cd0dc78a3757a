// SPDX-License-Identifier: Apache-2.0
// Follows the boot chain of a device that is not running (boot_chain.h).
//
//     boot_chain --esp DIR (--ext4 IMAGE | --sysroot DIR) --published DIGEST=SHA256… [--keeps
//     DIGEST…] boot_chain --esp DIR
//
// Prints "boots DIGEST by FILE" and ends with 0; or ends with the exit status of the error. Without
// a sysroot nothing is followed. --keeps: an image that must be ready to be booted.
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/io.h"
#include "lib/boot/boot_counter.h"
#include "lib/boot/systemd_boot.h"
#include "lib/sysroot/layout.h"
#include "tests/power/boot_chain.h"

namespace {

using cfs::ErrorCode;
using cfs::Result;

struct Arguments {
  std::string esp;
  std::string ext4;
  std::string sysroot;
  cfs::power::Device::Published published;
  std::vector<cfs::verity::Digest> keeps;
};

std::optional<Arguments> parse(const std::vector<std::string>& words) {
  Arguments arguments;
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    const std::string& value = words[i + 1];
    std::optional<cfs::verity::Digest> digest = cfs::verity::Digest::parse(value.substr(0, 64));
    if (words[i] == "--esp") {
      arguments.esp = value;
    } else if (words[i] == "--ext4") {
      arguments.ext4 = value;
    } else if (words[i] == "--sysroot") {
      arguments.sysroot = value;
    } else if (words[i] == "--keeps" && digest) {
      arguments.keeps.push_back(*digest);
    } else if (words[i] == "--published" && digest && value.size() > 65) {
      std::optional<cfs::verity::Sha256Digest> uki =
          cfs::verity::Sha256Digest::parse(value.substr(65));
      if (!uki) return std::nullopt;
      arguments.published[*digest] = *uki;
    } else {
      return std::nullopt;
    }
  }
  bool is_one = arguments.ext4.empty() || arguments.sysroot.empty();
  bool is_right = !arguments.esp.empty() && is_one && words.size() % 2 == 0;
  return is_right ? std::optional(arguments) : std::nullopt;
}

/// `files`: null when the chain is not to be followed.
Result<> check(const Arguments& arguments, cfs::power::DeviceFiles* files) {
  cfs::UniqueFd esp = CFS_TRY(cfs::open_at(AT_FDCWD, arguments.esp, O_RDONLY | O_DIRECTORY));
  cfs::boot::SystemdBoot loader =
      CFS_TRY(cfs::boot::SystemdBoot::open(esp.get(), ".", arguments.esp + "/no-variables"));
  cfs::power::Device device(loader, std::move(esp), files, arguments.published);
  cfs::boot::BootEntry booted = CFS_TRY(files != nullptr ? device.check_boots() : device.next());
  for (const cfs::verity::Digest& image : arguments.keeps) {
    CFS_TRY_WITH("while looking for what must be kept", device.check_could_boot(image));
  }
  (void)std::printf("boots %s by %s.efi\n", booted.digest->hex().c_str(),
                    cfs::boot::with_counter(booted.id, booted.tries).c_str());
  return {};
}

Result<> run(const Arguments& arguments) {
  if (!arguments.ext4.empty()) {
    cfs::power::Ext4Files files = CFS_TRY(cfs::power::Ext4Files::open(arguments.ext4));
    return check(arguments, &files);
  }
  if (arguments.sysroot.empty()) return check(arguments, nullptr);
  cfs::power::DirectoryFiles files(CFS_TRY(
      cfs::Directory::open(AT_FDCWD, arguments.sysroot + "/" + cfs::sysroot::kSysrootDirectory)));
  return check(arguments, &files);
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<Arguments> arguments = parse({argv + 1, argv + argc});
  if (!arguments) {
    (void)std::fputs("boot_chain: wrong arguments\n", stderr);
    return cfs::exit_status(ErrorCode::kUsage);
  }
  Result<> done = run(*arguments);
  if (done) return 0;
  (void)std::fprintf(stderr, "%s\n", done.error().describe().c_str());
  return cfs::exit_status(done.error().code);
}
