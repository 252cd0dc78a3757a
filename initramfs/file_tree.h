// SPDX-License-Identifier: Apache-2.0
// Files of a device's /etc: copied and compared. They lie on a disk that nobody vouches for. No
// symlink is followed, nothing is opened that is not a regular file or a directory, and directories
// that are nested without end are refused.
#pragma once

#include <string>

#include "lib/base/result.h"

namespace cfs::initramfs {

/// What a copy becomes part of.
enum class CopyInto {
  kTree,   ///< a directory as anybody sees it
  kLayer,  ///< the upper layer of an overlay, in which marks say what of the lower one is hidden
  /// A tree in which what is copied, an entry of an upper layer, is laid over what is there.
  kTreeBelow,
};

/// Copies the entry `from_name` of a directory, whatever it is, with all below it, to the name
/// `to_name`, which is free unless it is laid over: content, owner, mode, times and extended
/// attributes. Names of one file become files of their own. Errors: kCorrupt (nested too deep);
/// those of the system calls.
[[nodiscard]] Result<> copy_entry(int from_fd, const std::string& from_name, int to_fd,
                                  const std::string& to_name, CopyInto into);

/// Copies all entries of a directory into one that has none of them, and its attributes.
[[nodiscard]] Result<> copy_directory(int from_fd, int to_fd, CopyInto into);

/// Marks the directory `name` of an upper layer as one that hides all of the lower layer's.
[[nodiscard]] Result<> make_opaque(int dir_fd, const std::string& name);

/// Returns true if nothing in the upper layer `layer_fd` hides what the lower layer has in its
/// directory `path` ("." for the top).
[[nodiscard]] Result<bool> shows_lower(int layer_fd, const std::string& path);

/// Gives the directory `to_fd` owner, mode and extended attributes of `from_fd`, and no others.
[[nodiscard]] Result<> set_attributes_of(int from_fd, int to_fd);

/// Returns true if two entries are alike: type, owner, mode, extended attributes, and content, of
/// directories that of all below. Times do not count. A missing entry is like another missing one.
[[nodiscard]] Result<bool> is_same_entry(int one_fd, const std::string& one_name, int other_fd,
                                         const std::string& other_name);

/// Returns true if owner, mode and extended attributes of two directories are alike.
[[nodiscard]] Result<bool> has_same_attributes(int one_fd, int other_fd);

}  // namespace cfs::initramfs
