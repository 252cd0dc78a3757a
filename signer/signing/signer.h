// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/json/value.h"
#include "lib/trust/keys.h"
#include "lib/trust/metadata.h"

namespace cfs::signer {

/// A private key, wherever it is. Every signing back end implements this, and nothing else in cfs
/// sees a private key. One thread at a time.
class Signer {
 public:
  virtual ~Signer() = default;
  /// Where the key is, for messages: "keys/root.pem".
  [[nodiscard]] virtual const std::string& name() const = 0;
  [[nodiscard]] virtual const trust::PublicKey& public_key() const = 0;
  /// A signature of `message` that public_key() verifies. Errors: those of the back end, naming the
  /// cause; name() is added by sign_document().
  [[nodiscard]] virtual Result<std::vector<std::byte>> sign(Bytes message) const = 0;
};

using Signers = std::vector<std::unique_ptr<Signer>>;

/// The metadata file that says `content`, signed by each of `signers`.
/// Errors: those of Signer::sign().
[[nodiscard]] Result<std::string> sign_document(trust::Role role, json::Value content,
                                                const Signers& signers);

/// Returns true if one of `signers` has signed this: it was made by us. Devices ask for more.
[[nodiscard]] bool is_signed_by_one_of(const Signers& signers,
                                       const trust::SignedDocument& document);

}  // namespace cfs::signer
