// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "builder/test_support.h"
#include "lib/base/io.h"
#include "lib/json/reader.h"

namespace cfs::builder {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kHead =
    "cfs: 1\n"
    "image: {name: n, version: '1', epoch: 1}\n";
constexpr const char* kSources = "sources: [{id: a, tar: {path: a.tar}}]\n";

Result<Manifest> parse(const std::string& text) {
  return parse_manifest(text, "m.yaml", "/src/m", source_kinds());
}

TEST(Manifest, EveryKeyArrives) {
  Result<Manifest> manifest = parse(R"(
cfs: 1
image:
  name: edge-gateway
  version: 2026.11.3
  epoch: 41
  arch: amd64
  channel: beta
  compatible: ["acme,gw-v2"]
  state_version: 3
sources:
  - id: base
    debian:
      suite: bookworm
      components: [main, contrib]
      mirrors: ["deb file:/srv/mirror bookworm main"]
      variant: custom
      packages: [systemd-sysv, libstdc++6]
      recommends: true
      dpkg_exclude: [/usr/share/doc/*]
  - {id: firmware, tar: {path: vendor/fw.tar.zst, into: /usr/lib/firmware, strip: 1}}
  - {id: site, dir: {path: ../overlay, owner: "0:42"}}
  - {id: kept, dir: {path: /abs, into: //srv/./x/, owner: keep}}
files:
  - {path: /etc/motd, content: "hi\n", mode: "0600", owner: "1:2"}
  - {path: /etc/localtime, symlink: /usr/share/zoneinfo/UTC}
  - {path: /srv, directory: true}
  - {match: "/usr/**", exclude: true, optional: true}
var:
  paths: [{path: /var//www/, policy: replaced}]
  persistent: [/usr/local, /home]
kernel:
  package: linux-image-amd64
  initramfs: {modules: [erofs, virtio_blk]}
  cmdline: [quiet, panic=10]
etc:
  mode: merge
  keep: [/etc/hostname, "/etc/ssh/ssh_host_*", "/etc/wpa/*.conf"]
root: transient
reproducible:
  source_date_epoch: 1600000000
  normalize: [logs, machine-id]
allow: [extensions-from-var, programs-from-var]
)");
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_EQ(manifest->name, "edge-gateway");
  EXPECT_EQ(manifest->version, "2026.11.3");
  EXPECT_EQ(manifest->epoch, 41);
  EXPECT_EQ(manifest->channel, "beta");
  EXPECT_THAT(manifest->compatible, ElementsAre("acme,gw-v2"));
  EXPECT_EQ(manifest->state_version, 3);
  ASSERT_EQ(manifest->sources.size(), 4U);
  EXPECT_EQ(manifest->sources[0].id, "base");
  EXPECT_EQ(manifest->sources[0].kind->key, "debian");
  EXPECT_EQ(manifest->sources[1].kind->key, "tar");
  EXPECT_EQ(manifest->sources[3].kind->key, "dir");
  ASSERT_EQ(manifest->files.size(), 4U);
  EXPECT_EQ(manifest->files[0].mode, 0600U);
  EXPECT_EQ(manifest->files[0].owner.gid, 2U);
  EXPECT_EQ(manifest->files[1].kind, FileRule::Kind::kSymlink);
  EXPECT_EQ(manifest->files[2].kind, FileRule::Kind::kDirectory);
  EXPECT_TRUE(manifest->files[3].optional);
  EXPECT_EQ(manifest->kernel->package->name, "linux-image-amd64");
  EXPECT_EQ(manifest->kernel->package->place, "m.yaml:33:12: kernel.package: ");
  EXPECT_THAT(manifest->kernel->command_line, ElementsAre("quiet", "panic=10"));
  EXPECT_EQ(manifest->root.etc, kernel_cmdline::EtcMode::kMerge);
  EXPECT_EQ(manifest->root.root, kernel_cmdline::RootMode::kTransient);
  EXPECT_THAT(manifest->root.keep, ElementsAre("/etc/machine-id", "/etc/ssh/ssh_host_*",
                                               "/etc/hostname", "/etc/wpa/*.conf"));
  EXPECT_EQ(manifest->source_date_epoch, 1600000000);
  EXPECT_THAT(manifest->normalize, ElementsAre(NormalizePass::kMachineId, NormalizePass::kLogs));
  EXPECT_THAT(manifest->allowed, ElementsAre(Risk::kExtensionsFromVar, Risk::kProgramsFromVar));
  ASSERT_EQ(manifest->var.paths.size(), 1U);
  EXPECT_EQ(manifest->var.paths[0].rule,
            (sysroot::VarRule{"/var/www", sysroot::VarPolicy::kReplaced}));
  ASSERT_EQ(manifest->var.persistent.size(), 2U);
  EXPECT_EQ(manifest->var.persistent[0].place->in_var, "/var/usrlocal");
  EXPECT_EQ(manifest->var.persistent[1].manifest_place, "m.yaml:31:28: var.persistent[1]: ");
}

TEST(Manifest, DefaultsAreTheDocumentedOnes) {
  Result<Manifest> manifest = parse(std::string(kHead) + kSources);
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_EQ(manifest->arch, "amd64");
  EXPECT_EQ(manifest->channel, "stable");
  EXPECT_FALSE(manifest->kernel.has_value());
  EXPECT_EQ(manifest->state_version, 0);
  EXPECT_EQ(manifest->root, kernel_cmdline::default_root_policy());
  EXPECT_EQ(manifest->source_date_epoch, kDefaultSourceDateEpoch);
  EXPECT_EQ(manifest->normalize.size(), normalize_passes().size());
  EXPECT_TRUE(manifest->allowed.empty());
}

struct BadCase {
  const char* name;
  std::string text;
  std::string message;  ///< place and all
  std::string hint;
};

class BadManifest : public testing::TestWithParam<BadCase> {};

TEST_P(BadManifest, IsRefusedWithPlacePathAndHint) {
  Result<Manifest> manifest = parse(GetParam().text);
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code, ErrorCode::kInvalidInput);
  // Alone, or in the list where the text has other mistakes too.
  std::string said = manifest.error().message + " (" + manifest.error().hint + ")";
  EXPECT_THAT(said, HasSubstr(GetParam().message));
  EXPECT_THAT(said, HasSubstr(GetParam().hint));
}

std::string repeat(const std::string& text, size_t count) {
  std::string result;
  while (count-- > 0) result += text;
  return result;
}
std::string many_paths(size_t count) {
  std::string result;
  for (size_t i = 0; i < count; ++i) result += "/etc/" + std::to_string(i) + ",";
  return result;
}
std::string with(const std::string& tail) { return std::string(kHead) + kSources + tail; }
std::string with_source(const std::string& source) {
  return std::string(kHead) + "sources:\n" + source;
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadManifest,
    testing::Values(
        BadCase{"UnknownKey", with("kernl: {}\n"), "m.yaml:4:1: kernl: unknown key 'kernl'",
                "did you mean 'kernel'?"},
        BadCase{"UnknownKeyFarFromAll", with("zzzzzz: 1\n"),
                "m.yaml:4:1: zzzzzz: unknown key 'zzzzzz'", "known keys here: cfs, image, sources"},
        BadCase{"NestedUnknownKey", with("kernel:\n  initramfs:\n    module: [a]\n"),
                "m.yaml:6:5: kernel.initramfs.module: unknown key 'module'",
                "did you mean 'modules'?"},
        BadCase{"UnknownKeyInList", with_source("  - id: a\n    tar: {pth: x}\n"),
                "m.yaml:5:11: sources[0].tar.pth: unknown key 'pth'", "did you mean 'path'?"},
        BadCase{"MergeKeyIsNoExtension", with("<<: {files: []}\n"),
                "m.yaml:4:1: <<: unknown key '<<'", "known keys"},
        BadCase{"DuplicateKey", with("files: []\nfiles: []\n"),
                "m.yaml:5:1: files: duplicate key 'files'", ""},
        BadCase{"MissingKey", "cfs: 1\nimage: {name: n, epoch: 1}\n",
                "m.yaml:2:8: image: missing key 'version'", ""},
        BadCase{"Empty", "", "m.yaml:1:1: expected one YAML document, found 0", ""},
        BadCase{"TwoDocuments", with("---\ncfs: 1\n"),
                "m.yaml:1:1: expected one YAML document, found 2", ""},
        BadCase{"SyntaxError", "cfs: [1\n",
                "m.yaml:2:1: end of sequence flow not found; open since line 1, column 6: '['", ""},
        BadCase{"ListForString", with("kernel: {package: [a]}\n"),
                "m.yaml:4:19: kernel.package: expected a string, found a list", ""},
        BadCase{"NullForString", with("kernel: {package: }\n"),
                "m.yaml:4:19: kernel.package: expected a string, found nothing", ""},
        BadCase{
            "StringForMap", with("kernel: yes\n"),
            "m.yaml:4:9: kernel: expected a map with the keys package, initramfs, cmdline, found "
            "a scalar",
            ""},
        BadCase{"MapForList", with("files: {}\n"),
                "m.yaml:4:8: files: expected a list, found a map", ""},
        BadCase{"Tag", with("kernel: {package: !!str x}\n"),
                "m.yaml:4:19: kernel.package: YAML tags are not supported", ""},
        BadCase{"StringForInteger", "cfs: 1\nimage: {name: n, version: v, epoch: '1'}\n",
                "m.yaml:2:37: image.epoch: expected an integer, found '1'", "remove the quotes"},
        BadCase{"HexForInteger", "cfs: 1\nimage: {name: n, version: v, epoch: 0x1}\n",
                "m.yaml:2:37: image.epoch: expected an integer, found '0x1'", ""},
        BadCase{"NegativeEpoch", "cfs: 1\nimage: {name: n, version: v, epoch: -1}\n",
                "m.yaml:2:37: image.epoch: -1 is not in the range 0 to 9007199254740991", ""},
        BadCase{"NullForInteger", "cfs: 1\nimage: {name: n, version: v, epoch: null}\n",
                "m.yaml:2:37: image.epoch: expected an integer, found nothing", ""},
        BadCase{"ListForInteger", "cfs: 1\nimage: {name: n, version: v, epoch: [1]}\n",
                "m.yaml:2:37: image.epoch: expected an integer, found a list", ""},
        BadCase{"LeadingZero", "cfs: 1\nimage: {name: n, version: v, epoch: 010}\n",
                "m.yaml:2:37: image.epoch: expected an integer, found '010'", "take it for octal"},
        BadCase{
            "ListForBoolean", with_source("  - {id: a, debian: {suite: s, recommends: [true]}}\n"),
            "m.yaml:4:44: sources[0].debian.recommends: expected true or false, found a list", ""},
        BadCase{"YesIsNoBoolean", with_source("  - {id: a, debian: {suite: s, recommends: yes}}\n"),
                "m.yaml:4:44: sources[0].debian.recommends: expected true or false, found 'yes'",
                ""},
        BadCase{
            "OtherSchema", "cfs: 2\n",
            "m.yaml:1:6: cfs: this version of cfs-build understands manifests of version 1 only",
            ""},
        BadCase{"BadName", "cfs: 1\nimage: {name: A/b, version: v, epoch: 1}\n",
                "m.yaml:2:15: image.name: bad value 'A/b'", "1 to 64 characters"},
        BadCase{"BadArchitecture", "cfs: 1\nimage: {name: a, version: v, epoch: 1, arch: amd46}\n",
                "m.yaml:2:46: image.arch: bad value 'amd46'", "did you mean 'amd64'?"},
        BadCase{"NoSources", std::string(kHead) + "sources: []\n",
                "m.yaml:3:10: sources: the list is empty", ""},
        BadCase{"TwoKinds", with_source("  - {id: a, tar: {path: x}, dir: {path: y}}\n"),
                "m.yaml:4:5: sources[0]: a source has exactly one of the keys debian, tar, dir",
                ""},
        BadCase{"SameIdTwice",
                with_source("  - {id: a, tar: {path: x}}\n  - {id: a, tar: {path: y}}\n"),
                "m.yaml:5:5: sources[1]: two sources have the id 'a'", ""},
        BadCase{"RelativeImagePath", with("files: [{path: etc/x, content: y}]\n"),
                "m.yaml:4:16: files[0].path: 'etc/x' must be an absolute path in the image", ""},
        BadCase{"DotDot", with("files: [{path: /etc/../x, content: y}]\n"),
                "m.yaml:4:16: files[0].path: the path '/etc/../x' leads out of the image", ""},
        BadCase{"BadMode", with("files: [{path: /x, content: y, mode: '0o644'}]\n"),
                "m.yaml:4:38: files[0].mode: bad mode '0o644'", "octal digits"},
        BadCase{
            "ModeInDecimal", with("files: [{path: /x, content: y, mode: 420}]\n"),
            "m.yaml:4:38: files[0].mode: bad mode '420': without quotes and a leading zero it is "
            "a decimal number to YAML",
            "write '0420' or '0644'"},
        BadCase{"ModeOfSetUserIdWithoutZero", with("files: [{path: /x, content: y, mode: 4755}]\n"),
                "m.yaml:4:38: files[0].mode: bad mode '4755': without quotes", "write '4755'"},
        BadCase{"ModeThatIsDecimalOnly", with("files: [{path: /x, content: y, mode: 493}]\n"),
                "m.yaml:4:38: files[0].mode: bad mode '493': without quotes", "write '0755'"},
        BadCase{"ModeWithoutZero", with("files: [{path: /x, content: y, mode: 755}]\n"),
                "m.yaml:4:38: files[0].mode: bad mode '755': without quotes",
                "write '0755' or '1363'"},
        BadCase{"QuotedBoolean",
                with_source("  - {id: a, debian: {suite: s, recommends: 'true'}}\n"),
                "m.yaml:4:44: sources[0].debian.recommends: expected true or false, found 'true'",
                "remove the quotes"},
        BadCase{"BadEtcMode", with("kernel: {}\netc: {mode: overlaid}\n"),
                "m.yaml:5:13: etc.mode: bad value 'overlaid'", "did you mean 'overlay'?"},
        BadCase{"KeepsWhatIsNotBelowEtc", with("kernel: {}\netc: {keep: [/etc/x, /var/x]}\n"),
                "m.yaml:5:22: etc.keep[1]: '/var/x' cannot be kept", "a path below /etc"},
        BadCase{"KeepsByAPatternForDirectories", with("kernel: {}\netc: {keep: ['/etc/*/x']}\n"),
                "m.yaml:5:14: etc.keep[0]: '/etc/*/x' cannot be kept", "in its last name"},
        BadCase{"KeepsTooMuch", with("kernel: {}\netc: {keep: [" + many_paths(255) + "]}\n"),
                "m.yaml:5:6: etc: root.conf: more than 256 paths are kept", ""},
        BadCase{"RootWithoutKernel", with("root: transient\n"),
                "m.yaml:4:7: root: 'root' needs 'kernel'", ""},
        BadCase{"PolicyOutsideOfVar", with("var: {paths: [{path: /srv, policy: replaced}]}\n"),
                "m.yaml:4:22: var.paths[0].path: '/srv' is not below /var", ""},
        BadCase{"PolicyTwice",
                with("var: {paths: [{path: /var/a, policy: replaced}, {path: /var//a, policy: "
                     "replaced}]}\n"),
                "m.yaml:4:49: var.paths[1]: '/var/a' is listed twice", ""},
        BadCase{"PersistentTwice", with("var: {persistent: [/srv, /srv]}\n"),
                "m.yaml:4:26: var.persistent[1]: '/srv' is listed twice", ""},
        BadCase{"UnverifiedPrograms", with("var: {persistent: [/usr/local]}\n"),
                "m.yaml:4:20: var.persistent[0]: systemd, udev and every shell look into",
                "allow: [programs-from-var]"},
        BadCase{"UnknownRisk", with("allow: [extension-from-var]\n"),
                "m.yaml:4:9: allow[0]: bad value 'extension-from-var'",
                "did you mean 'extensions-from-var'?"},
        BadCase{"BadOwner", with("files: [{path: /x, content: y, owner: bob}]\n"),
                "m.yaml:4:39: files[0].owner: bad owner 'bob'", "root:root"},
        BadCase{"ContentAndSymlink", with("files: [{path: /x, content: y, symlink: z}]\n"),
                "m.yaml:4:9: files[0]: a path has exactly one of content, symlink and directory",
                ""},
        BadCase{"MatchWithPath", with("files: [{match: /x, path: /y, exclude: true}]\n"),
                "m.yaml:4:27: files[0].path: 'path' does not go with 'match'", ""},
        BadCase{"PackageWithoutDebian", with("kernel: {package: linux}\n"),
                "m.yaml:4:9: kernel: 'package' needs a debian source to be installed from", ""},
        BadCase{"OptionWithSpace", with("kernel: {cmdline: ['a b']}\n"),
                "m.yaml:4:20: kernel.cmdline[0]: bad kernel option 'a b': it is more than one "
                "option",
                "one option"},
        BadCase{"DigestByHand", with("kernel: {cmdline: [composefs.digest=00]}\n"),
                "m.yaml:4:20: kernel.cmdline[0]: 'composefs.digest=00' cannot be set by hand",
                "appends"},
        BadCase{"BadBoard",
                "cfs: 1\nimage: {name: n, version: v, epoch: 1, compatible: [a, 'b c']}\n",
                "m.yaml:2:56: image.compatible[1]: bad value 'b c'", "1 to 128 characters"},
        BadCase{"TooManyBoards",
                "cfs: 1\nimage: {name: n, version: v, epoch: 1, compatible: [" + repeat("b,", 65) +
                    "]}\n",
                "m.yaml:2:52: image.compatible: more than 64 boards", ""},
        BadCase{"LongNameAndVersion",
                "cfs: 1\nimage:\n  name: " + repeat("n", 62) + "\n  version: " + repeat("v", 62) +
                    "\n  epoch: 1\n",
                "m.yaml:4:12: image.version: '" + repeat("n", 62) + "_" + repeat("v", 62) +
                    ".efi' has 129 characters, 128 are allowed",
                "shorten"},
        BadCase{"OptionNotAscii", with("kernel: {cmdline: [a, 'x=\xc3\xa9']}\n"),
                "m.yaml:4:23: kernel.cmdline[1]: bad kernel option 'x=\xc3\xa9': it is not "
                "printable ASCII",
                "one option"},
        BadCase{"OptionWithControlCharacter", with("kernel: {cmdline: [\"a\\x01\"]}\n"),
                "m.yaml:4:20: kernel.cmdline[0]: bad kernel option 'a?': it is not "
                "printable ASCII",
                "one option"},
        BadCase{"OptionsTooLong", with("kernel: {cmdline: [" + repeat("x", 1947) + "]}\n"),
                "m.yaml:4:20: kernel.cmdline[0]: the kernel command line has 2048 bytes, and "
                "the kernel reads 2047",
                "shorten or remove options"},
        BadCase{"OneOptionTooMany", with("kernel: {cmdline: [" + repeat("x", 1945) + ", y, z]}\n"),
                "m.yaml:4:1967: kernel.cmdline[1]: the kernel command line has 2048 bytes, "
                "and the kernel reads 2047",
                "shorten or remove options"},
        BadCase{"BadDelay", with("kernel: {cmdline: [quiet, rootdelay=soon]}\n"),
                "m.yaml:4:27: kernel.cmdline[1]: 'rootdelay=soon' is not one of 0 … 86400 seconds",
                ""},
        BadCase{"OptionsAreForInit", with("kernel: {cmdline: [a, --]}\n"),
                "m.yaml:4:23: kernel.cmdline[1]: bad kernel option '--': what follows is for init "
                "and not for the kernel",
                "must be seen by the kernel"},
        BadCase{"UnpairedQuote", with("kernel: {cmdline: ['a=\"b']}\n"),
                "m.yaml:4:20: kernel.cmdline[0]: bad kernel option 'a=\"b': a double quote is left "
                "open",
                "all that follows"},
        BadCase{"RootThatNoDiskHas", with("kernel: {cmdline: ['root=PARTLABEL=\"x\"']}\n"),
                "m.yaml:4:20: kernel.cmdline[0]: 'root=PARTLABEL=\"x\"' has quotes that the kernel "
                "leaves in the value",
                "whole option"},
        BadCase{"UnknownDriverGroup", with("kernel: {initramfs: {drivers: [nvmee]}}\n"),
                "m.yaml:4:32: kernel.initramfs.drivers[0]: bad value 'nvmee'", "'nvme'"},
        BadCase{"QuotedDigestByHand", with("kernel: {cmdline: ['\"composefs.digest=00\"']}\n"),
                "m.yaml:4:20: kernel.cmdline[0]: '\"composefs.digest=00\"' cannot be set by hand",
                "appends"},
        BadCase{"ConflictingOptions",
                with("kernel: {cmdline: [cfs.verify=full, cfs.verify=boot]}\n"),
                "m.yaml:4:37: kernel.cmdline[1]: 'cfs.verify' has two values: 'full' and 'boot'",
                "give it once"},
        BadCase{"UnknownOptionOfOurs", with("kernel: {cmdline: [quiet, cfs.verfy=full]}\n"),
                "m.yaml:4:27: kernel.cmdline[1]: the kernel option 'cfs.verfy' means nothing",
                "docs/FORMATS.md"},
        BadCase{"UnknownValueOfOurs", with("kernel: {cmdline: [cfs.on_failure=shell]}\n"),
                "m.yaml:4:20: kernel.cmdline[0]: 'cfs.on_failure=shell' is not one of reboot, "
                "poweroff, halt",
                ""},
        BadCase{"LongName", with("files: [{path: /x/" + repeat("n", 256) + ", content: y}]\n"),
                "m.yaml:4:16: files[0].path: a name in the path is longer than 255 bytes", ""},
        BadCase{"LongPath", with("files: [{path: " + repeat("/abcdefg", 512) + ", content: y}]\n"),
                "m.yaml:4:16: files[0].path: the path is longer than 4095 bytes", ""},
        BadCase{"NulInPath", with("files: [{path: \"/a\\0b\", content: y}]\n"),
                "m.yaml:4:16: files[0].path: a path with a NUL byte", ""},
        BadCase{"NulInHostPath", with_source("  - {id: a, tar: {path: \"a\\0b\"}}\n"),
                "m.yaml:4:25: sources[0].tar.path: a path with a NUL byte", ""},
        BadCase{"LongSymlink", with("files: [{path: /x, symlink: " + repeat("y", 4096) + "}]\n"),
                "m.yaml:4:29: files[0].symlink: the target is longer than 4095 bytes or holds a "
                "NUL byte",
                ""},
        BadCase{"OwnerThatMeansNobody",
                with("files: [{path: /x, content: y, owner: '0:4294967295'}]\n"),
                "m.yaml:4:39: files[0].owner: bad owner '0:4294967295'", "root:root"},
        BadCase{"MirrorIsNoSourcesLine",
                with_source("  - {id: a, debian: {suite: s, mirrors: ['http://x/debian']}}\n"),
                "m.yaml:4:42: sources[0].debian.mirrors[0]: bad mirror 'http://x/debian'",
                "sources.list(5)"},
        BadCase{"TwoMirrorsInOne",
                with_source("  - {id: a, debian: {suite: s, mirrors: [\"deb http://x/ a b\\ndeb "
                            "http://y/ a b\"]}}\n"),
                "m.yaml:4:42: sources[0].debian.mirrors[0]: bad mirror 'deb http://x/ a b\ndeb "
                "http://y/ a b'",
                "one line"},
        BadCase{
            "LineBreakInPattern",
            with_source("  - {id: a, debian: {suite: s, dpkg_exclude: [\"/a\\nforce-all\"]}}\n"),
            "m.yaml:4:47: sources[0].debian.dpkg_exclude[0]: a pattern is one line of text", ""},
        BadCase{"ControlCharacter", with("files: [] # \x04\nkernel: {}\n"),
                "m.yaml:4:13: the control character 0x04", "\\xNN"},
        BadCase{"Nul", with(std::string("files: []\0", 10)),
                "m.yaml:4:10: the control character 0x00", ""},
        BadCase{"NotUtf8", with("files: [] # \xe9\n"), "m.yaml:4:13: the text is not UTF-8", ""},
        BadCase{"OverlongUtf8", with("files: [] # \xc3\xa9 \xc0\xaf\n"),
                "m.yaml:4:15: the text is not UTF-8", ""},
        BadCase{"Tab", with("kernel:\n\tpackage: x\n"), "m.yaml:5:9: illegal map value",
                "this line has a tab"},
        BadCase{"NestedDuplicateKey",
                with("kernel: {package: a, initramfs: {modules: []}, "
                     "package: b}\n"),
                "m.yaml:4:48: kernel.package: duplicate key 'package'", ""},
        BadCase{"NestedMergeKey",
                with_source("  - &a {id: a, tar: {path: x}}\n  - {<<: *a, id: b}\n"),
                "m.yaml:5:6: sources[1].<<: unknown key '<<'", ""},
        BadCase{"AliasInsideItself", with("files: &a [*a]\n"),
                "m.yaml:1:1: with its aliases replaced by what they stand for, the document is "
                "larger than 4194304 bytes",
                ""},
        BadCase{"AliasesOfALongText",
                with_source("  - {id: a, debian: {suite: s, dpkg_exclude: [&a /" +
                            repeat("x", 10000) + repeat(", *a", 1000) + "]}}\n"),
                "m.yaml:1:1: with its aliases replaced by what they stand for, the document is "
                "larger than 4194304 bytes",
                ""},
        BadCase{"UnknownPass", with("reproducible: {normalize: [machineid]}\n"),
                "m.yaml:4:28: reproducible.normalize[0]: bad value 'machineid'",
                "did you mean 'machine-id'?"},
        BadCase{"RemovalInPackages",
                with_source("  - {id: a, debian: {suite: s, packages: [dash, bash-]}}\n"),
                "m.yaml:4:49: sources[0].debian.packages[1]: bad package 'bash-': apt takes a '-' "
                "at the end for removal",
                "remove the '-'"},
        BadCase{"ArchitectureInPackages",
                with_source("  - {id: a, debian: {suite: s, packages: ['bash:arm64']}}\n"),
                "m.yaml:4:43: sources[0].debian.packages[0]: bad package 'bash:arm64': packages "
                "are those of the image's architecture",
                "write 'bash'"},
        BadCase{"RemovalOfTheKernel",
                with_source("  - {id: a, debian: {suite: s}}\nkernel: {package: linux-}\n"),
                "m.yaml:5:19: kernel.package: bad package 'linux-': apt takes a '-'",
                "remove the '-'"},
        BadCase{"ShellInPackages",
                with_source("  - {id: a, debian: {suite: s, packages: ['a;b']}}\n"),
                "m.yaml:4:43: sources[0].debian.packages[0]: bad value 'a;b'", ""}),
    [](const testing::TestParamInfo<BadCase>& test) { return std::string(test.param.name); });

TEST(Manifest, AnchorsWork) {
  Result<Manifest> manifest =
      parse(with("files: [{path: /a, content: &text hello}, {path: /b, content: *text}]\n"));
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_EQ(manifest->files[1].text, "hello");
}

TEST(Manifest, TextIsTakenAsWritten) {
  Result<Manifest> manifest =
      parse("cfs: 1\nimage: {name: n, version: 1.10, epoch: 1}\n" + std::string(kSources) +
            "files: [{path: /x, content: 0x10, mode: 0644}]\n");
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_EQ(manifest->version, "1.10");
  EXPECT_EQ(manifest->files[0].text, "0x10");
  EXPECT_EQ(manifest->files[0].mode, 0644U);
}

TEST(Manifest, TheLongestThatFits) {
  Result<Manifest> manifest =
      parse("cfs: 1\nimage: {name: " + repeat("n", 62) + ", version: " + repeat("v", 61) +
            ", epoch: 1}\n" + kSources + "kernel: {cmdline: [" + repeat("x", 1946) + "]}\n");
  EXPECT_TRUE(manifest) << manifest.error().describe();
}

TEST(Manifest, DeepNestingIsAnErrorNotACrash) {
  Result<Manifest> manifest = parse(std::string(100000, '['));
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code, ErrorCode::kInvalidInput);
}

