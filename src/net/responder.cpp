#include "net/http_server_impl.h"

namespace sluice::net {
namespace {

// The connection to write to; null where the client has gone.
ServerConnection* writable(Exchange& exchange, Exchange::State expected) {
  ASSERT(exchange.loop.owned_by_caller(), "an answer is written from a foreign thread");
  ASSERT(exchange.state == expected, "an answer in state {} cannot do this",
         static_cast<int>(exchange.state));
  return exchange.connection;
}

}  // namespace

Exchange::~Exchange() {
  if (connection == nullptr) return;
  ASSERT(loop.owned_by_caller(), "an answer is dropped by a foreign thread");
  on_close = {};
  if (state == State::kStreaming) {
    connection->abandon();
    return;
  }
  state = State::kDone;
  connection->send_error(500, "the request was not answered");
}

void Responder::send(int status, std::span<const Header> headers, std::string_view body) {
  ServerConnection* connection = writable(*exchange_, Exchange::State::kWaiting);
  exchange_->state = Exchange::State::kDone;
  if (connection != nullptr) connection->send(status, headers, body);
}

void Responder::send(const Response& response) {
  ServerConnection* connection = writable(*exchange_, Exchange::State::kWaiting);
  exchange_->state = Exchange::State::kDone;
  if (connection != nullptr) connection->send(response);
}

void Responder::start_stream(int status, std::span<const Header> headers) {
  ServerConnection* connection = writable(*exchange_, Exchange::State::kWaiting);
  exchange_->state = Exchange::State::kStreaming;
  if (connection != nullptr) connection->start_stream(status, headers);
}

void Responder::write(std::string_view bytes) {
  ServerConnection* connection = writable(*exchange_, Exchange::State::kStreaming);
  if (connection != nullptr) connection->write(bytes);
}

void Responder::finish() {
  ServerConnection* connection = writable(*exchange_, Exchange::State::kStreaming);
  exchange_->state = Exchange::State::kDone;
  if (connection != nullptr) connection->finish();
}

void Responder::abort() {
  ASSERT(exchange_->loop.owned_by_caller(), "an answer is aborted from a foreign thread");
  if (exchange_->connection != nullptr) exchange_->connection->close_soon();
}

bool Responder::is_open() const {
  return exchange_->connection != nullptr && exchange_->connection->open();
}

int64_t Responder::buffered_bytes() const {
  return exchange_->connection == nullptr ? 0 : exchange_->connection->buffered_bytes();
}

void Responder::on_close(Task callback) {
  ASSERT(exchange_->loop.owned_by_caller(), "on_close() from a foreign thread");
  exchange_->on_close = std::move(callback);
}

void Responder::on_drained(Task callback) {
  ASSERT(exchange_->loop.owned_by_caller(), "on_drained() from a foreign thread");
  exchange_->on_drained = std::move(callback);
  if (exchange_->connection == nullptr || buffered_bytes() > 0) return;
  exchange_->loop.post([weak = std::weak_ptr(exchange_)] {
    const std::shared_ptr<Exchange> exchange = weak.lock();
    if (!exchange || exchange->connection == nullptr || !exchange->on_drained) return;
    Task task = std::move(exchange->on_drained);
    task();
  });
}

}  // namespace sluice::net
