// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/fsck.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "deployer/boot_order.h"
#include "deployer/config/config.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/sysroot/lost_record.h"
#include "deployer/sysroot/running.h"
#include "deployer/upkeep/repair.h"
#include "lib/base/interrupt.h"
#include "lib/base/progress.h"
#include "lib/base/thread_pool.h"
#include "lib/base/utf8.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr size_t kObjectsPerTask = 1024;
// Measuring waits for the disk: an inode each, nowhere near each other.
constexpr unsigned kThreadsPerCpu = 4;

constexpr std::pair<ProblemKind, const char*> kKinds[] = {
    {ProblemKind::kDirectory, "directory"},
    {ProblemKind::kFile, "file"},
    {ProblemKind::kObject, "object"},
    {ProblemKind::kImageLink, "image-link"},
    {ProblemKind::kDescription, "description"},
    {ProblemKind::kUki, "uki"},
    {ProblemKind::kBootEntry, "boot-entry"},
    {ProblemKind::kBootChoice, "boot-choice"},
    {ProblemKind::kRecord, "record"}};

class Fsck {
 public:
  Fsck(Sysroot& sysroot, boot::BootLoader& loader, const Environment& environment,
       const FsckOptions& options)
      : sysroot_(sysroot), loader_(loader), environment_(environment), options_(options) {}

  Result<FsckReport> run();

 private:
  using Wrong = std::map<verity::Digest, std::string>;

  void report_losses();
  Result<> check_records();
  Result<> repair_record(const std::string& path);
  Result<Deployment> find_lost_record(const std::string& id);
  Result<> restore_lost_record(const std::string& id);
  Result<> repair_deployment_record(const std::string& id);
  Result<bool> is_only_a_record(const std::string& id);
  Result<> repair_reference(const std::string& path);
  Result<> check_directories();
  Result<> check_descriptions();
  Result<> check_images();
  Result<> check_objects();
  Result<Wrong> measure(const std::vector<verity::Digest>& objects);
  Result<> add_missing(const std::vector<verity::Digest>& stored, Wrong& wrong);
  Result<> report_objects(const Wrong& wrong);
  Result<> repair_unneeded(const verity::Digest& object, bool knows_needs);
  Result<> check_links();
  Result<> check_ukis();
  Result<> check_entries();
  Result<> check_choice();
  Result<std::vector<Deployment>> needed_to_boot();
  /// `tries`: of an entry that is put back.
  Result<> check_entry(const Deployment& deployment, const std::optional<boot::BootEntry>& entry,
                       std::optional<unsigned> tries);

  /// Its record can be read.
  [[nodiscard]] bool is_known(const std::string& deployment) const {
    return std::any_of(inventory_.deployments.begin(), inventory_.deployments.end(),
                       [&](const Deployment& one) { return one.id == deployment; });
  }
  [[nodiscard]] bool is_needed(const verity::Digest& image) const {
    return std::any_of(images_.begin(), images_.end(),
                       [&](const NeededImage& needed) { return needed.digest == image; });
  }
  /// Notes a problem, after `repair` if that is wanted.
  Result<> add(Problem problem, const std::function<Result<>()>& repair);

  Sysroot& sysroot_;
  boot::BootLoader& loader_;
  const Environment& environment_;
  const FsckOptions options_;
  Inventory inventory_;
  std::set<std::string> restored_;  ///< ids of deployments
  std::vector<NeededImage> images_;
  std::vector<net::Url> urls_;
  FsckReport report_;
};

Result<> Fsck::add(Problem problem, const std::function<Result<>()>& repair) {
  if (options_.repair) {
    Result<> repaired = repair();
    CFS_TRY(check_interrupted());
    problem.repaired = static_cast<bool>(repaired);
    if (!repaired) problem.left = std::move(repaired).error();
  }
  report_.problems.push_back(std::move(problem));
  return {};
}

Result<FsckReport> Fsck::run() {
  if (options_.repair) {
    inventory_ = CFS_TRY(note_what_booted(sysroot_, environment_, loader_));
    urls_ = repository_urls(sysroot_, environment_);
  } else {
    inventory_ = CFS_TRY(read_inventory(sysroot_));
  }
  report_losses();
  CFS_TRY(check_records());
  images_ = needed_images(inventory_);
  report_.images = images_.size();
  CFS_TRY(check_directories());
  CFS_TRY(check_descriptions());
  CFS_TRY(check_images());
  CFS_TRY(check_objects());
  CFS_TRY(check_links());
  CFS_TRY(check_ukis());
  CFS_TRY(check_entries());
  CFS_TRY(check_choice());
  return std::move(report_);
}

