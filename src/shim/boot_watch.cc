#include "shim/boot_watch.h"

namespace boxlite::shim {
namespace {

constexpr auto kInterval = std::chrono::seconds(2);  // only while booting

}  // namespace

BootWatch::BootWatch(EventLoop& loop, const vmm::Vm& vm, AgentLink& link, std::function<void()> on_hang)
    : vm_(vm), link_(link), on_hang_(std::move(on_hang)), timer_(loop) {
  timer_.start(kInterval, [this] { look(); });
}

void BootWatch::look() {
  const auto used = vm_.cpu_time_ms();
  if (used && link_.take_sign_of_life()) cpu_at_sign_ms_ = *used;
  if (used && *used > cpu_at_sign_ms_ + kLimitMs) return on_hang_();
  timer_.start(kInterval, [this] { look(); });
}

}  // namespace boxlite::shim
