// SPDX-License-Identifier: Apache-2.0
// A device lives through random operations: updates, boots that go well or badly, rollbacks, marks,
// pins, garbage collection, foreign wishes in the firmware's variables, a disk that is made anew
// under stale ones, and a power cut at any call of the boot loader. After each it is checked that a
// deployment that has proven good boots in the end, however often every other one fails (design
// invariant 4), that whatever has a record or an entry is whole, and that records say what
// happened.
#include <cstdlib>
#include <random>

#include "deployer/apply.h"
#include "deployer/bless.h"
#include "deployer/rollback.h"
#include "deployer/sysroot/running.h"
#include "deployer/test_support.h"
#include "deployer/update.h"
#include "deployer/upkeep/gc.h"
#include "deployer/upkeep/pin.h"
#include "lib/boot/boot_counter.h"
#include "lib/boot/fake_boot_loader.h"

namespace cfs::deployer {
namespace {

/// A boot loader on which the power goes at the n-th change: before it or after it, and for a
/// counter also so that the entry is lost (lib/boot/fat_publish.h).
class CutLoader : public boot::BootLoader {
 public:
  explicit CutLoader(boot::FakeBootLoader& loader) : loader_(loader) {}

  /// 0: never.
  void cut_at(unsigned change, bool is_done, bool loses_entry) {
    left_ = change;
    is_done_ = is_done;
    loses_entry_ = loses_entry;
    is_off_ = false;
  }
  [[nodiscard]] bool is_off() const { return is_off_; }

  Result<std::vector<boot::BootEntry>> list() const override { return loader_.list(); }
  Result<uint64_t> free_bytes() const override { return loader_.free_bytes(); }
  Result<bool> holds(const std::string& id, int uki_fd) const override {
    return loader_.holds(id, uki_fd);
  }
  Result<std::optional<std::string>> chosen() const override { return loader_.chosen(); }
  Result<std::optional<boot::NextBoot>> next() const override { return loader_.next(); }
  Result<std::optional<std::string>> first_with(const boot::AssumedTries& tries) const override {
    return loader_.first_with(tries);
  }
  Result<std::string> unseen_wish() const override { return loader_.unseen_wish(); }
  Result<std::optional<std::string>> selected() const override { return loader_.selected(); }
  Result<> install(const std::string& id, int uki_fd, std::optional<unsigned> tries) override {
    return change([&] { return loader_.install(id, uki_fd, tries); });
  }
  Result<> set_next(const std::string& id) override {
    return change([&] { return loader_.set_next(id); });
  }
  Result<> set_tries(const std::string& id, std::optional<unsigned> tries) override {
    // It stays whole when its trial ends (BootLoader::set_tries()).
    bool is_cut_here = left_ == 1 && tries;
    Result<> result = change([&] { return loader_.set_tries(id, tries); });
    if (is_cut_here && loses_entry_) loader_.lose(id);
    return result;
  }
  Result<> count_boot(const std::string& id) override {
    return change([&] { return loader_.count_boot(id); });
  }
  Result<> remove_doubles() override { return loader_.remove_doubles(); }
  Result<> remove(const std::string& id) override {
    return change([&] { return loader_.remove(id); });
  }

 private:
  template <typename Change>
  Result<> change(Change make) {
    if (is_off_) return off();
    if (left_ == 0 || --left_ > 0) return make();
    is_off_ = true;
    if (is_done_) CFS_TRY(make());
    return off();
  }
  static Error off() { return make_error(ErrorCode::kIo, "the power is off"); }

  boot::FakeBootLoader& loader_;
  unsigned left_ = 0;
  bool is_done_ = false;
  bool loses_entry_ = false;
  bool is_off_ = false;
};

class LifecycleTest : public DeviceTest, public ::testing::WithParamInterface<unsigned> {
 protected:
  void live(unsigned seed, unsigned steps);

