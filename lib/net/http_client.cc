// SPDX-License-Identifier: Apache-2.0
//
// One thread owns the libcurl multi handle and everything that hangs from it; the rest of the
// program talks to it through Transfer objects under one mutex. A transfer's bytes wait in its
// `pending` buffer. When that is full the write callback pauses the transfer, which stops reading
// from the socket, so TCP slows the server down; the reader asks for the pause to end when it has
// made room. So memory is bounded by 256 KiB a transfer, whatever the server sends.
//
// A failed attempt becomes a transfer that waits until `due`. Since every file of a repository is
// immutable and verified by its reader, an attempt may go on where the last one stopped: it asks
// for the range that is missing, and when the server answers with the whole file instead it skips
// what it has.
//
// file:// does not go through libcurl, which copies a file in one go, without pauses.
#include "lib/net/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs::net {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kPendingBytes = 256 << 10;
constexpr uint64_t kWorthwhileBytes = 64 << 10;  // an attempt that got this far does not count
constexpr milliseconds kMaxRetryAfter{120'000};
constexpr uint64_t kLongestDownloadSeconds = 7 * 24 * 3600;
constexpr long kMaxRedirects = 5;

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;

bool is_transient_status(long status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
         status == 504;
}

bool is_transient(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

/// The first number of "bytes 123-456/789".
std::optional<uint64_t> content_range_start(CURL* easy) {
  curl_header* header = nullptr;
  if (curl_easy_header(easy, "Content-Range", 0, CURLH_HEADER, -1, &header) != CURLHE_OK) {
    return std::nullopt;
  }
  std::string_view value = header->value;
  constexpr std::string_view kUnit = "bytes ";
  if (!value.starts_with(kUnit)) return std::nullopt;
  value.remove_prefix(kUnit.size());
  uint64_t start = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), start);
  if (error != std::errc() || end == value.data() + value.size() || *end != '-') {
    return std::nullopt;
  }
  return start;
}

/// One download. The first half belongs to the network thread; `mutex` guards the second.
struct Transfer {
  Transfer(Url address, uint64_t limit) : url(std::move(address)), limit_bytes(limit) {}

  const Url url;
  const uint64_t limit_bytes;
  Clock::time_point deadline;

  Easy easy;                     // null between attempts
  Clock::time_point due;         // when the next attempt may start
  unsigned attempts = 0;         // in a row without worthwhile progress
  uint64_t attempt_start = 0;    // `received` when this attempt began
  bool use_range = true;         // until the server shows that it cannot
  bool body_started = false;     // of this attempt
  uint64_t skip_bytes = 0;       // of this attempt: the reader has them already
  std::optional<Error> failure;  // of this attempt, found in write_body
  char curl_message[CURL_ERROR_SIZE] = {};

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::byte> pending;
  uint64_t received = 0;  // bytes that ever entered `pending`; written by the network thread only
  bool paused = false;
  bool wants_more = false;  // the reader has made room
  bool cancelled = false;
  bool done = false;
  std::optional<Error> error;
};

Error network_error(const Transfer& transfer, const std::string& what) {
  return make_error(ErrorCode::kNetwork, "cannot fetch '" + transfer.url.shown() + "': " + what);
}

Error too_long(const Transfer& transfer) {
  return make_error(ErrorCode::kCorrupt, "'" + transfer.url.shown() + "' is longer than the " +
                                             std::to_string(transfer.limit_bytes) +
                                             " bytes it may have");
}

/// Looks at the status of an answer whose body begins. False: `failure` is set.
bool begin_body(Transfer& transfer) {
  transfer.body_started = true;
  long status = 0;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
  bool asked_for_range = transfer.received > 0 && transfer.use_range;
  if (status == 200) {
    transfer.skip_bytes = transfer.received;
  } else if (status != 206 || !asked_for_range ||
             content_range_start(transfer.easy.get()) != transfer.received) {
    transfer.failure =
        network_error(transfer, "the server answered with HTTP status " + std::to_string(status) +
                                    (status == 206 ? " and another range" : ""));
    return false;
  }
  return true;
}

