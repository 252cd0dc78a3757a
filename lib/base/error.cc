// SPDX-License-Identifier: Apache-2.0
#include "lib/base/error.h"

#include <cstring>

namespace cfs {
namespace {

constexpr std::pair<ErrorCode, int> kStatuses[] = {
    {ErrorCode::kUsage, 2},        {ErrorCode::kLint, 3},      {ErrorCode::kNotReproducible, 4},
    {ErrorCode::kStaleLock, 5},    {ErrorCode::kSignature, 6}, {ErrorCode::kRollback, 6},
    {ErrorCode::kExpired, 6},      {ErrorCode::kCorrupt, 7},   {ErrorCode::kDigestMismatch, 7},
    {ErrorCode::kNoVerity, 7},     {ErrorCode::kNetwork, 8},   {ErrorCode::kNoSpace, 9},
    {ErrorCode::kNothingToDo, 10},
};
constexpr int kFailed = 1;  // every other code

}  // namespace

int exit_status(ErrorCode code) {
  for (const auto& [known, status] : kStatuses) {
    if (known == code) return status;
  }
  return kFailed;
}

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

Error make_error(ErrorCode code, std::string message) {
  Error error;
  error.code = code;
  error.message = std::move(message);
  return error;
}

Error errno_error(std::string message, int error_number) {
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
  Error error = make_error(code, std::move(message));
  error.sys_errno = error_number;
  if (error_number == EFBIG) {
    error.hint = "files may not grow so large here: 'ulimit -f' shows the limit of the process";
  }
  return error;
}

bool is_lost_by_disk(const Error& error) {
  return error.sys_errno == EIO || error.sys_errno == EUCLEAN || error.sys_errno == EBADMSG;
}

}  // namespace cfs
