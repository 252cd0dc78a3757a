// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "lib/verity/digest.h"

namespace cfs::verity {

/// SHA-256 of a stream. One thread at a time.
class Sha256Hasher {
 public:
  Sha256Hasher();
  Sha256Hasher(Sha256Hasher&&) noexcept;
  Sha256Hasher& operator=(Sha256Hasher&&) noexcept;
  ~Sha256Hasher();

  void update(Bytes data);
  /// The hash of all data so far. The hasher starts anew afterwards.
  [[nodiscard]] Sha256Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 of `data`.
[[nodiscard]] Sha256Digest sha256(Bytes data);

}  // namespace cfs::verity
