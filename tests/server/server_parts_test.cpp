#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/engine_request.h"
#include "server/metrics_text.h"
#include "server/reply.h"

namespace sluice::server {
namespace {

using testing::HasSubstr;

TEST(EngineRequest, ChoicesDifferInIdAndSeedOnly) {
  api::GenerationFields fields;
  fields.n = 3;
  fields.sampling.temperature = 0.5;
  fields.sampling.logit_bias = {{7, -1.0f}};
  fields.stopping.ignore_eos = true;
  fields.stopping.min_tokens = 2;
  fields.cache_salt = "a";
  const std::vector<int32_t> ids = {1, 2};
  const auto requests = make_engine_requests(
      {.fields = fields, .prompt_ids = ids, .max_tokens = 9, .logprobs_top = 4, .seed = 100}, 50);
  ASSERT_EQ(requests.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(requests[i].id.value, 50 + i);
    EXPECT_EQ(requests[i].sampling.seed, 100 + i);
    EXPECT_EQ(requests[i].prompt_ids, ids);
    EXPECT_EQ(requests[i].sampling.temperature, 0.5f);
    EXPECT_EQ(requests[i].sampling.logit_bias.at(0).token_id, 7);
    EXPECT_EQ(requests[i].sampling.end_tokens, engine::SamplingParams::EndTokens::kNever);
    EXPECT_EQ(requests[i].sampling.max_tokens, 9);
    EXPECT_EQ(requests[i].sampling.min_tokens, 2);
    EXPECT_EQ(requests[i].sampling.logprobs_top, 4);
    EXPECT_EQ(requests[i].prompt_logprobs_top, -1);
    EXPECT_EQ(requests[i].cache_salt, requests[0].cache_salt);
  }
}

TEST(EngineRequest, SaltsAreKeyed) {
  EXPECT_EQ(cache_salt_of("", 1), 0u);
  EXPECT_NE(cache_salt_of("a", 1), 0u);
  EXPECT_EQ(cache_salt_of("a", 1), cache_salt_of("a", 1));
  EXPECT_NE(cache_salt_of("a", 1), cache_salt_of("b", 1));
  EXPECT_NE(cache_salt_of("a", 1), cache_salt_of("a", 2));
  EXPECT_NE(cache_salt_of("ab", 1), cache_salt_of("ba", 1));
}

TEST(Reply, RequestIdsThatMayBeEchoed) {
  for (const std::string_view good : {"a", "chat-1.2_3:4", "0123456789abcdefABCDEF"})
    EXPECT_TRUE(is_valid_request_id(good)) << good;
  for (const std::string_view bad : {"", "a b", "a\r\nb", "ä", "a/b", "{}"})
    EXPECT_FALSE(is_valid_request_id(bad)) << bad;
  EXPECT_TRUE(is_valid_request_id(std::string(128, 'x')));
  EXPECT_FALSE(is_valid_request_id(std::string(129, 'x')));
}

TEST(Reply, Keys) {
  const auto authorized = [](std::string_view value, std::vector<std::string> keys) {
    const net::Header headers[] = {{"Authorization", value}};
    net::Request request;
    request.headers = headers;
    return is_authorized(request, keys);
  };
  EXPECT_TRUE(authorized("", {}));
  EXPECT_TRUE(authorized("Bearer k1", {"k1"}));
  EXPECT_TRUE(authorized("bearer k2", {"k1", "k2"}));
  for (const std::string_view wrong :
       {"", "k1", "Bearer", "Bearer ", "Bearer k", "Bearer k11", "Bearer k1k1", "Basic k1"})
    EXPECT_FALSE(authorized(wrong, {"k1"})) << wrong;
}

TEST(Metrics, AreWhatDashboardsRead) {
  engine::EngineStats stats;
  stats.running = 2;
  stats.pages = 10;
  stats.pages_used = 4;
  stats.pages_cached = 1;
  stats.generation_tokens = 99;
  stats.finished[static_cast<size_t>(engine::FinishReason::kLength)] = 3;
  stats.drafts[static_cast<size_t>(engine::DraftKind::kMtp)] = {.drafted = 7, .accepted = 5};
  stats.e2e_s.add(0.4);
  stats.e2e_s.add(1e9);
  constexpr double kBounds[] = {1, 2};
  engine::Histogram request_n(kBounds);
  request_n.add(1);
  const net::ServerStats http;
  const std::string text = metrics_text({.engine = stats,
                                         .http = http,
                                         .request_n = request_n,
                                         .model_name = "a\"b",
                                         .page_tokens = 32,
                                         .resident_bytes = 5});
  for (const std::string_view line : {
           "# TYPE vllm:num_requests_running gauge\n"
           "vllm:num_requests_running{model_name=\"a\\\"b\"} 2\n",
           "vllm:kv_cache_usage_perc{model_name=\"a\\\"b\"} 0.4\n",
           "sluice:kv_pages{model_name=\"a\\\"b\",state=\"free\"} 5\n",
           "vllm:cache_config_info{model_name=\"a\\\"b\",block_size=\"32\",num_gpu_blocks=\"10\"} "
           "1\n",
           "# TYPE vllm:generation_tokens_total counter\n"
           "vllm:generation_tokens_total{model_name=\"a\\\"b\"} 99\n",
           "vllm:request_success_total{model_name=\"a\\\"b\",finished_reason=\"length\"} 3\n",
           "vllm:e2e_request_latency_seconds_bucket{model_name=\"a\\\"b\",le=\"+Inf\"} 2\n",
           "vllm:e2e_request_latency_seconds_count{model_name=\"a\\\"b\"} 2\n",
           "sluice:draft_tokens_total{model_name=\"a\\\"b\",kind=\"ngram\"} 0\n",
           "sluice:draft_tokens_accepted_total{model_name=\"a\\\"b\",kind=\"mtp\"} 5\n",
           "vllm:request_params_n_bucket{model_name=\"a\\\"b\",le=\"2\"} 1\n",
           "process_resident_memory_bytes{model_name=\"a\\\"b\"} 5\n",
       })
    EXPECT_THAT(text, HasSubstr(line));
}

}  // namespace
}  // namespace sluice::server
