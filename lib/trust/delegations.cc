// SPDX-License-Identifier: Apache-2.0
//
// The search for a target in delegated roles (TUF 1.0.34 §5.6.7): pre-order, depth first, each role
// at most once. A role is asked only for targets that every role on the way to it may delegate, and
// it is verified with the keys that this very delegator names, even if it was verified before on
// another way. A terminating delegation ends the search after the role and what is below it.
#include <fmt/format.h>

#include <set>

#include "lib/trust/announced.h"
#include "lib/trust/client.h"
#include "lib/trust/verified_maker.h"

namespace cfs::trust {
namespace {

constexpr size_t kMaxRoles = 32;  // what one search may fetch

class Search {
 public:
  Search(MetadataStore& store, const Fetch& fetch, const Verified<Targets>& targets,
         const std::string& name, UnixTime now)
      : store_(store), fetch_(fetch), targets_(targets), name_(name), now_(now) {}

  // Nothing when none of the roles has the target.
  Result<std::optional<TargetEntry>> visit(const json::Value& member,
                                           const std::string& delegator) {
    if (member.is_null()) return std::optional<TargetEntry>();
    const Delegations delegations = CFS_TRY(parse_delegations(member, delegator));
    for (const Delegation& delegation : delegations.roles) {
      if (!delegation.covers(name_) || visited_.contains(delegation.role)) continue;
      if (visited_.size() == kMaxRoles) break;
      visited_.insert(delegation.role);
      TargetsMetadata metadata = CFS_TRY(load(delegation, delegations));
      auto entry = metadata.entries.find(name_);
      if (entry != metadata.entries.end()) return std::optional(std::move(entry->second));
      auto unusable = metadata.unusable_entries.find(name_);
      if (unusable != metadata.unusable_entries.end()) {
        return make_error(ErrorCode::kUnsupported, fmt::format("the target '{}' cannot be used: {}",
                                                               name_, unusable->second.problem));
      }
      std::optional<TargetEntry> below =
          CFS_TRY(visit(metadata.delegations, fmt::format("{}.json", delegation.role)));
      if (below) return below;
      if (delegation.terminating) ended_ = true;
      if (ended_) break;
    }
    return std::optional<TargetEntry>();
  }

 private:
  Result<TargetsMetadata> load(const Delegation& delegation, const Delegations& delegations) {
    auto meta = targets_->announced.find(fmt::format("{}.json", delegation.role));
    if (meta == targets_->announced.end()) {
      return make_error(ErrorCode::kNotFound,
                        fmt::format("snapshot.json does not name the role '{}'", delegation.role));
    }
    return internal::update_targets(
        store_, fetch_, internal::delegated_role(delegation, delegations), meta->second, now_);
  }

  MetadataStore& store_;
  const Fetch& fetch_;
  const Verified<Targets>& targets_;
  const std::string& name_;
  UnixTime now_;
  std::set<std::string> visited_;
  bool ended_ = false;  // by a terminating delegation
};

}  // namespace

Result<Verified<TargetEntry>> search_target(MetadataStore& store, const Fetch& fetch,
                                            const Verified<Targets>& targets,
                                            const std::string& name, UnixTime now) {
  Result<const TargetEntry*> entry = find_target(targets, name);
  if (entry) return internal::VerifiedMaker::make(TargetEntry(**entry));
  if (entry.error().code != ErrorCode::kNotFound) return std::move(entry).error();
  std::optional<TargetEntry> delegated =
      CFS_TRY_WITH(fmt::format("looking for the target '{}' in delegated roles", name),
                   Search(store, fetch, targets, name, now)
                       .visit(targets->delegations, role_file(Role::kTargets)));
  if (!delegated) return std::move(entry).error();
  return internal::VerifiedMaker::make(std::move(*delegated));
}

Result<Verified<std::string>> verify_target(const Verified<TargetEntry>& target,
                                            Unverified<std::string> content) {
  CFS_TRY(check_bytes(target->name, content.untrusted(), target->size_bytes, target->hash));
  return internal::VerifiedMaker::make(std::move(content).untrusted());
}

}  // namespace cfs::trust