/// Whoever opens a sysroot for writing has restored them.
void Fsck::report_losses() {
  for (const Loss& loss : sysroot_.losses()) {
    report_.problems.push_back({.kind = ProblemKind::kFile,
                                .where = loss.path,
                                .problem = loss.problem,
                                .repaired = loss.is_restored,
                                .left = loss.left});
  }
}

Result<> Fsck::check_records() {
  for (const Damage& damage : inventory_.damaged) {
    CFS_TRY(add({.kind = ProblemKind::kRecord, .where = damage.path, .problem = damage.problem},
                [&] { return repair_record(damage.path); }));
  }
  for (const std::string& id : inventory_.pinned) {
    const std::string path = std::string(sysroot::kPinned) + "/" + id;
    if (is_known(id) || restored_.contains(id)) continue;
    CFS_TRY(add({.kind = ProblemKind::kRecord,
                 .where = printable_text(path),
                 .problem = "there is no such deployment"},
                [&] { return repair_reference(path); }));
  }
  if (!restored_.empty()) inventory_ = CFS_TRY(read_inventory(sysroot_));
  return {};
}

Result<> Fsck::repair_record(const std::string& path) {
  const std::string references = std::string(sysroot::kReferences) + "/";
  const std::string deployments = std::string(sysroot::kDeployments) + "/";
  if (path.starts_with(references)) return repair_reference(path);
  if (path.starts_with(deployments))
    return repair_deployment_record(path.substr(deployments.size()));
  return make_error(ErrorCode::kCorrupt, "nobody knows what the record said");
}

/// What the record said, as far as it is known. Errors: kNotFound (nothing stored tells it).
Result<Deployment> Fsck::find_lost_record(const std::string& id) {
  auto is_named_by = [&](Role role) {
    Result<std::string> target =
        sysroot_.directory().read_link(sysroot::reference_path(role_name(role)));
    return target && *target == sysroot::reference_target(id);
  };
  const bool is_staged = is_named_by(Role::kStaged);
  DeploymentState unproven = DeploymentState::kFetched;
  if (is_staged) unproven = DeploymentState::kStaged;
  if (is_named_by(Role::kPrevious)) unproven = DeploymentState::kGood;
  Deployment record = CFS_TRY(lost_record(sysroot_, id, unproven));
  for (const boot::BootEntry& entry : CFS_TRY(loader_.list())) {
    if (entry.id.ends_with("_" + id) && !boot::same_entry(entry.id, record.entry)) {
      return make_error(ErrorCode::kNotFound, "the stored release is " + record.version +
                                                  ", and the boot entry '" + entry.id +
                                                  "' is of another one");
    }
  }
  // Whether somebody has turned away from it is lost.
  const std::optional<Deployment>& booted = inventory_.references.booted;
  if (!is_staged && booted && record.epoch > booted->epoch && !record.held) {
    record.held = Reason{.kind = ReasonKind::kRolledBack,
                         .detail = "it is taken for rolled back, for its record was lost"};
  }
  return record;
}

/// Errors: as find_lost_record().
Result<> Fsck::restore_lost_record(const std::string& id) {
  const Deployment record = CFS_TRY(find_lost_record(id));
  CFS_TRY(save_deployment(sysroot_, record));
  restored_.insert(id);
  return {};
}

Result<> Fsck::repair_deployment_record(const std::string& id) {
  const Directory& cfs = sysroot_.directory();
  Result<> restored = restore_lost_record(id);
  if (restored || restored.error().code != ErrorCode::kNotFound || !CFS_TRY(is_only_a_record(id))) {
    return restored;
  }
  CFS_TRY(cfs.remove_tree(sysroot::deployment_directory(id)));
  return cfs.sync(sysroot::kDeployments);
}

/// True if nothing is stored that could boot as the deployment, and nothing refers to it: garbage
/// collection has left its record to say that it is held.
Result<bool> Fsck::is_only_a_record(const std::string& id) {
  const Directory& cfs = sysroot_.directory();
  const std::string prefix = id.substr(0, id.find('.'));
  for (const char* directory : {sysroot::kReleases, sysroot::kImages}) {
    for (const std::string& name : CFS_TRY(cfs.list(directory))) {
      if (name.starts_with(prefix)) return false;
    }
  }
  for (const char* directory : {sysroot::kReferences, sysroot::kPinned}) {
    for (const std::string& name : CFS_TRY(cfs.list(directory))) {
      Result<std::string> target = cfs.read_link(std::string(directory) + "/" + name);
      if (target && target->substr(target->rfind('/') + 1) == id) return false;
    }
  }
  return true;
}