/// libcurl's write callback.
size_t write_body(const char* data, size_t, size_t size, void* user) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  if (!transfer.body_started && !begin_body(transfer)) return CURL_WRITEFUNC_ERROR;

  size_t skipped = static_cast<size_t>(std::min<uint64_t>(transfer.skip_bytes, size));
  Bytes bytes = as_bytes({data, size}).subspan(skipped);
  if (bytes.size() > transfer.limit_bytes - transfer.received) {
    transfer.failure = too_long(transfer);
    return CURL_WRITEFUNC_ERROR;
  }
  std::lock_guard lock(transfer.mutex);
  if (!transfer.pending.empty() && transfer.pending.size() + bytes.size() > kPendingBytes) {
    transfer.paused = true;
    return CURL_WRITEFUNC_PAUSE;  // libcurl offers the same bytes again
  }
  transfer.skip_bytes -= skipped;
  transfer.pending.insert(transfer.pending.end(), bytes.begin(), bytes.end());
  transfer.received += bytes.size();
  transfer.changed.notify_one();
  return size;
}

void finish(Transfer& transfer, std::optional<Error> error) {
  std::lock_guard lock(transfer.mutex);
  transfer.done = true;
  transfer.error = std::move(error);
  transfer.changed.notify_one();
}

}  // namespace

