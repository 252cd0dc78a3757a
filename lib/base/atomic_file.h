// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/base/temporary_name.h"

namespace cfs {

/// Whether a file that has the name already is replaced.
enum class Existing { kReplace, kRefuse };

/// A file that appears under its name whole, or not at all: whatever happens, a power cut too, the
/// name means what it meant before or the whole new content.
///
///   AtomicFile file = CFS_TRY(AtomicFile::create(dir_fd, "a/b", 0644));
///   CFS_TRY(write_full(file.fd(), content));
///   CFS_TRY(file.publish());
///
/// Until publish() it is a TemporaryName of prefix kTemporaryPrefix in the directory of `path`,
/// which is removed when the object is destroyed.
class AtomicFile {
 public:
  /// The directory of `path` is found by following symlinks; Directory::create_file() follows none.
  /// `mode`: exactly that, whatever the umask; nothing: 0666 less the umask.
  [[nodiscard]] static Result<AtomicFile> create(int dir_fd, const std::string& path,
                                                 std::optional<mode_t> mode);

  /// Open for reading and writing.
  [[nodiscard]] int fd() const { return temporary_.fd(); }

  /// Makes the content durable, then gives it its name and makes that durable. Call once.
  /// Errors: kExists (Existing::kRefuse). After an error the name means what it meant before, or,
  /// when only its directory could not be synced, the whole new content.
  [[nodiscard]] Result<> publish(Existing existing = Existing::kReplace);

 private:
  AtomicFile(TemporaryName temporary, std::string name)
      : temporary_(std::move(temporary)), name_(std::move(name)) {}
  TemporaryName temporary_;
  std::string name_;  ///< in the same directory
};

/// Writes a whole AtomicFile. `path` as there; `mode`: exactly that, whatever the umask.
[[nodiscard]] Result<> write_file_atomically(int dir_fd, const std::string& path, Bytes content,
                                             mode_t mode = 0644,
                                             Existing existing = Existing::kReplace);

}  // namespace cfs
