// SPDX-License-Identifier: Apache-2.0
#include "deployer/config/config.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>

#include "deployer/options.h"
#include "lib/base/duration.h"
#include "lib/base/io.h"
#include "lib/json/canonical.h"
#include "lib/release/description.h"
#include "lib/yaml/readers.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxFileBytes = 64 << 10;
constexpr const char* kFileName = "/deploy.yaml";
constexpr std::string_view kAlways = "always";
constexpr std::chrono::seconds kMinInterval = std::chrono::hours(1);
constexpr std::chrono::seconds kMinLimit = std::chrono::minutes(1);

/// The words of an enum, in its order.
constexpr std::array<std::string_view, 2> kOnCorruption = {"report", "reboot"};
constexpr std::array<std::string_view, 2> kMetered = {"allow", "refuse"};
constexpr std::array<std::string_view, 4> kRebootWhen = {"never", "now", "window", "idle"};

template <typename Enum>
struct EnumReader {
  std::span<const std::string_view> words;
  Result<Enum> operator()(const yaml::Value& value) const {
    std::string word = CFS_TRY(yaml::ChoiceReader{words}(value));
    return static_cast<Enum>(std::find(words.begin(), words.end(), word) - words.begin());
  }
};

struct DurationReader {
  std::chrono::seconds min{0};
  Result<std::chrono::seconds> operator()(const yaml::Value& value) const {
    Result<std::chrono::seconds> duration = parse_duration(CFS_TRY(value.string()));
    if (!duration) return value.error(duration.error().message).with_hint(duration.error().hint);
    if (*duration < min) return value.error("less than " + format_duration(min));
    return *duration;
  }
};

/// "HH:MM"; -1 when it is something else.
int parse_minutes(std::string_view text) {
  auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '9' ? text[at] - '0' : 99; };
  if (text.size() != 5 || text[2] != ':') return -1;
  const int hour = digit(0) * 10 + digit(1);
  const int minute = digit(3) * 10 + digit(4);
  return hour < 24 && minute < 60 ? hour * 60 + minute : -1;
}

Result<std::optional<TimeWindow>> read_window(const yaml::Value& value) {
  std::string text = CFS_TRY(value.string());
  std::optional<TimeWindow> window;
  if (text == kAlways) return window;
  const size_t dash = std::min(text.find('-'), text.size());
  window = TimeWindow{.begin = parse_minutes(std::string_view(text).substr(0, dash)), .end = -1};
  if (dash < text.size()) window->end = parse_minutes(std::string_view(text).substr(dash + 1));
  if (window->begin >= 0 && window->end >= 0 && window->begin != window->end) return window;
  return value.error("bad window '" + text + "'")
      .with_hint("two different times, as in '02:00-05:00', or always");
}

std::string window_text(const TimeWindow& window) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%02d:%02d-%02d:%02d", window.begin / 60,
                window.begin % 60, window.end / 60, window.end % 60);
  return text.data();
}

Result<net::Url> read_url(const yaml::Value& value) {
  Result<net::Url> url = net::Url::parse(CFS_TRY(value.string()));
  if (!url) return value.error(url.error().message).with_hint(url.error().hint);
  return *url;
}

bool read_urls(const yaml::Value& value, Config& config) {
  std::vector<net::Url> urls;
  bool is_good = true;
  for (const yaml::Value& item : value.items()) {
    Result<net::Url> url = read_url(item);
    if (url) {
      urls.push_back(std::move(*url));
    } else {
      item.report(std::move(url).error());
      is_good = false;
    }
  }
  if (is_good) config.urls = std::move(urls);
  return is_good;
}

Result<std::string> read_channel(const yaml::Value& value) {
  std::string text = CFS_TRY(value.string());
  if (text.empty() || release::is_channel(text)) return text;
  return value.error("'" + text + "' cannot be a channel").with_hint("[a-z0-9][a-z0-9-]{0,31}");
}

/// A program and its arguments; no shell is involved.
bool read_program(const yaml::Value& value, std::vector<std::string>& program) {
  std::vector<std::string> words;
  for (const yaml::Value& item : value.items()) {
    std::string word;
    if (!item.read(word, yaml::read_string)) return false;
    if (words.empty() && !word.starts_with('/')) {
      item.report(item.error("'" + word + "' is no absolute path of a program"));
      return false;
    }
    words.push_back(std::move(word));
  }
  program = std::move(words);
  return true;
}

bool read_number(const yaml::Value& value, uint64_t& number, int64_t min, int64_t max) {
  int64_t read = 0;
  if (!value.read(read, yaml::IntegerReader{min, max})) return false;
  number = static_cast<uint64_t>(read);
  return true;
}

json::Value list(const std::vector<std::string>& words) {
  return json::Value::Array(words.begin(), words.end());
}