class Client::Engine {
 public:
  Engine(const ClientOptions& options, CURLM* multi) : options_(options), multi_(multi) {
    curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                      static_cast<long>(options.max_connections));
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(options.max_connections));
    thread_ = std::thread([this] { work(); });
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  ~Engine() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake();
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  std::shared_ptr<Transfer> add(const Url& url, uint64_t limit_bytes) {
    auto transfer = std::make_shared<Transfer>(url, limit_bytes);
    transfer->due = Clock::now();
    uint64_t seconds = limit_bytes / std::max<uint64_t>(1, options_.min_bytes_per_second);
    transfer->deadline = transfer->due + options_.base_deadline +
                         std::chrono::seconds(std::min(seconds, kLongestDownloadSeconds));
    {
      std::lock_guard lock(mutex_);
      transfers_.push_back(transfer);
    }
    wake();
    return transfer;
  }

  void wake() { curl_multi_wakeup(multi_); }

 private:
  void work() {
    while (start_and_stop_transfers()) {
      int running = 0;
      curl_multi_perform(multi_, &running);
      int left = 0;
      while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
        Transfer* transfer = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        end_attempt(*transfer, message->data.result);
      }
      curl_multi_poll(multi_, nullptr, 0, poll_timeout_ms(), nullptr);
    }
    for (const std::shared_ptr<Transfer>& transfer : transfers_) drop_handle(*transfer);
  }

  /// False when the engine is to stop.
  bool start_and_stop_transfers() {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return false;
      working_ = transfers_;
    }
    Clock::time_point now = Clock::now();
    std::vector<std::shared_ptr<Transfer>> over;
    for (const std::shared_ptr<Transfer>& transfer : working_) {
      bool resume = false;
      {
        std::lock_guard lock(transfer->mutex);
        if (transfer->cancelled || transfer->done) {
          over.push_back(transfer);
          continue;
        }
        resume = std::exchange(transfer->wants_more, false);
        if (resume) transfer->paused = false;
      }
      if (!transfer->easy) {
        if (transfer->due <= now) start_attempt(*transfer);
      } else if (resume) {
        curl_easy_pause(transfer->easy.get(), CURLPAUSE_CONT);  // may call write_body
      }
    }
    if (over.empty()) return true;
    for (const std::shared_ptr<Transfer>& transfer : over) drop_handle(*transfer);
    std::lock_guard lock(mutex_);
    std::erase_if(transfers_, [&](const std::shared_ptr<Transfer>& transfer) {
      return std::find(over.begin(), over.end(), transfer) != over.end();
    });
    return true;
  }

  void drop_handle(Transfer& transfer) {
    if (transfer.easy) curl_multi_remove_handle(multi_, transfer.easy.get());
    transfer.easy.reset();
  }

  int poll_timeout_ms() {
    milliseconds wait{1000};
    Clock::time_point now = Clock::now();
    for (const std::shared_ptr<Transfer>& transfer : working_) {
      if (!transfer->easy) {
        wait = std::min(wait, std::chrono::ceil<milliseconds>(transfer->due - now));
      }
    }
    return static_cast<int>(std::max(wait, milliseconds(0)).count());
  }

  void start_attempt(Transfer& transfer) {
    milliseconds left = std::chrono::ceil<milliseconds>(transfer.deadline - Clock::now());
    if (left <= milliseconds(0)) return finish(transfer, network_error(transfer, "took too long"));
    CURL* easy = curl_easy_init();
    if (easy == nullptr) return finish(transfer, network_error(transfer, "out of memory"));
    transfer.easy.reset(easy);
    transfer.body_started = false;
    transfer.skip_bytes = 0;
    transfer.failure.reset();
    transfer.curl_message[0] = '\0';
    transfer.attempt_start = transfer.received;

    bool secure = transfer.url.scheme() == Url::Scheme::kHttps;
    auto count = [](auto duration) { return static_cast<long>(duration.count()); };
    curl_easy_setopt(easy, CURLOPT_URL, transfer.url.with_password().c_str());
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, kMaxRedirects);
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "cfs");
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.curl_message);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, count(options_.connect_timeout));
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT,
                     static_cast<long>(options_.min_bytes_per_second));
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, count(options_.stall_timeout));
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, count(left));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &write_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
    if (transfer.received > 0 && transfer.use_range) {
      std::string range = std::to_string(transfer.received) + "-";
      curl_easy_setopt(easy, CURLOPT_RANGE, range.c_str());
    }
    curl_multi_add_handle(multi_, easy);
  }

  void end_attempt(Transfer& transfer, CURLcode code) {
    long status = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
    curl_off_t retry_after_s = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RETRY_AFTER, &retry_after_s);
    if (code == CURLE_OK && !transfer.body_started) (void)begin_body(transfer);  // an empty body
    drop_handle(transfer);

    if (transfer.failure) return finish(transfer, std::move(transfer.failure));
    if (code == CURLE_OK) {
      if (transfer.skip_bytes == 0) return finish(transfer, std::nullopt);
      return finish(transfer, network_error(transfer, "the file became shorter meanwhile"));
    }

    bool http_error = code == CURLE_HTTP_RETURNED_ERROR;
    std::string what = http_error ? "the server answered with HTTP status " + std::to_string(status)
                       : transfer.curl_message[0] != '\0' ? std::string(transfer.curl_message)
                                                          : curl_easy_strerror(code);
    Error error = network_error(transfer, what);
    if (http_error && (status == 403 || status == 404 || status == 410)) {
      error.code = ErrorCode::kNotFound;
      return finish(transfer, std::move(error));
    }
    if (http_error && status == 416 && transfer.use_range && transfer.received > 0) {
      transfer.use_range = false;  // start over and skip
    } else if (http_error ? !is_transient_status(status) : !is_transient(code)) {
      return finish(transfer, std::move(error));
    }
    if (transfer.received - transfer.attempt_start >= kWorthwhileBytes) transfer.attempts = 0;
    if (++transfer.attempts >= options_.max_attempts) {
      return finish(transfer, std::move(error).with("after " + std::to_string(transfer.attempts) +
                                                    " attempts"));
    }
    transfer.due = Clock::now() + delay_before_next_attempt(transfer.attempts, retry_after_s);
  }

  /// Half of the doubled time for certain, the other half by chance, so that devices which failed
  /// together do not come back together.
  milliseconds delay_before_next_attempt(unsigned attempts, curl_off_t retry_after_s) {
    milliseconds delay = options_.first_backoff;
    for (unsigned i = 1; i < attempts && delay < options_.max_backoff; ++i) delay *= 2;
    delay = std::min(delay, options_.max_backoff);
    std::uniform_int_distribution<milliseconds::rep> jitter(delay.count() / 2, delay.count());
    delay = milliseconds(jitter(random_));
    milliseconds asked = std::chrono::seconds(std::clamp<curl_off_t>(retry_after_s, 0, 3600));
    return std::max(delay, std::min(asked, kMaxRetryAfter));
  }

  const ClientOptions options_;
  CURLM* const multi_;
  std::minstd_rand random_{std::random_device{}()};
  std::vector<std::shared_ptr<Transfer>> working_;  // the network thread's copy of transfers_

  std::mutex mutex_;  // guards what follows
  std::vector<std::shared_ptr<Transfer>> transfers_;
  bool stopping_ = false;

  std::thread thread_;
};