TEST(Manifest, MissingFileIsNotFound) {
  Result<Manifest> manifest = load_manifest("/nonexistent/m.yaml", source_kinds());
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code, ErrorCode::kNotFound);
}

/// The maps of the schema: key path as the reader says it ("sources[0].debian") → keys.
void collect_keys(const json::Value& schema, const std::string& path,
                  std::map<std::string, std::set<std::string>>& found) {
  const auto& object = *schema.as<json::Value::Object>();
  if (auto items = object.find("items"); items != object.end()) {
    collect_keys(items->second, path + "[0]", found);
  }
  auto properties = object.find("properties");
  if (properties == object.end()) return;
  for (const auto& [key, value] : *properties->second.as<json::Value::Object>()) {
    found[path].insert(key);
    collect_keys(value, path.empty() ? key : path + "." + key, found);
  }
}

/// The line about `what`, with the hint, of the errors of `manifest`.
std::string said_about(const std::string& manifest, const std::string& what) {
  Error error = parse(manifest).error();
  std::istringstream stream(error.message + " (" + error.hint + ")");
  for (std::string line; std::getline(stream, line);) {
    if (line.find(what) != std::string::npos) return line;
  }
  ADD_FAILURE() << "nothing about " << what << " in " << error.describe();
  return "";
}