constexpr std::array kKeys = {
    ConfigKey{"urls", "list of URLs",
              "repositories, tried in this order; none: the one of `cfs-deploy init`", read_urls,
              [](const Config& config) {
                std::vector<std::string> shown;
                for (const net::Url& url : config.urls) shown.push_back(url.shown());
                return list(shown);
              }},
    ConfigKey{"channel", "a channel",
              "which releases to follow; `\"\"`: the channel of `cfs-deploy init`",
              [](const yaml::Value& value, Config& config) {
                return value.read(config.channel, read_channel);
              },
              [](const Config& config) { return json::Value(config.channel); }},
    ConfigKey{"keep", "2 to 99",
              "good releases that garbage collection leaves, besides the recovery and pinned ones",
              [](const yaml::Value& value, Config& config) {
                return read_number(value, config.keep, 2, 99);
              },
              [](const Config& config) { return json::Value(config.keep); }},
    ConfigKey{"tries", "1 to 9", "boots in which a new release has to become healthy",
              [](const yaml::Value& value, Config& config) {
                return read_number(value, config.tries, 1, 9);
              },
              [](const Config& config) { return json::Value(config.tries); }},
    ConfigKey{
        "on_corruption", "`report` or `reboot`",
        "what `cfs-deploy watch` does when it has repaired a file that the kernel found damaged; "
        "`cfs.on_corruption=reboot` on the kernel command line counts too",
        [](const yaml::Value& value, Config& config) {
          return value.read(config.on_corruption,
                            EnumReader<kernel_cmdline::CorruptionAction>{kOnCorruption});
        },
        [](const Config& config) {
          return json::Value(kOnCorruption.at(static_cast<size_t>(config.on_corruption)));
        }},
    ConfigKey{
        "update.every", "a duration, `1h` or more", "how often to look for a release",
        [](const yaml::Value& value, Config& config) {
          return value.read(config.update.every, DurationReader{kMinInterval});
        },
        [](const Config& config) { return json::Value(format_duration(config.update.every)); }},
    ConfigKey{
        "update.jitter", "a duration",
        "each device looks later by its own fixed part of this, so that not all look at once",
        [](const yaml::Value& value, Config& config) {
          return value.read(config.update.jitter, DurationReader{});
        },
        [](const Config& config) { return json::Value(format_duration(config.update.jitter)); }},
    ConfigKey{"update.window", "`HH:MM-HH:MM` or `always`",
              "the time of day, in the device's time zone, in which it may look",
              [](const yaml::Value& value, Config& config) {
                return value.read(config.update.window, read_window);
              },
              [](const Config& config) {
                return json::Value(config.update.window ? window_text(*config.update.window)
                                                        : std::string(kAlways));
              }},
    ConfigKey{"update.metered", "`allow` or `refuse`",
              "whether to look through a network that NetworkManager calls metered",
              [](const yaml::Value& value, Config& config) {
                return value.read(config.update.metered, EnumReader<Metered>{kMetered});
              },
              [](const Config& config) {
                return json::Value(kMetered.at(static_cast<size_t>(config.update.metered)));
              }},
    ConfigKey{"reboot.when", "`never`, `now`, `window` or `idle`",
              "when to reboot into a new release: `window` is `update.window`, `idle` is when "
              "`reboot.idle_command` succeeds",
              [](const yaml::Value& value, Config& config) {
                return value.read(config.reboot.when, EnumReader<RebootWhen>{kRebootWhen});
              },
              [](const Config& config) {
                return json::Value(kRebootWhen.at(static_cast<size_t>(config.reboot.when)));
              }},
    ConfigKey{"reboot.idle_command", "list of words, the first an absolute path",
              "a program that exits with 0 when nobody needs the device",
              [](const yaml::Value& value, Config& config) {
                return read_program(value, config.reboot.idle_command);
              },
              [](const Config& config) { return list(config.reboot.idle_command); }},
    ConfigKey{"reboot.lock_command", "list of words, the first an absolute path",
              "a program run last before a reboot; the device reboots only if it exits with 0",
              [](const yaml::Value& value, Config& config) {
                return read_program(value, config.reboot.lock_command);
              },
              [](const Config& config) { return list(config.reboot.lock_command); }},
    ConfigKey{
        "health.limit", "a duration, `1min` or more",
        "how long after its start a new release may take to become healthy",
        [](const yaml::Value& value, Config& config) {
          return value.read(config.health.limit, DurationReader{kMinLimit});
        },
        [](const Config& config) { return json::Value(format_duration(config.health.limit)); }},
    ConfigKey{
        "health.mark_bad_within", "a duration",
        "how long after it was found healthy a release can be marked bad by the device itself",
        [](const yaml::Value& value, Config& config) {
          return value.read(config.health.mark_bad_within, DurationReader{});
        },
        [](const Config& config) {
          return json::Value(format_duration(config.health.mark_bad_within));
        }},
};

