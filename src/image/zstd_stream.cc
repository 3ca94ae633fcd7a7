#include "image/zstd_stream.h"

#include <zstd.h>
#include <zstd_errors.h>

#include "base/sys.h"

namespace boxlite::image {
namespace {

constexpr int kMaxWindowLog = 25;

ZSTD_DStream* native(void* stream) { return static_cast<ZSTD_DStream*>(stream); }

}  // namespace

void ZstdStream::Free::operator()(void* stream) const { ZSTD_freeDStream(native(stream)); }

ZstdStream::ZstdStream(int fd, std::string what, std::unique_ptr<void, Free> stream)
    : fd_(fd), what_(std::move(what)), stream_(std::move(stream)), in_(ZSTD_DStreamInSize()), out_(ZSTD_DStreamOutSize()) {}

Result<ZstdStream> ZstdStream::open(int fd, std::string what) {
  std::unique_ptr<void, Free> stream(ZSTD_createDStream());
  if (!stream || ZSTD_isError(ZSTD_DCtx_setParameter(native(stream.get()), ZSTD_d_windowLogMax, kMaxWindowLog)) != 0) {
    return fail(ErrorCode::kInternal, "{}: zstd cannot be set up", what);
  }
  return ZstdStream(fd, std::move(what), std::move(stream));
}

Result<std::span<const std::byte>> ZstdStream::next() {
  for (;;) {
    if (in_begin_ == in_end_ && !out_was_full_) {
      TRY_ASSIGN(in_end_, sys::read_full(fd_, in_));
      in_begin_ = 0;
      if (in_end_ == 0 && in_frame_) return fail(ErrorCode::kCorrupt, "{} is damaged: the zstd stream is cut short", what_);
      if (in_end_ == 0) return std::span<const std::byte>();
    }
    ZSTD_inBuffer in = {.src = in_.data(), .size = in_end_, .pos = in_begin_};
    ZSTD_outBuffer out = {.dst = out_.data(), .size = out_.size(), .pos = 0};
    const std::size_t status = ZSTD_decompressStream(native(stream_.get()), &out, &in);
    if (ZSTD_isError(status) != 0) {
      if (ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge) {
        return fail(ErrorCode::kUnsupported, "{}: its zstd window is larger than {} MiB", what_, (1U << kMaxWindowLog) >> 20);
      }
      return fail(ErrorCode::kCorrupt, "{} is damaged: zstd: {}", what_, ZSTD_getErrorName(status));
    }
    in_begin_ = in.pos;
    in_frame_ = status != 0;
    out_was_full_ = in_frame_ && out.pos == out.size;
    if (out.pos != 0) return std::span<const std::byte>(out_).first(out.pos);
  }
}

}  // namespace boxlite::image
