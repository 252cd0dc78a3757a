// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/deployment.h"

#include <algorithm>

#include "lib/boot/boot_loader.h"
#include "lib/json/reader.h"
#include "lib/release/description.h"

namespace cfs::deployer {
namespace {

constexpr unsigned kSchema = 1;
constexpr size_t kMaxTextBytes = 255;

constexpr std::pair<DeploymentState, std::string_view> kStates[] = {
    {DeploymentState::kFetched, "fetched"}, {DeploymentState::kStaged, "staged"},
    {DeploymentState::kTrial, "trial"},     {DeploymentState::kGood, "good"},
    {DeploymentState::kBad, "bad"},
};

/// A member that is a text for which `is_right` holds.
Result<std::string> checked_text(const json::Reader& reader, std::string_view key,
                                 bool (*is_right)(std::string_view)) {
  json::Reader member = CFS_TRY(reader.member(key));
  std::string text = CFS_TRY(member.text(kMaxTextBytes));
  if (!is_right(text)) return member.refuse("has characters that do not belong there");
  return text;
}

}  // namespace

bool has_proven_good(const Deployment& deployment) {
  if (deployment.state == DeploymentState::kGood) return true;
  return deployment.state == DeploymentState::kBad && deployment.blessed > 0 && deployment.held &&
         deployment.held->kind == ReasonKind::kMarkedBad;
}

bool is_deployment_id(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef.") == std::string_view::npos;
}

std::string_view state_name(DeploymentState state) {
  for (const auto& [value, name] : kStates) {
    if (value == state) return name;
  }
  return "";
}

Result<Deployment> parse_deployment(std::string_view text) {
  json::Value json = CFS_TRY(json::parse(text, {}, "deployment.json"));
  json::Reader reader(json, "deployment.json");
  if (CFS_TRY(CFS_TRY(reader.member("schema")).integer()) != kSchema) {
    return make_error(ErrorCode::kUnsupported,
                      "deployment.json has a schema that this version does not know");
  }
  Deployment deployment;
  deployment.id = CFS_TRY(checked_text(reader, "id", is_deployment_id));
  deployment.digest = CFS_TRY(CFS_TRY(reader.member("digest")).sha256());
  deployment.name = CFS_TRY(checked_text(reader, "name", release::is_release_name));
  deployment.version = CFS_TRY(checked_text(reader, "version", release::is_version));
  deployment.channel = CFS_TRY(checked_text(reader, "channel", release::is_channel));
  deployment.epoch = CFS_TRY(CFS_TRY(reader.member("epoch")).integer());
  deployment.installed = CFS_TRY(CFS_TRY(reader.member("installed")).integer());
  json::Reader entry = CFS_TRY(reader.member("entry"));
  deployment.entry = CFS_TRY(entry.text(kMaxTextBytes));
  constexpr std::string_view kFileSuffix = ".efi";
  if (deployment.entry.ends_with(kFileSuffix)) {
    deployment.entry.resize(deployment.entry.size() - kFileSuffix.size());
  }
  if (!boot::check_entry_id(deployment.entry)) return entry.refuse("must be a boot entry's id");
  if (std::optional<json::Reader> uki = CFS_TRY(reader.optional_member("uki"))) {
    deployment.uki = CFS_TRY(uki->sha256());
  }
  if (std::optional<json::Reader> keys = CFS_TRY(reader.optional_member("targets_keys"))) {
    deployment.targets_keys = CFS_TRY(keys->sha256());
  }
  if (std::optional<json::Reader> blessed = CFS_TRY(reader.optional_member("blessed"))) {
    deployment.blessed = CFS_TRY(blessed->integer());
  }
  if (std::optional<json::Reader> held = CFS_TRY(reader.optional_member("held"))) {
    deployment.held = CFS_TRY(parse_reason(*held));
  }
  if (std::optional<json::Reader> collected = CFS_TRY(reader.optional_member("collected"))) {
    deployment.collected = CFS_TRY(collected->boolean());
  }
  json::Reader state = CFS_TRY(reader.member("state"));
  std::string name = CFS_TRY(state.text(kMaxTextBytes));
  for (const auto& [value, known] : kStates) {
    if (name == known) {
      deployment.state = value;
      if (value == DeploymentState::kBad && !deployment.held) {
        return state.refuse("is bad without a reason");
      }
      return deployment;
    }
  }
  return state.refuse("must be fetched, staged, trial, good or bad");
}

json::Value to_json(const Deployment& deployment) {
  json::Value::Object object{
      {"schema", int{kSchema}},
      {"id", deployment.id},
      {"digest", deployment.digest.hex()},
      {"name", deployment.name},
      {"version", deployment.version},
      {"channel", deployment.channel},
      {"epoch", deployment.epoch},
      {"state", state_name(deployment.state)},
      {"installed", deployment.installed},
      {"entry", deployment.entry},
  };
  if (deployment.uki) object["uki"] = deployment.uki->hex();
  if (deployment.blessed > 0) object["blessed"] = deployment.blessed;
  if (deployment.collected) object["collected"] = true;
  if (deployment.held) object["held"] = to_json(*deployment.held);
  if (deployment.targets_keys) object["targets_keys"] = deployment.targets_keys->hex();
  return object;
}

}  // namespace cfs::deployer
