// SPDX-License-Identifier: Apache-2.0
#include "tools/mkcomposefs.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <optional>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/erofs/writer.h"
#include "lib/scan/scan.h"
#include "lib/store/object_store.h"
#include "lib/tree/dump.h"
#include "tools/getopt.h"
#include "tools/output_file.h"

namespace cfs::tools {
namespace {

constexpr unsigned kMaxThreads = 64;

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

constexpr std::string_view kHelp =
    "Usage: mkcomposefs [OPTIONS] SOURCE IMAGE\n"
    "Makes a composefs image from a directory or a dump.\n\n"
    "SOURCE is a directory or, with --from-file, a dump (- for standard input).\n"
    "IMAGE is the file to write (- for standard output).\n\n"
    "  --digest-store=PATH  store content files in this directory\n"
    "  --use-epoch          make all mtimes zero\n"
    "  --skip-devices       leave out device nodes\n"
    "  --skip-xattrs        leave out extended attributes\n"
    "  --user-xattrs        keep only user.* extended attributes\n"
    "  --print-digest       print the digest of the image\n"
    "  --print-digest-only  print the digest of the image and do not write it\n"
    "  --from-file          SOURCE is a dump, not a directory\n"
    "  --min-version=N      lowest format version to use (default 0)\n"
    "  --max-version=N      highest format version to use (default 1)\n"
    "  --threads=N          threads that read files (default: the CPUs there are)\n"
    "  --help               this text\n";

enum Option {
  kDigestStore = 256,
  kUseEpoch,
  kSkipDevices,
  kSkipXattrs,
  kUserXattrs,
  kPrintDigest,
  kPrintDigestOnly,
  kFromFile,
  kMinVersion,
  kMaxVersion,
  kThreads,
  kHelpOption,
};
constexpr option kOptions[] = {{"digest-store", required_argument, nullptr, kDigestStore},
                               {"use-epoch", no_argument, nullptr, kUseEpoch},
                               {"skip-devices", no_argument, nullptr, kSkipDevices},
                               {"skip-xattrs", no_argument, nullptr, kSkipXattrs},
                               {"user-xattrs", no_argument, nullptr, kUserXattrs},
                               {"print-digest", no_argument, nullptr, kPrintDigest},
                               {"print-digest-only", no_argument, nullptr, kPrintDigestOnly},
                               {"from-file", no_argument, nullptr, kFromFile},
                               {"min-version", required_argument, nullptr, kMinVersion},
                               {"max-version", required_argument, nullptr, kMaxVersion},
                               {"threads", required_argument, nullptr, kThreads},
                               {"help", no_argument, nullptr, kHelpOption},
                               {nullptr, 0, nullptr, 0}};

/// Reads what strtol reads, as the original does.
Result<unsigned> parse_number(std::string_view name, const char* text) {
  char* end = nullptr;
  long value = std::strtol(text, &end, 10);
  if (end == text || *end != '\0' || value < 0 || value > INT_MAX) {
    return usage(std::string(name) + " needs a number, not '" + text + "'");
  }
  return static_cast<unsigned>(value);
}

/// Nothing when help was asked for and printed.
Result<std::optional<Options>> parse(const std::vector<std::string>& arguments, const Io& io) {
  Options options;
  bool help = false;
  auto on_option = [&](int option, const char* value) -> Result<> {
    switch (option) {
      case kDigestStore:
        if (*value == '\0') return usage("--digest-store is empty");
        options.digest_store = value;
        break;
      case kUseEpoch:
        options.use_epoch = true;
        break;
      case kSkipDevices:
        options.skip_devices = true;
        break;
      case kSkipXattrs:
        options.skip_xattrs = true;
        break;
      case kUserXattrs:
        options.user_xattrs = true;
        break;
      case kPrintDigest:
        options.print_digest = true;
        break;
      case kPrintDigestOnly:
        options.print_digest_only = true;
        break;
      case kFromFile:
        options.from_file = true;
        break;
      case kMinVersion:
        options.min_version = CFS_TRY(parse_number("--min-version", value));
        break;
      case kMaxVersion:
        options.max_version = CFS_TRY(parse_number("--max-version", value));
        break;
      case kThreads:
        options.threads = CFS_TRY(parse_number("--threads", value));
        if (options.threads == 0) return usage("--threads must be at least 1");
        options.threads = std::min(options.threads, kMaxThreads);
        break;
      default:
        help = true;
    }
    return {};
  };
  std::vector<std::string> operands =
      CFS_TRY(read_options("mkcomposefs", arguments, kOptions, on_option));
  if (help) {
    CFS_TRY(print(io, kHelp));
    return std::optional<Options>();
  }
  if (operands.size() > 2) return usage("unexpected argument '" + operands[2] + "'");
  if (!operands.empty()) options.source = operands[0];
  if (operands.size() == 2) options.image = operands[1];
  if (options.source.empty()) return usage("no SOURCE is given");
  if (options.print_digest_only && !options.image.empty()) {
    return usage("with --print-digest-only there is no IMAGE");
  }
  if (!options.print_digest_only && options.image.empty()) {
    return usage("no IMAGE to write is given");
  }
  if (!options.from_file && options.skip_xattrs && options.user_xattrs) {
    return usage("--skip-xattrs and --user-xattrs exclude each other");
  }
  return std::optional(std::move(options));
}

/// Given neither, the defaults; given one, the other is 0, as the original has it.
erofs::VersionRange versions_of(const Options& options) {
  if (!options.min_version && !options.max_version) return {};
  return {.min = options.min_version.value_or(0), .max = options.max_version.value_or(0)};
}

Result<tree::Tree> read_dump_source(const Options& options, const Io& io) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment
  bool strict = ::getenv("CFS_PARSE_STRICT") != nullptr;
  auto rules = strict ? tree::DumpRules::kStrict : tree::DumpRules::kUsual;
  if (options.source == "-") return tree::read_dump(io.in_fd, rules);
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, options.source, O_RDONLY));
  return CFS_TRY_WITH("while reading '" + options.source + "'", tree::read_dump(fd.get(), rules));
}

