// SPDX-License-Identifier: Apache-2.0
#include "tools/mkcomposefs.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/erofs/writer.h"
#include "lib/scan/scan.h"
#include "lib/store/object_store.h"
#include "lib/tree/dump.h"

namespace cfs::tools {
namespace {

struct Options {
  std::string source;
  std::string image;  ///< "-": standard output; empty: none
  std::string digest_store;
  bool use_epoch = false;
  bool skip_devices = false;
  bool skip_xattrs = false;
  bool user_xattrs = false;
  bool print_digest = false;
  bool print_digest_only = false;
  bool from_file = false;
  std::optional<unsigned> min_version;
  std::optional<unsigned> max_version;
  unsigned threads = available_cpus();
};

Error usage(const std::string& what) {
  return make_error(ErrorCode::kUsage, what).with_hint("see mkcomposefs --help");
}

/// Nothing when help was asked for and printed.
Result<std::optional<Options>> parse(const std::vector<std::string>& arguments,
                                     const CommandIo& io) {
  Options options;
  CLI::App app(
      "Makes a composefs image from a directory or a dump.\n"
      "SOURCE is a directory or, with --from-file, a dump (- for standard input).\n"
      "IMAGE is the file to write (- for standard output).",
      "mkcomposefs");
  app.add_option("SOURCE", options.source)->required();
  app.add_option("IMAGE", options.image);
  app.add_option("--digest-store", options.digest_store, "Store content files in this directory")
      ->take_last();
  app.add_flag("--use-epoch", options.use_epoch, "Make all mtimes zero");
  app.add_flag("--skip-devices", options.skip_devices, "Leave out device nodes");
  app.add_flag("--skip-xattrs", options.skip_xattrs, "Leave out extended attributes");
  app.add_flag("--user-xattrs", options.user_xattrs, "Keep only user.* extended attributes");
  app.add_flag("--print-digest", options.print_digest, "Print the digest of the image");
  app.add_flag("--print-digest-only", options.print_digest_only,
               "Print the digest of the image and do not write it");
  app.add_flag("--from-file", options.from_file, "SOURCE is a dump, not a directory");
  app.add_option("--min-version", options.min_version, "Lowest format version to use (default 0)")
      ->take_last();
  app.add_option("--max-version", options.max_version, "Highest format version to use (default 1)")
      ->take_last();
  app.add_option("--threads", options.threads,
                 "Threads that read files (default: the CPUs there are)")
      ->take_last()
      ->check(CLI::Range(1U, 4096U));
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    CFS_TRY(write_full(io.out_fd, as_bytes(app.help())));
    return std::optional<Options>();
  } catch (const CLI::ParseError& error) {
    return usage(error.what());
  }
  if (options.source.empty()) return usage("the source path is empty");
  if (options.print_digest_only && !options.image.empty()) {
    return usage("with --print-digest-only there is no IMAGE");
  }
  if (!options.print_digest_only && options.image.empty()) {
    return usage("no IMAGE to write is given");
  }
  if (options.skip_xattrs && options.user_xattrs) {
    return usage("--skip-xattrs and --user-xattrs exclude each other");
  }
  return std::optional(std::move(options));
}

/// Given neither, the defaults; given one, the other is 0, as the original has it.
erofs::VersionRange versions_of(const Options& options) {
  if (!options.min_version && !options.max_version) return {};
  return {.min = options.min_version.value_or(0), .max = options.max_version.value_or(0)};
}

Result<tree::Tree> read_dump_source(const Options& options, const CommandIo& io) {
  if (options.source == "-") return tree::read_dump(io.in_fd);
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, options.source, O_RDONLY));
  return CFS_TRY_WITH("while reading '" + options.source + "'", tree::read_dump(fd.get()));
}

Result<tree::Tree> read_directory_source(const Options& options) {
  Progress progress("reading " + options.source, 0);
  scan::ScanOptions how{
      .hard_links = scan::HardLinks::kSeparate,
      .xattrs = options.skip_xattrs   ? scan::Xattrs::kNone
                : options.user_xattrs ? scan::Xattrs::kUserOnly
                                      : scan::Xattrs::kAll,
      .devices = options.skip_devices ? scan::Devices::kSkip : scan::Devices::kKeep,
      .times = options.use_epoch ? scan::Times::kEpoch : scan::Times::kKeep,
      .threads = options.threads,
      .progress = &progress};
  if (options.digest_store.empty()) {
    return scan::scan_directory(AT_FDCWD, options.source, how, nullptr);
  }
  store::ObjectStore store = CFS_TRY(store::ObjectStore::open(AT_FDCWD, options.digest_store, {}));
  store::Batch batch = CFS_TRY(store.begin());
  tree::Tree tree = CFS_TRY(scan::scan_directory(AT_FDCWD, options.source, how, &batch));
  CFS_TRY(batch.commit());
  return tree;
}

Result<erofs::ImageInfo> write_to(const tree::Tree& tree, const Options& options, int fd) {
  return erofs::write_image(tree, versions_of(options), [fd](Bytes piece) -> Result<> {
    CFS_TRY(check_interrupted());
    return write_full(fd, piece);
  });
}

}  // namespace

Result<> run_mkcomposefs(const std::vector<std::string>& arguments, const CommandIo& io) {
  std::optional<Options> parsed = CFS_TRY(parse(arguments, io));
  if (!parsed) return {};
  const Options& options = *parsed;
  if (options.image == "-" && ::isatty(io.out_fd) == 1) {
    return make_error(ErrorCode::kInvalidInput, "standard output is a terminal")
        .with_hint("redirect it, or name a file to write the image to");
  }
  std::optional<OutputFile> file;
  if (!options.image.empty() && options.image != "-") {
    file.emplace(CFS_TRY(OutputFile::create(options.image)));
  }

  tree::Tree tree =
      CFS_TRY(options.from_file ? read_dump_source(options, io) : read_directory_source(options));
  erofs::ImageInfo info;
  if (file) {
    info =
        CFS_TRY_WITH("while writing '" + options.image + "'", write_to(tree, options, file->fd()));
    CFS_TRY(file->publish());
  } else if (options.image == "-") {
    info = CFS_TRY_WITH("while writing the image to standard output",
                        write_to(tree, options, io.out_fd));
  } else {
    info = CFS_TRY(erofs::write_image(tree, versions_of(options), -1));
  }
  if (options.print_digest || options.print_digest_only) {
    CFS_TRY(write_full(io.out_fd, as_bytes(info.digest.hex() + "\n")));
  }
  return {};
}

}  // namespace cfs::tools
