// SPDX-License-Identifier: Apache-2.0
//
// Three versions of each path decide what becomes of it: what the running release ships, what is on
// the device, and what cfs-deploy left there last (decide.h). The difficulty is a power cut between
// a change and the record of it: whatever boots then, perhaps the release before, must not take the
// half of a delivery for changes of the device. So
//
// 1. everything new is made in the temporary directory, and synced;
// 2. the record is written: each path that will change may be as before or as after;
// 3. each path changes in one step: a rename, an exchange, a removal. Only the attributes of a
//    directory that stays take several, and the record says that it may be any directory then;
// 4. all is synced, and the record is written as things are.
#include "deployer/var/deliver.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>  // renameat2
#include <map>
#include <set>

#include "deployer/fetch/plan.h"
#include "deployer/var/decide.h"
#include "lib/base/free_space.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/base/relative_path.h"
#include "lib/sysroot/layout.h"
#include "lib/sysroot/var_policy.h"

namespace cfs::deployer {
namespace {

using sysroot::VarPolicy;

constexpr uint64_t kBlockBytes = 4096;
constexpr const char* kStaging = "tmp/var";

struct Item {
  std::string path;  ///< relative to /var; "." is /var itself
  std::optional<Entry> shipped;
  std::optional<Entry> found;
  std::optional<Delivered> before;
  VarPolicy policy = VarPolicy::kMissingOnly;
  VarStep step = VarStep::kNothing;
  std::string staged;  ///< kPut: its name in the temporary directory

  /// Its attributes change and nothing else.
  [[nodiscard]] bool stays_directory() const {
    return shipped && found && shipped->is_directory() && found->is_directory();
  }
};

template <typename T>
const T* pointer_to(const std::optional<T>& value) {
  return value ? &*value : nullptr;
}

class Delivery {
 public:
  Delivery(const Directory& cfs, Directory release, Directory factory, Directory var)
      : cfs_(cfs),
        release_(std::move(release)),
        factory_(std::move(factory)),
        var_(std::move(var)) {}

  Result<VarDelivery> run(const verity::Digest& image) {
    DeliveryRecord record = CFS_TRY(read_record());
    if (record.image == image) return result_;
    CFS_TRY(plan(record));
    bool changes = std::any_of(items_.begin(), items_.end(), [](const Item& item) {
      return item.step == VarStep::kPut || item.step == VarStep::kRemove;
    });
    if (changes) {
      CFS_TRY(stage());
      CFS_TRY(sync_filesystem(cfs_.fd()));
      CFS_TRY(write_record(record_under_way()));
      CFS_TRY(apply());
      CFS_TRY(sync_filesystem(cfs_.fd()));
      CFS_TRY(cfs_.remove_tree(kStaging));
    }
    CFS_TRY(write_record(record_when_done(image)));
    for (const Item& item : items_) {
      bool is_file = item.shipped && !item.shipped->is_directory();
      if (is_file && item.step == VarStep::kLeave) result_.kept.push_back(item.path);
    }
    return std::move(result_);
  }

 private:
  /// The record, or an empty one when there is none that can be used.
  Result<DeliveryRecord> read_record() {
    Result<std::string> text = cfs_.read_file(sysroot::kVarRecord, kMaxDeliveredBytes);
    if (!text && text.error().code == ErrorCode::kNotFound) return DeliveryRecord();
    Result<DeliveryRecord> record =
        text ? parse_delivery_record(*text) : Result<DeliveryRecord>(std::move(text).error());
    if (record || record.error().code != ErrorCode::kCorrupt) return record;
    result_.damage = std::move(record).error();
    return DeliveryRecord();
  }

  Result<> plan(const DeliveryRecord& record) {
    std::vector<sysroot::VarRule> rules = CFS_TRY(read_rules());
    std::vector<std::string> shipped = CFS_TRY(paths_below(factory_));
    shipped.emplace_back(".");
    std::set<std::string> paths(shipped.begin(), shipped.end());
    for (const auto& [path, delivered] : record.entries) paths.insert(path);
    std::set<std::string> blocked;  // directories that are none on the device, and stay so
    for (const std::string& path : paths) {
      CFS_TRY(check_interrupted());
      Item item{.path = path};
      item.shipped = CFS_TRY(look_at(factory_, path));
      item.found = CFS_TRY(look_at(var_, path));
      if (auto known = record.entries.find(path); known != record.entries.end()) {
        item.before = known->second;
      }
      item.policy = sysroot::policy_of(rules, path == "." ? "/var" : "/var/" + path);
      if (path == "." && !item.before) {  // the directory that waits for the first delivery
        item.before =
            Delivered{.policy = VarPolicy::kReplacedUnlessChanged, .or_any_directory = true};
      }
      item.step = decide(
          {pointer_to(item.shipped), pointer_to(item.found), pointer_to(item.before), item.policy});
      if (item.shipped && blocked.contains(split_path(path).directory)) {
        item.step = VarStep::kLeave;
      }
      if (item.step == VarStep::kLeave && item.shipped && item.shipped->is_directory() &&
          !item.stays_directory()) {
        blocked.insert(path);
      }
      items_.push_back(std::move(item));
    }
    return {};
  }

