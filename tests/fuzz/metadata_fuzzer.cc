// SPDX-License-Identifier: Apache-2.0
// TUF metadata of the role that the first byte says. What parses has one canonical form, and
// parsing that gives the same again.
#include <cstdint>

#include "lib/base/check.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/trust/metadata.h"

namespace {

// What was parsed is written, and parsing that gives what is written in the same way.
template <typename T, typename Parse>
void check_round_trip(cfs::trust::SignedDocument document, const T& parsed, Parse parse) {
  document.content = cfs::trust::to_json(parsed);
  cfs::Result<T> again = parse(document);
  CFS_CHECK(again && cfs::json::Value(cfs::trust::to_json(*again)) == document.content);
}

}  // namespace

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
    case trust::Role::kRoot:
      if (Result<trust::RootMetadata> root = trust::parse_root(*document)) {
        static_cast<void>(trust::check_signatures(*root, *document).has_value());
        check_round_trip(*document, *root, trust::parse_root);
      }
      break;
    case trust::Role::kTimestamp:
      if (Result<trust::TimestampMetadata> timestamp = trust::parse_timestamp(*document)) {
        check_round_trip(*document, *timestamp, trust::parse_timestamp);
      }
      break;
    case trust::Role::kSnapshot:
      if (Result<trust::SnapshotMetadata> snapshot = trust::parse_snapshot(*document)) {
        check_round_trip(*document, *snapshot, trust::parse_snapshot);
      }
      break;
    case trust::Role::kTargets:
      if (Result<trust::TargetsMetadata> targets = trust::parse_targets(*document)) {
        check_round_trip(*document, *targets, trust::parse_targets);
        if (Result<trust::Delegations> delegations =
                trust::parse_delegations(targets->delegations, "targets.json")) {
          for (const trust::Delegation& delegation : delegations->roles) {
            static_cast<void>(delegation.covers("releases/x/file_1.2"));
          }
        }
      }
      break;
  }
  return 0;
}
