"""Requests that are meant to be valid obey the rules that the contract states in words, because a schema cannot.

Each function is one rule, with the words of the contract that it follows. Requests that are meant to be invalid go out as they are.
"""

import datetime
import os

import requests
import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is not None and case.meta.generation.mode.is_positive:
        for rule in RULES.get(case.operation.label, ()):
            rule(case)


def the_time_is_within_the_window(case):
    """event_timestamp, sent_at: at most 5 minutes ahead; event_timestamp at most 7 days old."""
    for body in case.body if isinstance(case.body, list) else [case.body]:
        for name in ("event_timestamp", "sent_at"):
            if body.get(name) is not None:
                body[name] = datetime.datetime.now(datetime.timezone.utc).isoformat()


def the_parent_exists(case):
    """parent_event_id: a single event's parent must exist or be queued."""
    if case.body.get("parent_event_id") is not None:
        case.body["parent_event_id"] = newest_page(case)["data"][0]["event_id"]


def the_bounds_are_in_one_of_the_forms(case):
    """since, until: a span before now, an RFC 3339 time, or a date with or without a time in UTC."""
    forms = ["24h", "90m", "7d", "1.5d", "2025-12-18T10:00:00+01:00", "2025-12-18T10:00:00", "2025-12-18"]
    for name in ("since", "until"):
        if name in case.query:
            case.query[name] = forms[len(case.query[name]) % len(forms)]


def the_cursor_is_of_an_earlier_page(case):
    """cursor: the next_cursor of the page before; not together with offset."""
    if "cursor" in case.query:
        case.query.pop("offset", None)
        case.query["cursor"] = newest_page(case)["pagination"]["next_cursor"]


def no_more_succeeded_than_ran(case):
    """successful_executions: at most total_executions."""
    if "successful_executions" in case.body:
        case.body["total_executions"] = case.body["successful_executions"]


def a_dimension_is_given(case):
    """One dimension at least must be given; workflow_version only beside workflow_id."""
    if not {"incident_type", "action_type"} & set(case.query) or "workflow_version" in case.query:
        case.query.setdefault("workflow_id", "restart-deployment")


def newest_page(case):
    """One event; the test stores two before it starts."""
    proof = {"Authorization": f"Bearer {os.environ['DATASTORAGE_TOKEN']}"}
    page = requests.get(f"{case.operation.base_url}/api/v1/audit/events", {"limit": 1}, headers=proof, timeout=10)
    return page.json()


RULES = {
    "POST /api/v1/audit/events": [the_time_is_within_the_window, the_parent_exists],
    "POST /api/v1/audit/events/batch": [the_time_is_within_the_window],
    "GET /api/v1/audit/events": [the_bounds_are_in_one_of_the_forms, the_cursor_is_of_an_earlier_page],
    "POST /api/v1/audit/notifications": [the_time_is_within_the_window],
    "POST /api/v1/workflows": [no_more_succeeded_than_ran],
    "GET /api/v1/success-rate/multi-dimensional": [a_dimension_is_given],
}
