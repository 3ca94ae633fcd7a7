#include "cli/flag_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FlagSetTest : public ::testing::Test {
 protected:
  FlagSetTest() : flags_(invocation_, "run", "[OPTIONS] IMAGE", "Test") {
    flags_.flag("-i,--interactive", interactive_, "");
    flags_.flag("-t,--tty", tty_, "");
    flags_.value("-n,--name", "NAME", name_, "");
    flags_.list("-e,--env", "NAME=VALUE", env_, "");
  }

  std::vector<std::string> operands(const std::vector<std::string>& arguments, Operands rule = Operands::kEndFlags) {
    const auto parsed = flags_.parse(arguments, rule);
    EXPECT_TRUE(parsed) << parsed.error().message();
    return parsed && *parsed ? **parsed : std::vector<std::string>{"<none>"};
  }

  std::string error(const std::vector<std::string>& arguments) {
    const auto parsed = flags_.parse(arguments, Operands::kEndFlags);
    EXPECT_FALSE(parsed);
    if (parsed) return "";
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalidArgument);
    return parsed.error().message();
  }

  Invocation invocation_;
  FlagSet flags_;
  bool interactive_ = false;
  bool tty_ = false;
  std::optional<std::string> name_;
  std::vector<std::string> env_;
};

TEST_F(FlagSetTest, TheFirstOperandEndsTheFlags) {
  EXPECT_THAT(operands({"-i", "alpine", "ls", "-t", "--name", "x"}), ElementsAre("alpine", "ls", "-t", "--name", "x"));
  EXPECT_TRUE(interactive_);
  EXPECT_FALSE(tty_);
  EXPECT_FALSE(name_);
}

TEST_F(FlagSetTest, FlagsMayFollowOperandsWhereTheVerbAllowsIt) {
  EXPECT_THAT(operands({"a", "-t", "b", "--name", "x", "--", "-i"}, Operands::kAnywhere), ElementsAre("a", "b", "-i"));
  EXPECT_TRUE(tty_);
  EXPECT_EQ(name_, "x");
  EXPECT_FALSE(interactive_);
}

TEST_F(FlagSetTest, ADoubleDashEndsTheFlagsAndIsNoOperand) {
  EXPECT_THAT(operands({"-t", "--", "-odd-image", "--", "x"}), ElementsAre("-odd-image", "--", "x"));
}

TEST_F(FlagSetTest, ShortFlagsCombineAndTheLastMayTakeAValue) {
  EXPECT_THAT(operands({"-iteA=1", "-e", "B=2", "-itn", "box", "alpine"}), ElementsAre("alpine"));
  EXPECT_TRUE(interactive_ && tty_);
  EXPECT_THAT(env_, ElementsAre("A=1", "B=2"));
  EXPECT_EQ(name_, "box");
}

TEST_F(FlagSetTest, AnEmptyValueAfterAnEqualsSignIsAValue) {
  EXPECT_THAT(operands({"--name=", "alpine"}), ElementsAre("alpine"));
  EXPECT_EQ(name_, "");
  EXPECT_THAT(operands({"-n=", "alpine"}), ElementsAre("alpine"));
}

TEST_F(FlagSetTest, AValueMayLookLikeAFlagOrAList) {
  EXPECT_THAT(operands({"--name", "-t", "-e", "[a,b]", "-e", "{}", "--env=X=--", "alpine"}), ElementsAre("alpine"));
  EXPECT_EQ(name_, "-t");
  EXPECT_THAT(env_, ElementsAre("[a,b]", "{}", "X=--"));
  EXPECT_FALSE(tty_);
}

TEST_F(FlagSetTest, TheLastValueWins) {
  operands({"--name", "a", "-n", "b", "--tty", "--tty=false", "-i=false", "alpine"});
  EXPECT_EQ(name_, "b");
  EXPECT_FALSE(tty_);
  EXPECT_FALSE(interactive_);
}

TEST_F(FlagSetTest, TargetsKeepTheirValueWhenTheFlagIsNotGiven) {
  name_ = "before";
  EXPECT_THAT(operands({}), IsEmpty());
  EXPECT_EQ(name_, "before");
}

TEST_F(FlagSetTest, AnUnknownFlagIsNamed) {
  EXPECT_EQ(error({"--publish", "80:80", "alpine"}), "unknown flag --publish for run; boxlite run --help lists the flags");
  EXPECT_THAT(error({"--publish=80:80", "alpine"}), HasSubstr("unknown flag --publish for run"));
  EXPECT_THAT(error({"-itp", "80:80", "alpine"}), HasSubstr("unknown flag -p for run"));
  EXPECT_THAT(error({"-h", "alpine"}), HasSubstr("unknown flag -h for run"));
}

TEST_F(FlagSetTest, AMissingOrImpossibleValueNamesTheFlag) {
  EXPECT_THAT(error({"--name"}), HasSubstr("flag --name needs a value"));
  EXPECT_THAT(error({"-in"}), HasSubstr("flag -n needs a value"));
  EXPECT_THAT(error({"--tty=maybe", "alpine"}), HasSubstr("--tty=maybe"));
}

TEST_F(FlagSetTest, HomeAndAcceleratorAreInEverySet) {
  operands({"--home", "/srv/boxes", "--accel=tcg", "alpine"});
  EXPECT_EQ(invocation_.runtime.home, "/srv/boxes");
  EXPECT_EQ(invocation_.runtime.accelerator, "tcg");
}

TEST_F(FlagSetTest, HelpIsPrintedAndGivesNoOperands) {
  ::testing::internal::CaptureStdout();
  const auto parsed = flags_.parse({"--help"}, Operands::kEndFlags);
  const std::string help = ::testing::internal::GetCapturedStdout();
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(*parsed);
  EXPECT_THAT(help, HasSubstr("Usage: boxlite run [OPTIONS] IMAGE"));
  EXPECT_THAT(help, HasSubstr("--env NAME=VALUE"));
}

}  // namespace
}  // namespace boxlite::cli