/// The words of the list "(BEFORE a, b)" in `line`.
std::set<std::string> words_after(const std::string& line, const std::string& before) {
  size_t begin = line.find(before);
  EXPECT_NE(begin, std::string::npos) << line;
  if (begin == std::string::npos) return {};
  begin += before.size();
  std::set<std::string> words;
  std::istringstream stream(line.substr(begin, line.find(')', begin) - begin));
  for (std::string word; std::getline(stream >> std::ws, word, ',');) words.insert(word);
  return words;
}

TEST(Manifest, TheSchemaHasTheReadersKeysAndChoices) {
  std::string text = *read_file(AT_FDCWD, "manifests/manifest.schema.json", 1 << 20);
  Result<json::Value> schema = json::parse(text, {}, "manifest.schema.json");
  ASSERT_TRUE(schema) << schema.error().describe();
  std::map<std::string, std::set<std::string>> in_schema;
  collect_keys(*schema, "", in_schema);

  // The reader lists its keys when it meets one that is like none of them.
  const std::string odd_key = "zzzzzzzzzzzzzzz";
  const std::string odd = "{" + odd_key + ": 1}";
  std::map<std::string, std::set<std::string>> in_reader;
  for (const auto& [path, manifest] : std::map<std::string, std::string>{
           {"", odd},
           {"image", "cfs: 1\nimage: " + odd + "\n"},
           {"sources[0]", with_source("  - " + odd + "\n")},
           {"files[0]", with("files: [" + odd + "]\n")},
           {"var", with("var: " + odd + "\n")},
           {"var.paths[0]", with("var: {paths: [" + odd + "]}\n")},
           {"kernel", with("kernel: " + odd + "\n")},
           {"kernel.initramfs", with("kernel: {initramfs: " + odd + "}\n")},
           {"etc", with("kernel: {}\netc: " + odd + "\n")},
           {"reproducible", with("reproducible: " + odd + "\n")},
       }) {
    in_reader[path] = words_after(said_about(manifest, path + (path.empty() ? "" : ".") + odd_key),
                                  "known keys here: ");
  }
  for (const SourceKind& kind : source_kinds()) {
    in_reader["sources[0]." + std::string(kind.key)] = {kind.keys.begin(), kind.keys.end()};
  }
  EXPECT_EQ(in_schema, in_reader);

  // So it does with choices.
  for (const auto& [path, manifest] : std::map<std::vector<std::string>, std::string>{
           {{"image", "properties", "arch"},
            "cfs: 1\nimage: {name: n, version: v, epoch: 1, arch: zzzzzzzzz}\n"},
           {{"sources", "items", "properties", "debian", "properties", "variant"},
            with_source("  - {id: a, debian: {suite: s, variant: zzzzzzzzzzzzzzz}}\n")},
           {{"etc", "properties", "mode"}, with("kernel: {}\netc: {mode: zzzzzzzzzzzzzz}\n")},
           {{"root"}, with("kernel: {}\nroot: zzzzzzzzzzzz\n")},
           {{"reproducible", "properties", "normalize", "items"},
            with("reproducible: {normalize: [zzzzzzzzzzzzzzzzzzzzzzzzzzzz]}\n")},
           {{"var", "properties", "paths", "items", "properties", "policy"},
            with("var: {paths: [{path: /var/a, policy: zzzzzzzzzzzzzzzzzzzzzzzzz}]}\n")},
           {{"var", "properties", "persistent", "items"},
            with("var: {persistent: [zzzzzzzzzzzzz]}\n")},
           {{"allow", "items"}, with("allow: [zzzzzzzzzzzzzzzzzzzzzzzzzzzz]\n")},
       }) {
    const json::Value* node = &schema->as<json::Value::Object>()->at("properties");
    for (const std::string& key : path) node = &node->as<json::Value::Object>()->at(key);
    std::set<std::string> choices;
    for (const json::Value& choice :
         *node->as<json::Value::Object>()->at("enum").as<json::Value::Array>()) {
      choices.insert(*choice.as<std::string>());
    }
    EXPECT_EQ(choices, words_after(said_about(manifest, "bad value 'zzz"), "one of: "))
        << path.back();
  }
}