  Result<std::vector<sysroot::VarRule>> read_rules() {
    Result<std::string> text =
        release_.read_file(sysroot::kVarPolicyFile, sysroot::kMaxVarPolicyBytes);
    if (!text && text.error().code == ErrorCode::kNotFound) return std::vector<sysroot::VarRule>();
    return sysroot::parse_var_rules(CFS_TRY(std::move(text)));
  }

  /// Makes what will be put, all but directories that stay, in the temporary directory.
  Result<> stage() {
    uint64_t bytes = 0;
    uint64_t inodes = 0;
    for (const Item& item : items_) {
      if (item.step != VarStep::kPut || item.stays_directory()) continue;
      bytes += align_up(static_cast<uint64_t>(item.shipped->status.st_size), kBlockBytes);
      ++inodes;
    }
    CFS_TRY(require_space(cfs_.fd(), "the sysroot, for /var,", bytes + kMarginBytes,
                          inodes + kMarginInodes));
    CFS_TRY(cfs_.remove_tree(kStaging));
    CFS_TRY(cfs_.make_directories(kStaging, 0700));
    temporary_ = CFS_TRY(cfs_.open_directory(kStaging));
    Progress progress("copying to /var", bytes);
    // The first name of each file with several, by its number.
    std::map<std::pair<dev_t, ino_t>, std::pair<const Directory*, std::string>> names;
    for (Item& item : items_) {
      if (!item.shipped || item.stays_directory()) continue;
      CFS_TRY(check_interrupted());
      const struct stat& status = item.shipped->status;
      bool has_names = !item.shipped->is_directory() && status.st_nlink > 1;
      const auto number = std::pair(status.st_dev, status.st_ino);
      if (item.step == VarStep::kNothing && has_names) {
        names.try_emplace(number, &var_, item.path);
      }
      if (item.step != VarStep::kPut) continue;
      item.staged = std::to_string(count_++);
      auto first = names.find(number);
      if (has_names && first != names.end()) {
        CFS_TRY(link(*first->second.first, first->second.second, item.staged));
        continue;
      }
      CFS_TRY_WITH("while copying '" + item.path + "' to /var",
                   copy_entry(factory_, item.path, *item.shipped, *temporary_, item.staged));
      progress.add(align_up(static_cast<uint64_t>(status.st_size), kBlockBytes));
      if (has_names) names.try_emplace(number, &*temporary_, item.staged);
    }
    return {};
  }

  Result<> link(const Directory& from, const std::string& path, const std::string& staged) {
    SplitPath parts = split_path(path);
    Directory parent = CFS_TRY(from.open_directory(parts.directory));
    if (::linkat(parent.fd(), parts.name.c_str(), temporary_->fd(), staged.c_str(), 0) != 0) {
      return errno_error("cannot link '" + path + "'");
    }
    return {};
  }

  [[nodiscard]] DeliveryRecord record_under_way() const {
    DeliveryRecord record;
    for (const Item& item : items_) {
      if (item.step == VarStep::kLeave || !item.shipped) {
        if (!item.before) continue;
        Delivered& delivered = record.entries[item.path] = *item.before;
        if (item.step == VarStep::kRemove) delivered.or_nothing = true;
        continue;
      }
      Delivered delivered = item.before.value_or(Delivered{.or_nothing = !item.found});
      delivered.policy = std::max(delivered.policy, item.policy);
      delivered.fingerprints.insert(item.shipped->fingerprint);
      if (item.step == VarStep::kPut) {
        if (item.stays_directory()) delivered.or_any_directory = true;
        // It has to go before a file can have its name.
        if (item.found && item.found->is_directory() && !item.stays_directory()) {
          delivered.or_nothing = true;
        }
      }
      record.entries[item.path] = std::move(delivered);
    }
    return record;
  }

