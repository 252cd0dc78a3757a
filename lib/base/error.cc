// SPDX-License-Identifier: Apache-2.0
#include "lib/base/error.h"

#include <cstring>

namespace cfs {
namespace {

struct CodeInfo {
  ErrorCode code;
  std::string_view name;
  int exit_status;
};

constexpr CodeInfo kCodes[] = {
    {ErrorCode::kInternal, "internal", 1},
    {ErrorCode::kIo, "io", 1},
    {ErrorCode::kNotFound, "not_found", 1},
    {ErrorCode::kExists, "exists", 1},
    {ErrorCode::kPermission, "permission", 1},
    {ErrorCode::kInvalidInput, "invalid_input", 1},
    {ErrorCode::kUnsupported, "unsupported", 1},
    {ErrorCode::kBusy, "busy", 1},
    {ErrorCode::kSourceChanged, "source_changed", 1},
    {ErrorCode::kSubprocess, "subprocess", 1},
    {ErrorCode::kInterrupted, "interrupted", 1},
    {ErrorCode::kUsage, "usage", 2},
    {ErrorCode::kLint, "lint", 3},
    {ErrorCode::kNotReproducible, "not_reproducible", 4},
    {ErrorCode::kStaleLock, "stale_lock", 5},
    {ErrorCode::kSignature, "signature", 6},
    {ErrorCode::kRollback, "rollback", 6},
    {ErrorCode::kExpired, "expired", 6},
    {ErrorCode::kCorrupt, "corrupt", 7},
    {ErrorCode::kDigestMismatch, "digest_mismatch", 7},
    {ErrorCode::kNoVerity, "no_verity", 7},
    {ErrorCode::kNetwork, "network", 8},
    {ErrorCode::kNoSpace, "no_space", 9},
    {ErrorCode::kNothingToDo, "nothing_to_do", 10},
};

const CodeInfo& info(ErrorCode code) {
  for (const CodeInfo& entry : kCodes) {
    if (entry.code == code) return entry;
  }
  return kCodes[0];
}

}  // namespace

std::string_view error_name(ErrorCode code) { return info(code).name; }

int exit_status(ErrorCode code) { return info(code).exit_status; }

std::string Error::describe() const {
  std::string text = message;
  if (sys_errno != 0) {
    text += ": ";
    text += strerrordesc_np(sys_errno) != nullptr ? strerrordesc_np(sys_errno) : "unknown error";
  }
  if (!context.empty()) {
    text += " (";
    for (size_t i = 0; i < context.size(); ++i) {
      if (i > 0) text += "; ";
      text += context[i];
    }
    text += ")";
  }
  return text;
}

Error make_error(ErrorCode code, std::string message, const char* file, int line) {
  Error error;
  error.code = code;
  error.message = std::move(message);
  error.file = file;
  error.line = line;
  return error;
}

Error errno_error(std::string message, int error_number, const char* file, int line) {
  ErrorCode code = ErrorCode::kIo;
  switch (error_number) {
    case ENOENT:
      code = ErrorCode::kNotFound;
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      code = ErrorCode::kNoSpace;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = ErrorCode::kPermission;
      break;
    case EEXIST:
      code = ErrorCode::kExists;
      break;
    case EINTR:
      code = ErrorCode::kInterrupted;
      break;
    default:
      break;
  }
  Error error = make_error(code, std::move(message), file, line);
  error.sys_errno = error_number;
  return error;
}

}  // namespace cfs
