// SPDX-License-Identifier: Apache-2.0
#include "signer/signing/signer.h"

#include <algorithm>

#include "lib/base/hex.h"

namespace cfs::signer {

Result<std::string> sign_document(trust::Role role, json::Value content, const Signers& signers) {
  trust::SignedDocument document{.role = role, .signatures = {}, .content = std::move(content)};
  const std::string message = trust::signing_form(document);
  for (const std::unique_ptr<Signer>& signer : signers) {
    std::vector<std::byte> signature =
        CFS_TRY_WITH("signing with '" + signer->name() + "'", signer->sign(as_bytes(message)));
    document.signatures.push_back({signer->public_key().id(), to_hex(signature)});
  }
  return trust::serialise_document(document);
}

bool is_signed_by_one_of(const Signers& signers, const trust::SignedDocument& document) {
  const std::string message = trust::signing_form(document);
  return std::ranges::any_of(document.signatures, [&](const trust::Signature& signature) {
    std::vector<std::byte> bytes(signature.hex.size() / 2);
    return from_hex(signature.hex, bytes) &&
           std::ranges::any_of(signers, [&](const std::unique_ptr<Signer>& signer) {
             return signer->public_key().id() == signature.key_id &&
                    signer->public_key().verifies(as_bytes(message), bytes);
           });
  });
}

}  // namespace cfs::signer
