// SPDX-License-Identifier: Apache-2.0
#include "lib/net/url.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "lib/base/check.h"

namespace cfs::net {
namespace {

struct HandleDeleter {
  void operator()(CURLU* handle) const { curl_url_cleanup(handle); }
};
using Handle = std::unique_ptr<CURLU, HandleDeleter>;

std::optional<std::string> part_of(const Handle& handle, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(handle.get(), part, &text, flags) != CURLUE_OK) return std::nullopt;
  std::string value = text;
  curl_free(text);
  return value;
}

/// What may be repeated of a text that is perhaps not a URL: nothing that stands where a user name
/// and a password would.
std::string without_secrets(std::string_view text) {
  size_t at = text.rfind('@');
  if (at == std::string_view::npos) return std::string(text);
  size_t slashes = text.find("//");
  size_t start = slashes == std::string_view::npos || slashes > at ? 0 : slashes + 2;
  return std::string(text.substr(0, start)) + std::string(text.substr(at + 1));
}

bool starts_with_any_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), [](char expected, char c) {
           return expected == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
         });
}

}  // namespace

Result<Url> Url::parse(std::string_view text) {
  auto refuse = [&](std::string_view why) {
    return make_error(ErrorCode::kInvalidInput,
                      "'" + without_secrets(text) + "' " + std::string(why));
  };
  auto refuse_length = [](size_t bytes) {
    return make_error(ErrorCode::kInvalidInput, "a URL of " + std::to_string(bytes) +
                                                    " bytes: at most " + std::to_string(kMaxBytes) +
                                                    " are allowed");
  };
  if (text.size() > kMaxBytes) return refuse_length(text.size());
  Url url;
  size_t prefix_bytes = 0;
  constexpr std::pair<std::string_view, Scheme> kSchemes[] = {
      {"https://", Scheme::kHttps}, {"http://", Scheme::kHttp}, {"file://", Scheme::kFile}};
  for (const auto& [prefix, scheme] : kSchemes) {
    if (!starts_with_any_case(text, prefix)) continue;
    url.scheme_ = scheme;
    prefix_bytes = prefix.size();
  }
  if (prefix_bytes == 0) return refuse("is not an https://, http:// or file:/// URL");
  if (std::any_of(text.begin(), text.end(), [](char c) {
        return static_cast<unsigned char>(c) <= ' ' || c == 0x7f || c == '\\';
      })) {
    return refuse("is not a URL: it has a blank, a backslash or a control character");
  }
  if (text.find_first_of("?#") != std::string_view::npos) {
    return refuse("has a query or a fragment, which the address of a repository cannot have");
  }
  std::string_view authority = text.substr(prefix_bytes);
  authority = authority.substr(0, authority.find('/'));
  Handle handle(curl_url());
  CFS_CHECK(handle != nullptr);
  if (url.scheme_ == Scheme::kFile) {
    if (!authority.empty() && !(starts_with_any_case(authority, "localhost") &&
                                authority.size() == std::string_view("localhost").size())) {
      return refuse("names a host; a file on this machine is file:///PATH");
    }
    std::string plain = "file://" + std::string(text.substr(prefix_bytes + authority.size()));
    std::optional<std::string> path;
    if (curl_url_set(handle.get(), CURLUPART_URL, plain.c_str(), 0) == CURLUE_OK) {
      path = part_of(handle, CURLUPART_PATH, CURLU_URLDECODE);
    }
    if (!path || !path->starts_with('/')) return refuse("has no usable path");
    url.text_ = plain;
    url.shown_ = std::move(plain);
    url.file_path_ = std::move(*path);
    return url;
  }
  const std::string_view host = authority.substr(authority.rfind('@') + 1);
  if (std::any_of(host.begin(), host.end(), [](char c) { return (c & 0x80) != 0; })) {
    return refuse("has a host that is not ASCII: write it as DNS knows it, xn--…");
  }
  const std::string whole(text);
  if (authority.empty() || authority.ends_with('@') ||
      curl_url_set(handle.get(), CURLUPART_URL, whole.c_str(), 0) != CURLUE_OK ||
      part_of(handle, CURLUPART_HOST).value_or("").empty()) {
    return refuse("is not a URL with a host");
  }
  std::optional<std::string> normal = part_of(handle, CURLUPART_URL);
  curl_url_set(handle.get(), CURLUPART_USER, nullptr, 0);
  curl_url_set(handle.get(), CURLUPART_PASSWORD, nullptr, 0);
  std::optional<std::string> shown = part_of(handle, CURLUPART_URL);
  if (!normal || !shown) return refuse("is not a URL with a host");
  if (normal->size() > kMaxBytes) return refuse_length(normal->size());
  url.text_ = std::move(*normal);
  url.shown_ = std::move(*shown);
  return url;
}

Url Url::join(std::string_view path) const {
  std::string more = path.starts_with('/') ? "" : "/";
  for (char c : path) more += c == '+' ? "%2B" : std::string(1, c);
  auto append = [](std::string base, std::string_view tail) {
    while (base.ends_with('/')) base.pop_back();
    return base + std::string(tail);
  };
  Url joined;
  joined.scheme_ = scheme_;
  joined.text_ = append(text_, more);
  joined.shown_ = append(shown_, more);
  if (scheme_ == Scheme::kFile) {
    joined.file_path_ = append(file_path_, path.starts_with('/') ? "" : "/") + std::string(path);
  }
  return joined;
}

}  // namespace cfs::net
