// What is known about a model before its weights are loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::formats {

struct Manifest {
  std::string name;          // general.name, else general.basename, else the file's name
  std::string architecture;  // general.architecture
  std::string licence;       // general.license, empty where unknown
  std::string chat_template;
  int64_t context_length = 0;  // tokens the model was made for; 0 where unknown
  int64_t weights_bytes = 0;   // of the tensors, as stored
  // 32 hexadecimal digits: XXH3-128 over the header of every part (metadata and tensor table) and
  // the first, middle and last 4 KiB of every tensor. Quick (no full read of the file) and enough
  // to tell checkpoints apart; it is no protection against a forger.
  std::string digest;
  std::vector<std::string> files;  // the parts, in order, for messages and child processes
};

}  // namespace sluice::formats
