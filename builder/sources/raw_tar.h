// SPDX-License-Identifier: Apache-2.0
// Pieces of tar archives for tests: valid ones, and any that no tar would write.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/bytes.h"

namespace cfs::builder::raw_tar {

inline const std::string kPosixMagic(
    "ustar\0"
    "00",
    8);
inline const std::string kGnuMagic("ustar  \0", 8);

/// A header field by field. What is set in `raw` (offset → bytes) goes over everything else.
struct Header {
  std::string name = "f";
  char type = '0';
  std::string size = "0";
  std::string mode = "644";
  std::string uid = "0";
  std::string gid = "0";
  std::string mtime = "0";
  std::string link;
  std::string magic = kPosixMagic;
  std::map<size_t, std::string> raw;
  bool signed_checksum = false;
};

inline std::string padded(std::string text) {
  text.resize(align_up(text.size(), 512));
  return text;
}

inline std::string block(const Header& header) {
  std::string bytes(512, '\0');
  auto put = [&](size_t offset, const std::string& text) {
    bytes.replace(offset, text.size(), text);
  };
  put(0, header.name);
  put(100, header.mode);
  put(108, header.uid);
  put(116, header.gid);
  put(124, header.size);
  put(136, header.mtime);
  put(148, "        ");
  bytes[156] = header.type;
  put(157, header.link);
  put(257, header.magic);
  for (const auto& [offset, text] : header.raw) put(offset, text);
  int sum = 0;
  for (char c : bytes) {
    sum += header.signed_checksum ? int{static_cast<signed char>(c)}
                                  : int{static_cast<unsigned char>(c)};
  }
  char text[8];
  (void)std::snprintf(text, sizeof(text), "%06o", static_cast<unsigned>(sum));
  put(148, text);
  return bytes;
}

inline std::string octal(uint64_t value) {
  char text[32];
  (void)std::snprintf(text, sizeof(text), "%llo", static_cast<unsigned long long>(value));
  return text;
}

inline std::string member(Header header, const std::string& data) {
  if (header.size == "0") header.size = octal(data.size());
  return block(header) + padded(data);
}

inline std::string record(const std::string& text) {
  size_t length = text.size() + 2;
  while (std::to_string(length).size() + text.size() + 2 != length) ++length;
  return std::to_string(length) + " " + text + "\n";
}

/// An extended header with these records ("key=value").
inline std::string pax(const std::vector<std::string>& records, char type = 'x') {
  std::string body;
  for (const std::string& text : records) body += record(text);
  return member({.name = "PaxHeaders/f", .type = type}, body);
}

inline const std::string kEnd(1024, '\0');

/// A number in a field of `width` bytes.
inline std::string base256(const std::string& bytes, size_t width, bool negative = false) {
  std::string text(width - bytes.size(), negative ? '\xff' : '\0');
  if (!negative) text[0] = '\x80';
  return text + bytes;
}

/// A header of a sparse file in the old format of GNU tar, with up to four extents.
inline Header gnu_sparse(const std::string& size, const std::string& real_size,
                         const std::vector<std::pair<std::string, std::string>>& extents) {
  Header header{.type = 'S', .size = size, .magic = kGnuMagic, .raw = {{483, real_size}}};
  size_t offset = 386;
  for (const auto& [at, length] : extents) {
    header.raw[offset] = at;
    header.raw[offset + 12] = length;
    offset += 24;
  }
  return header;
}

}  // namespace cfs::builder::raw_tar