/// Makes the record again that a reference should lead to, or removes a reference that leads to
/// nothing. One to a deployment whose record cannot be read stays: it tells that the deployment is
/// needed.
Result<> Fsck::repair_reference(const std::string& path) {
  const Directory& cfs = sysroot_.directory();
  if (Result<std::string> target = cfs.read_link(path)) {
    const std::string id = target->substr(target->rfind('/') + 1);
    // note_what_booted() has set it anew, or the record was made again.
    if (is_known(id) || restored_.contains(id)) return {};
    Result<> restored = restore_lost_record(id);
    if (restored || restored.error().code != ErrorCode::kNotFound) return restored;
    if (CFS_TRY(cfs.exists(sysroot::record_path(id)))) {
      return make_error(ErrorCode::kCorrupt, "the record that it leads to is damaged");
    }
  }
  CFS_TRY(cfs.remove_file(path));
  return cfs.sync(path.substr(0, path.rfind('/')));
}

/// Whoever opens a sysroot for writing mends all but the last kind.
Result<> Fsck::check_directories() {
  const Directory& cfs = sysroot_.directory();
  for (const char* path : sysroot::directories()) {
    Result<struct stat> status = cfs.stat(path);
    if (!status && status.error().code != ErrorCode::kNotFound) {
      return Error(std::move(status).error());
    }
    const mode_t mode = sysroot::mode_of(path, true);
    if (status && status->st_mode == (S_IFDIR | mode)) continue;
    report_.problems.push_back(
        {.kind = ProblemKind::kDirectory,
         .where = path,
         .problem = status ? "it is not a directory of mode " + octal(mode) : "it is missing"});
  }
  for (const std::string& name : CFS_TRY(cfs.list(sysroot::kObjects))) {
    const std::string path = std::string(sysroot::kObjects) + "/" + name;
    const mode_t mode = CFS_TRY(cfs.stat(path)).st_mode;
    if (name.size() != 2 || mode == (S_IFDIR | sysroot::mode_of(path, true))) continue;
    auto repair = [&]() -> Result<> {
      CFS_TRY(cfs.remove_file(path));
      return cfs.sync(sysroot::kObjects);
    };
    const bool is_directory = S_ISDIR(mode);
    CFS_TRY(add({.kind = ProblemKind::kDirectory,
                 .where = path,
                 .problem = is_directory ? "its mode is " + octal(mode) : "it is not a directory"},
                repair));
  }
  return {};
}

Result<> Fsck::check_descriptions() {
  for (const NeededImage& image : images_) {
    Result<release::ReleaseDescription> read = sysroot_.read_release(image.digest);
    CFS_TRY(check_interrupted());
    if (read) continue;
    auto owner = std::find_if(inventory_.deployments.begin(), inventory_.deployments.end(),
                              [&](const Deployment& one) { return one.digest == image.digest; });
    CFS_TRY(add({.kind = ProblemKind::kDescription,
                 .where = sysroot::description_path(image.digest),
                 .problem = read.error().describe()},
                [&] { return repair_description(sysroot_, environment_, urls_, *owner); }));
  }
  return {};
}

/// Images first, and read whole: only they say what else is needed.
Result<> Fsck::check_images() {
  Wrong wrong;
  for (const NeededImage& image : images_) {
    if (std::optional<std::string> problem =
            CFS_TRY(what_is_wrong(sysroot_.objects(), image.digest, Depth::kRead))) {
      wrong.emplace(image.digest, *problem);
    }
  }
  return report_objects(wrong);
}

Result<> Fsck::check_objects() {
  const std::vector<verity::Digest> stored = CFS_TRY(sysroot_.objects().list());
  report_.objects = stored.size();
  Wrong wrong = CFS_TRY(measure(stored));
  CFS_TRY(add_missing(stored, wrong));
  for (const Problem& known : report_.problems) {
    std::optional<verity::Digest> object = sysroot::object_of_path(known.where);
    if (object) wrong.erase(*object);
  }
  return report_objects(wrong);
}

