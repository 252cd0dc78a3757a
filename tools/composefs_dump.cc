// SPDX-License-Identifier: Apache-2.0
#include "tools/composefs_dump.h"

#include "lib/base/io.h"
#include "lib/erofs/reader.h"
#include "lib/erofs/writer.h"
#include "tools/output_file.h"

namespace cfs::tools {

Result<int> run_composefs_dump(const std::vector<std::string>& arguments, const Io& io) {
  constexpr std::string_view kUsage =
      "Usage: composefs-dump SOURCE DESTINATION\n"
      "Reads a composefs image and writes it again: the same bytes.\n";
  if (arguments.size() == 1 && (arguments[0] == "--help" || arguments[0] == "-h")) {
    CFS_TRY(print(io, kUsage));
    return 0;
  }
  if (arguments.size() != 2) {
    return make_error(ErrorCode::kUsage, "two arguments are needed: the image and its copy")
        .with_hint("see composefs-dump --help");
  }
  UniqueFd source = CFS_TRY(open_at(AT_FDCWD, arguments[0], O_RDONLY));
  erofs::Image image =
      CFS_TRY_WITH("while reading '" + arguments[0] + "'", erofs::read_image_file(source.get()));
  OutputFile output = CFS_TRY(OutputFile::create(arguments[1]));
  CFS_TRY_WITH(
      "while writing '" + arguments[1] + "'",
      erofs::write_image(image.tree, {.min = image.version, .max = image.version}, output.fd()));
  CFS_TRY(output.publish());
  return 0;
}

}  // namespace cfs::tools
