// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <string>
#include <unordered_map>

#include "lib/base/io.h"
#include "lib/tree/dump.h"

namespace cfs::tree {
namespace {

constexpr size_t kReadBytes = 256 * 1024;
constexpr size_t kMaxXattrTextBytes = 65535;
constexpr size_t kMaxPathBytes = 1 << 20;
constexpr size_t kMaxPayloadBytes = 4095;

Error bad(std::string what) { return make_error(ErrorCode::kInvalidInput, std::move(what)); }

/// Fields of a line in their order.
enum Field { kPath, kSize, kMode, kNlink, kUid, kGid, kRdev, kMtime, kPayload, kContent, kDigest };
constexpr size_t kFieldCount = 11;
constexpr const char* kFieldNames[kFieldCount] = {
    "PATH", "SIZE", "MODE", "NLINK", "UID", "GID", "RDEV", "MTIME", "PAYLOAD", "CONTENT", "DIGEST"};

template <typename T>
Result<T> parse_number(Field field, std::string_view text, int base = 10) {
  T value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error == std::errc::invalid_argument || end != text.data() + text.size()) {
    return bad(std::string(kFieldNames[field]) + " is not a number: '" + std::string(text) + "'");
  }
  if (error == std::errc::result_out_of_range) {
    return bad(std::string(kFieldNames[field]) + " is too large: '" + std::string(text) + "'");
  }
  return value;
}

/// Resolves the escapes of `text` into `out` and returns a view of the result; without escapes it
/// is `text` itself. Spec: COMPOSEFS-FORMAT.md §14.
Result<std::string_view> unescape(std::string_view text, std::string& out) {
  size_t backslash = text.find('\\');
  if (backslash == text.npos) return text;
  out.clear();
  out.reserve(text.size());
  while (backslash != text.npos) {
    out.append(text.substr(0, backslash));
    text.remove_prefix(backslash + 1);
    char kind = text.empty() ? '\0' : text.front();
    size_t used = 1;
    switch (kind) {
      case '\\':
        out.push_back('\\');
        break;
      case 'n':
        out.push_back('\n');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case 't':
        out.push_back('\t');
        break;
      case 'x': {
        int high = text.size() > 1 ? hex_digit(text[1]) : -1;
        int low = text.size() > 2 ? hex_digit(text[2]) : -1;
        if (high < 0 || low < 0) return bad("\\x must be followed by two hex digits");
        out.push_back(static_cast<char>(high * 16 + low));
        used = 3;
        break;
      }
      default:
        return bad("a backslash must be followed by \\, n, r, t or xHH");
    }
    text.remove_prefix(used);
    backslash = text.find('\\');
  }
  out.append(text);
  return std::string_view(out);
}

class DumpReader {
 public:
  explicit DumpReader(DumpRules rules) : rules_(rules) {}

  Result<> add_line(std::string_view line) {
    ++line_number_;
    Result<> added = parse_line(line);
    if (!added) return located(std::move(added).error(), line_number_);
    return {};
  }

  Result<Tree> finish() && {
    if (line_number_ == 0) return bad("the dump is empty");
    CFS_TRY(resolve_links());
    return std::move(tree_);
  }

 private:
  struct PendingLink {
    Node* parent;
    std::string name;
    std::string target;
    size_t line_number;
    enum { kNew, kInProgress, kDone } state = kNew;
  };

  static Error located(Error error, size_t line_number) {
    return std::move(error).with("line " + std::to_string(line_number) + " of the dump");
  }

  Result<> parse_line(std::string_view line);
  Result<> parse_attributes(Node& node, std::string_view (&fields)[kFieldCount]);
  Result<> parse_contents(Node& node, std::string_view (&fields)[kFieldCount], uint64_t size_bytes);
  Result<> parse_xattr(Node& node, std::string_view text);
  Result<Node*> find_parent(std::string_view path);
  Result<> resolve_links();
  Result<> resolve(size_t first);

