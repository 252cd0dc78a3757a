// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <string>
#include <unordered_map>

#include "lib/tree/dump.h"

namespace cfs::tree {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;
constexpr size_t kMaxSharedXattrs = 128;  // an inode's, COMPOSEFS-FORMAT.md §7.3

enum class Escape { kPlain, kEquals };

/// Spec: COMPOSEFS-FORMAT.md §14, "Output escapes".
void append_escaped(std::string& out, std::string_view text, Escape escape) {
  for (char c : text) {
    bool plain = c > ' ' && c <= '~' && c != '\\' && !(c == '=' && escape == Escape::kEquals);
    if (plain) {
      out.push_back(c);
    } else if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      char digits[2] = {};
      write_hex(as_bytes({&c, 1}), digits);
      out += "\\x";
      out.append(digits, sizeof(digits));
    }
  }
}

/// A field whose absence is written as `-`.
void append_optional(std::string& out, std::string_view text) {
  if (text.empty()) {
    out += "-";
  } else if (text == "-") {
    out += "\\x2d";
  } else {
    append_escaped(out, text, Escape::kPlain);
  }
}

template <typename T>
void append_number(std::string& out, T value, int base = 10) {
  char text[24];
  auto result = std::to_chars(text, text + sizeof(text), value, base);
  out.append(text, result.ptr);
}

class DumpWriter {
 public:
  DumpWriter(const DumpOptions& options, const ByteSink& sink) : options_(options), sink_(sink) {}

  Result<> add(const Node& entry, std::string_view path) {
    const Node& node = entry.inode();
    // Where the name that holds the file is not selected, the first name that is stands in for it.
    std::string target;
    if (entry.is_link()) {
      target = node.path();
      if (!is_selected(node)) {
        auto [stand_in, is_first] = stand_ins_.try_emplace(&node, path);
        target = is_first ? "" : stand_in->second;
      }
    }
    append_escaped(out_, path, Escape::kPlain);
    out_ += ' ';
    append_number(out_, size_of(node));
    out_ += target.empty() ? " " : " @";
    append_number(out_, node.attributes.mode, 8);
    out_ += ' ';
    append_number(out_, node.attributes.nlink);
    out_ += ' ';
    append_number(out_, node.attributes.uid);
    out_ += ' ';
    append_number(out_, node.attributes.gid);
    out_ += ' ';
    append_number(out_, node.rdev);
    out_ += ' ';
    append_number(out_, node.attributes.mtime.seconds);
    out_ += '.';
    append_number(out_, node.attributes.mtime.nanoseconds);
    out_ += ' ';
    append_optional(out_, target.empty() ? payload_of(node) : target);
    out_ += ' ';
    append_optional(out_, node.content());
    out_ += ' ';
    out_ += node.is_external() && node.digest() != nullptr ? node.digest()->hex() : "-";
    append_xattrs(node);
    out_ += '\n';
    return out_.size() >= kBufferBytes ? flush() : Result<>();
  }

  /// Is the node below one of the selected names?
  bool is_selected(const Node& node) const {
    if (options_.top_level.empty()) return true;
    const Node* top = &node;
    while (top->parent() != nullptr && top->parent()->parent() != nullptr) top = top->parent();
    return std::find(options_.top_level.begin(), options_.top_level.end(), top->name()) !=
           options_.top_level.end();
  }

  Result<> flush() {
    CFS_TRY(sink_(as_bytes(out_)));
    out_.clear();
    return {};
  }

 private:
  static uint64_t size_of(const Node& node) {
    return node.is_symlink() ? node.symlink_target().size() : node.size_bytes;
  }
  static std::string payload_of(const Node& node) {
    if (node.is_symlink()) return std::string(node.symlink_target());
    return node.is_external() ? node.payload() : "";
  }
  void append_xattr(const Xattr& xattr) {
    out_ += ' ';
    append_escaped(out_, xattr.key, Escape::kEquals);
    out_ += '=';
    append_escaped(out_, xattr.value, Escape::kEquals);
  }
  void append_xattrs(const Node& node) {
    std::vector<const Xattr*> shared;
    for (const Xattr* xattr : node.xattrs()) {
      if (options_.shared_xattrs != nullptr && options_.shared_xattrs->contains(xattr) &&
          shared.size() < kMaxSharedXattrs) {
        shared.push_back(xattr);
      } else {
        append_xattr(*xattr);
      }
    }
    for (const Xattr* xattr : shared) append_xattr(*xattr);
  }

  const DumpOptions& options_;
  const ByteSink& sink_;
  std::string out_;
  std::unordered_map<const Node*, std::string> stand_ins_;
};

}  // namespace

Result<> write_dump(const Tree& tree, const DumpOptions& options, const ByteSink& sink) {
  DumpWriter writer(options, sink);
  CFS_TRY(writer.add(tree.root(), "/"));
  // The path grows and shrinks with the walk instead of being made anew for each node.
  struct Level {
    std::span<Node* const> children;
    size_t next;
    size_t path_size;
  };
  std::string path;
  std::vector<Level> levels{{tree.root().children(), 0, 0}};
  while (!levels.empty()) {
    Level& level = levels.back();
    path.resize(level.path_size);
    if (level.next == level.children.size()) {
      levels.pop_back();
      continue;
    }
    const Node& node = *level.children[level.next++];
    if (levels.size() == 1 && !writer.is_selected(node)) continue;
    path += '/';
    path += node.name();
    CFS_TRY(writer.add(node, path));
    if (!node.children().empty()) levels.push_back({node.children(), 0, path.size()});
  }
  return writer.flush();
}

}  // namespace cfs::tree