  FakeRelease release(uint64_t number) {
    FakeRelease one = first_release();
    one.version = std::to_string(number);
    one.epoch = number;
    one.files["/usr/bin/new"] = random_text(300, number);
    return one;
  }
  /// The machine starts what boots next; nothing of ours runs yet. Returns it, if it is ours.
  std::optional<Deployment> start(const Inventory& inventory) {
    std::optional<boot::NextBoot> next = fake_.next().value();
    if (!next) return std::nullopt;
    fake_.start(next->id);
    set_variable("LoaderBootCountPath", "counted");
    start_kernel();
    for (const Deployment& one : inventory.deployments) {
      if (!boot::same_entry(one.entry, next->id)) continue;
      set_booted(one.digest.hex());
      return one;
    }
    return std::nullopt;
  }
  /// The disk is made anew, from another medium, and the newest release installed. The firmware's
  /// variables stay, and the ESP if it `keeps` that.
  Result<Sysroot> flash(bool keeps_esp, boot::BootLoader& loader, const Environment& environment) {
    std::filesystem::remove_all(path("sysroot"));
    if (!keeps_esp) fake_.make_anew();
    set_booted("");
    CFS_TRY(make_directories(AT_FDCWD, path("sysroot")));
    EXPECT_EQ(CFS_TRY(init()), 0) << output_;
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, path("sysroot"), Access::kWrite));
    CFS_TRY(deployer::update(sysroot, loader, environment, {}));
    return sysroot;
  }
  /// Starts the machine until a good deployment runs; every other one fails before user space.
  /// Right after a switch (`is_settled`) that is no other than the one that was switched to. Works
  /// on a copy.
  void expect_a_good_one_boots(const Inventory& inventory, bool is_settled) {
    boot::FakeBootLoader copy = fake_;
    // One that was proven good and marked bad boots; what runs then turns away from it.
    auto is_good = [](const Deployment& one) {
      if (one.collected) return false;
      return one.state == DeploymentState::kGood ||
             (one.blessed > 0 && one.held && one.held->kind == ReasonKind::kMarkedBad);
    };
    const auto& all = inventory.deployments;
    if (std::none_of(all.begin(), all.end(), is_good)) return;
    std::string order;
    std::set<std::string> failed;
    for (unsigned boots = 0; boots < 20; ++boots) {
      std::optional<boot::NextBoot> next = copy.next().value();
      ASSERT_TRUE(next) << "nothing boots after" << order;
      order += " " + next->id;
      for (const Deployment& one : all) {
        if (!boot::same_entry(one.entry, next->id) || !is_good(one)) continue;
        EXPECT_TRUE(!is_settled || failed.size() <= 1) << "in between boot" << order;
        return;
      }
      failed.insert(next->id);
      copy.start(next->id);
    }
    FAIL() << "only these boot:" << order << describe(inventory);
  }

  /// What there is of deployments and entries.
  std::string describe(const Inventory& inventory) {
    std::string text;
    for (const Deployment& one : inventory.deployments) {
      text += "\n" + one.id + " " + std::string(state_name(one.state)) + " " +
              std::to_string(one.blessed) + (one.collected ? " collected" : "") +
              (one.held ? " held: " + deployer::describe(*one.held) : "");
    }
    const std::vector<boot::BootEntry> entries = fake_.list().value();
    for (const boot::BootEntry& entry : entries) {
      text += "\n" + boot::with_counter(entry.id, entry.tries);
    }
    return text + "\nchosen: " + fake_.chosen().value().value_or("none");
  }
  /// What is pinned or the recovery is there; what is there, or has a boot entry, is whole.
  void expect_all_is_whole(Sysroot& sysroot, const Inventory& inventory) {
    std::set<std::string> ids;
    std::set<verity::Digest> images;
    for (const Deployment& one : inventory.deployments) {
      if (one.collected) continue;
      ids.insert(one.id);
      images.insert(one.digest);
      Result<UniqueFd> uki = open_uki(sysroot, one);
      EXPECT_TRUE(uki) << uki.error().describe();
    }
    for (const std::string& id : inventory.pinned) EXPECT_THAT(ids, testing::Contains(id));
    const std::optional<Deployment>& recovery = inventory.references.recovery;
    EXPECT_TRUE(!recovery || ids.contains(recovery->id));
    const std::vector<boot::BootEntry> entries = fake_.list().value();
    for (const boot::BootEntry& entry : entries) images.insert(entry.digest.value());
    for (const verity::Digest& image : images) {
      Result<> whole = check_image_is_complete(sysroot, image);
      EXPECT_TRUE(whole) << whole.error().describe();
    }
  }