  DumpRules rules_;
  Tree tree_;
  size_t line_number_ = 0;
  std::vector<PendingLink> links_;
  std::unordered_map<std::string, size_t> link_by_path_;
  // The directory of the line before: most lines are for the same one.
  std::string last_parent_path_;
  Node* last_parent_ = nullptr;
  // Scratch of unescape(), one for each text that is alive at the same time.
  std::string path_text_, payload_text_, content_text_, key_text_, value_text_;
};

Result<Node*> DumpReader::find_parent(std::string_view path) {
  if (last_parent_ != nullptr && path == last_parent_path_) return last_parent_;
  Node* node = path.empty() ? &tree_.root() : tree_.find(path);
  if (node == nullptr) return bad("'" + std::string(path) + "' is not there: parents come first");
  if (node->is_link() || !node->is_directory()) {
    return bad("'" + std::string(path) + "' is not a directory");
  }
  last_parent_path_ = path;
  last_parent_ = node;
  return node;
}

Result<> DumpReader::parse_line(std::string_view line) {
  if (line.find('\0') != line.npos) return bad("a NUL byte in the line");
  std::string_view fields[kFieldCount];
  std::string_view rest = line;
  for (size_t i = 0; i < kFieldCount; ++i) {
    size_t space = rest.find(' ');
    size_t needed = rules_ == DumpRules::kStrict ? kFieldCount : size_t{kPayload};
    if (space == rest.npos && i + 1 < needed) {
      return bad("the line has " + std::to_string(i + 1) + " fields, " + std::to_string(needed) +
                 " are needed");
    }
    fields[i] = rest.substr(0, space);
    rest.remove_prefix(space == rest.npos ? rest.size() : space + 1);
    // A field left out is "-", but CONTENT is then content of length 0, which SIZE has to agree
    // with.
    if (i >= kPayload && i != kContent && fields[i].empty()) fields[i] = "-";
  }
  if (rest.size() > kMaxXattrTextBytes) return bad("more than 65535 bytes of extended attributes");

  if (fields[kPath].size() > kMaxPathBytes) return bad("PATH is longer than a megabyte");
  std::string_view path = CFS_TRY(unescape(fields[kPath], path_text_));
  if (path.empty() || path.front() != '/') return bad("PATH must start with '/'");

  std::string_view mode_text = fields[kMode];
  bool is_link = mode_text.starts_with('@');
  if (is_link) mode_text.remove_prefix(1);
  Attributes attributes;
  attributes.mode = CFS_TRY(parse_number<uint32_t>(kMode, mode_text, 8));
  if (rules_ == DumpRules::kUsual) attributes.mode &= 0xffff;  // as the C reference has it
  if (!is_valid_mode(attributes.mode))
    return bad("MODE has no valid file type: '" + std::string(mode_text) + "'");

  Node* node = &tree_.root();
  if (path == "/") {
    if (line_number_ != 1)
      return bad("a second root: '/' stands in the first line and nowhere else");
    if (is_link || !S_ISDIR(attributes.mode)) return bad("the root must be a directory");
    node->attributes.mode = attributes.mode;
  } else {
    if (line_number_ == 1) return bad("the first line must be for '/'");
    size_t slash = path.rfind('/');
    Node* parent = CFS_TRY(find_parent(path.substr(0, slash)));
    std::string_view name = path.substr(slash + 1);
    if (is_link) {
      if (S_ISDIR(attributes.mode)) return bad("a directory cannot be a hard link");
      std::string_view target = CFS_TRY(unescape(fields[kPayload], payload_text_));
      if (fields[kPayload] == "-") return bad("a hard link needs its target in PAYLOAD");
      if (!link_by_path_.emplace(path, links_.size()).second) {
        return make_error(ErrorCode::kExists, "'" + std::string(path) + "' is there twice");
      }
      links_.push_back({parent, std::string(name), std::string(target), line_number_});
      return {};
    }
    node = CFS_TRY(tree_.add(*parent, name, attributes));
  }

  CFS_TRY(parse_attributes(*node, fields));
  while (!rest.empty()) {
    size_t space = std::min(rest.find(' '), rest.size());
    CFS_TRY(parse_xattr(*node, rest.substr(0, space)));
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  return {};
}

Result<> DumpReader::parse_attributes(Node& node, std::string_view (&fields)[kFieldCount]) {
  auto size_bytes = CFS_TRY(parse_number<uint64_t>(kSize, fields[kSize]));
  node.attributes.nlink = CFS_TRY(parse_number<uint32_t>(kNlink, fields[kNlink]));
  node.attributes.uid = CFS_TRY(parse_number<uint32_t>(kUid, fields[kUid]));
  node.attributes.gid = CFS_TRY(parse_number<uint32_t>(kGid, fields[kGid]));
  auto rdev = CFS_TRY(parse_number<uint32_t>(kRdev, fields[kRdev]));
  if (node.is_device()) node.rdev = rdev;

  std::string_view mtime = fields[kMtime];
  size_t dot = mtime.find('.');
  if (dot == mtime.npos) return bad("MTIME must be SECONDS.NANOSECONDS");
  node.attributes.mtime.seconds = CFS_TRY(parse_number<int64_t>(kMtime, mtime.substr(0, dot)));
  node.attributes.mtime.nanoseconds =
      CFS_TRY(parse_number<uint32_t>(kMtime, mtime.substr(dot + 1)));
  if (node.attributes.mtime.nanoseconds >= 1'000'000'000) {
    return bad("MTIME has more than 999999999 nanoseconds");
  }

  bool strict = rules_ == DumpRules::kStrict;
  if (strict && rdev != 0 && !node.is_device()) return bad("RDEV is only for devices");
  return parse_contents(node, fields, size_bytes);
}

/// PAYLOAD, CONTENT and DIGEST must be right for every type, also where nothing comes of them.
Result<> DumpReader::parse_contents(Node& node, std::string_view (&fields)[kFieldCount],
                                    uint64_t size_bytes) {
  bool strict = rules_ == DumpRules::kStrict;
  std::optional<verity::Digest> digest;
  if (fields[kDigest] != "-") {
    digest = verity::Digest::parse(fields[kDigest]);
    if (!digest) return bad("DIGEST must be 64 hex digits");
  }
  std::string_view payload;
  if (fields[kPayload] != "-") payload = CFS_TRY(unescape(fields[kPayload], payload_text_));
  if (payload.size() > kMaxPayloadBytes) return bad("PAYLOAD is longer than 4095 bytes");
  std::string_view content;
  if (fields[kContent] != "-") {
    content = CFS_TRY(unescape(fields[kContent], content_text_));
    if (content.size() != size_bytes) {
      return bad("CONTENT has " + std::to_string(content.size()) + " bytes, SIZE says " +
                 std::to_string(size_bytes));
    }
  }
  if (node.is_symlink()) {
    if (payload.empty()) return bad("a symlink needs its target in PAYLOAD");
    if (strict && size_bytes != payload.size()) return bad("SIZE is not the target's length");
    if (strict && !content.empty()) return bad("a symlink has no CONTENT");
    return tree_.set_symlink_target(node, payload);
  }
  if (node.is_regular()) {
    // The image holds neither payload nor digest of a file that it holds itself.
    if (!content.empty() || size_bytes == 0) return tree_.set_content(node, content);
    return tree_.set_external(node, payload, digest ? &*digest : nullptr, size_bytes);
  }
  if (!node.is_directory()) node.size_bytes = size_bytes;
  return {};
}

Result<> DumpReader::parse_xattr(Node& node, std::string_view text) {
  size_t equals = text.find('=');
  if (equals == text.npos) {
    return bad("an extended attribute must be KEY=VALUE: '" + std::string(text.substr(0, 40)) +
               "'");
  }
  std::string_view key = CFS_TRY(unescape(text.substr(0, equals), key_text_));
  std::string_view value = CFS_TRY(unescape(text.substr(equals + 1), value_text_));
  return tree_.set_xattr(node, key, value);
}

Result<> DumpReader::resolve_links() {
  for (size_t i = 0; i < links_.size(); ++i) {
    Result<> resolved = resolve(i);
    if (!resolved) return std::move(resolved).error();
  }
  return {};
}

// A link may point to a link that comes later. Each chain is followed to a node that is there, then
// made from its far end, so that every link is touched a bounded number of times.
Result<> DumpReader::resolve(size_t first) {
  std::vector<size_t> chain;
  for (size_t next = first; links_[next].state != PendingLink::kDone;) {
    PendingLink& link = links_[next];
    if (link.state == PendingLink::kInProgress) {
      return located(bad("hard links point to each other in a circle"), link.line_number);
    }
    link.state = PendingLink::kInProgress;
    chain.push_back(next);
    auto other = link_by_path_.find(link.target);
    if (other == link_by_path_.end()) break;
    next = other->second;
  }
  while (!chain.empty()) {
    PendingLink& link = links_[chain.back()];
    chain.pop_back();
    Node* target = tree_.find(link.target);
    if (target == nullptr) {
      return located(bad("the hard link's target '" + link.target + "' is not there"),
                     link.line_number);
    }
    Result<Node*> added = tree_.add_link(*link.parent, link.name, *target);
    if (!added) return located(std::move(added).error(), link.line_number);
    link.state = PendingLink::kDone;
  }
  return {};
}

}  // namespace

Result<Tree> parse_dump(std::string_view text, DumpRules rules) {
  DumpReader reader(rules);
  if (rules == DumpRules::kStrict && !text.ends_with('\n')) {
    return bad("the dump does not end with a newline");
  }
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    CFS_TRY(reader.add_line(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::move(reader).finish();
}

Result<Tree> read_dump(int fd, DumpRules rules) {
  DumpReader reader(rules);
  std::string buffer;  // holds the start of a line that is not complete yet
  std::vector<std::byte> piece(kReadBytes);
  for (;;) {
    size_t count = CFS_TRY(read_full(fd, piece));
    std::string_view text = as_text(Bytes(piece).first(count));
    for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n')) {
      if (buffer.empty()) {
        CFS_TRY(reader.add_line(text.substr(0, end)));
      } else {
        buffer.append(text.substr(0, end));
        CFS_TRY(reader.add_line(buffer));
        buffer.clear();
      }
      text.remove_prefix(end + 1);
    }
    buffer.append(text);
    if (count < piece.size()) break;
  }
  if (!buffer.empty()) {
    if (rules == DumpRules::kStrict) return bad("the dump does not end with a newline");
    CFS_TRY(reader.add_line(buffer));
  }
  return std::move(reader).finish();
}

}  // namespace cfs::tree
