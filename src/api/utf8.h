// UTF-8 as the wire's readers and writers name it: core/utf8.h.
#pragma once

#include "core/utf8.h"

namespace sluice::api {

using core::is_utf8;
using core::kReplacementCharacter;
using core::utf8_character_bytes;

}  // namespace sluice::api
