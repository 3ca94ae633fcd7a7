// boxlite inspect: everything about boxes, as JSON.
#include "cli/box_json.h"
#include "cli/each_box.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_inspect(Invocation& invocation) {
  FlagSet flags(invocation, "inspect", "BOX [BOX...]", "Print all about boxes as a JSON array");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  Json boxes = Json::array();
  TRY_ASSIGN(const int status, for_each_box(runtime, *operands, [&boxes](Box& box, const std::string&) -> Result<void> {
               TRY_ASSIGN(const BoxInfo info, box.info());
               boxes.push_back(detail_json(info));
               return {};
             }));
  TRY(print_json(boxes));
  return status;
}

}  // namespace boxlite::cli