Result<Fsck::Wrong> Fsck::measure(const std::vector<verity::Digest>& objects) {
  Wrong wrong;
  std::mutex mutex;  // protects it
  Progress progress("checking every object", objects.size(), Progress::Unit::kItems);
  ThreadPool pool(available_cpus() * kThreadsPerCpu);
  for (size_t start = 0; start < objects.size(); start += kObjectsPerTask) {
    pool.submit([&, start]() -> Result<> {
      const size_t end = std::min(start + kObjectsPerTask, objects.size());
      for (size_t i = start; i < end; ++i) {
        std::optional<std::string> problem =
            CFS_TRY(what_is_wrong(sysroot_.objects(), objects[i], options_.depth));
        progress.add(1);
        if (!problem) continue;
        std::lock_guard lock(mutex);
        wrong.emplace(objects[i], *problem);
      }
      return {};
    });
  }
  CFS_TRY(pool.finish());
  return wrong;
}

Result<> Fsck::add_missing(const std::vector<verity::Digest>& stored, Wrong& wrong) {
  for (const NeededImage& image : images_) {
    Result<tree::Tree> tree = read_tree(sysroot_.objects(), image.digest);
    CFS_TRY(check_interrupted());
    if (!tree) continue;  // reported as an object
    CFS_TRY(tree->for_each([&](const tree::Node& node) -> Result<> {
      if (node.is_link() || !node.is_external() || node.digest() == nullptr) return {};
      if (!std::binary_search(stored.begin(), stored.end(), *node.digest())) {
        wrong.try_emplace(*node.digest(), "it is missing");
      }
      return {};
    }));
  }
  return {};
}

Result<> Fsck::report_objects(const Wrong& wrong) {
  std::set<verity::Digest> digests;
  for (const auto& [digest, problem] : wrong) digests.insert(digest);
  Uses uses = CFS_TRY(find_uses(sysroot_, images_, digests));
  const bool knows_needs = uses.is_complete && inventory_.damaged.empty();
  std::vector<tree::ObjectReference> wanted;
  for (const auto& [digest, use] : uses.of) {
    if (use.size_bytes) wanted.push_back({digest, *use.size_bytes});
  }
  NotFetched left;
  if (options_.repair) left = CFS_TRY(repair_objects(sysroot_, environment_, urls_, wanted));
  for (const auto& [digest, problem] : wrong) {
    const std::string path = sysroot::object_path(digest);
    const verity::Digest& object = digest;  // which a lambda can capture
    const ObjectUse& use = uses.of[digest];
    auto failed = left.find(digest);
    auto repair = [&, failed]() -> Result<> {
      if (use.count == 0) return repair_unneeded(object, knows_needs);
      if (!use.size_bytes) {
        return make_error(ErrorCode::kNotFound, "the description of its release is damaged");
      }
      if (failed == left.end()) return {};
      return failed->second;
    };
    CFS_TRY(
        add({.kind = ProblemKind::kObject, .where = path, .problem = problem, .use = use}, repair));
  }
  return {};
}

/// What cannot be mended in place is removed.
Result<> Fsck::repair_unneeded(const verity::Digest& object, bool knows_needs) {
  if (CFS_TRY(mend_in_place(sysroot_, object))) return {};
  if (!knows_needs) {
    return make_error(ErrorCode::kNotFound,
                      "a record or an image is damaged, which may say that it is needed");
  }
  const std::string path = sysroot::object_path(object);
  CFS_TRY(sysroot_.directory().remove_tree(path));
  return sysroot_.directory().sync(path.substr(0, path.rfind('/')));
}

Result<> Fsck::check_links() {
  for (const NeededImage& image : images_) {
    const std::string path = sysroot::image_path(image.digest);
    Result<std::string> target = sysroot_.directory().read_link(path);
    CFS_TRY(check_interrupted());
    if (target && *target == sysroot::image_target(image.digest)) continue;
    const bool is_missing = !target && target.error().code == ErrorCode::kNotFound;
    CFS_TRY(add({.kind = ProblemKind::kImageLink,
                 .where = path,
                 .problem = is_missing ? "it is missing" : "it is no link to the image"},
                [&] { return sysroot_.publish_image(image.digest); }));
  }
  // A link of no installed release may stay, if it leads to the image of its name.
  for (const std::string& name : CFS_TRY(sysroot_.directory().list(sysroot::kImages))) {
    std::optional<verity::Digest> image = verity::Digest::parse(name);
    if (!image || image->hex() != name || is_needed(*image)) continue;
    const std::string path = sysroot::image_path(*image);
    Result<std::string> target = sysroot_.directory().read_link(path);
    CFS_TRY(check_interrupted());
    if (!target || *target == sysroot::image_target(*image)) continue;
    CFS_TRY(add({.kind = ProblemKind::kImageLink,
                 .where = path,
                 .problem = "it leads to something else than the image"},
                [&]() -> Result<> {
                  CFS_TRY(sysroot_.directory().remove_file(path));
                  return sysroot_.directory().sync(sysroot::kImages);
                }));
  }
  return {};
}

