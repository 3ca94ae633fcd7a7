#include "runtime/isolation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace boxlite {
namespace {

const IsolationFacts kComplete = {
    .kvm = true, .no_kvm = "", .landlock = 4, .root = false, .root_may_mount = false, .cgroup_place = "/sys/fs/cgroup"};

std::string refusal(const IsolationFacts& facts) {
  const auto required = require_all(isolation_layers(facts));
  return required ? "" : required.error().message();
}

TEST(IsolationTest, AHostWithEverythingIsStrictEnough) {
  EXPECT_EQ(refusal(kComplete), "");
  IsolationFacts root = kComplete;
  root.root = root.root_may_mount = true;
  EXPECT_EQ(refusal(root), "");
}

TEST(IsolationTest, WhatIsMissingIsNamedWithItsReason) {
  IsolationFacts no_kvm = kComplete;
  no_kvm.kvm = false;
  no_kvm.no_kvm = "/dev/kvm is not there";
  EXPECT_THAT(refusal(no_kvm),
              testing::HasSubstr("no kvm of vm (under TCG QEMU promises no isolation of its own: /dev/kvm is not there)"));
  IsolationFacts old_kernel = kComplete;
  old_kernel.landlock = 0;
  EXPECT_THAT(refusal(old_kernel),
              testing::AllOf(testing::HasSubstr("landlock of shim"), testing::HasSubstr("landlock of network")));
  IsolationFacts not_delegated = kComplete;
  not_delegated.cgroup_place = "";
  not_delegated.no_cgroup = "none is delegated";
  EXPECT_THAT(refusal(not_delegated), testing::HasSubstr("cgroup of vm (none is delegated)"));
  IsolationFacts container = kComplete;
  container.root = true;
  EXPECT_THAT(refusal(container), testing::HasSubstr("unprivileged user of vm"));
}

TEST(IsolationTest, LayersAreReadAsTheyWereWritten) {
  IsolationFacts facts = kComplete;
  facts.landlock = 0;
  const auto written = isolation_layers(facts);
  const auto read = isolation_layers_from_json(to_json(written));
  ASSERT_TRUE(read);
  EXPECT_TRUE(std::ranges::equal(written, *read, [](const auto& a, const auto& b) {
    return a.process == b.process && a.name == b.name && a.on == b.on && a.reason == b.reason;
  }));
}

}  // namespace
}  // namespace boxlite
