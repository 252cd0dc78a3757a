// SPDX-License-Identifier: Apache-2.0
// Any bytes as an EFI program: reading its texts and appending sections must stay inside them, and
// what append_sections() made must be readable.
#include <cstdlib>

#include "lib/boot/pe.h"
#include "lib/boot/uki.h"
#include "lib/kernel_cmdline/command_line.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;
  using namespace cfs::boot;
  constexpr std::string_view kCmdline = "composefs.digest=";
  Bytes file = std::as_bytes(std::span(data, size));
  Result<UkiInfo> info = read_uki(file);
  if (info) (void)kernel_cmdline::pinned_digest(info->cmdline);

  const NewSection sections[] = {{".linux", as_bytes("MZ")}, {".cmdline", as_bytes(kCmdline)}};
  Result<std::vector<std::byte>> extended = append_sections(file, sections);
  if (extended) {
    Result<PeHeaders> headers = parse_pe(*extended, extended->size());
    const PeSection* cmdline = headers ? headers->find(".cmdline") : nullptr;
    if (cmdline == nullptr ||
        as_text(Bytes(*extended).subspan(cmdline->file_offset, cmdline->file_size)) != kCmdline) {
      std::abort();
    }
  }
  return 0;
}
