#include "runtime/sqlite.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/failpoint.h"
#include "base/sys.h"

namespace boxlite::sqlite {
namespace {

// A writer holds the database for milliseconds; only a stopped process makes anyone wait this long.
constexpr int kBusyTimeoutMs = 15000;
// At once; each time one of them is through.
constexpr int kMostFirstUsers = 1000;

ErrorCode code_of(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kUnavailable;
    case SQLITE_FULL:
      return ErrorCode::kResourceExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::kCorrupt;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return ErrorCode::kPermissionDenied;
    case SQLITE_CONSTRAINT:
      return ErrorCode::kAlreadyExists;
    default:
      return ErrorCode::kIo;
  }
}

std::unexpected<Error> failure(sqlite3* database, std::string_view what) {
  const int code = sqlite3_extended_errcode(database);
  // Only a write of data that finds no space is SQLITE_FULL; a file that could not grow is an I/O error like any other.
  const bool no_space = (code & 0xff) == SQLITE_IOERR && sqlite3_system_errno(database) == ENOSPC;
  const ErrorCode meaning = no_space ? ErrorCode::kResourceExhausted : code_of(code);
  return fail(meaning, "{}: {}{}", what, sqlite3_errmsg(database),
              meaning == ErrorCode::kResourceExhausted ? "; free some space in the home's file system" : "");
}

// SQLite does not say which descriptors it has open: they are recognised by their inodes. Nothing is opened to find out, since
// closing any descriptor of these files would drop the process's POSIX locks on them.
std::vector<int> descriptors_of(const std::string& path) {
  std::vector<struct stat> files;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    if (auto st = sys::stat(path + suffix)) files.push_back(*st);
  }
  std::vector<int> found;
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return found;
  while (const dirent* entry = ::readdir(directory)) {
    int fd = -1;
    const char* const name = entry->d_name;
    struct stat st = {};
    if (std::from_chars(name, name + std::strlen(name), fd).ec != std::errc() || ::fstat(fd, &st) < 0) continue;
    const auto same = [&](const struct stat& file) { return file.st_dev == st.st_dev && file.st_ino == st.st_ino; };
    if (std::ranges::any_of(files, same)) found.push_back(fd);
  }
  ::closedir(directory);
  return found;
}

// WAL is a property of the file, set once; the pragma answers what is in effect, which on an unfit file system is another mode.
Result<void> ask_for_wal(Connection& connection, const std::string& path) {
  TRY_ASSIGN(Statement mode, connection.prepare("PRAGMA journal_mode=WAL"));
  auto row = mode.step();
  if (!row) return std::unexpected(row.error().context(path));
  if (!*row || mode.text(0) != "wal")
    return fail(ErrorCode::kUnsupported, "{}: SQLite's write-ahead log does not work on this file system", path);
  return {};
}

// Of two that are the first in a new home, and set it at once, SQLite refuses one without waiting, since each could wait for the
// other. A transaction waits for whoever is at it, with nothing held.
Result<void> use_write_ahead_log(Connection& connection, const std::string& path) {
  for (int attempts = kMostFirstUsers;; --attempts) {
    auto set = ask_for_wal(connection, path);
    if (set || set.error().code() != ErrorCode::kUnavailable || attempts == 0) return set;
    TRY(connection.execute("BEGIN IMMEDIATE; COMMIT"));
  }
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement& Statement::bind(std::string_view text) {
  const char* const data = text.data() == nullptr ? "" : text.data();  // a null pointer would bind NULL
  bind_failed_ |=
      sqlite3_bind_text64(statement_.get(), next_parameter_++, data, text.size(), SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK;
  return *this;
}

Statement& Statement::bind(std::int64_t number) {
  bind_failed_ |= sqlite3_bind_int64(statement_.get(), next_parameter_++, number) != SQLITE_OK;
  return *this;
}

Statement& Statement::bind_null() {
  bind_failed_ |= sqlite3_bind_null(statement_.get(), next_parameter_++) != SQLITE_OK;
  return *this;
}

Result<bool> Statement::step() {
  if (bind_failed_) return fail(ErrorCode::kInternal, "a value does not fit: {}", sqlite3_sql(statement_.get()));
  switch (sqlite3_step(statement_.get())) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return failure(database_, "database");
  }
}

Result<void> Statement::run() {
  TRY(step());
  return {};
}

std::string Statement::text(int column) const {
  const auto* const data = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  if (data == nullptr) return {};
  return std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

std::int64_t Statement::number(int column) const { return sqlite3_column_int64(statement_.get(), column); }

bool Statement::is_null(int column) const { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }

Connection::Connection(sqlite3* database, std::string path) : database_(database), path_(std::move(path)), owner_(::getpid()) {}

Result<std::unique_ptr<Connection>> Connection::open(const std::string& path) {
  // Made here for its mode, which SQLite gives to -wal and -shm too. Only when it is new: see descriptors_of() for why.
  if (::access(path.c_str(), F_OK) < 0) (void)sys::open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  sqlite3* database = nullptr;
  const int opened =
      sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<Connection> connection(new Connection(database, path));
  if (opened != SQLITE_OK) return failure(database, fmt::format("open {}", path));
  sqlite3_busy_timeout(database, kBusyTimeoutMs);
  TRY(use_write_ahead_log(*connection, path));
  TRY(connection->execute("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;"));
  TRY(connection->execute("SELECT count(*) FROM sqlite_schema"));  // the log is opened by the first read
  for (const int fd : descriptors_of(path)) connection->guards_.emplace_back(fd);
  return connection;
}

Result<std::unique_ptr<Connection>> Connection::open_in_memory() {
  sqlite3* database = nullptr;
  const int opened =
      sqlite3_open_v2(":memory:", &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<Connection> connection(new Connection(database, "the database in memory"));
  if (opened != SQLITE_OK) return failure(database, connection->path_);
  return connection;
}

Connection::~Connection() {
  if (::getpid() != owner_) return;  // in a forked child: closing would touch the parent's log through the shared mapping
  guards_.clear();
  sqlite3_close_v2(database_);
}

Result<std::unique_lock<std::recursive_mutex>> Connection::lock() {
  // Asked before the mutex, which another thread may have held at the moment of the fork.
  if (::getpid() != owner_) {
    return fail(ErrorCode::kInvalidState, "this process was forked from the one that opened {}; open a Runtime of its own",
                path_);
  }
  return std::unique_lock(mutex_);
}

Result<void> Connection::execute(const char* sql) {
  TRY_ASSIGN(const auto held, lock());
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failure(database_, path_);
  return {};
}

Result<Statement> Connection::prepare(std::string_view sql) {
  TRY_ASSIGN(const auto held, lock());
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()), 0, &statement, nullptr) != SQLITE_OK) {
    return failure(database_, path_);
  }
  return Statement(database_, statement);
}

int Connection::rows_changed() const { return sqlite3_changes(database_); }

Result<void> Connection::commit() {
  FAILPOINT("database.commit");
  return execute("COMMIT");
}

Result<void> Connection::transaction(const std::function<Result<void>()>& body) {
  TRY_ASSIGN(const auto held, lock());
  TRY(execute("BEGIN IMMEDIATE"));
  Result<void> result = body();
  if (result) result = commit();
  if (!result) (void)execute("ROLLBACK");
  return result;
}

}  // namespace boxlite::sqlite