Result<> Fsck::check_ukis() {
  std::set<std::string> seen;
  for (const Deployment& one : inventory_.deployments) {
    if (!one.uki || !is_needed(one.digest)) continue;
    const std::string path = sysroot::uki_path(one.digest, *one.uki);
    if (!seen.insert(path).second) continue;
    Result<UniqueFd> uki = open_uki(sysroot_, one);
    CFS_TRY(check_interrupted());
    if (uki) continue;
    CFS_TRY(add({.kind = ProblemKind::kUki, .where = path, .problem = uki.error().describe()},
                [&] { return repair_uki(sysroot_, environment_, urls_, one); }));
  }
  return {};
}

/// What boots next, or was chosen to, and what boots if that fails. The recovery waits behind them.
Result<std::vector<Deployment>> Fsck::needed_to_boot() {
  const std::optional<std::string> chosen = CFS_TRY(loader_.chosen());
  std::optional<Deployment> next = CFS_TRY(next_deployment(loader_, inventory_));
  for (const Deployment& one : inventory_.deployments) {
    // The choice may be one that the device has fallen back from.
    const bool is_chosen = chosen && boot::same_entry(*chosen, one.entry);
    if (is_chosen && one.state != DeploymentState::kBad) next = one;
  }
  if (!next) {
    const References& references = inventory_.references;
    next = references.staged ? references.staged : references.booted;
  }
  std::vector<Deployment> needed;
  if (!next) return needed;
  needed.push_back(*next);
  const std::vector<Deployment> ways = ways_back(inventory_, *next);
  if (!ways.empty()) needed.push_back(ways.front());
  return needed;
}

/// Those that are needed to boot must be there. Those of other deployments may be; a bad one's is
/// nobody's loss.
Result<> Fsck::check_entries() {
  const std::vector<Deployment> needed = CFS_TRY(needed_to_boot());
  const std::vector<boot::BootEntry> entries = CFS_TRY(loader_.list());
  const std::optional<Deployment>& recovery = inventory_.references.recovery;
  for (const Deployment& one : inventory_.deployments) {
    std::optional<boot::BootEntry> entry;
    for (const boot::BootEntry& listed : entries) {
      if (boot::same_entry(listed.id, one.entry)) entry = listed;
    }
    const bool is_needed = std::any_of(needed.begin(), needed.end(),
                                       [&](const Deployment& other) { return other.id == one.id; });
    const bool is_recovery = recovery && recovery->id == one.id;
    if (!is_needed && !is_recovery && (!entry || one.state == DeploymentState::kBad)) continue;
    std::optional<unsigned> tries;
    if (!has_proven_good(one)) tries = options_.tries;
    if (is_recovery && !is_needed) tries = boot::kParked;
    if (entry && entry->tries) tries = entry->tries->left;
    CFS_TRY(check_entry(one, entry, tries));
  }
  return {};
}

Result<> Fsck::check_entry(const Deployment& deployment,
                           const std::optional<boot::BootEntry>& entry,
                           std::optional<unsigned> tries) {
  Result<UniqueFd> uki = open_uki(sysroot_, deployment);
  CFS_TRY(check_interrupted());
  const bool is_whole = uki ? CFS_TRY(loader_.holds(deployment.entry, uki->get()))
                            : entry && entry->digest == deployment.digest;
  if (is_whole) return {};
  auto put_back = [&]() -> Result<> {
    if (!uki) return Error(std::move(uki).error());
    return loader_.install(deployment.entry, uki->get(), tries);
  };
  return add({.kind = ProblemKind::kBootEntry,
              .where = deployment.entry,
              .problem = entry ? "the boot entry is damaged" : "there is no such boot entry"},
             put_back);
}

