// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
#include "lib/base/unverified.h"

namespace cfs::trust {

/// Where a client keeps the metadata that it verified last: a file a role, "root.json",
/// "timestamp.json", "snapshot.json", "targets.json"; and the first root that it was given,
/// "initial_root.json". Loaded files are verified again.
class MetadataStore {
 public:
  virtual ~MetadataStore() = default;
  /// The content of `name`, or nothing when there is none. Errors: kCorrupt when it is larger than
  /// `limit_bytes`, or not a regular file.
  [[nodiscard]] virtual Result<std::optional<Unverified<std::string>>> load(std::string_view name,
                                                                            size_t limit_bytes) = 0;
  /// Replaces `name`; after a power cut it holds the old or the new content.
  [[nodiscard]] virtual Result<> save(std::string_view name, std::string_view content) = 0;
  /// Durable as save(). A missing one is fine.
  [[nodiscard]] virtual Result<> remove(std::string_view name) = 0;
};

/// A directory: <sysroot>/cfs/trust on devices.
class MetadataDirectory : public MetadataStore {
 public:
  /// Opens `path`, creating it when it is missing.
  [[nodiscard]] static Result<MetadataDirectory> open(int dir_fd, const std::string& path);

  [[nodiscard]] Result<std::optional<Unverified<std::string>>> load(std::string_view name,
                                                                    size_t limit_bytes) override;
  [[nodiscard]] Result<> save(std::string_view name, std::string_view content) override;
  [[nodiscard]] Result<> remove(std::string_view name) override;

 private:
  explicit MetadataDirectory(UniqueFd directory) : directory_(std::move(directory)) {}
  UniqueFd directory_;
};

/// In memory: for a check that shall leave nothing behind.
class MetadataInMemory : public MetadataStore {
 public:
  [[nodiscard]] Result<std::optional<Unverified<std::string>>> load(std::string_view name,
                                                                    size_t limit_bytes) override;
  [[nodiscard]] Result<> save(std::string_view name, std::string_view content) override;
  [[nodiscard]] Result<> remove(std::string_view name) override;

  std::map<std::string, std::string, std::less<>> files;
};

}  // namespace cfs::trust
