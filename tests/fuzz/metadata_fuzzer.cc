// SPDX-License-Identifier: Apache-2.0
// TUF metadata of the role that the first byte says. What parses has one canonical form, and
// parsing that gives the same again.
#include <cstdint>

#include "lib/base/check.h"
#include "lib/trust/metadata.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  trust::Role role = trust::kRoles[data[0] % trust::kRoles.size()];
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  Result<trust::SignedDocument> document = trust::parse_document(role, text);
  if (!document) return 0;
  std::string canonical = json::to_canonical(document->content);
  Result<json::Value> again = json::parse(canonical, {.size_bytes = canonical.size()}, "canonical");
  CFS_CHECK(again && *again == document->content);
  switch (role) {
    case trust::Role::kRoot: {
      Result<trust::RootMetadata> root = trust::parse_root(*document);
      if (root) static_cast<void>(trust::check_signatures(*root, *document).has_value());
      break;
    }
    case trust::Role::kTimestamp:
      static_cast<void>(trust::parse_timestamp(*document).has_value());
      break;
    case trust::Role::kSnapshot:
      static_cast<void>(trust::parse_snapshot(*document).has_value());
      break;
    case trust::Role::kTargets:
      static_cast<void>(trust::parse_targets(*document).has_value());
      break;
  }
  return 0;
}
