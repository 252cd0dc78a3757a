// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/reason.h"

#include <algorithm>

namespace cfs::deployer {
namespace {

constexpr size_t kMaxWhatBytes = 255;
constexpr int kMaxExitStatus = 255;

constexpr std::pair<ReasonKind, std::string_view> kKinds[] = {
    {ReasonKind::kCheck, "check"},
    {ReasonKind::kFatal, "fatal"},
    {ReasonKind::kHung, "hung"},
    {ReasonKind::kPanicked, "panicked"},
    {ReasonKind::kNoHealth, "no-health"},
    {ReasonKind::kMarkedBad, "marked-bad"},
    {ReasonKind::kRolledBack, "rolled-back"},
    {ReasonKind::kCancelled, "cancelled"},
};

bool is_printable(char c) { return c >= ' ' && c <= '~'; }

/// The last line that says something.
std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

}  // namespace

std::string_view kind_name(ReasonKind kind) {
  for (const auto& [value, name] : kKinds) {
    if (value == kind) return name;
  }
  return "";
}

std::string describe(const Reason& reason) {
  const std::string last = last_line(reason.detail);
  const std::string more = last.empty() ? "" : ": " + last;
  switch (reason.kind) {
    case ReasonKind::kCheck:
      return "the check '" + reason.what + "' failed" +
             (reason.exit_status ? " with status " + std::to_string(*reason.exit_status) : "") +
             more;
    case ReasonKind::kFatal:
      return "the boot stopped: FATAL " + reason.what + more;
    case ReasonKind::kHung:
      return "it hung; the watchdog reset the machine";
    case ReasonKind::kPanicked:
      return "the kernel panicked" + more;
    case ReasonKind::kNoHealth:
      return "it was not proven healthy" + more;
    case ReasonKind::kMarkedBad:
      return "it was marked bad" + more;
    case ReasonKind::kRolledBack:
      return "it was rolled back";
    case ReasonKind::kCancelled:
      return "the update was cancelled";
  }
  return "";
}

std::string detail_of(std::string_view text) {
  if (text.size() > Reason::kMaxDetailBytes) {
    text.remove_prefix(text.size() - Reason::kMaxDetailBytes);
  }
  std::string detail(text);
  for (char& c : detail) {
    if (!is_printable(c) && c != '\n' && c != '\t') c = '?';
  }
  return detail;
}

json::Value to_json(const Reason& reason) {
  json::Value::Object object{{"kind", kind_name(reason.kind)}, {"when", reason.when}};
  if (!reason.what.empty()) object["what"] = reason.what;
  if (!reason.detail.empty()) object["detail"] = reason.detail;
  if (reason.exit_status) object["exit_status"] = *reason.exit_status;
  return object;
}

Result<Reason> parse_reason(const json::Reader& reader) {
  Reason reason;
  reason.when = CFS_TRY(CFS_TRY(reader.member("when")).integer());
  if (auto what = CFS_TRY(reader.optional_member("what"))) {
    reason.what = CFS_TRY(what->text(kMaxWhatBytes));
    if (!std::all_of(reason.what.begin(), reason.what.end(), is_printable)) {
      return what->refuse("must be printable");
    }
  }
  if (auto detail = CFS_TRY(reader.optional_member("detail"))) {
    reason.detail = CFS_TRY(detail->text(Reason::kMaxDetailBytes));
    if (reason.detail != detail_of(reason.detail)) return detail->refuse("must be printable");
  }
  if (auto status = CFS_TRY(reader.optional_member("exit_status"))) {
    reason.exit_status = static_cast<int>(CFS_TRY(status->integer(0, kMaxExitStatus)));
  }
  json::Reader kind = CFS_TRY(reader.member("kind"));
  std::string name = CFS_TRY(kind.text(kMaxWhatBytes));
  for (const auto& [value, known] : kKinds) {
    if (name != known) continue;
    reason.kind = value;
    return reason;
  }
  return kind.refuse("is not a kind of reason");
}

}  // namespace cfs::deployer
