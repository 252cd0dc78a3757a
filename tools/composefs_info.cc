// SPDX-License-Identifier: Apache-2.0
#include "tools/composefs_info.h"

#include <algorithm>
#include <optional>
#include <set>

#include "lib/base/io.h"
#include "lib/erofs/reader.h"
#include "lib/tree/dump.h"
#include "lib/verity/kernel.h"
#include "lib/verity/merkle.h"
#include "tools/getopt.h"

namespace cfs::tools {
namespace {

struct Options {
  std::optional<std::string> basedir;
  std::vector<std::string> filter;
  std::string command;
  std::vector<std::string> files;
};

Error usage(const std::string& what) {
  return make_error(ErrorCode::kUsage, what).with_hint("see composefs-info --help");
}

constexpr std::string_view kHelp =
    "Usage: composefs-info [--basedir=PATH] [--filter=NAME]... COMMAND FILE...\n"
    "Shows what is in composefs images.\n\n"
    "  ls               every entry, with its symlink target or its object\n"
    "  objects          objects that the images use\n"
    "  missing-objects  those of them that are not below --basedir\n"
    "  dump             everything, as a composefs dump\n"
    "  measure-file     fs-verity digests of any files\n\n"
    "  --basedir=PATH   object store\n"
    "  --filter=NAME    only this name directly below the root (can be repeated)\n"
    "  --help           this text\n";
constexpr std::string_view kCommands[] = {"ls", "objects", "missing-objects", "dump",
                                          "measure-file"};
constexpr option kOptions[] = {{"basedir", required_argument, nullptr, 'b'},
                               {"filter", required_argument, nullptr, 'f'},
                               {"help", no_argument, nullptr, 'h'},
                               {nullptr, 0, nullptr, 0}};

/// Nothing when help was asked for and printed.
Result<std::optional<Options>> parse(const std::vector<std::string>& arguments, const Io& io) {
  Options options;
  bool help = false;
  auto on_option = [&](int option, const char* value) -> Result<> {
    if (option == 'b') {
      options.basedir = value;
    } else if (option == 'f') {
      if (std::string_view(value).find('/') != std::string_view::npos) {
        return usage("--filter takes a single name, not '" + std::string(value) + "'");
      }
      options.filter.emplace_back(value);
    } else {
      help = true;
    }
    return {};
  };
  std::vector<std::string> operands =
      CFS_TRY(read_options("composefs-info", arguments, kOptions, on_option));
  if (help) {
    CFS_TRY(print(io, kHelp));
    return std::optional<Options>();
  }
  if (operands.empty()) return usage("no COMMAND is given");
  options.command = operands[0];
  if (std::find(std::begin(kCommands), std::end(kCommands), options.command) ==
      std::end(kCommands)) {
    return usage("unknown command '" + options.command + "'");
  }
  if (operands.size() < 2) return usage("no FILE is given");
  options.files.assign(operands.begin() + 1, operands.end());
  return std::optional(std::move(options));
}

enum class Spaces { kEscape, kKeep };

std::string escaped(std::string_view text, Spaces spaces) {
  std::string out;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if ((byte > 0x20 && byte < 0x7f) || (byte == 0x20 && spaces == Spaces::kKeep)) {
          out += c;
        } else {
          out += "\\x" + to_hex(std::as_bytes(std::span(&byte, 1)));
        }
    }
  }
  return out;
}

bool is_wanted(const tree::Node& top_level, const Options& options) {
  return options.filter.empty() || std::find(options.filter.begin(), options.filter.end(),
                                             top_level.name()) != options.filter.end();
}

/// Depth-first without the root, only what the filter lets through. `visit(node, path)`.
template <typename Visit>
Result<> for_each_entry(const tree::Tree& tree, const Options& options, Visit visit) {
  struct Level {
    std::span<tree::Node* const> rest;
    size_t path_size;
  };
  std::string path;
  std::vector<Level> levels{{tree.root().children(), 0}};
  while (!levels.empty()) {
    Level& level = levels.back();
    path.resize(level.path_size);
    if (level.rest.empty()) {
      levels.pop_back();
      continue;
    }
    const tree::Node& node = *level.rest.front();
    level.rest = level.rest.subspan(1);
    if (levels.size() == 1 && !is_wanted(node, options)) continue;
    path += '/';
    path += node.name();
    CFS_TRY(visit(node, path));
    levels.push_back({node.children(), path.size()});
  }
  return {};
}