  boot::FakeBootLoader fake_;
};

void LifecycleTest::live(unsigned seed, unsigned steps) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
  CutLoader loader(fake_);
  uint64_t newest = 1;
  offer(release(newest));
  Environment quiet = environment_;
  quiet.print = [](std::string_view) {};
  Sysroot sysroot = flash(false, loader, quiet).value();
  bool wishes_are_open = false;
  constexpr unsigned kMadeAnew = 100;
  std::string log;

  for (unsigned step = 0; step < steps; ++step) {
    if (below(4) == 0) loader.cut_at(1 + below(3), below(2) == 0, below(3) == 0);
    Inventory inventory = read_inventory(sysroot).value();
    auto some_installed = [&] {
      std::vector<Deployment> installed = inventory.deployments;
      std::erase_if(installed, [](const Deployment& one) { return one.collected; });
      return installed[below(static_cast<unsigned>(installed.size()))];
    };
    auto noted = [&]() -> Result<Inventory> { return note_what_booted(sysroot, quiet, loader); };
    std::string what;
    Result<> result;
    auto attempt = [&](const std::string& name, const std::function<Result<>()>& operation) {
      what = name;
      result = operation();
    };
    // One step of 64 makes the disk anew.
    switch (below(64) == 0 ? kMadeAnew : below(16)) {
      case kMadeAnew:
        loader.cut_at(0, false, false);
        attempt("made anew", [&]() -> Result<> {
          sysroot = CFS_TRY(flash(below(2) == 0, loader, quiet));
          return {};
        });
        break;
      case 0:
      case 1:
        attempt("update", [&]() -> Result<> {
          if (newest < 9 && below(2) == 0) offer(release(++newest));
          CFS_TRY(deployer::update(sysroot, loader, quiet, {.retry = below(8) == 0}));
          return {};
        });
        break;
      case 2:
      case 3:
        attempt("reboot, good", [&]() -> Result<> {
          (void)start(inventory);
          inventory = CFS_TRY(noted());
          CFS_TRY(bless(sysroot, loader, quiet, inventory));
          CFS_TRY(collect_garbage(sysroot, loader, quiet, inventory, {}));
          return {};
        });
        break;
      case 4:
        attempt("reboot, not proven", [&]() -> Result<> {
          (void)start(inventory);
          CFS_TRY(noted());
          return {};
        });
        break;
      case 5:
        attempt("reboots that end early", [&]() -> Result<> {
          for (unsigned boots = 1 + below(4); boots > 0; --boots) {
            std::optional<Deployment> started = start(inventory);
            if (!started || started->state == DeploymentState::kGood) break;
          }
          (void)start(inventory);
          CFS_TRY(noted());
          return {};
        });
        break;
      case 6:
        attempt("rollback", [&]() -> Result<> {
          inventory = CFS_TRY(noted());
          Deployment target = CFS_TRY(rollback_target(inventory));
          return switch_to(sysroot, loader, quiet, inventory, target, ReasonKind::kRolledBack, {});
        });
        break;
      case 7:
        attempt("boot", [&]() -> Result<> {
          inventory = CFS_TRY(noted());
          Deployment target =
              inventory.deployments[below(static_cast<unsigned>(inventory.deployments.size()))];
          return switch_to(sysroot, loader, quiet, inventory, target, ReasonKind::kRolledBack, {});
        });
        break;
      case 8:
        attempt("mark-bad", [&]() -> Result<> {
          inventory = CFS_TRY(noted());
          CFS_TRY(mark_bad(sysroot, loader, quiet, inventory, "it smells", std::nullopt));
          return {};
        });
        break;
      case 9:
        attempt("gc", [&]() -> Result<> {
          inventory = CFS_TRY(noted());
          CFS_TRY(collect_garbage(sysroot, loader, quiet, inventory, {}));
          return {};
        });
        break;
      case 10:
        attempt("pin", [&] { return pin(sysroot, some_installed()); });
        break;
      case 11:
        attempt("unpin", [&]() -> Result<> {
          for (const std::string& id : inventory.pinned) CFS_TRY(unpin(sysroot, id));
          return {};
        });
        break;
      case 12:
        attempt("recovery set", [&]() -> Result<> {
          CFS_TRY(noted());
          return set_recovery(sysroot, loader, some_installed());
        });
        break;
      case 13:
        attempt("recovery clear", [&] { return remove_reference(sysroot, Role::kRecovery); });
        break;
      case 14:
        attempt("fetch, apply", [&]() -> Result<> {
          if (newest < 9 && below(2) == 0) offer(release(++newest));
          CFS_TRY(deployer::update(sysroot, loader, quiet, {.until = Until::kFetched}));
          if (below(2) == 0) return {};
          inventory = CFS_TRY(noted());
          std::optional<Deployment> fetched = fetched_deployment(inventory);
          if (fetched) CFS_TRY(boot_next(sysroot, loader, inventory, *fetched, {}));
          return {};
        });
        break;
      default:
        attempt("wishes", [&]() -> Result<> {
          const auto count = static_cast<unsigned>(inventory.deployments.size());
          auto some = [&] { return inventory.deployments[below(count)].entry; };
          fake_.wish({.one_shot = below(2) == 0 ? some() + ".efi" : "",
                      .default_pattern = below(2) == 0 ? some() + "*" : "gone*"});
          wishes_are_open = true;
          return {};
        });
    }
    bool was_cut = loader.is_off();
    loader.cut_at(0, false, false);
    log += "\n" + std::to_string(step) + " " + what + (was_cut ? ", cut" : "") + ": " +
           (result ? "done" : result.error().describe());
    SCOPED_TRACE(log);
    ASSERT_TRUE(result || what != "made anew") << result.error().describe();
    if (!was_cut && !result) {
      // No error but those that say that it cannot be.
      const ErrorCode code = result.error().code;
      ASSERT_TRUE(code == ErrorCode::kNotFound || code == ErrorCode::kNoWayBack ||
                  code == ErrorCode::kUnsupported ||
                  (what == "recovery set" && code == ErrorCode::kInvalidInput))
          << result.error().describe();
    }
    bool has_switched = result && (what == "rollback" || what == "boot" || what == "mark-bad");
    bool is_settled = !was_cut && (has_switched || (result && what == "update"));
    if (has_switched) wishes_are_open = false;
    if (was_cut) (void)start(read_inventory(sysroot).value());
    inventory = read_inventory(sysroot).value();
    ASSERT_THAT(inventory.damaged, IsEmpty());
    expect_all_is_whole(sysroot, inventory);
    if (wishes_are_open) {
      // Somebody else's wish may start a bad one for ever; a switch withdraws it.
      boot::FakeBootLoader without = fake_;
      without.wish({});
      std::swap(fake_, without);
      expect_a_good_one_boots(inventory, false);
      std::swap(fake_, without);
    } else {
      expect_a_good_one_boots(inventory, is_settled);
    }
    if (HasFatalFailure() || HasNonfatalFailure()) return;
    for (const Deployment& one : inventory.deployments) {
      ASSERT_TRUE(one.held || one.state != DeploymentState::kBad) << one.id;
      ASSERT_TRUE(one.blessed > 0 || one.state != DeploymentState::kGood) << one.id;
    }
  }
}

/// A few short lives with every test; as many and as long as the environment says by hand.
unsigned from_environment(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it
  return text == nullptr ? otherwise : static_cast<unsigned>(std::stoul(text));
}

TEST_P(LifecycleTest, AGoodDeploymentAlwaysBoots) {
  live(GetParam(), from_environment("CFS_LIFE_STEPS", 60));
}

// Any number is a life of its own.
INSTANTIATE_TEST_SUITE_P(Seeds, LifecycleTest,
                         ::testing::Range(1U, 1U + from_environment("CFS_LIVES", 3)));

}  // namespace
}  // namespace cfs::deployer
