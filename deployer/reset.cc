// SPDX-License-Identifier: Apache-2.0
#include "deployer/reset.h"

#include <memory>

#include "deployer/options.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {

Result<sysroot::ResetRequest> pending_reset(const Sysroot& sysroot) {
  Result<std::string> text =
      sysroot.directory().read_file(sysroot::kReset, sysroot::kMaxResetRequestBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return sysroot::ResetRequest();
  return CFS_TRY_WITH("in '" + std::string(sysroot::kReset) + "'",
                      sysroot::parse_reset_request(CFS_TRY(std::move(text))));
}

Result<> request_reset(Sysroot& sysroot, sysroot::ResetRequest request) {
  Result<sysroot::ResetRequest> pending = pending_reset(sysroot);
  // One that cannot be read is replaced: nobody will do it.
  if (!pending && pending.error().code != ErrorCode::kCorrupt) {
    return Error(std::move(pending).error());
  }
  if (pending) {
    request.etc = request.etc || pending->etc;
    request.identity = request.identity || pending->identity;
    request.var = request.var || pending->var;
  }
  return sysroot.directory().write_file(sysroot::kReset,
                                        as_bytes(sysroot::serialise_reset_request(request)),
                                        sysroot::mode_of(sysroot::kReset, false));
}

std::string describe(const sysroot::ResetRequest& request) {
  std::string what = request.etc && request.var ? "/etc and /var" : request.etc ? "/etc" : "/var";
  return what + (request.identity ? ", with what is kept: the device gets a new identity" : "");
}

RunCommand declare_reset(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    sysroot::ResetRequest request;
    bool all = false;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_flag(command, "--etc", arguments->request.etc,
           "All changes to /etc but what the release keeps");
  add_flag(command, "--var", arguments->request.var, "All of /var");
  add_flag(command, "--all", arguments->all,
           "Both, and what is kept: the machine-id, the ssh host keys");
  exclude(command, "--all", "--etc");
  exclude(command, "--all", "--var");
  return [arguments](const Environment& environment) -> Result<Answer> {
    sysroot::ResetRequest request = arguments->request;
    if (arguments->all) request = {.etc = true, .identity = true, .var = true};
    if (request == sysroot::ResetRequest()) {
      return make_error(ErrorCode::kUsage, "nothing to reset is named")
          .with_hint("--etc, --var, both, or --all");
    }
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    CFS_TRY(request_reset(sysroot, request));
    request = CFS_TRY(pending_reset(sysroot));
    environment.print("the next boot resets " + describe(request) + "\n");
    return Answer();
  };
}

}  // namespace cfs::deployer
