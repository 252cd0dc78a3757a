// SPDX-License-Identifier: Apache-2.0
//
// The kernel takes the options that it knows, and hands every other `name=value` whose name has no
// dot to init as an environment variable, and every other word as an argument (Linux
// kernel/params.c, init/main.c unknown_bootoption()). Which names a kernel knows depends on its
// configuration; the list below holds those that command lines of servers and devices use. A wrong
// warning costs a look; LD_PRELOAD in the environment of init is worth one.
#include "signer/command_line_warnings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "lib/kernel_cmdline/command_line.h"

namespace cfs::signer {
namespace {

// Sorted. With `_` for `-`.
constexpr std::string_view kKernelOptions[] = {"acpi",
                                               "acpi_osi",
                                               "amd_iommu",
                                               "amd_pstate",
                                               "apic",
                                               "apparmor",
                                               "audit",
                                               "audit_backlog_limit",
                                               "biosdevname",
                                               "boot_delay",
                                               "cgroup_disable",
                                               "cgroup_enable",
                                               "clocksource",
                                               "cma",
                                               "console",
                                               "consoleblank",
                                               "crashkernel",
                                               "debug",
                                               "debugfs",
                                               "default_hugepagesz",
                                               "dyndbg",
                                               "earlycon",
                                               "earlyprintk",
                                               "elevator",
                                               "enforcing",
                                               "fbcon",
                                               "fips",
                                               "ftrace",
                                               "gather_data_sampling",
                                               "hpet",
                                               "hugepages",
                                               "hugepagesz",
                                               "hung_task_panic",
                                               "idle",
                                               "ima_appraise",
                                               "ima_policy",
                                               "init",
                                               "init_on_alloc",
                                               "init_on_free",
                                               "initcall_blacklist",
                                               "intel_iommu",
                                               "intel_pstate",
                                               "iomem",
                                               "iommu",
                                               "ip",
                                               "irqaffinity",
                                               "isolcpus",
                                               "kfence",
                                               "l1tf",
                                               "lockdown",
                                               "log_buf_len",
                                               "loglevel",
                                               "lpj",
                                               "lsm",
                                               "max_loop",
                                               "maxcpus",
                                               "mce",
                                               "mds",
                                               "mem",
                                               "memmap",
                                               "mitigations",
                                               "modprobe",
                                               "nfsroot",
                                               "nmi_watchdog",
                                               "nohz",
                                               "nohz_full",
                                               "nosmt",
                                               "nr_cpus",
                                               "numa",
                                               "numa_balancing",
                                               "page_poison",
                                               "panic",
                                               "panic_on_warn",
                                               "pci",
                                               "pcie_aspm",
                                               "pcie_ports",
                                               "possible_cpus",
                                               "preempt",
                                               "print_fatal_signals",
                                               "psi",
                                               "pti",
                                               "quiet",
                                               "randomize_kstack_offset",
                                               "rcu_nocbs",
                                               "reboot",
                                               "resume",
                                               "resume_offset",
                                               "retbleed",
                                               "ro",
                                               "root",
                                               "rootdelay",
                                               "rootflags",
                                               "rootfstype",
                                               "rootwait",
                                               "rw",
                                               "security",
                                               "selinux",
                                               "slab_nomerge",
                                               "slub_debug",
                                               "softlockup_panic",
                                               "spec_store_bypass_disable",
                                               "spectre_v2",
                                               "swiotlb",
                                               "sysrq_always_enabled",
                                               "trace_buf_size",
                                               "trace_event",
                                               "transparent_hugepage",
                                               "tsc",
                                               "tsx",
                                               "tsx_async_abort",
                                               "vga",
                                               "video",
                                               "vsyscall",
                                               "watchdog_thresh"};
static_assert(std::ranges::is_sorted(kKernelOptions));

// Options of systemd and of initramfs programs that give a shell, or run what they name, without a
// login.
constexpr std::string_view kShells[] = {"break",           "rd.break",
                                        "rd.shell",        "rd.systemd.debug_shell",
                                        "rd.systemd.unit", "systemd.debug_shell",
                                        "systemd.run",     "systemd.setenv",
                                        "systemd.unit"};

bool is_shell(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  constexpr std::array kNames = {std::string_view("sh"),   std::string_view("bash"),
                                 std::string_view("dash"), std::string_view("busybox"),
                                 std::string_view("ash"),  std::string_view("zsh")};
  return std::ranges::find(kNames, name) != kNames.end();
}

}  // namespace

std::vector<std::string> command_line_warnings(std::string_view command_line) {
  const kernel_cmdline::CommandLine parsed = kernel_cmdline::CommandLine::parse(command_line);
  std::vector<std::string> warnings;
  for (const std::string& name : parsed.names_with_prefix("")) {
    const std::string value = parsed.last(name).value_or("");
    std::string warning;
    if (name == "rdinit") {
      warning = fmt::format("'rdinit={}' starts that instead of the initramfs's init", value);
    } else if (name == "init" && is_shell(value)) {
      warning = fmt::format("'init={}' is a shell: whoever has the console is root", value);
    } else if (std::ranges::find(kShells, name) != std::end(kShells)) {
      warning = fmt::format("'{}' can give a shell or run a program without a login", name);
    } else if (!value.empty() && name.find('.') == std::string::npos &&
               !std::ranges::binary_search(kKernelOptions, name)) {
      warning = fmt::format(
          "'{}={}' is no kernel option that we know: it would be in the environment of init", name,
          value);
    }
    if (!warning.empty() && std::ranges::find(warnings, warning) == warnings.end()) {
      warnings.push_back(std::move(warning));
    }
  }
  return warnings;
}

}  // namespace cfs::signer
