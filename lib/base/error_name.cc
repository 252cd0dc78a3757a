// SPDX-License-Identifier: Apache-2.0
#include "lib/base/error_name.h"

namespace cfs {

std::string_view error_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kExists:
      return "exists";
    case ErrorCode::kPermission:
      return "permission";
    case ErrorCode::kInvalidInput:
      return "invalid_input";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kSourceChanged:
      return "source_changed";
    case ErrorCode::kSubprocess:
      return "subprocess";
    case ErrorCode::kInterrupted:
      return "interrupted";
    case ErrorCode::kNoWayBack:
      return "no_way_back";
    case ErrorCode::kUsage:
      return "usage";
    case ErrorCode::kLint:
      return "lint";
    case ErrorCode::kNotReproducible:
      return "not_reproducible";
    case ErrorCode::kStaleLock:
      return "stale_lock";
    case ErrorCode::kSignature:
      return "signature";
    case ErrorCode::kRollback:
      return "rollback";
    case ErrorCode::kExpired:
      return "expired";
    case ErrorCode::kCorrupt:
      return "corrupt";
    case ErrorCode::kDigestMismatch:
      return "digest_mismatch";
    case ErrorCode::kNoVerity:
      return "no_verity";
    case ErrorCode::kNetwork:
      return "network";
    case ErrorCode::kNoSpace:
      return "no_space";
    case ErrorCode::kNothingToDo:
      return "nothing_to_do";
    case ErrorCode::kInternal:
      break;
  }
  return "internal";
}

}  // namespace cfs
