// Any collection of the snapshot: list, create, get, update, delete.
#include <algorithm>

#include <fmt/format.h>

#include "api/json_writer.h"
#include "contract/snapshot_json.h"
#include "gateway/admin/admin_call.h"
#include "gateway/admin/snapshot_objects.h"

namespace sluice::gateway {
namespace {

using contract::ObjectKind;

constexpr int64_t kPageDefault = 100;
constexpr int64_t kPageMax = 1000;
constexpr int64_t kWaitMax_s = 60;
constexpr int64_t kNsPerS = 1'000'000'000;

// The object's canonical text with its version as the last member.
std::string with_etag(const std::string& json) {
  return fmt::format("{},\"etag\":\"{}\"}}", std::string_view(json).substr(0, json.size() - 1),
                     etag_of(json));
}

template <typename Object>
void reply_object(const AdminCall& call, int status, const Object& object) {
  const std::string json = contract::to_json(object);
  reply_json(call.responder, status, with_etag(json), etag_of(json));
}

AdminError no_such(const AdminCall& call) {
  return {404, "not_found", fmt::format("there is no {} '{}'", kind_name(call.kind), call.id)};
}

// In the order of ids, so that a cursor stays a place whatever comes and goes.
bool id_before(const auto& a, const auto& b) {
  if constexpr (std::is_same_v<std::decay_t<decltype(a)>, contract::Price>)
    return a.version < b.version;
  else
    return a.id < b.id;
}

struct Page {
  std::string cursor;  // the last id of the page before; "" the first page
  size_t count = 0;
};

template <typename List>
std::string page_json(const List& list, const Page& page, int64_t generation) {
  using Object = typename List::value_type;
  std::vector<const Object*> objects;
  for (const Object& object : list) objects.push_back(&object);
  std::sort(objects.begin(), objects.end(), [](auto* a, auto* b) { return id_before(*a, *b); });
  auto at = objects.begin();
  if (!page.cursor.empty()) {
    Object last;
    if constexpr (std::is_same_v<Object, contract::Price>)
      last.version = std::strtoll(page.cursor.c_str(), nullptr, 10);
    else
      last.id = page.cursor;
    at = std::upper_bound(objects.begin(), objects.end(), &last,
                          [](auto* a, auto* b) { return id_before(*a, *b); });
  }
  const auto end =
      at + std::min<std::ptrdiff_t>(objects.end() - at, static_cast<std::ptrdiff_t>(page.count));
  std::string out = R"({"object":"list","data":[)";
  for (auto it = at; it != end; ++it) {
    if (it != at) out += ',';
    out += with_etag(contract::to_json(**it));
  }
  out += "],\"next_cursor\":";
  if (end != objects.end() && end != at)
    api::append_json_string(&out, id_of(**(end - 1)));
  else
    out += "null";
  return out + fmt::format(",\"generation\":{}}}", generation);
}

void reply_page(AdminContext& context, const net::Responder& responder, ObjectKind kind,
                const Page& page) {
  const contract::Snapshot& snapshot = context.options.keeper.snapshot();
  for_each_list(snapshot, [&](ObjectKind list_kind, const auto& list) {
    if (list_kind == kind)
      reply_json(responder, 200, page_json(list, page, snapshot.generation),
                 fmt::format("{}", context.options.keeper.changed_in(kind)));
  });
}

// The list of the snapshot that holds objects of this type.
template <typename Object>
std::vector<Object>* list_of(contract::Snapshot* snapshot) {
  std::vector<Object>* found = nullptr;
  for_each_list(*snapshot, [&](ObjectKind, auto& list) {
    if constexpr (std::is_same_v<std::decay_t<decltype(list)>, std::vector<Object>>) found = &list;
  });
  return found;
}

std::string action_of(const AdminCall& call, std::string_view verb) {
  return fmt::format("{}.{}", collection_name(call.kind), verb);
}

// Calls visit(list) with the collection of the call; it stays while a change replaces the snapshot.
template <typename Visitor>
void visit_collection(AdminContext& context, const AdminCall& call, const Visitor& visit) {
  const auto directory = context.options.keeper.directory();
  for_each_list(directory->snapshot(), [&](ObjectKind kind, const auto& list) {
    if (kind == call.kind) visit(list);
  });
}

template <typename Object>
void create(AdminContext& context, AdminCall& call, const contract::Value& body) {
  Object object;
  contract::Problems problems;
  contract::read_into(body, "", &object, &problems);
  if (!problems.empty())
    return reply(call, AdminError{400, "invalid", contract::to_text(problems), problems});
  const std::string id = id_of(object);
  const auto done = context.options.keeper.apply(
      {call.actor_id, action_of(call, "create"), call.kind, id,
       [&](contract::Snapshot* snapshot) -> core::Result<void, ChangeError> {
         auto* list = list_of<Object>(snapshot);
         if (find_object(*list, id) != nullptr)
           return ChangeError{ChangeError::Code::kExists,
                              fmt::format("{} '{}' exists", kind_name(call.kind), id)};
         list->push_back(object);
         return {};
       }});
  if (!done.ok()) return reply(call, done.error());
  reply_object(call, 201, object);
}

// Why the object of the path cannot be changed here; answers the call.
bool refuses_change(AdminContext& context, const AdminCall& call, const std::string& json,
                    const std::optional<contract::Value>& body_etag) {
  if (context.options.keeper.owned_by_file(call.kind, call.id)) {
    reply(call, AdminError{409, "owned_by_file",
                           fmt::format("{} '{}' stands in the configuration file; change it there",
                                       kind_name(call.kind), call.id)});
    return true;
  }
  return refuses_version(call, etag_of(json), body_etag);
}

template <typename Object>
void update(AdminContext& context, AdminCall& call, const Object& before,
            contract::Value document) {
  const auto body_etag = take_member(&document, "etag");
  if (refuses_change(context, call, contract::to_json(before), body_etag)) return;
  Object after = before;
  contract::Problems problems;
  contract::read_into(document, "", &after, &problems);
  if (id_of(after) != call.id) problems.push_back({"id", "cannot be changed"});
  if (!problems.empty())
    return reply(call, AdminError{400, "invalid", contract::to_text(problems), problems});
  const auto done = context.options.keeper.apply(
      {call.actor_id, action_of(call, "update"), call.kind, call.id,
       [&](contract::Snapshot* snapshot) -> core::Result<void, ChangeError> {
         *find_object(*list_of<Object>(snapshot), call.id) = after;
         return {};
       }});
  if (!done.ok()) return reply(call, done.error());
  reply_object(call, 200, after);
}

}  // namespace

void list_objects(AdminContext& context, AdminCall& call) {
  const auto count =
      read_parameter(call, {.name = "limit", .otherwise = kPageDefault, .min = 1, .max = kPageMax});
  if (!count) return;
  const auto wait_s =
      read_parameter(call, {.name = "wait_s", .otherwise = 0, .min = 0, .max = kWaitMax_s});
  if (!wait_s) return;
  const auto after =
      read_parameter(call, {.name = "after", .otherwise = -1, .min = 0, .max = INT64_MAX});
  if (!after) return;
  const Page page{text_parameter(call, "cursor"), static_cast<size_t>(*count)};
  const auto ready = [&keeper = context.options.keeper, kind = call.kind, after = *after] {
    return keeper.changed_in(kind) > after;
  };
  if (*wait_s == 0 || ready()) return reply_page(context, call.responder, call.kind, page);
  const auto answer = [&context, responder = call.responder, kind = call.kind, page](bool changed) {
    if (changed)
      reply_page(context, responder, kind, page);
    else
      net::Responder(responder).send(304, {}, "");
  };
  if (!context.watchers.wait({call.responder, ready, answer, *wait_s * kNsPerS}))
    reply(call, AdminError{503, "too_many_watchers", "too many wait for changes; poll instead"});
}

void create_object(AdminContext& context, AdminCall& call) {
  const auto body = read_body(call);
  if (!body) return;
  visit_collection(context, call, [&](const auto& list) {
    create<typename std::decay_t<decltype(list)>::value_type>(context, call, *body);
  });
}

void get_object(AdminContext& context, AdminCall& call) {
  visit_collection(context, call, [&](const auto& list) {
    const auto* object = find_object(list, call.id);
    if (object == nullptr) return reply(call, no_such(call));
    reply_object(call, 200, *object);
  });
}

void update_object(AdminContext& context, AdminCall& call) {
  auto body = read_body(call);
  if (body) update_with(context, call, std::move(*body));
}

void update_with(AdminContext& context, AdminCall& call, contract::Value document) {
  visit_collection(context, call, [&](const auto& list) {
    const auto* object = find_object(list, call.id);
    if (object == nullptr) return reply(call, no_such(call));
    update(context, call, *object, std::move(document));
  });
}

void delete_object(AdminContext& context, AdminCall& call) {
  visit_collection(context, call, [&](const auto& list) {
    using Object = typename std::decay_t<decltype(list)>::value_type;
    const auto* object = find_object(list, call.id);
    if (object == nullptr) return reply(call, no_such(call));
    if (refuses_change(context, call, contract::to_json(*object), std::nullopt)) return;
    const auto done = context.options.keeper.apply(
        {call.actor_id, action_of(call, "delete"), call.kind, call.id,
         [&](contract::Snapshot* snapshot) -> core::Result<void, ChangeError> {
           auto* objects = list_of<Object>(snapshot);
           objects->erase(objects->begin() + (find_object(*objects, call.id) - objects->data()));
           return {};
         }});
    if (!done.ok()) {
      ChangeError error = done.error();
      if (error.code == ChangeError::Code::kInvalid)
        error.message =
            fmt::format("{} '{}' is in use: {}", kind_name(call.kind), call.id, error.message);
      return reply(call, error);
    }
    call.responder.send(204, {}, "");
  });
}

}  // namespace sluice::gateway
