// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/copies.h"

#include "lib/base/interrupt.h"
#include "lib/base/utf8.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

enum class Mode { kFind, kRestore };

/// True if the disk may have done it.
bool is_loss(const Error& error) {
  switch (error.code) {
    case ErrorCode::kNotFound:
    case ErrorCode::kCorrupt:
    case ErrorCode::kSignature:
      return true;
    default:
      return is_lost_by_disk(error);
  }
}

bool is_missing(const Result<std::string>& content) {
  return !content && content.error().code == ErrorCode::kNotFound;
}

/// True if somebody may have done it, on purpose.
bool is_foreign(const Error& error) {
  return error.code == ErrorCode::kUnsupported || error.code == ErrorCode::kInvalidInput;
}

Result<std::string> read_checked(const Directory& cfs, const Original& original,
                                 const std::string& path) {
  std::string content = CFS_TRY(cfs.read_file(path, original.max_bytes));
  CFS_TRY_WITH("while reading '" + path + "'", original.check(content));
  return content;
}

Result<> put(const Directory& cfs, const std::string& path, const std::string& content) {
  // Nothing can be renamed over a directory.
  Result<struct stat> there = cfs.stat(path);
  if (there && S_ISDIR(there->st_mode)) CFS_TRY(cfs.remove_tree(path));
  return cfs.write_file(path, as_bytes(content), sysroot::mode_of(path, false));
}

/// The directory is there for the copies alone: what stands in its place goes.
Result<> put_copy(const Directory& cfs, const std::string& path, const std::string& content) {
  Result<struct stat> there = cfs.stat(sysroot::kCopies);
  if (there && !S_ISDIR(there->st_mode)) CFS_TRY(cfs.remove_file(sysroot::kCopies));
  CFS_TRY(cfs.make_directories(sysroot::kCopies, sysroot::mode_of(sysroot::kCopies, true)));
  CFS_TRY(cfs.sync());
  CFS_TRY(cfs.remove_stale(sysroot::kCopies));
  return put(cfs, path, content);
}

/// Notes whether it was restored.
Result<> note(Loss& loss, Result<> restored) {
  CFS_TRY(check_interrupted());
  loss.is_restored = static_cast<bool>(restored);
  if (!restored) loss.left = std::move(restored).error();
  return {};
}

Result<std::optional<Loss>> find_loss(const Directory& cfs, const Original& original, Mode mode) {
  const std::optional<Loss> nothing;
  const std::string copy_path = sysroot::copy_path(original.path);
  Result<std::string> content = read_checked(cfs, original, original.path);
  if (!content && is_foreign(content.error())) return nothing;
  if (!content && !is_loss(content.error())) return Error(std::move(content).error());
  Result<std::string> copy = read_checked(cfs, original, copy_path);
  if (!copy && !is_foreign(copy.error()) && !is_loss(copy.error())) {
    return Error(std::move(copy).error());
  }
  if (content) {
    if (copy && (*content == *copy || mode == Mode::kFind)) return nothing;
    Loss loss{.path = copy_path, .problem = "it is older than its original", .is_copy = true};
    if (!copy) loss.problem = printable_text(copy.error().describe());
    if (mode == Mode::kRestore) CFS_TRY(note(loss, put_copy(cfs, copy_path, *content)));
    return copy && loss.is_restored ? nothing : std::optional(std::move(loss));
  }
  if (original.may_be_missing && is_missing(content) && is_missing(copy)) return nothing;
  Loss loss{.path = original.path, .problem = printable_text(content.error().describe())};
  if (mode == Mode::kRestore) {
    CFS_TRY(note(loss, copy ? put(cfs, original.path, *copy)
                            : make_error(ErrorCode::kCorrupt,
                                         "its copy is lost too: " + copy.error().describe())));
  }
  return std::optional(std::move(loss));
}

Result<std::vector<Loss>> find_all(const Directory& cfs, std::span<const Original> originals,
                                   Mode mode) {
  std::vector<Loss> losses;
  for (const Original& original : originals) {
    std::optional<Loss> loss = CFS_TRY(find_loss(cfs, original, mode));
    if (loss) losses.push_back(*std::move(loss));
  }
  return losses;
}

}  // namespace

Result<std::string> read_original(const Directory& cfs, const Original& original) {
  Result<std::string> content = read_checked(cfs, original, original.path);
  if (content || !is_loss(content.error())) return content;
  const std::string copy_path = sysroot::copy_path(original.path);
  Result<std::string> copy = read_checked(cfs, original, copy_path);
  if (copy || (!is_foreign(copy.error()) && !is_loss(copy.error()))) return copy;
  // Of both, the one says more that is not simply gone.
  return Error(std::move(is_missing(content) && !is_missing(copy) ? copy : content).error())
      .with_hint("'" + copy_path + "' is of no help either: put '" + original.path +
                 "' back by hand, as docs/FORMATS.md (\"Device\") shows it");
}

Result<std::vector<Loss>> find_losses(const Directory& cfs, std::span<const Original> originals) {
  return find_all(cfs, originals, Mode::kFind);
}

Result<std::vector<Loss>> restore_losses(const Directory& cfs,
                                         std::span<const Original> originals) {
  return find_all(cfs, originals, Mode::kRestore);
}

}  // namespace cfs::deployer
