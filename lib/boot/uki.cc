// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/uki.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "lib/base/io.h"
#include "lib/boot/pe.h"
#include "lib/kernel_cmdline/boot_options.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::boot {
namespace {

constexpr size_t kMaxTextBytes = 64 * 1024;
constexpr size_t kMaxEfiProgramBytes = 16U << 20;

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

Error bad_part(std::string what) {
  return make_error(ErrorCode::kInvalidInput, "cannot make a UKI: " + std::move(what));
}

/// Does a line of os-release set one of the names that sd-boot can show?
bool has_title(std::string_view os_release) {
  constexpr std::array<std::string_view, 4> kTitles = {"PRETTY_NAME=", "IMAGE_ID=", "NAME=", "ID="};
  while (!os_release.empty()) {
    std::string_view line = os_release.substr(0, os_release.find('\n'));
    os_release.remove_prefix(std::min(os_release.size(), line.size() + 1));
    if (std::any_of(kTitles.begin(), kTitles.end(), [&](std::string_view title) {
          return line.substr(0, title.size()) == title && line.size() > title.size();
        })) {
      return true;
    }
  }
  return false;
}

using ReadAt = std::function<Result<size_t>(std::span<std::byte>, uint64_t offset)>;

/// The text of a section; none when the section is missing.
Result<std::optional<std::string>> read_text(const ReadAt& read_at, const PeHeaders& headers,
                                             std::string_view name) {
  const PeSection* section = headers.find(name);
  if (section == nullptr) return std::optional<std::string>();
  std::string quoted = "section '" + std::string(name) + "' of the UKI";
  if (section->file_size > kMaxTextBytes) {
    return make_error(ErrorCode::kCorrupt, quoted + " is too large");
  }
  std::string text(section->file_size, '\0');
  size_t count = CFS_TRY(read_at(std::as_writable_bytes(std::span(text)), section->file_offset));
  if (count != text.size()) return make_error(ErrorCode::kCorrupt, quoted + " is cut short");
  while (!text.empty() && (text.back() == '\0' || text.back() == '\n')) text.pop_back();
  if (text.find('\0') != std::string::npos) {
    return make_error(ErrorCode::kCorrupt, quoted + " has a NUL inside");
  }
  return std::optional(std::move(text));
}

Result<UkiInfo> read_uki(const ReadAt& read_at, uint64_t file_size_bytes) {
  std::vector<std::byte> head(std::min<uint64_t>(kMaxPeHeadBytes, file_size_bytes));
  size_t count = CFS_TRY(read_at(head, 0));
  PeHeaders headers = CFS_TRY(parse_pe(Bytes(head).first(count), file_size_bytes));
  auto is_there = [&](std::string_view name) {
    const PeSection* section = headers.find(name);
    return section != nullptr && section->file_size > 0;
  };
  std::optional<std::string> cmdline = CFS_TRY(read_text(read_at, headers, ".cmdline"));
  if (!is_there(".linux") || !is_there(".initrd") || !cmdline) {
    return make_error(ErrorCode::kCorrupt,
                      "not a UKI: no kernel, no initramfs or no command line in it");
  }
  if (std::any_of(cmdline->begin(), cmdline->end(), is_control)) {
    return make_error(ErrorCode::kCorrupt, "the UKI's command line is more than one line");
  }
  std::optional<std::string> os_release = CFS_TRY(read_text(read_at, headers, ".osrel"));
  std::optional<std::string> uname = CFS_TRY(read_text(read_at, headers, ".uname"));
  return UkiInfo{.os_release = std::move(os_release).value_or(""),
                 .cmdline = *std::move(cmdline),
                 .uname = std::move(uname).value_or("")};
}

}  // namespace

Result<std::string> read_efi_program(const std::string& path) {
  Result<std::string> program = read_file(AT_FDCWD, path, kMaxEfiProgramBytes);
  if (!program && program.error().code == ErrorCode::kNotFound) {
    return Error(std::move(program).error())
        .with_hint("install the Debian package systemd-boot-efi");
  }
  return program;
}

Result<std::vector<std::byte>> make_uki(const UkiParts& parts) {
  if (!has_title(parts.os_release)) {
    return bad_part("os-release has no PRETTY_NAME, and the boot loader would hide the entry");
  }
  if (parts.os_release.size() > kMaxTextBytes) return bad_part("os-release is too large");
  if (parts.cmdline.empty() || parts.cmdline.size() > kernel_cmdline::kMaxCommandLineBytes ||
      std::any_of(parts.cmdline.begin(), parts.cmdline.end(), is_control)) {
    return bad_part("the kernel command line must be one line of 1 to " +
                    std::to_string(kernel_cmdline::kMaxCommandLineBytes) + " bytes");
  }
  if (parts.uname.empty() || parts.uname.size() > kMaxTextBytes ||
      std::any_of(parts.uname.begin(), parts.uname.end(), is_control)) {
    return bad_part("no kernel release");
  }
  if (parts.kernel.size() < 2 || as_text(parts.kernel.first(2)) != "MZ") {
    return bad_part("the kernel is not an EFI program");
  }
  if (parts.initrd.empty()) return bad_part("the initramfs is empty");
  const std::array<NewSection, 5> sections = {{{".osrel", as_bytes(parts.os_release)},
                                               {".cmdline", as_bytes(parts.cmdline)},
                                               {".uname", as_bytes(parts.uname)},
                                               {".linux", parts.kernel},
                                               {".initrd", parts.initrd}}};
  return append_sections(parts.stub, sections);
}

Result<UkiInfo> read_uki(int fd) {
  struct stat status = CFS_TRY(fstat_fd(fd));
  return read_uki(
      [fd](std::span<std::byte> buffer, uint64_t offset) { return pread_full(fd, buffer, offset); },
      static_cast<uint64_t>(status.st_size));
}

Result<UkiInfo> read_uki(Bytes file) {
  return read_uki(
      [file](std::span<std::byte> buffer, uint64_t offset) -> Result<size_t> {
        if (offset >= file.size()) return size_t{0};
        Bytes part = file.subspan(offset);
        size_t count = std::min(buffer.size(), part.size());
        std::copy_n(part.begin(), count, buffer.begin());
        return count;
      },
      file.size());
}

Result<> check_boots_image(const UkiInfo& uki, const verity::Digest& digest) {
  Result<kernel_cmdline::BootOptions> options =
      kernel_cmdline::parse_boot_options(kernel_cmdline::CommandLine::parse(uki.cmdline));
  if (!options) {
    Error error = std::move(options).error();
    error.code = ErrorCode::kCorrupt;
    return std::move(error).with("in the UKI's kernel command line, with which it would not boot");
  }
  if (options->digest != digest) {
    return make_error(ErrorCode::kCorrupt,
                      "the UKI's kernel command line does not pin the release's image " +
                          digest.hex() + " but " + options->digest.hex());
  }
  if (uki.cmdline.size() > kernel_cmdline::kMaxCommandLineBytes) {
    return make_error(ErrorCode::kCorrupt,
                      "the UKI's kernel command line has more than the " +
                          std::to_string(kernel_cmdline::kMaxCommandLineBytes) +
                          " bytes that the kernel reads");
  }
  if (!has_title(uki.os_release)) {
    return make_error(ErrorCode::kCorrupt,
                      "the UKI's os-release has no PRETTY_NAME: the boot loader would hide it");
  }
  return {};
}

}  // namespace cfs::boot
