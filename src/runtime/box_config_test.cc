#include "runtime/box_config.h"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

BoxOptions valid() {
  BoxOptions options;
  options.image = "alpine";
  return options;
}

ImageConfig image() {
  ImageConfig config;
  config.entrypoint = {"/entry"};
  config.cmd = {"default", "args"};
  return config;
}

TEST(MainCommandTest, FollowsDockersRules) {
  BoxOptions options = valid();
  EXPECT_THAT(*main_command(options, image()), ElementsAre("/entry", "default", "args"));
  options.command = {"mine"};
  EXPECT_THAT(*main_command(options, image()), ElementsAre("/entry", "mine")) << "a command replaces CMD";
  options.entrypoint = {"/other"};
  EXPECT_THAT(*main_command(options, image()), ElementsAre("/other", "mine"));
  options.command.clear();
  EXPECT_THAT(*main_command(options, image()), ElementsAre("/other")) << "an entrypoint drops CMD";
  options.entrypoint = {""};
  options.command = {"bare"};
  EXPECT_THAT(*main_command(options, image()), ElementsAre("bare")) << "an empty entrypoint is none";
}

TEST(MainCommandTest, NoCommandAtAllIsAnErrorThatSaysWhatToGive) {
  const auto args = main_command(valid(), ImageConfig());
  ASSERT_FALSE(args);
  EXPECT_THAT(args.error().message(), HasSubstr("no command specified"));
  EXPECT_THAT(args.error().message(), HasSubstr("alpine"));
}

TEST(MergeEnvTest, TheLaterValueWinsInTheEarlierPlace) {
  EXPECT_THAT(merge_env({"PATH=/bin", "A=1"}, {"B=2", "PATH=/opt", "B=3"}), ElementsAre("PATH=/opt", "A=1", "B=3"));
}

TEST(ValidateTest, ReasonableOptionsPass) {
  EXPECT_TRUE(validate_options(valid()));
  BoxOptions options = valid();
  options.name = "Web-1.a_b";
  options.env = {"EMPTY=", "A=b=c", "MULTI=line\nbreak"};
  EXPECT_TRUE(validate_options(options));
}

TEST(ValidateTest, NamesThatWouldBePathsOrFlagsAreRefused) {
  for (const char* name : {"-a", ".", "..", "a/b", "a b", "a\n", "_x", "\xC3\xA9"}) {
    BoxOptions options = valid();
    options.name = name;
    EXPECT_FALSE(validate_options(options)) << name;
  }
  BoxOptions options = valid();
  options.name = std::string(64, 'a');
  EXPECT_FALSE(validate_options(options));
}

TEST(ValidateTest, SizesOutOfRangeAreRefusedByWhatTheyAre) {
  const auto message = [](auto change) {
    BoxOptions options = valid();
    change(options);
    const auto result = validate_options(options);
    return result ? std::string() : result.error().message();
  };
  EXPECT_THAT(message([](BoxOptions& o) { o.cpus = 0; }), HasSubstr("CPUs"));
  EXPECT_THAT(message([](BoxOptions& o) { o.cpus = static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN)) + 1; }),
              HasSubstr("as this host has"));
  EXPECT_THAT(message([](BoxOptions& o) { o.memory_mib = 127; }), HasSubstr("at least 128"));
  EXPECT_THAT(message([](BoxOptions& o) { o.memory_mib = 1ULL << 40; }), HasSubstr("more than this host has"));
  EXPECT_THAT(message([](BoxOptions& o) { o.disk_bytes = kGiB; }), HasSubstr("too small"));
  EXPECT_THAT(message([](BoxOptions& o) { o.disk_bytes = ~0ULL; }), HasSubstr("disk"));
  EXPECT_THAT(message([](BoxOptions& o) { o.working_dir = "relative"; }), HasSubstr("absolute"));
  EXPECT_THAT(message([](BoxOptions& o) { o.command = {std::string("a\0b", 3)}; }), HasSubstr("NUL"));
}

TEST(ValidateTest, ABadEnvironmentEntryIsNotQuoted) {
  BoxOptions options = valid();
  options.env = {"hunter2"};
  const auto result = validate_options(options);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), testing::Not(HasSubstr("hunter2")));
}

TEST(BoxConfigTest, ComesBackByteForByteAndHoldsNoEnvironment) {
  BoxConfig config;
  config.options = valid();
  config.options.command = {"printf", "\xFF\x80"};
  config.options.entrypoint = {"/entry"};
  config.options.cpus = 3;
  config.options.tty = true;
  config.options.env = {"SECRET=canary"};
  config.args = {"/entry", "printf", "\xFF\x80"};
  config.stop_signal = "SIGQUIT";
  config.directories = {"/var/lib/docker"};
  const std::string text = dump_json(to_json(config));
  EXPECT_EQ(text.find("canary"), std::string::npos);
  const BoxConfig read = *box_config_from_json(*parse_json(text, "test"));
  EXPECT_EQ(read.args, config.args);
  EXPECT_EQ(read.options.command, config.options.command);
  EXPECT_EQ(read.options.entrypoint, config.options.entrypoint);
  EXPECT_EQ(read.options.cpus, 3U);
  EXPECT_TRUE(read.options.tty);
  EXPECT_EQ(read.stop_signal, "SIGQUIT");
  EXPECT_EQ(read.directories, config.directories);
}

}  // namespace
}  // namespace boxlite
