// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/merge.h"

#include <deque>
#include <vector>

namespace cfs::builder {
namespace {

constexpr int kMaxSymlinks = 40;  // as the kernel: path_resolution(7)

}  // namespace

Result<tree::Node*> Merger::directory_at(std::string_view path, std::string_view wanted,
                                         Missing missing) {
  std::vector<std::string> parts = path_components(path);
  std::deque<std::string> todo(parts.begin(), parts.end());
  tree::Node* directory = &tree_.root();
  int symlinks = 0;
  while (!todo.empty()) {
    std::string name = std::move(todo.front());
    todo.pop_front();
    if (name == "..") {  // only from symlink targets; the root is its own parent
      if (directory->parent() != nullptr) directory = directory->parent();
      continue;
    }
    tree::Node* next = tree_.child(*directory, name);
    if (next == nullptr) {
      if (missing == Missing::kFail) return nullptr;
      next = CFS_TRY(tree_.add(*directory, name, {.mode = S_IFDIR | 0755}));
    } else if (next->inode().is_symlink()) {
      if (++symlinks > kMaxSymlinks) {
        return make_error(ErrorCode::kInvalidInput,
                          "too many symlinks on the way to '/" + std::string(wanted) + "'");
      }
      std::string_view target = next->inode().symlink_target();
      if (target.front() == '/') directory = &tree_.root();
      std::vector<std::string> more = path_components(target);
      todo.insert(todo.begin(), more.begin(), more.end());
      continue;
    } else if (!next->is_directory()) {
      if (missing == Missing::kFail) return nullptr;
      return make_error(ErrorCode::kInvalidInput, "'/" + std::string(wanted) +
                                                      "' cannot be made: '" + next->path() +
                                                      "' is not a directory");
    }
    directory = next;
  }
  return directory;
}

Result<Merger::Place> Merger::place_of(std::string_view path, Missing missing) {
  size_t slash = path.rfind('/');
  std::string_view parent = slash == std::string_view::npos ? "" : path.substr(0, slash);
  std::string name(slash == std::string_view::npos ? path : path.substr(slash + 1));
  return Place{CFS_TRY(directory_at(parent, path, missing)), std::move(name)};
}

Result<> Merger::make_room(Place& place) {
  tree::Node* old = tree_.child(*place.directory, place.name);
  if (old == nullptr) return {};
  if (old->is_directory() && !old->children().empty()) {
    return make_error(ErrorCode::kInvalidInput, "'" + old->path() +
                                                    "' is a directory with entries and would be "
                                                    "replaced by something else")
        .with_hint("exclude the directory or the new entry");
  }
  tree_.remove(*old);
  return {};
}

tree::Node* Merger::replace_attributes(tree::Node& directory, const tree::Attributes& attributes) {
  directory.attributes = attributes;
  while (!directory.xattrs().empty()) {
    tree_.remove_xattr(directory, directory.xattrs().back()->key);
  }
  return &directory;
}

Result<tree::Node*> Merger::put(std::string_view path, const tree::Attributes& attributes) {
  if (path.empty()) {
    if (!S_ISDIR(attributes.mode)) {
      return make_error(ErrorCode::kInvalidInput, "the root of the image must be a directory");
    }
    return replace_attributes(tree_.root(), attributes);
  }
  Place place = CFS_TRY(place_of(path, Missing::kCreate));
  tree::Node* old = tree_.child(*place.directory, place.name);
  if (old != nullptr && S_ISDIR(attributes.mode)) {
    tree::Node* directory = CFS_TRY(find_directory(path));
    if (directory != nullptr) return replace_attributes(*directory, attributes);
  }
  CFS_TRY(make_room(place));
  return tree_.add(*place.directory, place.name, attributes);
}

Result<tree::Node*> Merger::put_link(std::string_view path, std::string_view target_path) {
  tree::Node* target = CFS_TRY(find(target_path));
  if (target == nullptr) {
    return make_error(ErrorCode::kInvalidInput,
                      "'/" + std::string(path) + "' is a hard link to '/" +
                          std::string(target_path) + "', which is not there");
  }
  if (target->is_directory()) {
    return make_error(ErrorCode::kInvalidInput, "'/" + std::string(path) +
                                                    "' is a hard link to the directory '/" +
                                                    std::string(target_path) + "'");
  }
  Place place = CFS_TRY(place_of(path, Missing::kCreate));
  tree::Node* old = tree_.child(*place.directory, place.name);
  if (old != nullptr && &old->inode() == &target->inode()) return old;
  CFS_TRY(make_room(place));
  return tree_.add_link(*place.directory, place.name, *target);
}

Result<tree::Node*> Merger::find_directory(std::string_view path) {
  return directory_at(path, path, Missing::kFail);
}

Result<tree::Node*> Merger::find_file(std::string_view path) {
  tree::Node* node = CFS_TRY(find(path));
  for (int followed = 0; node != nullptr && node->inode().is_symlink(); ++followed) {
    if (followed == kMaxSymlinks) return nullptr;
    std::string_view target = node->inode().symlink_target();
    std::string next = target.starts_with('/') ? "" : node->parent()->path() + "/";
    node = CFS_TRY(find(next.append(target)));
  }
  return node != nullptr && node->inode().is_regular() ? node : nullptr;
}

Result<tree::Node*> Merger::find(std::string_view path) {
  if (path.empty()) return &tree_.root();
  Place place = CFS_TRY(place_of(path, Missing::kFail));
  return place.directory == nullptr ? nullptr : tree_.child(*place.directory, place.name);
}

}  // namespace cfs::builder
