// The names of KV pages, which engine and gateway compute alike: an engine finds a page by its hash
// and tells of it (GET /internal/events), the gateway looks for the hashes of a prompt's pages.
// XXH3, 64 bits.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::contract {

// The namespace of one model's pages: its weights' digest, seeded by the number of the KV format.
// What a salt adds: combine_namespace().
uint64_t model_namespace(std::string_view weights_digest, uint64_t kv_format);

// The number of a salt; 0 of none. Of the salts that a gateway sends with its key: whoever may
// choose such a salt must not be a client, who could look for one with another's number.
uint64_t salt_number(std::string_view salt);

// The namespace of the requests that share prefixes only among those with the same salt. A prompt's
// pages at an engine whose /internal/events says `namespace` and `page_tokens` are
//   extend_page_hashes(combine_namespace(namespace, salt_number(salt)), ids, page_tokens, &hashes)
uint64_t combine_namespace(uint64_t name_space, uint64_t salt);

// Hash of a path of pages: the hash of the path before it (of the namespace for a first page) and
// the page's token ids.
uint64_t hash_page(uint64_t before, std::span<const int32_t> page_ids);

// Appends the hashes of the full pages of `ids` that `hashes` does not have yet.
void extend_page_hashes(uint64_t name_space, std::span<const int32_t> ids, int32_t page_tokens,
                        std::vector<uint64_t>* hashes);

}  // namespace sluice::contract
