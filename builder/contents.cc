// SPDX-License-Identifier: Apache-2.0
#include "builder/contents.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lib/base/io.h"
#include "lib/tree/content_placement.h"

namespace cfs::builder {

Result<store::Batch*> Contents::batch() {
  if (!batch_) batch_ = CFS_TRY(store_.begin());
  return &*batch_;
}

Result<> Contents::put(tree::Tree& tree, tree::Node& file, const ByteSource& source,
                       const store::Batch::HoleSource& holes) {
  // One byte more than what fits inline tells small files from large ones.
  std::array<std::byte, tree::kInlineBytes + 1> head;
  size_t head_size = 0;
  while (head_size < head.size()) {
    size_t count = CFS_TRY(source(std::span(head).subspan(head_size)));
    if (count == 0) break;
    head_size += count;
  }
  if (tree::placement_of(head_size) == tree::Placement::kInline) {
    return tree.set_content(file, as_text(Bytes(head).first(head_size)));
  }
  size_t head_used = 0;
  auto whole = [&](std::span<std::byte> buffer) -> Result<size_t> {
    if (head_used == head_size) return source(buffer);
    size_t count = std::min(buffer.size(), head_size - head_used);
    std::memcpy(buffer.data(), head.data() + head_used, count);
    head_used += count;
    return count;
  };
  store::Batch* objects = CFS_TRY(batch());
  auto holes_behind_head = [&] { return head_used == head_size && holes ? holes() : uint64_t{0}; };
  store::FileDigest object = CFS_TRY(objects->put_stream(whole, holes_behind_head));
  tree.set_object(file, object.digest, object.size_bytes);
  return {};
}

Result<> Contents::put_text(tree::Tree& tree, tree::Node& file, std::string_view text) {
  return put(tree, file, [&](std::span<std::byte> buffer) -> Result<size_t> {
    size_t count = std::min(buffer.size(), text.size());
    std::memcpy(buffer.data(), text.data(), count);
    text.remove_prefix(count);
    return count;
  });
}

Result<> Contents::commit() {
  if (!batch_) return {};
  store::Batch finished = std::move(*batch_);
  batch_.reset();
  return finished.commit();
}

Result<std::string> Contents::read(const tree::Node& file, size_t limit_bytes) {
  const tree::Node& inode = file.inode();
  if (!inode.is_regular()) {
    return make_error(ErrorCode::kInvalidInput, "'" + file.path() + "' is not a regular file");
  }
  if (!inode.is_external()) return std::string(inode.content());
  CFS_TRY(commit());
  UniqueFd fd = CFS_TRY_WITH("while reading '" + file.path() + "' of the image",
                             store_.open_object(*inode.digest()));
  return CFS_TRY_WITH("while reading '" + file.path() + "' of the image",
                      read_fd(fd.get(), limit_bytes));
}

}  // namespace cfs::builder
