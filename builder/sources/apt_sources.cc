// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/apt_sources.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "lib/base/io.h"
#include "lib/base/nearest_word.h"
#include "lib/base/subprocess.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxSourcesBytes = 1 << 20;

std::vector<std::string> words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> result;
  std::istringstream stream{std::string(text)};
  for (std::string piece; std::getline(stream, piece, separator);) result.push_back(piece);
  return result;
}

bool says_yes(std::string_view text) {  // apt-pkg/contrib/strutl.h: StringToBool
  return text == "yes" || text == "true" || text == "on" || text == "1";
}
bool says_no(std::string_view text) {
  return text == "no" || text == "false" || text == "off" || text == "0";
}

Error at_line(const std::string& file_name, size_t line, const std::string& what) {
  return make_error(ErrorCode::kInvalidInput, fmt::format("{}:{}: {}", file_name, line, what));
}

void set_option(AptSource& source, const std::string& key, const std::string& value) {
  if (key == "arch") source.architectures = split(value, ',');
  if (key == "signed-by") source.signed_by = value;
  if (key == "trusted") source.trusted = says_yes(value);
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

using Stanza = std::map<std::string, std::string>;

Result<> add_stanza(const Stanza& stanza, const std::string& file_name, size_t line,
                    std::vector<AptSource>& sources) {
  auto field = [&](const char* name) {
    auto found = stanza.find(name);
    return found == stanza.end() ? std::string() : found->second;
  };
  auto word = [&](const char* name) {
    return fmt::format("{}", fmt::join(words(field(name)), " "));
  };
  std::vector<std::string> types = words(field("types"));
  if (stanza.empty() || says_no(word("enabled")) ||
      std::find(types.begin(), types.end(), "deb") == types.end()) {
    return {};
  }
  std::string signed_by = fmt::format("{}", fmt::join(words(field("signed-by")), ","));
  if (signed_by.find("BEGIN") != std::string::npos) {
    return make_error(
               ErrorCode::kUnsupported,
               fmt::format("{}:{}: keys inside Signed-By are not supported", file_name, line))
        .with_hint("put the key into a file and name it there");
  }
  std::vector<std::string> uris = words(field("uris"));
  std::vector<std::string> suites = words(field("suites"));
  if (uris.empty() || suites.empty()) {
    return at_line(file_name, line, "a stanza without URIs or Suites");
  }
  for (const std::string& uri : uris) {
    for (const std::string& suite : suites) {
      sources.push_back(AptSource{.uri = uri,
                                  .suite = suite,
                                  .components = words(field("components")),
                                  .architectures = words(field("architectures")),
                                  .signed_by = signed_by,
                                  .trusted = says_yes(word("trusted"))});
    }
  }
  return {};
}

}  // namespace

std::string AptSource::line() const {
  std::vector<std::string> options;
  if (!architectures.empty()) {
    options.push_back(fmt::format("arch={}", fmt::join(architectures, ",")));
  }
  if (!signed_by.empty()) options.push_back("signed-by=" + signed_by);
  if (trusted) options.emplace_back("trusted=yes");
  std::string text = "deb ";
  if (!options.empty()) text += fmt::format("[{}] ", fmt::join(options, " "));
  text += uri + " " + suite;
  for (const std::string& component : components) text += " " + component;
  return text;
}

Result<std::vector<AptSource>> parse_one_line_sources(std::string_view text,
                                                      const std::string& file_name) {
  std::vector<AptSource> sources;
  size_t number = 0;
  for (std::string line : split(text, '\n')) {
    ++number;
    line.erase(std::min(line.find('#'), line.size()));
    AptSource source;
    // "[ a=b c=d ]" may have spaces inside; take it out before splitting into words.
    size_t open = line.find('[');
    if (open != std::string::npos) {
      size_t close = line.find(']', open);
      if (close == std::string::npos) return at_line(file_name, number, "'[' without ']'");
      for (const std::string& option : words(line.substr(open + 1, close - open - 1))) {
        size_t equals = option.find('=');
        if (equals == std::string::npos) {
          return at_line(file_name, number, "option '" + option + "' has no value");
        }
        set_option(source, option.substr(0, equals), option.substr(equals + 1));
      }
      line.erase(open, close - open + 1);
    }
    std::vector<std::string> fields = words(line);
    if (fields.empty() || fields[0] == "deb-src") continue;
    if (fields[0] != "deb" || fields.size() < 3) {
      return at_line(file_name, number, "expected 'deb [options] URI SUITE COMPONENT…'");
    }
    source.uri = fields[1];
    source.suite = fields[2];
    source.components.assign(fields.begin() + 3, fields.end());
    sources.push_back(std::move(source));
  }
  return sources;
}

