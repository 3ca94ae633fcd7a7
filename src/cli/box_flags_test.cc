#include "cli/box_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<BoxOptions> parse(const std::vector<std::string>& arguments) {
  Invocation invocation;
  FlagSet flags(invocation, "run", "[OPTIONS] IMAGE", "");
  BoxFlags box;
  box.add_to(flags);
  TRY_ASSIGN(const auto operands, flags.parse(arguments, Operands::kEndFlags));
  return box.options(flags, *operands);
}

TEST(BoxFlagsTest, WithoutFlagsTheDefaultsOfTheLibraryHold) {
  const auto options = parse({"alpine"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->image, "alpine");
  EXPECT_THAT(options->command, IsEmpty());
  EXPECT_EQ(options->cpus, kDefaultCpus);
  EXPECT_EQ(options->memory_mib, kDefaultMemoryMib);
  EXPECT_EQ(options->disk_bytes, kDefaultDiskBytes);
  EXPECT_FALSE(options->entrypoint);
}

TEST(BoxFlagsTest, EveryFlagReachesItsOption) {
  const auto options = parse({"-it",  "--rm",         "--privileged", "--name", "web", "-e",  "A=1", "-w",
                              "/srv", "-u",           "1:2",          "--cpus", "2",   "-m",  "1g",  "--disk-size",
                              "20g",  "--entrypoint", "/bin/sh",      "alpine", "-c",  "true"});
  ASSERT_TRUE(options) << options.error().message();
  EXPECT_TRUE(options->tty && options->open_stdin && options->auto_remove && options->privileged);
  EXPECT_EQ(options->name, "web");
  EXPECT_THAT(options->env, ElementsAre("A=1"));
  EXPECT_EQ(options->working_dir, "/srv");
  EXPECT_EQ(options->user, "1:2");
  EXPECT_EQ(options->cpus, 2u);
  EXPECT_EQ(options->memory_mib, 1024u);
  EXPECT_EQ(options->disk_bytes, 20 * kGiB);
  EXPECT_THAT(*options->entrypoint, ElementsAre("/bin/sh"));
  EXPECT_THAT(options->command, ElementsAre("-c", "true"));
}

TEST(BoxFlagsTest, AnEmptyEntrypointDropsTheImagesOwn) {
  const auto options = parse({"--entrypoint=", "alpine", "ls"});
  ASSERT_TRUE(options);
  ASSERT_TRUE(options->entrypoint);
  EXPECT_THAT(*options->entrypoint, IsEmpty());
}

TEST(BoxFlagsTest, MemoryIsRoundedUpToWholeMebibytes) { EXPECT_EQ(parse({"-m", "209715201", "alpine"})->memory_mib, 201u); }

TEST(BoxFlagsTest, OneSeparatorMayStandBeforeTheCommand) {
  EXPECT_THAT(parse({"alpine", "--", "ls", "-l"})->command, ElementsAre("ls", "-l"));
  EXPECT_THAT(parse({"alpine", "--", "--", "ls"})->command, ElementsAre("--", "ls"));
}

TEST(BoxFlagsTest, BadValuesNameFlagAndValue) {
  const auto message = [](std::vector<std::string> arguments) {
    arguments.push_back("alpine");
    const auto options = parse(arguments);
    return options ? std::string("accepted") : options.error().message();
  };
  EXPECT_THAT(message({"--memory", "16m"}), HasSubstr("--memory 16m: a box needs at least 128m"));
  EXPECT_THAT(message({"--memory", "lots"}), HasSubstr("--memory lots"));
  EXPECT_THAT(message({"--cpus", "1.5"}), HasSubstr("--cpus 1.5"));
  EXPECT_THAT(message({"--disk-size", "0"}), HasSubstr("--disk-size 0"));
  EXPECT_THAT(message({"--workdir", "srv"}), HasSubstr("--workdir srv"));
  EXPECT_THAT(message({"--name", ""}), HasSubstr("--name \"\""));
  EXPECT_THAT(parse({}).error().message(), HasSubstr("no IMAGE was given"));
}

}  // namespace
}  // namespace boxlite::cli