  [[nodiscard]] DeliveryRecord record_when_done(const verity::Digest& image) const {
    DeliveryRecord record{.image = image};
    for (const Item& item : items_) {
      bool is_as_shipped = item.step == VarStep::kNothing || item.step == VarStep::kPut;
      if (item.shipped && is_as_shipped) {
        record.entries[item.path] = {.policy = item.policy,
                                     .fingerprints = {item.shipped->fingerprint}};
        continue;
      }
      if (!item.before) continue;
      // What the device has changed or removed is remembered, for a release that ships it again.
      bool has_gone = item.step == VarStep::kRemove ||
                      (item.step == VarStep::kNothing && item.before->or_nothing);
      if (!has_gone) record.entries[item.path] = *item.before;
    }
    return record;
  }

  Result<> write_record(const DeliveryRecord& record) {
    const std::string text = serialise_delivery_record(record);
    return cfs_.write_file(sysroot::kVarRecord, as_bytes(text),
                           sysroot::mode_of(sysroot::kVarRecord, false));
  }

  Result<> apply() {
    for (auto item = items_.rbegin(); item != items_.rend(); ++item) {  // children first
      if (item->step == VarStep::kRemove && CFS_TRY(remove(*item))) ++result_.removed;
    }
    for (Item& item : items_) {
      if (item.step != VarStep::kPut) continue;
      CFS_TRY_WITH("while replacing '/var/" + item.path + "'", put(item));
    }
    for (const Item& item : items_) {  // which changed while they were filled
      if (item.step == VarStep::kPut && item.shipped->is_directory()) {
        CFS_TRY(set_times(var_, item.path, *item.shipped));
      }
    }
    return {};
  }

  /// Returns false for a directory with entries, or under a mount: that is the device's, and stays.
  Result<bool> remove(const Item& item) {
    SplitPath parts = split_path(item.path);
    Directory parent = CFS_TRY(var_.open_directory(parts.directory));
    int flags = item.found->is_directory() ? AT_REMOVEDIR : 0;
    if (::unlinkat(parent.fd(), parts.name.c_str(), flags) == 0) return true;
    bool is_in_use = errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY;
    if (item.found->is_directory() && is_in_use) return false;
    return errno_error("cannot remove '/var/" + item.path + "'");
  }

  Result<> put(Item& item) {
    if (item.stays_directory()) {
      CFS_TRY(set_attributes(var_, item.path, *item.shipped));
      ++result_.replaced;
      return {};
    }
    SplitPath parts = split_path(item.path);
    Directory parent = CFS_TRY(var_.open_directory(parts.directory));
    bool was_directory = item.found && item.found->is_directory();
    if (was_directory && item.policy != VarPolicy::kReplaced) {
      if (!CFS_TRY(remove(item))) {
        item.step = VarStep::kLeave;
        return {};
      }
      was_directory = false;
      item.found.reset();
    }
    bool swaps = item.found && (was_directory || item.shipped->is_directory());
    unsigned flags = 0;
    if (!item.found) flags = RENAME_NOREPLACE;
    if (swaps) flags = RENAME_EXCHANGE;
    if (::renameat2(temporary_->fd(), item.staged.c_str(), parent.fd(), parts.name.c_str(),
                    flags) != 0) {
      return errno_error("cannot give it its name");
    }
    if (swaps) CFS_TRY(temporary_->remove_tree(item.staged));
    ++(item.found ? result_.replaced : result_.added);
    return {};
  }

  const Directory& cfs_;
  Directory release_;
  Directory factory_;
  Directory var_;
  std::optional<Directory> temporary_;
  std::vector<Item> items_;  ///< sorted by path: parents first
  size_t count_ = 0;
  VarDelivery result_;
};

}  // namespace

Result<VarDelivery> deliver_var(const Directory& cfs, const std::string& release_root,
                                const verity::Digest& image) {
  Directory release = CFS_TRY(Directory::open(AT_FDCWD, release_root));
  Result<Directory> factory = release.open_directory(sysroot::kFactoryVar);
  if (!factory && factory.error().code == ErrorCode::kNotFound) return VarDelivery();
  if (!factory) return Error(std::move(factory).error());
  Directory var = CFS_TRY(cfs.open_directory(sysroot::kVar));
  return Delivery(cfs, std::move(release), std::move(*factory), std::move(var)).run(image);
}

}  // namespace cfs::deployer