/// A store that grows while the source is read cannot be part of it.
Result<> refuse_store_in_source(const store::ObjectStore& store, const Options& options) {
  struct stat source = CFS_TRY(stat_at(AT_FDCWD, options.source, AT_SYMLINK_NOFOLLOW));
  UniqueFd above = CFS_TRY(open_at(store.directory_fd(), ".", O_PATH | O_DIRECTORY));
  for (;;) {
    struct stat here = CFS_TRY(fstat_fd(above.get()));
    if (here.st_dev == source.st_dev && here.st_ino == source.st_ino) {
      return make_error(ErrorCode::kInvalidInput, "the digest store '" + options.digest_store +
                                                      "' lies inside '" + options.source + "'")
          .with_hint("give --digest-store a directory beside it");
    }
    UniqueFd next = CFS_TRY(open_at(above.get(), "..", O_PATH | O_DIRECTORY));
    struct stat parent = CFS_TRY(fstat_fd(next.get()));
    if (parent.st_dev == here.st_dev && parent.st_ino == here.st_ino) return {};
    above = std::move(next);
  }
}

Result<tree::Tree> read_directory_source(const Options& options) {
  Progress progress("reading " + options.source, 0);
  scan::ScanOptions how{
      .hard_links = scan::HardLinks::kSeparate,
      .xattrs = options.skip_xattrs ? scan::Xattrs::kSkip : scan::Xattrs::kKeep,
      .devices = options.skip_devices ? scan::Devices::kSkip : scan::Devices::kKeep,
      .times = options.use_epoch ? scan::Times::kEpoch : scan::Times::kKeep,
      .threads = options.threads,
      .progress = &progress};
  if (options.user_xattrs) {
    how.keep_xattr = [](std::string_view key) { return key.starts_with("user."); };
  }
  if (options.digest_store.empty()) {
    return scan::scan_directory(AT_FDCWD, options.source, how, nullptr);
  }
  store::ObjectStore store = CFS_TRY(store::ObjectStore::open(AT_FDCWD, options.digest_store, {}));
  CFS_TRY(refuse_store_in_source(store, options));
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

Result<int> run_mkcomposefs(const std::vector<std::string>& arguments, const Io& io) {
  std::optional<Options> parsed = CFS_TRY(parse(arguments, io));
  if (!parsed) return 0;
  const Options& options = *parsed;
  if (options.image == "-" && ::isatty(io.out_fd) == 1) {
    return make_error(ErrorCode::kInvalidInput, "standard output is a terminal")
        .with_hint("redirect it, or name a file to write the image to");
  }
  tree::Tree tree =
      CFS_TRY(options.from_file ? read_dump_source(options, io) : read_directory_source(options));
  // Made after the source was read: IMAGE may lie inside it.
  std::optional<OutputFile> file;
  if (!options.image.empty() && options.image != "-") {
    file.emplace(CFS_TRY(OutputFile::create(options.image)));
  }
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
    CFS_TRY(print(io, info.digest.hex() + "\n"));
  }
  return 0;
}

}  // namespace cfs::tools
