// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/store/object_store.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// The contents of a tree's regular files: small ones go into the tree, others into an object
/// store. One thread.
class Contents {
 public:
  /// `store` must outlive this object.
  explicit Contents(store::ObjectStore& store) : store_(store) {}

  /// Reads `source` to its end into `file`; `holes` as in Batch::put_stream().
  [[nodiscard]] Result<> put(tree::Tree& tree, tree::Node& file, const ByteSource& source,
                             const store::Batch::HoleSource& holes = {});
  [[nodiscard]] Result<> put_text(tree::Tree& tree, tree::Node& file, std::string_view text);

  /// The batch that collects new objects until the next commit().
  [[nodiscard]] Result<store::Batch*> batch();

  /// Makes everything put so far durable and readable.
  [[nodiscard]] Result<> commit();

  /// The content of a regular file, checked against its digest. Commits what is open first.
  /// Errors: kInvalidInput when larger than `limit_bytes`; those of ObjectStore::open_object.
  [[nodiscard]] Result<std::string> read(const tree::Node& file, size_t limit_bytes);

 private:
  store::ObjectStore& store_;
  std::optional<store::Batch> batch_;
};

}  // namespace cfs::builder
