// Which fields an object of the snapshot has, under which name, in which order: one list for the
// writer and the reader. `visit` is either; it has value(name, field) for each type below and
// milliseconds(name, ns). Internal to this folder.
#pragma once

#include <array>
#include <concepts>
#include <string_view>
#include <type_traits>

#include "contract/snapshot.h"

namespace sluice::contract {

// ---- names of enumerators, by value ----------------------------------------------------------

template <typename E>
inline constexpr std::array<std::string_view, 0> kNamesOf = {};
template <>
inline constexpr std::array kNamesOf<Statistic> = std::to_array<std::string_view>({"mean", "p50",
                                                                                   "p99"});
template <>
inline constexpr std::array kNamesOf<Policy> =
    std::to_array<std::string_view>({"local_only", "local_first", "cheapest", "fastest"});
template <>
inline constexpr std::array kNamesOf<DataClass> =
    std::to_array<std::string_view>({"public", "internal", "private"});
template <>
inline constexpr std::array kNamesOf<Place> = std::to_array<std::string_view>({"local", "remote"});
template <>
inline constexpr std::array kNamesOf<ReplicaState> = std::to_array<std::string_view>(
    {"placed", "staging", "starting", "ready", "draining", "asleep", "lost"});
template <>
inline constexpr std::array kNamesOf<ReplicaKind> = std::to_array<std::string_view>({"sluice",
                                                                                     "openai"});
template <>
inline constexpr std::array kNamesOf<Continuation> =
    std::to_array<std::string_view>({"none", "final_message", "prefix"});
template <>
inline constexpr std::array kNamesOf<PriceSide> = std::to_array<std::string_view>({"sale", "cost"});

// A rate's name, by Unit: a million microseconds of compute are a second.
inline constexpr std::string_view kRateNames[kUnits] = {
    "input_per_million", "cached_input_per_million", "output_per_million", "reasoning_per_million",
    "compute_per_second"};

// ---- fields ----------------------------------------------------------------------------------

template <typename T, typename Object>
concept Is = std::same_as<std::remove_const_t<T>, Object>;

template <typename V, Is<Target> T>
void fields(V& visit, T& object) {
  visit.milliseconds("ttft_ms", object.ttft.limit_ns);
  visit.value("ttft_statistic", object.ttft.statistic);
  visit.milliseconds("tpot_ms", object.tpot.limit_ns);
  visit.value("tpot_statistic", object.tpot.statistic);
  visit.milliseconds("total_ms", object.total.limit_ns);
  visit.value("total_statistic", object.total.statistic);
}

template <typename V, Is<RequestDefaults> T>
void fields(V& visit, T& object) {
  visit.value("target", object.target);
  visit.value("policy", object.policy);
  visit.value("data_class", object.data_class);
  visit.value("priority", object.priority);
}

template <typename V, Is<Limits> T>
void fields(V& visit, T& object) {
  visit.value("requests_per_minute", object.requests_per_minute);
  visit.value("input_tokens_per_minute", object.input_tokens_per_minute);
  visit.value("output_tokens_per_minute", object.output_tokens_per_minute);
  visit.value("tokens_per_minute", object.tokens_per_minute);
  visit.value("concurrent_streams", object.concurrent_streams);
  visit.value("tokens_per_day", object.tokens_per_day);
  visit.value("tokens_per_month", object.tokens_per_month);
  visit.value("money_per_day", object.money_per_day);
  visit.value("money_per_month", object.money_per_month);
  visit.value("burst_ms", object.burst_ms);
}

template <typename V, Is<Tenant> T>
void fields(V& visit, T& object) {
  visit.value("id", object.id);
  visit.value("name", object.name);
  visit.value("limits", object.limits);
  visit.value("prepaid", object.prepaid);
}

template <typename V, Is<Project> T>
void fields(V& visit, T& object) {
  visit.value("id", object.id);
  visit.value("tenant", object.tenant);
  visit.value("limits", object.limits);
}

template <typename V, Is<Key> T>
void fields(V& visit, T& object) {
  visit.value("id", object.id);
  visit.value("project", object.project);
  visit.value("hash", object.hash);
  visit.value("hash_key_id", object.hash_key_id);
  visit.value("hint", object.hint);
  visit.value("created_unix_s", object.created_unix_s);
  visit.value("expires_unix_s", object.expires_unix_s);
  visit.value("models", object.models);
  visit.value("networks", object.networks);
  visit.value("labels", object.labels);
  visit.value("limits", object.limits);
  visit.value("defaults", object.defaults);
  visit.value("share", object.share);
  visit.value("admin", object.admin);
  visit.value("revoked", object.revoked);
}

template <typename V, Is<PoolCapacity> T>
void fields(V& visit, T& object) {
  visit.value("streams_max", object.streams_max);
  visit.value("tokens_per_minute", object.tokens_per_minute);
}

template <typename V, Is<Pool> T>
void fields(V& visit, T& object) {
  visit.value("id", object.id);
  visit.value("place", object.place);
  visit.value("owner", object.owner);
  visit.value("data_classes", object.data_classes);
  visit.milliseconds("round_trip_ms", object.round_trip_ns);
  visit.value("capacity", object.capacity);
}

template <typename V, Is<Speed> T>
void fields(V& visit, T& object) {
  visit.value("prefill_tokens_per_s", object.prefill_tokens_per_s);
  visit.value("decode_tokens_per_s", object.decode_tokens_per_s);
  visit.value("decode_tokens_per_s_max", object.decode_tokens_per_s_max);
  visit.value("streams_max", object.streams_max);
}

template <typename V, Is<Replica> T>
void fields(V& visit, T& object) {
  visit.value("id", object.id);
  visit.value("pool", object.pool);
  visit.value("model", object.model);
  visit.value("kind", object.kind);
  visit.value("url", object.url);
  visit.value("upstream_model", object.upstream_model);
  visit.value("secret", object.secret);
  visit.value("certificate_file", object.certificate_file);
  visit.value("continuation", object.continuation);
  visit.value("cache_salt", object.cache_salt);
  visit.value("state", object.state);
  visit.value("ready_at_unix_ns", object.ready_at_unix_ns);
  visit.value("speed", object.speed);
}

template <typename V, Is<Model> T>
void fields(V& visit, T& object) {
  visit.value("id", object.id);
  visit.value("digest", object.digest);
  visit.value("vocabulary_file", object.vocabulary_file);
  visit.value("context_tokens", object.context_tokens);
  visit.value("max_tokens_default", object.max_tokens_default);
  visit.value("limits", object.limits);
  visit.value("defaults", object.defaults);
  visit.value("fallbacks", object.fallbacks);
  visit.value("created_unix_s", object.created_unix_s);
}

template <typename V, Is<Price> T>
void fields(V& visit, T& object) {
  visit.value("version", object.version);
  visit.value("side", object.side);
  visit.value("model", object.model);
  visit.value("pool", object.pool);
  visit.value("valid_from_unix_s", object.valid_from_unix_s);
  for (size_t unit = 0; unit < object.rates.size(); ++unit)
    visit.value(kRateNames[unit], object.rates[unit]);
}

template <typename V, Is<Snapshot> T>
void fields(V& visit, T& object) {
  visit.value("generation", object.generation);
  visit.value("tenants", object.tenants);
  visit.value("projects", object.projects);
  visit.value("keys", object.keys);
  visit.value("pools", object.pools);
  visit.value("replicas", object.replicas);
  visit.value("models", object.models);
  visit.value("prices", object.prices);
}

}  // namespace sluice::contract
