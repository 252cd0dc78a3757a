// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/reason.h"

#include "lib/base/utf8.h"

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

std::string what_of(std::string_view text) {
  std::string what = printable_text(text);
  for (char& c : what) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  if (what.size() > kMaxWhatBytes) what = printable_text(what.substr(0, kMaxWhatBytes - 2));
  return what;
}

std::string detail_of(std::string_view text) {
  std::string detail = printable_text(text);
  if (detail.size() <= Reason::kMaxDetailBytes) return detail;
  size_t begin = detail.size() - Reason::kMaxDetailBytes;
  auto is_inside_character = [&] {
    return (static_cast<unsigned char>(detail[begin]) & 0xc0) == 0x80;
  };
  while (begin < detail.size() && is_inside_character()) ++begin;
  return detail.substr(begin);
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
    if (reason.what != what_of(reason.what)) return what->refuse("must be printable");
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