Result<> list(const erofs::Image& image, const Options& options, TextOutput& output) {
  std::set<const tree::Node*> shown;
  return for_each_entry(
      image.tree, options, [&](const tree::Node& entry, const std::string& path) -> Result<> {
        // Of a file with several names, the first that is shown tells all.
        const tree::Node& node = entry.inode();
        bool is_again = (entry.is_link() || node.has_links()) && !shown.insert(&node).second;
        std::string line = escaped(path, Spaces::kKeep);
        if (node.is_directory()) {
          line += "/\t";
        } else if (!is_again && node.is_symlink()) {
          line += "\t-> " + escaped(node.symlink_target(), Spaces::kEscape);
        } else if (!is_again && node.is_regular() && node.has_payload()) {
          line += "\t@ " + escaped(node.payload(), Spaces::kEscape);
        }
        line += '\n';
        return output.write(line);
      });
}

Result<> collect_objects(const erofs::Image& image, const Options& options,
                         std::set<std::string>& objects) {
  return for_each_entry(image.tree, options,
                        [&](const tree::Node& entry, const std::string&) -> Result<> {
                          const tree::Node& node = entry.inode();
                          if (node.is_regular() && node.has_payload()) {
                            objects.insert(node.payload());
                          }
                          return {};
                        });
}

Result<> dump(const erofs::Image& image, const Options& options, TextOutput& output) {
  return tree::write_dump(image.tree,
                          {.top_level = options.filter, .shared_xattrs = &image.shared_xattrs},
                          [&](Bytes text) { return output.write(as_text(text)); });
}

Result<verity::Digest> measure_file(const std::string& path) {
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY));
  Result<verity::Digest> measured = verity::measure(fd.get());
  if (measured || measured.error().code != ErrorCode::kNoVerity) return measured;
  return CFS_TRY_WITH("while reading '" + path + "'", verity::digest_of_fd(fd.get()));
}

/// As the original asks: leading slashes do not count, symlinks are followed wherever they lead.
/// (overlayfs follows none in a store: what is there this way can be copied, but not mounted.)
bool is_below(int basedir_fd, const std::string& object) {
  std::string relative = object.substr(std::min(object.find_first_not_of('/'), object.size()));
  return stat_at(basedir_fd, relative, AT_EMPTY_PATH).has_value();
}

Result<> run_command(const Options& options, TextOutput& output) {
  if (options.command == "measure-file") {
    for (const std::string& path : options.files) {
      CFS_TRY(output.write(CFS_TRY(measure_file(path)).hex() + "\n"));
    }
    return {};
  }

  UniqueFd basedir;
  if (options.basedir) {
    basedir = CFS_TRY(open_at(AT_FDCWD, *options.basedir, O_PATH | O_DIRECTORY));
  }
  std::set<std::string> objects;
  for (const std::string& path : options.files) {
    UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY));
    erofs::Image image =
        CFS_TRY_WITH("while reading '" + path + "'", erofs::read_image_file(fd.get()));
    if (options.command == "ls") {
      CFS_TRY(list(image, options, output));
    } else if (options.command == "dump") {
      CFS_TRY(dump(image, options, output));
    } else {
      CFS_TRY(collect_objects(image, options, objects));
    }
  }
  for (const std::string& object : objects) {
    if (options.command == "missing-objects" && basedir.valid() &&
        is_below(basedir.get(), object)) {
      continue;
    }
    CFS_TRY(output.write(object + "\n"));
  }
  return {};
}

}  // namespace

Result<int> run_composefs_info(const std::vector<std::string>& arguments, const Io& io) {
  std::optional<Options> parsed = CFS_TRY(parse(arguments, io));
  if (!parsed) return 0;
  TextOutput output(io.out_fd);
  Result<> done = run_command(*parsed, output);
  // What was found before an error is printed all the same.
  Result<> flushed = output.flush();
  CFS_TRY(std::move(done));
  CFS_TRY(std::move(flushed));
  return 0;
}

}  // namespace cfs::tools