/// Without a choice the first entry with tries left boots, whichever that is. What runs is known to
/// work, and an update stages again what is no longer chosen.
Result<> Fsck::check_choice() {
  const std::optional<std::string> chosen = CFS_TRY(loader_.chosen());
  for (const Deployment& one : inventory_.deployments) {
    if (chosen && boot::same_entry(*chosen, one.entry) && one.state != DeploymentState::kBad) {
      return {};
    }
  }
  const References& references = inventory_.references;
  std::optional<Deployment> next = references.booted;
  if (!next || next->state == DeploymentState::kBad)
    next = CFS_TRY(next_deployment(loader_, inventory_));
  if (!next || (chosen && boot::same_entry(*chosen, next->entry))) return {};
  const std::string& wanted = next->entry;
  return add({.kind = ProblemKind::kBootChoice,
              .where = wanted,
              .problem = chosen ? "'" + printable_text(*chosen) +
                                      "' is chosen to boot, which is bad or of no deployment"
                                : "no boot entry is chosen"},
             [&] { return loader_.set_next(wanted); });
}

}  // namespace

std::string_view kind_name(ProblemKind kind) {
  for (const auto& [known, name] : kKinds) {
    if (known == kind) return name;
  }
  return "";
}

int FsckReport::exit_status() const {
  bool is_left = false;
  bool is_only_network = true;
  for (const Problem& problem : problems) {
    if (problem.repaired) continue;
    is_left = true;
    if (!problem.left || problem.left->code != ErrorCode::kNetwork) is_only_network = false;
  }
  if (!is_left) return 0;
  return cfs::exit_status(is_only_network ? ErrorCode::kNetwork : ErrorCode::kCorrupt);
}

Result<FsckReport> fsck(Sysroot& sysroot, boot::BootLoader& loader, const Environment& environment,
                        const FsckOptions& options) {
  return Fsck(sysroot, loader, environment, options).run();
}

std::string to_text(const FsckReport& report) {
  std::string text;
  uint64_t repaired = 0;
  for (const Problem& problem : report.problems) {
    text += problem.where + ": " + problem.problem + "\n";
    for (const std::string& path : problem.use.paths) text += "    " + path + "\n";
    if (problem.use.count > problem.use.paths.size()) {
      text += "    and " + std::to_string(problem.use.count - problem.use.paths.size()) + " more\n";
    }
    if (problem.kind == ProblemKind::kObject && problem.use.count == 0) {
      text += "    no installed release needs it\n";
    }
    if (problem.repaired) text += "  repaired\n";
    if (problem.left) text += "  not repaired: " + problem.left->describe() + "\n";
    repaired += problem.repaired ? 1 : 0;
  }
  text +=
      std::to_string(report.objects) + " objects, " + std::to_string(report.images) + " images: ";
  if (report.problems.empty()) return text + "nothing is wrong\n";
  return text + std::to_string(report.problems.size()) + " wrong, " + std::to_string(repaired) +
         " repaired\n";
}

json::Value to_json(const FsckReport& report) {
  json::Value::Array problems;
  for (const Problem& problem : report.problems) {
    json::Value::Array uses;
    for (const std::string& path : problem.use.paths) uses.emplace_back(path);
    json::Value left;
    if (problem.left) left = problem.left->describe();
    problems.emplace_back(json::Value::Object{{"kind", kind_name(problem.kind)},
                                              {"where", problem.where},
                                              {"problem", problem.problem},
                                              {"uses", std::move(uses)},
                                              {"use_count", problem.use.count},
                                              {"repaired", problem.repaired},
                                              {"left", std::move(left)}});
  }
  return json::Value::Object{{"schema", 1},
                             {"objects", report.objects},
                             {"images", report.images},
                             {"problems", std::move(problems)}};
}

RunCommand declare_fsck(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    std::string esp;
    bool deep = false;
    bool repair = false;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  add_flag(command, "--deep", arguments->deep, "Read every byte, instead of asking the kernel");
  add_flag(command, "--repair", arguments->repair,
           "Fetch again and put back what is missing or damaged");
  return [arguments](const Environment& environment) -> Result<Answer> {
    const Access access = arguments->repair ? Access::kWrite : Access::kRead;
    Environment quiet = environment;  // the report says it
    quiet.print = [](std::string_view) {};
    Sysroot sysroot = CFS_TRY(Sysroot::open(quiet, arguments->sysroot, access));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, access));
    // A configuration that cannot be read is a health check's matter.
    const Config config = read_config(environment).value_or(Config{});
    FsckReport report = CFS_TRY(fsck(sysroot, esp.loader(), environment,
                                     {.depth = arguments->deep ? Depth::kRead : Depth::kMeasured,
                                      .repair = arguments->repair,
                                      .tries = static_cast<unsigned>(config.tries)}));
    environment.print(to_text(report));
    return Answer{.status = report.exit_status(), .json = to_json(report)};
  };
}

}  // namespace cfs::deployer
