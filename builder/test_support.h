// SPDX-License-Identifier: Apache-2.0
// Fixtures for the builder's tests.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "builder/command.h"
#include "builder/rootfs.h"
#include "builder/sources/raw_tar.h"
#include "builder/sources/source.h"
#include "builder/sources/tar.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/command/captured_io.h"
#include "lib/store/object_store.h"
#include "lib/tree/dump.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// A value, or a failed test.
template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().describe();
    throw std::runtime_error("the test cannot go on");
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

/// The whole tree as a composefs dump.
inline std::string dump_of(const tree::Tree& tree) {
  std::string text;
  must(tree::write_dump(tree, {}, sink_to_string(text)));
  return text;
}

/// The smallest ELF program that needs no loader, with `text` behind it.
inline std::string static_program(const std::string& text) {
  Elf64_Ehdr elf = {};
  std::memcpy(elf.e_ident, ELFMAG, SELFMAG);
  elf.e_ident[EI_CLASS] = ELFCLASS64;
  elf.e_type = ET_EXEC;
  elf.e_phentsize = sizeof(Elf64_Phdr);
  std::string program(sizeof(elf), '\0');
  std::memcpy(program.data(), &elf, sizeof(elf));
  return program + text;
}

/// A tree and a store for one test.
struct Workbench {
  TemporaryDirectory directory = must(TemporaryDirectory::create());
  store::ObjectStore store =
      must(store::ObjectStore::open(AT_FDCWD, directory.path() + "/objects", {}));
  Rootfs rootfs{.tree = {}, .contents = Contents(store)};
  tree::Tree& tree = rootfs.tree;
  Contents& contents = rootfs.contents;

  [[nodiscard]] std::string path(const std::string& name) const {
    return directory.path() + "/" + name;
  }
  void write(const std::string& name, std::string_view content) const {
    must(write_file_atomically(AT_FDCWD, path(name), as_bytes(content)));
  }
  Result<> import(const std::string& archive, const TarPlacement& placement = {}) {
    write("archive", archive);
    UniqueFd fd = must(open_at(AT_FDCWD, path("archive"), O_RDONLY));
    Progress progress("test", 0);
    return import_tar_stream(fd.get(), "'t.tar'", placement, rootfs, progress);
  }
  tree::Node& at(const std::string& node_path) {
    tree::Node* node = tree.find(node_path);
    if (node == nullptr) throw std::runtime_error("no " + node_path + " in\n" + dump_of(tree));
    return *node;
  }
};

/// Makes tar archives, so that tests need no rights and no other tool.
class TarMaker {
 public:
  struct Entry {
    char type = '0';  ///< ustar typeflag
    unsigned mode = 0644;
    unsigned uid = 0;
    unsigned gid = 0;
    int64_t mtime = 0;
    std::string link;
    unsigned device_major = 0;
    unsigned device_minor = 0;
    std::vector<std::pair<std::string, std::string>> pax;
  };

  void add(const std::string& name, const Entry& entry, const std::string& data = "") {
    if (!entry.pax.empty()) {
      std::vector<std::string> records;
      for (const auto& [key, value] : entry.pax) records.push_back(key + "=" + value);
      archive_ += raw_tar::pax(records);
    }
    raw_tar::Header header{.name = name,
                           .type = entry.type,
                           .mode = raw_tar::octal(entry.mode),
                           .uid = raw_tar::octal(entry.uid),
                           .gid = raw_tar::octal(entry.gid),
                           .mtime = raw_tar::octal(static_cast<uint64_t>(entry.mtime)),
                           .link = entry.link,
                           .raw = {{329, raw_tar::octal(entry.device_major)},
                                   {337, raw_tar::octal(entry.device_minor)}}};
    archive_ += raw_tar::member(std::move(header), data);
  }
  [[nodiscard]] std::string finish() const { return archive_ + raw_tar::kEnd; }

 private:
  std::string archive_;
};

/// cfs-build in this process; results are appended to `out`.
inline Result<> run(const std::vector<std::string>& arguments, std::ostream& out) {
  command::CapturedIo io;
  Result<int> status = run(arguments, io.io());
  out << io.output();
  if (!status) return std::move(status).error();
  return {};
}

/// A kernel module: an ELF file with the sections .shstrtab and .modinfo.
inline std::string module_with(const std::string& modinfo) {
  const std::string names("\0.modinfo\0.shstrtab\0", 20);
  Elf64_Ehdr elf = {};
  std::memcpy(elf.e_ident, ELFMAG, SELFMAG);
  elf.e_ident[EI_CLASS] = ELFCLASS64;
  elf.e_shoff = sizeof(elf);
  elf.e_shentsize = sizeof(Elf64_Shdr);
  elf.e_shnum = 3;
  elf.e_shstrndx = 2;
  Elf64_Shdr headers[3] = {};
  headers[1].sh_name = 1;
  headers[1].sh_offset = sizeof(elf) + sizeof(headers);
  headers[1].sh_size = modinfo.size();
  headers[2].sh_name = 10;
  headers[2].sh_offset = headers[1].sh_offset + modinfo.size();
  headers[2].sh_size = names.size();
  std::string file(sizeof(elf) + sizeof(headers), '\0');
  std::memcpy(file.data(), &elf, sizeof(elf));
  std::memcpy(file.data() + sizeof(elf), headers, sizeof(headers));
  return file + modinfo + names;
}

}  // namespace cfs::builder
