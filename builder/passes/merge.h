// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "builder/manifest/image_path.h"
#include "lib/base/result.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// Puts entries of sources into one tree, the later over the earlier.
///
/// A path is resolved as a process inside the image would: symlinks in its directories are followed
/// within the tree ("/lib/x" lands in "/usr/lib/x" of a merged-/usr image), missing directories are
/// made (0755, root). The last component replaces what is there, except that a directory keeps the
/// entries of an older directory, and a symlink that leads to a directory stays and leads to it.
class Merger {
 public:
  explicit Merger(tree::Tree& tree) : tree_(tree) {}

  /// Adds or replaces the entry at `path` (see normal_path).
  /// Errors: kInvalidInput when it would replace a directory that is not empty by something else,
  /// or when the way to it leads through something that is no directory or through too many
  /// symlinks.
  [[nodiscard]] Result<tree::Node*> put(std::string_view path, const tree::Attributes& attributes);

  /// Adds or replaces `path` as a hard link to the file at `target_path`.
  /// Errors: as put(); kInvalidInput when there is no such file or it is a directory.
  [[nodiscard]] Result<tree::Node*> put_link(std::string_view path, std::string_view target_path);

  /// The node at `path`, symlinks followed on the way to it but not at the end; or null.
  /// Errors: kInvalidInput (too many symlinks).
  [[nodiscard]] Result<tree::Node*> find(std::string_view path);

  /// The regular file at `path`, all symlinks followed; or null, also when they lead in a circle.
  /// Errors: as find().
  [[nodiscard]] Result<tree::Node*> find_file(std::string_view path);

  /// The directory at `path`, all symlinks followed; or null.
  /// Errors: kInvalidInput (too many symlinks).
  [[nodiscard]] Result<tree::Node*> find_directory(std::string_view path);

 private:
  struct Place {
    tree::Node* directory;
    std::string name;
  };
  enum class Missing { kCreate, kFail };
  /// The directory at `path`, on the way to the entry `wanted`, which messages name.
  Result<tree::Node*> directory_at(std::string_view path, std::string_view wanted, Missing missing);
  Result<Place> place_of(std::string_view path, Missing missing);
  Result<> make_room(Place& place);
  /// Replaces mode, owner and time, and removes the xattrs. Returns `directory`.
  tree::Node* replace_attributes(tree::Node& directory, const tree::Attributes& attributes);

  tree::Tree& tree_;
};

}  // namespace cfs::builder
