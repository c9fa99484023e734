"""The books of a gateway after a storm (money_storm.py): its store, read with the database's own
client, and compared with what everybody else saw."""

import collections
import dataclasses
import sqlite3

OUTCOMES = ("complete", "complete_usage_missing", "client_abort_before_first_token", "client_abort",
            "timed_out", "upstream_error", "upstream_error_with_usage", "refused", "gateway_lost",
            "key_revoked")  # fmt: skip
COUNT_BITS = 40  # of a request's number: src/contract/request_id.h
PROMPT_UNITS, OUTPUT_UNITS = (0, 1), (2, 3)
COST_ONLY = 2
TENANT_ACCOUNT = 0


@dataclasses.dataclass
class Event:
    outcome: str
    status: int
    tenant: str
    amount: int = 0
    prompt: int = 0
    output: int = 0
    replicas: set = dataclasses.field(default_factory=set)


class Books:
    """`store`: the path of an SQLite file, or a PostgresServer."""

    def __init__(self, proof: dict, store):
        self.proof = proof
        self.store = store
        names = {int(number): name for number, name in self.rows("SELECT number, name FROM names")}
        starts = {int(row[0]): (int(row[1]) % 2**64, int(row[2]))
                  for row in self.rows("SELECT number, gateway, start FROM starts")}  # fmt: skip
        self.events: dict[str, Event] = {}
        ids = {}
        for row in self.rows("SELECT request, outcome, status, tenant FROM events"):
            request, outcome, status, tenant = map(int, row)
            gateway, start = starts[request >> COUNT_BITS]
            sequence = start << COUNT_BITS | request % 2**COUNT_BITS
            ids[request] = f"req_{gateway:016x}_{sequence:016x}"
            self.events[ids[request]] = Event(OUTCOMES[outcome], status, names[tenant])
        for row in self.rows("SELECT request, replica, unit, side, quantity, amount FROM lines"):
            request, replica, unit, side, quantity, amount = map(int, row)
            event = self.events[ids[request]]
            event.amount += amount
            event.replicas.add(names[replica])
            if side != COST_ONLY:
                event.prompt += quantity if unit in PROMPT_UNITS else 0
                event.output += quantity if unit in OUTPUT_UNITS else 0
        self.balances = {row[0]: int(row[1]) for row in self.rows(
            f"SELECT owner, balance FROM accounts WHERE kind = {TENANT_ACCOUNT}")}  # fmt: skip
        self.open_reservations = int(list(self.rows("SELECT count(*) FROM reservations"))[0][0])

    def rows(self, sql: str):
        if not isinstance(self.store, str):
            return self.store.rows(sql)
        with sqlite3.connect(self.store) as database:
            return database.execute(sql).fetchall()


def differences(books: Books, storm) -> list[str]:
    faults = [f"usage verify: {fault}" for fault in books.proof["first_faults"]]
    if books.open_reservations or books.proof["open_reservations"]:
        faults.append(f"{books.open_reservations} reservations are still open")
    faults += balance_faults(books, storm.top_ups)
    engine_ids = storm.ids_of_engines()
    for request_id in engine_ids.keys() - books.events.keys():
        faults.append(f"{request_id} reached an engine and has no event")
    for seen in storm.seen:
        faults += request_faults(seen, books.events)
    faults += count_faults(books, storm.seen, engine_ids)
    for request_id, count in collections.Counter(storm.access_log()).items():
        if count > 1 or request_id not in books.events:
            faults.append(f"{request_id} ended {count} times, events: {request_id in books.events}")
    return faults


def balance_faults(books: Books, top_ups: dict) -> list[str]:
    due = collections.Counter()
    for tenant, amount in top_ups.values():
        due[tenant] += amount
    for event in books.events.values():
        due[event.tenant] -= event.amount
    faults = [f"tenant {tenant} has {books.balances.get(tenant, 0)}, due are {amount}"
              for tenant, amount in due.items()
              if books.balances.get(tenant, 0) != amount]  # fmt: skip
    if books.proof["balance_changes"] != len(top_ups):
        faults.append(f"{books.proof['balance_changes']} top-ups in the books of {len(top_ups)}")
    if books.balances.get("poor", 0) < 0:
        faults.append(f"the prepaid tenant has {books.balances['poor']}")
    return faults


def request_faults(seen, events: dict[str, Event]) -> list[str]:
    """A client that knows its request's id finds its event, and it says the same."""
    if seen.request_id is None or seen.refused_unknown:
        return []
    event = events.get(seen.request_id)
    if event is None:
        return [f"{seen} has no event"]
    faults = []
    if event.tenant != seen.tenant:
        faults.append("the tenant")
    if seen.end == "whole":
        if event.status != seen.status:
            faults.append("the status")
        if (seen.status == 200) != event.outcome.startswith("complete"):
            faults.append("the outcome")
        if seen.cost_nano != (event.amount if seen.status == 200 else None):
            faults.append("the cost")
        if seen.status != 200 and event.amount:
            faults.append("a refusal that costs")
        if seen.usage and (event.prompt, event.output) != usage_of(seen):
            faults.append("the tokens")
    elif event.outcome == "gateway_lost" and event.amount:
        faults.append("a lost request that costs")
    elif event.outcome == "client_abort" and event.output < seen.events:
        faults.append("tokens that were passed on")
    return [f"{seen}: {event}: not equal: {fault}" for fault in faults]


def usage_of(seen) -> tuple[int, int]:
    return seen.usage["prompt_tokens"], seen.usage.get("completion_tokens", 0)


def count_faults(books: Books, seen: list, engine_ids: dict[str, int]) -> list[str]:
    """No event without a request, none twice: an id belongs to one number and every request whose
    id is known to nobody has at most one event that costs nothing or that its client left."""
    faults = []
    by_client = {one.request_id: one.number for one in seen if one.request_id}
    numbers = collections.Counter({**engine_ids, **by_client}.values())
    faults += [f"number {number} has {count} events" for number, count in numbers.items()
               if count > 1]  # fmt: skip
    for request_id, number in by_client.items():
        if engine_ids.get(request_id, number) != number:
            faults.append(f"{request_id} is of {number} and of {engine_ids[request_id]}")
    nameless = books.events.keys() - by_client.keys() - engine_ids.keys()
    silent = [one for one in seen if one.request_id is None and one.number not in numbers]
    if len(nameless) > len(silent):
        faults.append(f"{len(nameless)} events of unknown requests, {len(silent)} without an id")
    for request_id in nameless:
        if books.events[request_id].amount:
            faults.append(f"{request_id}: {books.events[request_id]}: nobody saw it")
    return faults
