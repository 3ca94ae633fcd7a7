#include "shim/event_loop.h"

#include <signal.h>

#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

namespace boxlite::shim {

namespace asio = boost::asio;

struct EventLoop::Impl {
  void wait_termination() {
    signals.async_wait([this](const boost::system::error_code& error, int) {
      if (error) return;
      wait_termination();
      on_termination();
    });
  }

  asio::io_context context{1};
  asio::signal_set signals{context};
  std::function<void()> on_termination;
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;
void EventLoop::run() {
  // Also when for a moment nothing is waited for.
  const auto work = asio::make_work_guard(impl_->context);
  impl_->context.run();
}
void EventLoop::run_one() {
  const auto work = asio::make_work_guard(impl_->context);
  impl_->context.run_one();
}
void EventLoop::stop() { impl_->context.stop(); }
void EventLoop::post(std::function<void()> callback) { asio::post(impl_->context, std::move(callback)); }
void EventLoop::on_termination(std::function<void()> callback) {
  impl_->on_termination = std::move(callback);
  impl_->signals.add(SIGTERM);
  impl_->signals.add(SIGINT);
  impl_->wait_termination();
}

struct Watch::Impl {
  Impl(EventLoop& loop, int fd) : descriptor(loop.impl().context, fd) {}
  ~Impl() { (void)descriptor.release(); }

  static void wait(const std::shared_ptr<Impl>& self, asio::posix::descriptor_base::wait_type type,
                   std::function<void()> callback) {
    self->descriptor.async_wait(
        type, [alive = std::weak_ptr(self), callback = std::move(callback)](const boost::system::error_code& error) {
          if (!error && !alive.expired()) callback();
        });
  }

  asio::posix::stream_descriptor descriptor;
};

Watch::Watch(EventLoop& loop, int fd) : impl_(std::make_shared<Impl>(loop, fd)) {}
Watch::~Watch() = default;
void Watch::on_readable(std::function<void()> callback) {
  Impl::wait(impl_, asio::posix::descriptor_base::wait_read, std::move(callback));
}
void Watch::on_writable(std::function<void()> callback) {
  Impl::wait(impl_, asio::posix::descriptor_base::wait_write, std::move(callback));
}
void Watch::on_hangup(std::function<void()> callback) {
  Impl::wait(impl_, asio::posix::descriptor_base::wait_error, std::move(callback));
}

struct Timer::Impl {
  explicit Impl(EventLoop& loop) : timer(loop.impl().context) {}
  asio::steady_timer timer;
  std::shared_ptr<char> alive;
};

Timer::Timer(EventLoop& loop) : impl_(std::make_unique<Impl>(loop)) {}
Timer::~Timer() = default;
void Timer::start(std::chrono::milliseconds after, std::function<void()> callback) {
  impl_->alive = std::make_shared<char>();
  impl_->timer.expires_after(after);
  impl_->timer.async_wait(
      [alive = std::weak_ptr(impl_->alive), callback = std::move(callback)](const boost::system::error_code& error) {
        if (!error && !alive.expired()) callback();
      });
}
void Timer::stop() {
  impl_->alive.reset();
  impl_->timer.cancel();
}

}  // namespace boxlite::shim
