// Takes the image of a template's QEMU (vmm/process_capture.h), for a template maker that is confined and may trace nobody: a
// process of its own, made before. It does one thing, on an order that says nothing: a maker in the hands of its guest cannot
// have it trace another process.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/process.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/records.h"
#include "shim/event_loop.h"
#include "vmm/vm.h"

namespace boxlite::shim {

class Imager {
 public:
  /// For `vm`, which was launched for `job`. Ends with the calling process, which has a single thread.
  static Result<Imager> start(const TemplateJob& job, const vmm::Vm& vm);

  /// Of a VM that stands still. `on_taken` is called once, from `loop`.
  void take(EventLoop& loop, std::function<void(Result<void>)> on_taken);

 private:
  explicit Imager(UniqueFd order) : order_(std::move(order)) {}

  UniqueFd order_;
  std::unique_ptr<Watch> answer_;
};

}  // namespace boxlite::shim
