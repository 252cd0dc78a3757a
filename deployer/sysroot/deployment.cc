// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/deployment.h"

#include "lib/boot/esp.h"
#include "lib/json/reader.h"

namespace cfs::deployer {
namespace {

constexpr unsigned kSchema = 1;
constexpr size_t kMaxTextBytes = 255;

constexpr std::pair<DeploymentState, std::string_view> kStates[] = {
    {DeploymentState::kStaged, "staged"},
    {DeploymentState::kGood, "good"},
    {DeploymentState::kFailed, "failed"},
};

}  // namespace

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
  deployment.id = CFS_TRY(CFS_TRY(reader.member("id")).text(kMaxTextBytes));
  deployment.digest = CFS_TRY(CFS_TRY(reader.member("digest")).sha256());
  deployment.name = CFS_TRY(CFS_TRY(reader.member("name")).text(kMaxTextBytes));
  deployment.version = CFS_TRY(CFS_TRY(reader.member("version")).text(kMaxTextBytes));
  deployment.channel = CFS_TRY(CFS_TRY(reader.member("channel")).text(kMaxTextBytes));
  deployment.epoch = CFS_TRY(CFS_TRY(reader.member("epoch")).integer());
  deployment.installed = CFS_TRY(CFS_TRY(reader.member("installed")).integer());
  json::Reader entry = CFS_TRY(reader.member("entry"));
  deployment.entry = CFS_TRY(entry.text(kMaxTextBytes));
  if (!boot::check_entry_name(deployment.entry)) return entry.refuse("must be a boot entry's name");
  if (std::optional<json::Reader> keys = CFS_TRY(reader.optional_member("targets_keys"))) {
    deployment.targets_keys = CFS_TRY(keys->sha256());
  }
  json::Reader state = CFS_TRY(reader.member("state"));
  std::string name = CFS_TRY(state.text(kMaxTextBytes));
  for (const auto& [value, known] : kStates) {
    if (name == known) {
      deployment.state = value;
      return deployment;
    }
  }
  return state.refuse("must be staged, good or failed");
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
  if (deployment.targets_keys) object["targets_keys"] = deployment.targets_keys->hex();
  return object;
}

}  // namespace cfs::deployer
