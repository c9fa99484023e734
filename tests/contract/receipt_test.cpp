#include "contract/receipt.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace sluice::contract {
namespace {

namespace fs = std::filesystem;

class ReceiptTest : public testing::Test {
 protected:
  ReceiptTest() : folder_(fs::path(testing::TempDir()) / "receipt_test") {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
  }
  ~ReceiptTest() override { fs::remove_all(folder_); }

  std::string file(const std::string& name) const { return folder_ / name; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name)) << text;
  }
  // The shell's answer to `lines`, run in the folder.
  int run(const std::string& lines) const {
    write("lines.sh", "set -e\ncd '" + folder_.string() + "'\n" + lines);
    return std::system(("sh '" + file("lines.sh") + "' > '" + file("out.txt") + "' 2>&1").c_str());
  }
  std::string output() const { return read(file("out.txt")); }
  static std::string read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  fs::path folder_;
};

UsageEvent sample() {
  UsageEvent event;
  event.id = {0xa1, 7};
  event.tenant = "acme";
  event.key = "key_1f";
  event.model = "smollm2";
  event.started_unix_ns = 1'700'000'000'123'456'789;
  UsageLine line;
  line.quantity = 12;
  line.amount = {1800};
  event.lines.push_back(line);
  line.side = LineSide::kCostOnly;
  line.quantity = 99;
  event.lines.push_back(line);
  line.side = LineSide::kBoth;
  line.unit = Unit::kOutputToken;
  line.quantity = 3;
  line.amount = {1200};
  event.lines.push_back(line);
  return event;
}

TEST_F(ReceiptTest, SaysWhatTheTenantPaysAndNotWhatItCostThePlatform) {
  EXPECT_EQ(receipt_text(sample()),
            "sluice-receipt-v1\n"
            "request: req_00000000000000a1_0000000000000007\n"
            "time: 2023-11-14T22:13:20Z\n"
            "tenant: acme\n"
            "key: key_1f\n"
            "model: smollm2\n"
            "outcome: complete\n"
            "line: prompt_token 12 1800\n"
            "line: output_token 3 1200\n"
            "total_nano: 3000\n");
}

TEST_F(ReceiptTest, IsVerifiedByThePublicKeyAndByNoOther) {
  const auto signer = ReceiptSigner::open(file("key.pem"));
  const auto other = ReceiptSigner::open(file("other.pem"));
  ASSERT_TRUE(signer.ok()) << signer.error().message;
  Receipt receipt = signer->sign(sample());
  EXPECT_EQ(receipt.key_id, signer->key_id());
  EXPECT_TRUE(*verify_receipt(signer->public_key_pem(), receipt));
  EXPECT_FALSE(*verify_receipt(other->public_key_pem(), receipt));
  receipt.text[receipt.text.size() - 2] ^= 1;
  EXPECT_FALSE(*verify_receipt(signer->public_key_pem(), receipt));
  EXPECT_FALSE(verify_receipt("no key", receipt).ok());
  receipt.signature = "short";
  EXPECT_FALSE(verify_receipt(signer->public_key_pem(), receipt).ok());
  receipt.signature = std::string(88, '*');
  EXPECT_FALSE(verify_receipt(signer->public_key_pem(), receipt).ok());
}

TEST_F(ReceiptTest, TheKeyIsMadeOnceForItsOwnerAlone) {
  const auto first = ReceiptSigner::open(file("key.pem"));
  ASSERT_TRUE(first.ok()) << first.error().message;
  struct stat status = {};
  ASSERT_EQ(::stat(file("key.pem").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  EXPECT_EQ(ReceiptSigner::open(file("key.pem"))->key_id(), first->key_id());

  ASSERT_EQ(::chmod(file("key.pem").c_str(), 0640), 0);
  EXPECT_THAT(ReceiptSigner::open(file("key.pem")).error().message,
              testing::HasSubstr("chmod 600"));
}

TEST_F(ReceiptTest, AFileThatIsNoKeyIsRefused) {
  write("key.pem", "nothing");
  ASSERT_EQ(::chmod(file("key.pem").c_str(), 0600), 0);
  EXPECT_FALSE(ReceiptSigner::open(file("key.pem")).ok());
  EXPECT_FALSE(ReceiptSigner::open(file("missing/key.pem")).ok());
}

// The blocks of docs/receipts.md.
std::vector<std::string> published_commands() {
  std::vector<std::string> blocks;
  std::ifstream page("docs/receipts.md");
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("```")) {
      inside = line == "```sh";
      if (inside) blocks.emplace_back();
    } else if (inside) {
      blocks.back() += line + "\n";
    }
  }
  return blocks;
}

TEST_F(ReceiptTest, ThePublishedCommandsVerifyIt) {
  const std::vector<std::string> blocks = published_commands();
  ASSERT_EQ(blocks.size(), 3u);
  const auto signer = ReceiptSigner::open(file("receipt_key.pem"));
  ASSERT_TRUE(signer.ok()) << signer.error().message;
  const Receipt receipt = signer->sign(sample());
  EXPECT_EQ(run(blocks[0]), 0) << output();
  EXPECT_EQ(read(file("public.pem")), signer->public_key_pem());
  write("header.txt", receipt_header(receipt) + "\n");
  EXPECT_EQ(run(blocks[1]), 0) << output();
  EXPECT_THAT(output(), testing::HasSubstr("Signature Verified Successfully"));
  EXPECT_EQ(read(file("receipt.txt")), receipt.text);
  EXPECT_EQ(run(blocks[2]), 0);
  EXPECT_EQ(output(), signer->key_id() + "\n");

  Receipt forged = receipt;
  forged.text.replace(forged.text.find("3000"), 4, "1000");
  write("header.txt", receipt_header(forged) + "\n");
  EXPECT_NE(run(blocks[1]), 0);
}

}  // namespace
}  // namespace sluice::contract
