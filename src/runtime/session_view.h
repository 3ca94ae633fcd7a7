// What an Execution is made of: a connected stream whose call has been answered with Started.
#pragma once

#include <cstdint>
#include <string>

#include "base/unique_fd.h"
#include "boxlite/execution.h"

namespace boxlite {

/// Where the next chunk of a stream must begin.
struct ExpectedOffset {
  std::uint64_t offset = 0;
  bool may_skip = false;  // only before the first chunk of an attach: what was asked for may be kept no more
};

struct SessionView {
  std::string box_directory;  // for calls beside the stream: signal, resize
  std::string box_name;       // for messages
  UniqueFd socket;
  std::string session_id;
  ExpectedOffset stdout_at;
  ExpectedOffset stderr_at;
  std::uint64_t stdout_end = 0;  // when the view began
  bool tty = false;
  bool open_stdin = false;
};

Execution make_execution(SessionView view);

}  // namespace boxlite
