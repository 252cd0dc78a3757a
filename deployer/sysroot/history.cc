// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/history.h"

#include "deployer/sysroot/references.h"
#include "lib/json/canonical.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr int kSchema = 1;
constexpr size_t kMaxTextBytes = 255;
constexpr size_t kMaxHistoryBytes = 4 << 20;

constexpr std::pair<BootOutcome, std::string_view> kOutcomes[] = {
    {BootOutcome::kRunning, "running"},
    {BootOutcome::kHealthy, "healthy"},
    {BootOutcome::kFailed, "failed"},
    {BootOutcome::kEnded, "ended"},
};

Result<Boot> parse_boot(const json::Reader& reader) {
  Boot boot;
  json::Reader boot_id = CFS_TRY(reader.member("boot_id"));
  boot.boot_id = CFS_TRY(boot_id.text(kMaxTextBytes));
  if (boot.boot_id.find_first_not_of("0123456789abcdef-") != std::string::npos) {
    return boot_id.refuse("is not a boot id");
  }
  json::Reader deployment = CFS_TRY(reader.member("deployment"));
  boot.deployment = CFS_TRY(deployment.text(kMaxTextBytes));
  if (!is_deployment_id(boot.deployment)) return deployment.refuse("is not a deployment's id");
  json::Reader version = CFS_TRY(reader.member("version"));
  boot.version = CFS_TRY(version.text(kMaxTextBytes));
  if (!release::is_version(boot.version)) return version.refuse("is not a version");
  boot.started = CFS_TRY(CFS_TRY(reader.member("started")).integer());
  if (auto reason = CFS_TRY(reader.optional_member("reason"))) {
    boot.reason = CFS_TRY(parse_reason(*reason));
  }
  json::Reader outcome = CFS_TRY(reader.member("outcome"));
  std::string name = CFS_TRY(outcome.text(kMaxTextBytes));
  for (const auto& [value, known] : kOutcomes) {
    if (name != known) continue;
    boot.outcome = value;
    return boot;
  }
  return outcome.refuse("must be running, healthy, failed or ended");
}

}  // namespace

std::string_view outcome_name(BootOutcome outcome) {
  for (const auto& [value, name] : kOutcomes) {
    if (value == outcome) return name;
  }
  return "";
}

Result<History> read_history(const Sysroot& sysroot) {
  Result<std::string> text = sysroot.directory().read_file(sysroot::kHistory, kMaxHistoryBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return History{};
  json::Value json = CFS_TRY(
      json::parse(CFS_TRY(std::move(text)), {.size_bytes = kMaxHistoryBytes}, sysroot::kHistory));
  json::Reader reader(json, sysroot::kHistory);
  if (CFS_TRY(CFS_TRY(reader.member("schema")).integer()) != kSchema) {
    return make_error(ErrorCode::kUnsupported,
                      "history.json has a schema that this version does not know");
  }
  History history;
  for (const json::Reader& one : CFS_TRY(CFS_TRY(reader.member("boots")).elements(kMaxBoots))) {
    history.push_back(CFS_TRY(parse_boot(one)));
  }
  return history;
}

Result<History> read_history_to_go_on(const Sysroot& sysroot) {
  Result<History> history = read_history(sysroot);
  return !history && is_damage(history.error()) ? Result<History>(History{}) : std::move(history);
}

Result<> save_history(Sysroot& sysroot, const History& history) {
  json::Value::Array boots;
  for (size_t i = history.size() - std::min(history.size(), kMaxBoots); i < history.size(); ++i) {
    boots.push_back(to_json(history[i]));
  }
  json::Value::Object object{{"schema", kSchema}, {"boots", std::move(boots)}};
  return sysroot.directory().write_file(sysroot::kHistory,
                                        as_bytes(json::to_canonical(object) + "\n"),
                                        sysroot::mode_of(sysroot::kHistory, false));
}

json::Value to_json(const Boot& boot) {
  json::Value::Object object{{"boot_id", boot.boot_id},
                             {"deployment", boot.deployment},
                             {"version", boot.version},
                             {"started", boot.started},
                             {"outcome", outcome_name(boot.outcome)}};
  if (boot.reason) object["reason"] = to_json(*boot.reason);
  return object;
}

}  // namespace cfs::deployer