Result<std::vector<AptSource>> parse_deb822_sources(std::string_view text,
                                                    const std::string& file_name) {
  std::vector<AptSource> sources;
  Stanza stanza;
  std::string* value = nullptr;  // of the field that a continuation line belongs to
  size_t number = 0;
  size_t stanza_line = 1;
  for (const std::string& line : split(text, '\n')) {
    ++number;
    if (!line.empty() && line[0] == '#') continue;
    if (words(line).empty()) {
      CFS_TRY(add_stanza(stanza, file_name, stanza_line, sources));
      stanza.clear();
      value = nullptr;
      stanza_line = number + 1;
    } else if (line[0] == ' ' || line[0] == '\t') {
      if (value == nullptr) return at_line(file_name, number, "a continuation of nothing");
      *value += "\n" + line;
    } else {
      size_t colon = line.find(':');
      if (colon == std::string::npos || line.find_first_of(" \t") < colon) {
        return at_line(file_name, number, "expected 'Field: value'");
      }
      value = &stanza[lower(line.substr(0, colon))];
      *value = line.substr(colon + 1);
    }
  }
  CFS_TRY(add_stanza(stanza, file_name, stanza_line, sources));
  return sources;
}

Result<AptHost> query_apt_host() {
  auto location = [](const char* shell_spec) -> Result<std::string> {
    // Prints: value='/etc/apt/sources.list'
    std::string output =
        CFS_TRY(run_command({.arguments = {"apt-config", "shell", "value", shell_spec}}));
    size_t first = output.find('\'');
    size_t last = output.rfind('\'');
    if (first == std::string::npos || last == first) {
      return make_error(ErrorCode::kSubprocess,
                        fmt::format("'apt-config shell value {}' said '{}'", shell_spec, output));
    }
    return output.substr(first + 1, last - first - 1);
  };
  AptHost host;
  host.source_list = CFS_TRY(location("Dir::Etc::sourcelist/f"));
  host.source_parts = CFS_TRY(location("Dir::Etc::sourceparts/d"));
  // What belongs to the way to the mirrors (proxies, time-outs, validity of frozen mirrors), not to
  // what apt does with the packages.
  std::string dump = CFS_TRY(run_command({.arguments = {"apt-config", "dump"}}));
  for (const std::string& line : split(dump, '\n')) {
    for (std::string_view wanted :
         {"Acquire::http::", "Acquire::https::", "Acquire::ftp::", "Acquire::Retries ",
          "Acquire::Check-Valid-Until ", "Acquire::Check-Date ", "Acquire::Max-FutureTime ",
          "Acquire::ForceIPv"}) {
      if (line.compare(0, wanted.size(), wanted) == 0) host.options.push_back(line);
    }
  }
  return host;
}

Result<std::vector<std::string>> host_sources(const AptHost& host, const std::string& suite,
                                              const std::vector<std::string>& components) {
  std::vector<AptSource> all;
  auto read_into = [&](const std::string& path, auto parse) -> Result<> {
    std::string text = CFS_TRY(read_file(AT_FDCWD, path, kMaxSourcesBytes));
    std::vector<AptSource> found = CFS_TRY(parse(text, path));
    all.insert(all.end(), found.begin(), found.end());
    return {};
  };
  if (stat_at(AT_FDCWD, host.source_list, 0)) {
    CFS_TRY(read_into(host.source_list, parse_one_line_sources));
  }
  if (stat_at(AT_FDCWD, host.source_parts, 0)) {
    for (const std::string& name : CFS_TRY(list_directory(AT_FDCWD, host.source_parts))) {
      std::string path = host.source_parts + (host.source_parts.ends_with('/') ? "" : "/") + name;
      if (name.ends_with(".list")) CFS_TRY(read_into(path, parse_one_line_sources));
      if (name.ends_with(".sources")) CFS_TRY(read_into(path, parse_deb822_sources));
    }
  }
  std::vector<std::string> lines;
  bool has_suite = false;
  for (AptSource& source : all) {
    if (source.suite != suite && source.suite != suite + "-updates" &&
        source.suite != suite + "-security") {
      continue;
    }
    std::vector<std::string> common;
    for (const std::string& component : source.components) {
      if (std::find(components.begin(), components.end(), component) != components.end()) {
        common.push_back(component);
      }
    }
    if (common.empty()) continue;
    source.components = std::move(common);
    std::string line = source.line();
    if (std::find(lines.begin(), lines.end(), line) != lines.end()) continue;
    has_suite = has_suite || source.suite == suite;
    lines.push_back(std::move(line));
  }
  if (!has_suite) {
    std::vector<std::string_view> suites;
    for (const AptSource& source : all) suites.push_back(source.suite);
    const std::string near = did_you_mean(suite, suites);
    return make_error(ErrorCode::kNotFound,
                      fmt::format("apt on this machine has no source for '{}' with one of the "
                                  "components {}",
                                  suite, fmt::join(components, ", ")))
        .with_hint(fmt::format("{}{} or {}",
                               near.empty() ? "add one to " : near + " else add one to ",
                               host.source_list, host.source_parts));
  }
  return lines;
}

}  // namespace cfs::builder
