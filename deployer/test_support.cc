// SPDX-License-Identifier: Apache-2.0
#include "deployer/test_support.h"

namespace cfs::deployer {

FakeRelease first_release() {
  FakeRelease release{.version = "1", .epoch = 1};
  for (uint64_t i = 0; i < 20; ++i) {
    release.files["/usr/bin/program" + std::to_string(i)] = random_text(1000 + 4000 * i, i);
  }
  release.files["/etc/hostname"] = "device";
  return release;
}

FakeRelease second_release() {
  FakeRelease release = first_release();
  release.version = "2";
  release.epoch = 2;
  release.files["/usr/bin/program3"] = random_text(10'000, 200);
  release.files["/usr/bin/new"] = random_text(20'000, 201);
  return release;
}

FakeRelease third_release() {
  FakeRelease release = second_release();
  release.version = "3";
  release.epoch = 3;
  release.files["/usr/bin/third"] = random_text(9000, 3);
  return release;
}

DeviceTest::DeviceTest() {
  // The file system below the tests may have no fs-verity.
  environment_.verity = store::VerityPolicy::kIfSupported;
  environment_.network.first_backoff = std::chrono::milliseconds(1);
  environment_.network.max_backoff = std::chrono::milliseconds(5);
  environment_.now = [] { return trust::FakeRepository::kNow; };
  environment_.kernel_command_line = path("cmdline");
  environment_.kernel_settings = path("settings");
  environment_.kernel_log = path("kmsg");
  environment_.drop_caches = path("drop_caches");
  environment_.run = path("run");
  environment_.efi_variables = path("efivars");
  environment_.kernel_objects = path("sys");
  environment_.devices = path("dev");
  environment_.device_wait = {};
  environment_.vendor_directory = path("vendor");
  environment_.local_directory = path("local");
  set_booted("");
  for (const char* name : {"sysroot", "esp", "efivars", "settings/random", "run"}) {
    EXPECT_TRUE(make_directories(AT_FDCWD, path(name)));
  }
  start_kernel();
  write("root.json", repository_.files[release::metadata_path("root", 1)]);
}

DeviceTest::~DeviceTest() = default;

std::string DeviceTest::path(const std::string& name) const {
  return directory_.path() + "/" + name;
}

void DeviceTest::write(const std::string& name, const std::string& content) {
  EXPECT_TRUE(write_file_atomically(AT_FDCWD, path(name), as_bytes(content)));
}

std::string DeviceTest::read(const std::string& name) const {
  return read_file(AT_FDCWD, path(name), 64 << 20).value_or("cannot read " + name);
}

release::ReleaseDescription DeviceTest::offer(const FakeRelease& release) {
  std::lock_guard lock(mutex_);
  Result<release::ReleaseDescription> description = publish(repository_, release);
  if (!description) ADD_FAILURE() << description.error().describe();
  repository_.publish_next();
  offered_ = description.value();
  return offered_;
}

Result<int> DeviceTest::run_command(const std::vector<std::string>& arguments) {
  command::CapturedIo io;
  Result<int> status = run(arguments, io.io(), environment_);
  output_ = io.output();
  return status;
}

Result<int> DeviceTest::init() {
  return run_command({"init", "--sysroot", path("sysroot"), "--url", server_.url(), "--root",
                      path("root.json"), "--name", "test"});
}

Result<int> DeviceTest::update(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"update", "--sysroot", path("sysroot"), "--esp",
                                        path("esp")};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_command(arguments);
}

void DeviceTest::expect_up_to_date(const std::string& version) {
  Result<int> result = update();
  ASSERT_TRUE(result) << result.error().describe();
  EXPECT_EQ(*result, 10);
  EXPECT_THAT(output_, HasSubstr("up to date: test " + version));
}

Result<int> DeviceTest::command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin() + 1, {"--sysroot", path("sysroot"), "--esp", path("esp")});
  return run_command(arguments);
}

std::string DeviceTest::status() {
  Result<int> result = command({"status"});
  EXPECT_TRUE(result) << result.error().describe();
  return output_;
}

void DeviceTest::set_booted(const std::string& digest) {
  write("cmdline", digest.empty() ? "quiet\n" : "quiet composefs.digest=" + digest + "\n");
}

void DeviceTest::set_selected_entry(const std::string& id) {
  set_variable("LoaderEntrySelected", id + ".efi");
}

void DeviceTest::set_variable(const std::string& name, const std::string& text) {
  const std::string file = "efivars/" + name + "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
  std::string value("\6\0\0\0", 4);
  for (char c : text + '\0') value += {static_cast<char>(std::tolower(c)), '\0'};
  if (text.empty()) {
    std::filesystem::remove(path(file));
  } else {
    write(file, value);
  }
}

