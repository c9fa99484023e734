// The plainest proxy: a request handed on to another server and its response handed back as it
// arrives. What client and server promise each other is tested through it.
#pragma once

#include "net/http_client.h"
#include "net/http_server.h"

namespace sluice::net {

struct PassThrough {
  HttpClient& client;
  RefusalFunction refusal = plain_refusal;
  // Told how the call ended, once, after the answer; may be empty.
  UniqueFunction<void(CallEnd)> on_end = {};
};

// Method, target, body and all headers but those of the connection are passed both ways. Each piece
// of the response is written at once; a client that reads slowly slows the other server down, one
// that goes cancels the request there. 502 where there is no answer, 504 where it takes too long; a
// response that breaks off is cut short for the client too.
void pass_through(const Request& request, Responder responder, PassThrough options);

}  // namespace sluice::net