std::string_view group_of(std::string_view name) {
  return name.substr(0, std::min(name.find('.'), name.size()));
}

bool is_grouped(std::string_view name) { return name.find('.') != std::string_view::npos; }

/// A text without anything is no YAML document.
bool has_content(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, std::min(text.find('\n'), text.size()));
    size_t first = line.find_first_not_of(" \t\r");
    if (first != std::string_view::npos && line[first] != '#') return true;
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return false;
}

void read_key(const ConfigKey& key, const yaml::Value& value, Config& config) {
  if (key.read(value, config)) config.origins[key.name] = value.file_and_line();
}

Result<> read_document(const std::string& text, const std::string& path, Config& config) {
  if (!has_content(text)) return {};
  yaml::Value root = CFS_TRY(yaml::Value::parse(text, path));
  std::vector<std::string_view> names;  // of keys alone and of groups
  for (const ConfigKey& key : kKeys) {
    std::string_view name = group_of(key.name);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  yaml::Map top = root.map(names);
  for (std::string_view name : names) {
    std::optional<yaml::Value> value = top.find(name);
    if (!value) continue;
    std::vector<std::string_view> members;
    for (const ConfigKey& key : kKeys) {
      std::string_view full = key.name;
      if (group_of(full) != name) continue;
      if (is_grouped(full)) {
        members.push_back(full.substr(name.size() + 1));
      } else {
        read_key(key, *value, config);
      }
    }
    if (members.empty()) continue;
    yaml::Map group = value->map(members);
    for (const ConfigKey& key : kKeys) {
      std::string_view full = key.name;
      if (group_of(full) != name) continue;
      std::optional<yaml::Value> member = group.find(full.substr(name.size() + 1));
      if (member) read_key(key, *member, config);
    }
  }
  return root.reported();
}

/// JSON is YAML, but for a word quotes are not needed.
std::string yaml_text(const json::Value& value) {
  const auto* text = value.as<std::string>();
  return text != nullptr && !text->empty() ? *text : json::to_canonical(value);
}

std::string origin_of(const Config& config, const ConfigKey& key) {
  auto found = config.origins.find(key.name);
  return found == config.origins.end() ? "default" : found->second;
}

}  // namespace

std::span<const ConfigKey> config_keys() { return kKeys; }

Result<Config> read_config(const Environment& environment) {
  Config config;
  for (const std::string& directory : {environment.vendor_directory, environment.local_directory}) {
    const std::string path = directory + kFileName;
    Result<std::string> text = read_file(AT_FDCWD, path, kMaxFileBytes);
    if (!text && text.error().code == ErrorCode::kNotFound) continue;
    if (!text) return Error(std::move(text).error());
    CFS_TRY(read_document(*text, path, config));
  }
  if (config.reboot.when == RebootWhen::kIdle && config.reboot.idle_command.empty()) {
    return make_error(ErrorCode::kInvalidInput,
                      config.origins["reboot.when"] +
                          ": reboot.when: idle, and no reboot.idle_command says when that is");
  }
  return config;
}

std::string to_text(const Config& config) {
  std::vector<std::array<std::string, 2>> lines;  // what can stand in a file; where it is from
  size_t width = 0;
  std::string_view group;
  for (const ConfigKey& key : kKeys) {
    std::string_view name = key.name;
    if (is_grouped(name) && group_of(name) != group) {
      group = group_of(name);
      lines.push_back({std::string(group) + ":", ""});
    }
    std::string line =
        is_grouped(name) ? "  " + std::string(name.substr(group.size() + 1)) : std::string(name);
    line += ": " + yaml_text(key.show(config));
    width = std::max(width, line.size());
    lines.push_back({std::move(line), "  # " + origin_of(config, key)});
  }
  std::string text;
  for (auto& [line, origin] : lines) {
    if (!origin.empty()) line.resize(width, ' ');
    text += line + origin + "\n";
  }
  return text;
}

json::Value to_json(const Config& config) {
  json::Value::Array keys;
  for (const ConfigKey& key : kKeys) {
    keys.emplace_back(json::Value::Object{
        {"key", key.name}, {"value", key.show(config)}, {"origin", origin_of(config, key)}});
  }
  return json::Value::Object{{"schema", 1}, {"keys", std::move(keys)}};
}

RunCommand declare_config(CLI::App& command) {
  auto action = std::make_shared<std::string>();
  add_choice(command, "action", *action, "show: every key, its value, and which file says so",
             {"show"});
  return [action](const Environment& environment) -> Result<Answer> {
    Config config = CFS_TRY(read_config(environment));
    environment.print(to_text(config));
    return Answer{.json = to_json(config)};
  };
}

}  // namespace cfs::deployer
