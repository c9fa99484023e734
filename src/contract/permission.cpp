#include "contract/permission.h"

#include <algorithm>

namespace sluice::contract {
namespace {

using Kind = Actor::Kind;

constexpr uint32_t bit(Action action) {
  return 1u << static_cast<uint32_t>(action);
}
template <typename... Actions>
constexpr uint32_t actions(Actions... each) {
  return (bit(each) | ...);
}
constexpr uint32_t kWrite =
    actions(Action::kRead, Action::kCreate, Action::kUpdate, Action::kDelete);

enum class Scope : uint8_t { kAny, kOwnTenant };

// What nobody may do stands in no row: usage and changes are never written from outside, a balance
// only by a top-up or an adjustment (kUpdate) of a person, not of a file that is read again.
struct Row {
  Kind actor;
  ObjectKind object;
  uint32_t actions;
  Scope scope;
};
constexpr Row kTable[] = {
    {Kind::kCommandLine, ObjectKind::kTenant, kWrite, Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kProject, kWrite, Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kKey, kWrite | actions(Action::kRotate, Action::kRevoke),
     Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kPool, kWrite, Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kReplica, kWrite, Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kModel, kWrite, Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kPrice, kWrite, Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kUsage, actions(Action::kRead), Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kBalance,
     actions(Action::kRead, Action::kTopUp, Action::kUpdate), Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kChange, actions(Action::kRead), Scope::kAny},
    {Kind::kCommandLine, ObjectKind::kSnapshot, actions(Action::kRead, Action::kUpdate),
     Scope::kAny},

    {Kind::kConfigFile, ObjectKind::kTenant, kWrite, Scope::kAny},
    {Kind::kConfigFile, ObjectKind::kProject, kWrite, Scope::kAny},
    {Kind::kConfigFile, ObjectKind::kKey, kWrite | actions(Action::kRevoke), Scope::kAny},
    {Kind::kConfigFile, ObjectKind::kPool, kWrite, Scope::kAny},
    {Kind::kConfigFile, ObjectKind::kReplica, kWrite, Scope::kAny},
    {Kind::kConfigFile, ObjectKind::kModel, kWrite, Scope::kAny},
    {Kind::kConfigFile, ObjectKind::kPrice, kWrite, Scope::kAny},
    {Kind::kConfigFile, ObjectKind::kSnapshot, actions(Action::kRead, Action::kUpdate),
     Scope::kAny},

    {Kind::kAdminKey, ObjectKind::kTenant, kWrite, Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kProject, kWrite, Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kKey, kWrite | actions(Action::kRotate, Action::kRevoke),
     Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kPool, kWrite, Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kReplica, kWrite, Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kModel, kWrite, Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kPrice, kWrite, Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kUsage, actions(Action::kRead), Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kBalance, actions(Action::kRead, Action::kTopUp, Action::kUpdate),
     Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kChange, actions(Action::kRead), Scope::kAny},
    {Kind::kAdminKey, ObjectKind::kSnapshot, actions(Action::kRead, Action::kUpdate), Scope::kAny},

    {Kind::kKey, ObjectKind::kUsage, actions(Action::kRead), Scope::kOwnTenant},
    {Kind::kKey, ObjectKind::kBalance, actions(Action::kRead), Scope::kOwnTenant},
};

}  // namespace

bool authorize(const Actor& actor, Action action, ObjectKind kind, std::string_view object_tenant) {
  return std::any_of(std::begin(kTable), std::end(kTable), [&](const Row& row) {
    return row.actor == actor.kind && row.object == kind && (row.actions & bit(action)) != 0 &&
           (row.scope == Scope::kAny || (!actor.tenant.empty() && actor.tenant == object_tenant));
  });
}

bool may_use(std::string_view owner, DataClass data, Purpose purpose, const Pool& place) {
  if (purpose != Purpose::kInference || owner != place.owner) return false;
  if (data == DataClass::kPrivate && place.place != Place::kLocal) return false;
  return std::find(place.data_classes.begin(), place.data_classes.end(), data) !=
         place.data_classes.end();
}

}  // namespace sluice::contract
