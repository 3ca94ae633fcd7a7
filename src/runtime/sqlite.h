// SQLite's C interface with the two things it lacks: ownership and Results.
//
// A Connection is one database handle for all threads of a process; its mutex makes a transaction of one thread invisible to the
// others. A process forked without exec must not touch the handle (SQLite's rule): every use there fails, and the destructor
// leaves it alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/fork_guard.h"

struct sqlite3;
struct sqlite3_stmt;

namespace boxlite::sqlite {

/// A prepared statement. Parameters are bound in the order of the calls.
class Statement {
 public:
  Statement& bind(std::string_view text);
  Statement& bind(std::int64_t number);
  Statement& bind_null();

  /// Runs to the next row; false: there are no more.
  Result<bool> step();
  /// Runs a statement that returns no rows.
  Result<void> run();

  std::string text(int column) const;
  std::int64_t number(int column) const;
  bool is_null(int column) const;

 private:
  friend class Connection;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(sqlite3* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}
  sqlite3* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int next_parameter_ = 1;
  bool bind_failed_ = false;
};

class Connection {
 public:
  /// Opens or creates the file (0600); WAL is on afterwards or this fails.
  static Result<std::unique_ptr<Connection>> open(const std::string& path);
  static Result<std::unique_ptr<Connection>> open_in_memory();
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Result<void> execute(const char* sql);
  Result<Statement> prepare(std::string_view sql);
  int rows_changed() const;

  /// Runs `body` between BEGIN IMMEDIATE and COMMIT; rolls back when it fails. Other threads wait.
  Result<void> transaction(const std::function<Result<void>()>& body);
  /// Keeps other threads away from the handle while several calls belong together.
  Result<std::unique_lock<std::recursive_mutex>> lock();

 private:
  Connection(sqlite3* database, std::string path);
  Result<void> commit();
  sqlite3* database_;
  std::string path_;
  pid_t owner_;
  std::recursive_mutex mutex_;
  std::vector<ForkGuard> guards_;
};

}  // namespace boxlite::sqlite