TEST(Manifest, TheProjectsOwnManifestsAreValid) {
  std::string path = "manifests/debian-minimal.yaml";
  Result<Manifest> manifest = load_manifest(path, source_kinds());
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_THAT(*read_file(AT_FDCWD, path, 1 << 20), Not(HasSubstr("mirrors:")))
      << "no manifest of the project names a mirror";
}

TEST(Manifest, AllErrorsAreShownAtOnceInTheOrderOfTheText) {
  Result<Manifest> manifest = parse(
      "cfs: 1\nimage: {name: N, epoch: \"1\", chanel: x}\n"
      "sources:\n  - {id: a, tar: {pth: x}}\n  - {id: a, debian: {packages: [ok, 'a b', 'c,']}}\n"
      "files: [{path: x, content: y, mode: 420}]\nallow: [everything]\n");
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(
      manifest.error().message,
      "'m.yaml' has 13 errors:\n"
      "m.yaml:2:8: image: missing key 'version'\n"
      "m.yaml:2:15: image.name: bad value 'N' (1 to 64 characters of a-z 0-9 .-, not starting with "
      "one of '.-')\n"
      "m.yaml:2:25: image.epoch: expected an integer, found '1' (remove the quotes)\n"
      "m.yaml:2:30: image.chanel: unknown key 'chanel' (did you mean 'channel'?)\n"
      "m.yaml:4:18: sources[0].tar: missing key 'path'\n"
      "m.yaml:4:19: sources[0].tar.pth: unknown key 'pth' (did you mean 'path'?)\n"
      "m.yaml:5:5: sources[1]: two sources have the id 'a'\n"
      "m.yaml:5:21: sources[1].debian: missing key 'suite'\n"
      "m.yaml:5:37: sources[1].debian.packages[1]: bad value 'a b' (1 to 200 characters of a-z A-Z "
      "0-9 +-.:_~=/, not starting with one of '+-.:_~=/')\n"
      "m.yaml:5:44: sources[1].debian.packages[2]: bad value 'c,' (1 to 200 characters of a-z A-Z "
      "0-9 +-.:_~=/, not starting with one of '+-.:_~=/')\n"
      "m.yaml:6:16: files[0].path: 'x' must be an absolute path in the image\n"
      "m.yaml:6:37: files[0].mode: bad mode '420': without quotes and a leading zero it is a "
      "decimal "
      "number to YAML (write '0420' or '0644')\n"
      "m.yaml:7:9: allow[0]: bad value 'everything' (one of: extensions-from-var, "
      "programs-from-var)");
}

/// The lines of docs/MANIFEST.md that begin "- `KEY: {…}`".
std::string documented_keys(const std::string& document, const std::string& kind) {
  std::string begin = "- `" + kind + ": {";
  size_t found = document.find(begin);
  if (found == std::string::npos) return "";
  size_t start = found + begin.size();
  return document.substr(start, document.find("}`", start) - start);
}

TEST(Manifest, EveryKindOfSourceIsDocumented) {
  std::string document = *read_file(AT_FDCWD, "docs/MANIFEST.md", 1 << 20);
  for (const SourceKind& kind : source_kinds()) {
    std::string keys = documented_keys(document, std::string(kind.key));
    EXPECT_NE(keys, "") << "docs/MANIFEST.md has no line '- `" << kind.key << ": {…}`'";
    for (std::string_view key : kind.keys) {
      EXPECT_THAT(", " + keys + ",", AnyOf(HasSubstr(", " + std::string(key) + ","),
                                           HasSubstr(", " + std::string(key) + ":")))
          << kind.key;
    }
  }
}

}  // namespace
}  // namespace cfs::builder
