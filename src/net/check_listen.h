// Asks for a port that a server will listen on, for who has much to do before.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/result.h"

namespace sluice::net {

// The Error that HttpServer::listen() would give now.
core::Result<void> check_listen(std::string_view host, uint16_t port);

}  // namespace sluice::net
