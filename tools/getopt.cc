// SPDX-License-Identifier: Apache-2.0
#include "tools/getopt.h"

namespace cfs::tools {

Result<std::vector<std::string>> read_options(
    const std::string& program, const std::vector<std::string>& arguments, const option* options,
    const std::function<Result<>(int, const char*)>& on_option) {
  std::vector<std::string> texts{program};
  texts.insert(texts.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& text : texts) argv.push_back(text.data());
  argv.push_back(nullptr);
  int argc = static_cast<int>(texts.size());
  ::optind = 0;  // starts anew
  ::opterr = 0;
  for (;;) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): command lines are read by one thread
    int found = ::getopt_long(argc, argv.data(), ":", options, nullptr);
    if (found == -1) break;
    if (found == '?' || found == ':') {
      std::string what = argv[static_cast<size_t>(::optind - 1)];
      return make_error(ErrorCode::kUsage, found == ':' ? "'" + what + "' needs a value"
                                                        : "wrong option '" + what + "'")
          .with_hint("see " + program + " --help");
    }
    CFS_TRY(on_option(found, ::optarg));
  }
  return std::vector<std::string>(argv.begin() + ::optind, argv.begin() + argc);
}

}  // namespace cfs::tools
