// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/board.h"

#include <algorithm>

#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr uint64_t kSchema = 1;
constexpr size_t kMaxBoardBytes = 128;

Result<std::string> parse_board(const std::string& text) {
  json::Value json = CFS_TRY(json::parse(text, {}, sysroot::kConfig));
  json::Reader reader(json, sysroot::kConfig);
  if (CFS_TRY(CFS_TRY(reader.member("schema")).integer()) != kSchema) {
    return make_error(ErrorCode::kUnsupported,
                      "config.json has a schema that this version does not know");
  }
  json::Reader board = CFS_TRY(reader.member("board"));
  std::string name = CFS_TRY(board.text(kMaxBoardBytes));
  if (!release::is_board(name)) return board.refuse("is not the name of a board");
  return name;
}

}  // namespace

Result<> check_board(const std::string& text) {
  CFS_TRY(parse_board(text));
  return {};
}

Result<std::string> read_board(const Directory& cfs) {
  Result<std::string> text = read_original(cfs, kBoardFile);
  if (!text && text.error().code == ErrorCode::kNotFound) return std::string();
  return parse_board(CFS_TRY(std::move(text)));
}

Result<> write_board(const Directory& cfs, const std::string& board) {
  json::Value json = json::Value::Object{{"schema", kSchema}, {"board", board}};
  return cfs.write_file(sysroot::kConfig, as_bytes(json::to_canonical(json) + "\n"),
                        sysroot::mode_of(sysroot::kConfig, false));
}

Result<> check_compatible(const release::ReleaseDescription& release, const std::string& board) {
  if (release.compatible.empty() || std::find(release.compatible.begin(), release.compatible.end(),
                                              board) != release.compatible.end()) {
    return {};
  }
  std::string boards;
  for (const std::string& one : release.compatible) boards += (boards.empty() ? "" : ", ") + one;
  return make_error(ErrorCode::kUnsupported,
                    release.name + " " + release.version + " is for " + boards +
                        ", and this device " +
                        (board.empty() ? "does not say what it is" : "is a '" + board + "'"))
      .with_hint(
          "'board' in cfs/config.json, from --board of 'init' or 'install', says what the "
          "device is");
}

}  // namespace cfs::deployer
