// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace cfs {

/// Why an operation failed. Closed list; documented with its exit status in docs/ERRORS.md.
enum class ErrorCode {
  kInternal,         ///< a broken promise inside cfs itself                       exit 1
  kIo,               ///< a system call on a file or device failed                 exit 1
  kNotFound,         ///< a file, object, release or device does not exist         exit 1
  kExists,           ///< something is already there                               exit 1
  kPermission,       ///< not allowed                                              exit 1
  kInvalidInput,     ///< a document or a source tree cannot be used as it is      exit 1
  kUnsupported,      ///< this kernel, file system or format version cannot do it  exit 1
  kBusy,             ///< another process holds the lock                           exit 1
  kSourceChanged,    ///< a source file changed while it was read                  exit 1
  kSubprocess,       ///< a child program failed                                   exit 1
  kInterrupted,      ///< stopped by SIGINT, SIGTERM or SIGHUP                     exit 1
  kNoWayBack,        ///< nothing verified would be left to fall back to           exit 1
  kUsage,            ///< the command line is wrong                                exit 2
  kLint,             ///< the finished tree breaks a lint rule                     exit 3
  kNotReproducible,  ///< two builds of one input differ                           exit 4
  kStaleLock,        ///< the lock file does not match the manifest                exit 5
  kSignature,        ///< a signature is missing or wrong                          exit 6
  kRollback,         ///< metadata or a release older than what was seen           exit 6
  kExpired,          ///< metadata past its expiry time                            exit 6
  kCorrupt,          ///< data is not well-formed                                  exit 7
  kDigestMismatch,   ///< data is not what its digest says                         exit 7
  kNoVerity,         ///< fs-verity is required and not enabled on the file        exit 7
  kNetwork,          ///< a transfer failed                                        exit 8
  kNoSpace,          ///< the file system is full or will be                       exit 9
  kNothingToDo,      ///< documented "already so"                                  exit 10
};

/// The process exit status of a code (docs/ERRORS.md).
[[nodiscard]] int exit_status(ErrorCode code);

/// One failure: what happened, where, and what to do about it. A plain value.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  int sys_errno = 0;                 ///< errno of the failed call, or 0
  std::string message;               ///< what failed, with the object's name in single quotes
  std::vector<std::string> context;  ///< innermost first: "while …"
  std::string hint;                  ///< what the user can do, or empty

  /// Adds what the caller was doing. Returns *this for chaining.
  Error&& with(std::string what) && {
    context.push_back(std::move(what));
    return std::move(*this);
  }
  Error&& with_hint(std::string what) && {
    hint = std::move(what);
    return std::move(*this);
  }

  /// "message: errno text (while …; while …)" on one line, without the hint.
  [[nodiscard]] std::string describe() const;
};

[[nodiscard]] Error make_error(ErrorCode code, std::string message);

/// Makes an Error from an errno value. ENOENT becomes kNotFound, ENOSPC, EDQUOT and EFBIG kNoSpace,
/// EACCES, EPERM and EROFS kPermission, EEXIST kExists, EINTR kInterrupted, everything else kIo.
/// EFBIG has a hint: what is full then is not the disk.
[[nodiscard]] Error errno_error(std::string message, int error_number = errno);

/// True if the disk or its file system did not give what was written there: EIO, and EUCLEAN and
/// EBADMSG, ext4's words for corruption.
[[nodiscard]] bool is_lost_by_disk(const Error& error);

}  // namespace cfs
