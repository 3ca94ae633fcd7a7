#include "image/image_job.h"

#include <gtest/gtest.h>

namespace boxlite::image {
namespace {

TEST(ImageJobTest, ARequestComesBackAsItWasSent) {
  JobRequest request;
  request.home = "/h";
  request.reference = "a:b";
  request.platform = "linux/arm64";
  request.disk_bytes = 1;
  request.max_unpacked_bytes = 2;
  request.auth_files = {"/c"};
  request.helper_environment = {"PATH=/bin"};
  request.username = "u";
  request.password = "p";
  const auto back = job_request_from_json(*parse_json(dump_json(to_json(request)), "test"));
  ASSERT_TRUE(back);
  EXPECT_EQ(to_json(*back), to_json(request));
  EXPECT_EQ(back->password, "p");
  request.password.reset();
  EXPECT_FALSE(job_request_from_json(to_json(request))->password);
}

TEST(ImageJobTest, ARequestWithoutAHomeOrWithANegativeSizeIsRefused) {
  Json json = to_json(JobRequest());
  json["disk_bytes"] = -1;
  EXPECT_FALSE(job_request_from_json(json));
  json["disk_bytes"] = 1U;
  EXPECT_TRUE(job_request_from_json(json));
  json.erase("home");
  EXPECT_FALSE(job_request_from_json(json));
  EXPECT_FALSE(job_request_from_json(Json::array()));
}

TEST(ImageJobTest, AnImageComesBackAsItWasSent) {
  ImageInfo image;
  image.reference = "r";
  image.id = "sha256:" + std::string(64, 'b');
  image.size_bytes = 5;
  image.unpacked_bytes = 6;
  image.layers = {"l"};
  image.config.env = {"A=b"};
  image.config.labels = {{"k", "v"}};
  const auto back = image_info_from_json(*parse_json(dump_json(to_json(image)), "test"));
  ASSERT_TRUE(back);
  EXPECT_EQ(to_json(*back), to_json(image));
}

TEST(ImageJobTest, AnIdThatIsNotADigestIsRefusedSinceItNamesAFile) {
  ImageInfo image;
  image.id = "../../etc";
  EXPECT_FALSE(image_info_from_json(to_json(image)));
}

TEST(ImageJobTest, TheBaseIsNamedByTheDigitsOfTheId) { EXPECT_EQ(base_file_name("sha256:abc"), "abc.ext4"); }

}  // namespace
}  // namespace boxlite::image
