// SPDX-License-Identifier: Apache-2.0
#include "lib/base/interrupt.h"

#include <signal.h>
#include <string.h>

#include <atomic>

namespace cfs {
namespace {

std::atomic<int> received_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int signal_number) { received_signal.store(signal_number); }

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // and no SA_RESTART
  for (int signal_number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction old = {};
    ::sigaction(signal_number, nullptr, &old);
    if (old.sa_handler != SIG_IGN) ::sigaction(signal_number, &action, nullptr);
  }
  (void)::signal(SIGPIPE, SIG_IGN);
  (void)::signal(SIGXFSZ, SIG_IGN);
  // Whoever ignores it takes the exit status of children from us: waitpid(2), ECHILD.
  (void)::signal(SIGCHLD, SIG_DFL);
}

bool is_interrupted() { return received_signal.load(std::memory_order_relaxed) != 0; }

Result<> check_interrupted() {
  int signal_number = received_signal.load(std::memory_order_relaxed);
  if (signal_number == 0) return {};
  return make_error(ErrorCode::kInterrupted,
                    std::string("stopped by SIG") + ::sigabbrev_np(signal_number));
}

}  // namespace cfs