struct Download::State {
  // http and https
  Client::Engine* engine = nullptr;
  std::shared_ptr<Transfer> transfer;
  // file
  UniqueFd file;
  uint64_t left_bytes = 0;
  std::string url;

  ~State() {
    if (!transfer) return;
    {
      std::lock_guard lock(transfer->mutex);
      transfer->cancelled = true;
    }
    engine->wake();
  }

  Result<size_t> read_transfer(std::span<std::byte> buffer) {
    std::unique_lock lock(transfer->mutex);
    while (transfer->pending.empty() && !transfer->done) {
      CFS_TRY(check_interrupted());
      transfer->changed.wait_for(lock, milliseconds(200));
    }
    std::vector<std::byte>& pending = transfer->pending;
    if (pending.empty()) {
      if (transfer->error) return *transfer->error;
      return size_t{0};
    }
    size_t count = std::min(buffer.size(), pending.size());
    std::memcpy(buffer.data(), pending.data(), count);
    pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(count));
    if (transfer->paused && !transfer->wants_more && pending.size() <= kPendingBytes / 2) {
      transfer->wants_more = true;
      engine->wake();
    }
    return count;
  }

  Result<size_t> read_local(std::span<std::byte> buffer) {
    CFS_TRY(check_interrupted());
    size_t count = CFS_TRY_WITH("while reading '" + url + "'", read_full(file.get(), buffer));
    if (count > left_bytes) {
      return make_error(ErrorCode::kCorrupt, "'" + url + "' is longer than it may be");
    }
    left_bytes -= count;
    return count;
  }
};

Download::Download(std::unique_ptr<State> state) : state_(std::move(state)) {}
Download::Download(Download&&) noexcept = default;
Download& Download::operator=(Download&&) noexcept = default;
Download::~Download() = default;

Result<size_t> Download::read(std::span<std::byte> buffer) {
  return state_->transfer ? state_->read_transfer(buffer) : state_->read_local(buffer);
}

Result<std::string> Download::read_all() {
  std::string content;
  std::vector<std::byte> buffer(64 << 10);
  while (size_t count = CFS_TRY(read(buffer))) {
    content += as_text(Bytes(buffer).first(count));
  }
  return content;
}

Client::Client(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Client> Client::create(const ClientOptions& options) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  CURLM* multi = initialised == CURLE_OK ? curl_multi_init() : nullptr;
  if (multi == nullptr) return make_error(ErrorCode::kInternal, "cannot start libcurl");
  return Client(std::make_unique<Engine>(options, multi));
}

Result<Download> Client::get(const Url& url, uint64_t limit_bytes) {
  auto state = std::make_unique<Download::State>();
  if (url.scheme() != Url::Scheme::kFile) {
    state->engine = engine_.get();
    state->transfer = engine_->add(url, limit_bytes);
    return Download(std::move(state));
  }
  state->url = url.shown();
  state->file = CFS_TRY_WITH("while fetching '" + url.shown() + "'",
                             open_regular_at(AT_FDCWD, url.file_path()));
  state->left_bytes = limit_bytes;
  return Download(std::move(state));
}

}  // namespace cfs::net
