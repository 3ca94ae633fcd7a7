// A file that is written from beginning to end and has its name only when it is complete.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::cli {

class OutputFile {
 public:
  /// What exists and is no regular file (a device, a fifo) is written directly.
  static Result<OutputFile> create(const std::string& path, mode_t mode = 0666);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  /// Without commit() nothing is left, and a file that was there is as it was.
  ~OutputFile();

  int fd() const { return fd_.get(); }
  Result<void> commit();

 private:
  OutputFile(std::string path, std::string temporary, UniqueFd fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}
  std::string path_;
  std::string temporary_;  // "": none
  UniqueFd fd_;
};

}  // namespace boxlite::cli