void DeviceTest::start_kernel(unsigned loader_type) {
  write("settings/random/boot_id", "00000000-0000-4000-8000-" + std::to_string(++boots_) + "\n");
  write("settings/bootloader_type", std::to_string(loader_type << 4) + "\n");
}

boot::SystemdBoot DeviceTest::loader() {
  return boot::SystemdBoot::open(AT_FDCWD, path("esp"), path("efivars")).value();
}

std::string DeviceTest::reboot() {
  boot::SystemdBoot esp = loader();
  std::optional<boot::NextBoot> next = esp.next().value();
  std::vector<boot::BootEntry> entries = esp.list().value();
  for (const boot::BootEntry& entry : entries) {
    if (!next || entry.id != next->id) continue;
    set_booted(entry.digest.value().hex());
    set_selected_entry(entry.id);
    set_variable("LoaderEntryOneShot", "");
    count_boot(entry);
    start_kernel();
    return entry.id.substr(4, entry.id.find('_', 4) - 4);
  }
  return "nothing";
}

void DeviceTest::count_boot(const boot::BootEntry& entry) {
  set_variable("LoaderBootCountPath", "");
  if (!entry.tries || entry.tries->left == 0 || !firmware_renames_) return;
  auto file = [&](const boot::Tries& tries) {
    return "esp/EFI/Linux/" + boot::with_counter(entry.id, tries) + ".efi";
  };
  const std::string after = file(boot::after_a_boot(*entry.tries));
  std::filesystem::rename(path(file(*entry.tries)), path(after));
  set_variable("LoaderBootCountPath", after);
}

std::string DeviceTest::reboot_well() {
  std::string version = reboot();
  EXPECT_TRUE(make_directories(AT_FDCWD, path("run/cfs")));
  write("run/cfs/health.json", "{\"passed\":true}");
  Result<int> blessed = command({"bless"});
  EXPECT_TRUE(blessed) << blessed.error().describe();
  return version;
}

std::string DeviceTest::boots_next() {
  std::optional<boot::NextBoot> next = loader().next().value();
  return next ? next->id : "";
}

std::string DeviceTest::reference(const std::string& name) {
  std::error_code error;
  return std::filesystem::read_symlink(path("sysroot/cfs/refs/" + name), error).string();
}

std::vector<std::string> DeviceTest::names_in(const std::string& directory) {
  return list_directory(AT_FDCWD, path(directory)).value_or(std::vector<std::string>{});
}

void DeviceTest::expect_nothing_installed() {
  EXPECT_THAT(names_in("sysroot/cfs/images"), IsEmpty());
  EXPECT_THAT(names_in("sysroot/cfs/deployments"), IsEmpty());
  EXPECT_THAT(names_in("esp/EFI/Linux"), IsEmpty());
  EXPECT_EQ(boots_next(), "");
  EXPECT_EQ(reference("staged"), "");
}

void DeviceTest::expect_exit(const Result<int>& result, int status, const std::string& words) {
  ASSERT_FALSE(result) << output_;
  EXPECT_EQ(exit_status(result.error().code), status) << result.error().describe();
  EXPECT_THAT(result.error().describe(), HasSubstr(words));
}

void DeviceTest::unmount_all_below(const std::string& directory) {
  std::istringstream table(read_file(AT_FDCWD, "/proc/self/mountinfo", 4 << 20).value());
  for (std::string line; std::getline(table, line);) {
    std::optional<mount::MountInfo> info = mount::parse_mountinfo_line(line);
    if (info && info->target.starts_with(directory + "/")) {
      (void)::umount2(info->target.c_str(), MNT_DETACH);  // may have gone with one above it
    }
  }
}

int DeviceTest::in_own_mounts(const std::function<int()>& body) {
  pid_t child = ::fork();
  if (child == 0) {
    const uid_t uid = ::geteuid();
    const gid_t gid = ::getegid();
    if (::unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)) != 0) ::_exit(100);
    if (uid != 0) {
      auto write_proc = [](const char* file, const std::string& text) {
        UniqueFd fd(::open(file, O_WRONLY | O_CLOEXEC));
        if (!write_full(fd.get(), as_bytes(text))) ::_exit(100);
      };
      auto same = [](unsigned id) { return std::to_string(id) + " " + std::to_string(id) + " 1"; };
      write_proc("/proc/self/setgroups", "deny");
      write_proc("/proc/self/uid_map", same(uid));
      write_proc("/proc/self/gid_map", same(gid));
    }
    // EINVAL: / is no mount point (a chroot), where mounts may show elsewhere too until undone.
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 && errno != EINVAL) {
      ::_exit(100);
    }
    int result = body();
    unmount_all_below(directory_.path());
    ::_exit(result);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

}  // namespace cfs::deployer
