"""What `doctor` makes of the facts: a value for each check, the exit code, and the lines for people. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import msgspec

from asset_worker.api.errors import ApiError, EdgeRefusedError, KeyRefusedError, ListRefusedError, RateLimitedError
from asset_worker.api.key import KeySource
from asset_worker.api.limits.rate_limit_headers import ReportedQuota, parse_rate_limits
from asset_worker.api.limits.server_clock import SKEW_SECONDS
from asset_worker.api.responses import LONGEST_TEXT, meaning_of
from asset_worker.cli.worker_lines import problem_text
from asset_worker.domain.run_plan import Exit
from asset_worker.domain.worker_report import WorkerReport
from asset_worker.runtime.http_fields import parse_http_date
from asset_worker.runtime.text import clip
from asset_worker.telemetry.problems import advice_for

SLIGHT_SKEW_SECONDS: Final = 30.0
"""A clock that differs by more should be set, although nothing fails yet."""
LEAST_FREE_BYTES: Final = 16 << 20
"""With less, the worker soon accepts nothing more: the log of a busy journal alone has some megabytes."""
LITTLE_FREE_BYTES: Final = 256 << 20
"""With less, somebody should look: it is the room of some 100,000 events."""
CHECK_URL: Final = "check api.base_url"

_NO_SUCH_PATH: Final = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE}


class State(StrEnum):
    """How a check went. The values are public: `--json` shows them."""

    OK = "ok"
    WARNING = "warning"
    """The worker works, but somebody should look."""
    PROBLEM = "problem"
    """The worker does not work, or a part of it doesn't."""
    SKIPPED = "skipped"
    """Nothing was checked: there is nothing to check, or another problem is in the way."""


class Check(msgspec.Struct, frozen=True):
    """The result of one check. Its fields are public: `--json` shows them."""

    name: str
    """What was checked: `settings`, `key`, `disk` and others."""
    state: State
    text: str
    """What was found."""
    fix: str | None = None
    """What to do; None: nothing."""
    subject: str | None = None
    """Which of several: a path, or the name of a sink; None: there is one."""
    code: Exit = Exit.NOT_READY
    """The exit code if this is a problem."""


def advised(name: str, text: str, *, subject: str | None = None, code: Exit = Exit.NOT_READY) -> Check:
    """Return a problem with a message of another part of the program, which ends in what to do: `WHAT: FIX`."""
    cut = max(text.rfind(": "), text.rfind("; "))
    what, fix = (text, None) if cut < 0 else (text[:cut], text[cut + 2 :])
    return Check(name, State.PROBLEM, what, fix, subject, code)


class Answer(msgspec.Struct, frozen=True):
    """What the API answered when it was asked for a list of one asset."""

    status: int
    code: str | None
    """The vendor's error code; None: there is none."""
    message: str
    """The vendor's text, without secrets; empty: there is none."""
    is_list: bool
    """Whether the body is a list of assets."""
    headers: Mapping[str, str]
    received_at: float
    """By our wall clock, in seconds since the epoch, UTC."""
    took: float
    """Seconds from the request to the answer."""


def judge_answer(answer: Answer, *, source: KeySource | None) -> list[Check]:
    """Return what an answer shows of the API and of the key. `source`: where it is from; None: there was no key."""
    meaning = meaning_of(answer.status, answer.code, is_list=True).error
    said = _said_in(answer)
    key = [] if source is None else [_judge_key(meaning, said, source, is_list=answer.is_list)]
    return [_judge_api(answer, meaning, said), *key]


def _judge_api(answer: Answer, meaning: type[ApiError] | None, said: str) -> Check:
    if meaning is KeyRefusedError or (meaning is None and answer.is_list):
        return Check("api", State.OK, f"it answered in {answer.took * 1000:.0f} ms")
    if meaning is None:
        text, fix = (
            f"the answer is no list of assets ({said})",
            f"{CHECK_URL}, and what is on the way: is it a login page?",
        )
    elif meaning is RateLimitedError:
        fix = "wait; all programs of your organisation share the limit"
        return Check("api", State.WARNING, f"the rate limit is used up ({said})", fix)
    elif meaning is EdgeRefusedError:
        text, fix = f"something before the API refuses the request ({said})", f"{CHECK_URL}, the proxy, and filters"
    elif answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        text, fix = f"it fails ({said})", "wait: a worker tries again by itself"
    elif meaning is ListRefusedError and answer.status not in _NO_SUCH_PATH:
        fix = f'{CHECK_URL}; if it is right, poll.batch = "off" saves useless requests'
        return Check("api", State.WARNING, f"it refuses to list assets ({said})", fix)
    else:
        text, fix = f"this is not the answer of the API ({said})", CHECK_URL
    return Check("api", State.PROBLEM, text, fix)


def _judge_key(meaning: type[ApiError] | None, said: str, source: KeySource, *, is_list: bool) -> Check:
    if meaning is KeyRefusedError:
        text = f"the API refuses the key of {source.name} ({said})"
        return Check("key", State.PROBLEM, text, source.hint, code=Exit.KEY_REFUSED)
    if meaning is None and is_list:
        return Check("key", State.OK, "the API accepts the key (one request)")
    return Check("key", State.SKIPPED, "the answer does not show whether the API accepts the key (one request)")


def _said_in(answer: Answer) -> str:
    """Return the status of an answer, and what its body says."""
    texts = dict.fromkeys(filter(None, [answer.code, answer.message]))
    return clip(f"{answer.status} {': '.join(texts)}".strip(), LONGEST_TEXT)


def judge_clock(answer: Answer) -> Check:
    """Return how far our wall clock is from that of the server, by the `Date` of its answer."""
    date = parse_http_date(answer.headers.get("Date", ""))
    if date is None:
        return Check("clock", State.SKIPPED, "the answer has no Date to compare with")
    # A date is rounded down to seconds, and was written at some time since the request was sent.
    ahead = min(answer.received_at - date, max(answer.received_at - date - 1.0 - answer.took, 0.0))
    if abs(ahead) <= SLIGHT_SKEW_SECONDS:
        return Check("clock", State.OK, f"it agrees with the API's within {max(abs(ahead), 1.0):.0f} s")
    text = f"it is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the API's"
    state = State.PROBLEM if abs(ahead) > SKEW_SECONDS else State.WARNING
    fix = "set this machine's clock (NTP): times in events are wrong, and receivers may refuse signatures of webhooks"
    return Check("clock", state, text, fix)


def judge_limits(answer: Answer, *, share: float, own_rate: float) -> Check:
    """Return which limits the server reported. `share`: `limits.share`; `own_rate`: `limits.requests_per_second`."""
    date = parse_http_date(answer.headers.get("Date", ""))
    now = answer.received_at if date is None else date
    quotas = parse_rate_limits(answer.headers, server_now=now).quotas
    if not quotas:
        ours = f"at most {own_rate:g} requests a second are sent" if own_rate else "none of our own is set"
        return Check("limits", State.OK, f"the API reports none; {ours} (limits.requests_per_second)")
    text = ", ".join(map(_quota_text, quotas))
    if any(quota.limit - quota.remaining >= share * quota.limit for quota in quotas):
        fix = "wait, or have other programs of your organisation send less: the worker leaves the rest to them"
        return Check("limits", State.WARNING, f"little is left: {text}", fix)
    return Check("limits", State.OK, text)


def _quota_text(quota: ReportedQuota) -> str:
    return f"{quota.remaining} of {quota.limit} requests left for {quota.reset_in:.0f} s"


def judge_certificate(host: str, why: str) -> Check:
    """Return what a TLS connection to a host that failed shows. `why` is OpenSSL's text."""
    lower = why.lower()
    if "certificates of authorities" in lower:
        return advised("tls", why)
    if "expired" in lower or "not yet valid" in lower:
        fix = f"check this machine's clock; if it is right, the operator of {host} must renew the certificate"
    elif "issuer" in lower or "self" in lower:
        fix = "if a proxy of yours puts in certificates of its own, name the file of its authority in SSL_CERT_FILE"
    elif "mismatch" in lower or "not valid for" in lower:
        fix = f"another server answers in the place of {host}: {CHECK_URL} and DNS"
    else:
        fix = f"check what is on the way to {host}: is the port one for TLS?"
    return Check("tls", State.PROBLEM, why, fix)


def judge_proxy_refusal(host: str, why: str, *, status: int | None) -> Check:
    """Return what a proxy shows that does not connect to a host. `status`: that of its answer; None: there was none."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        fix = "put user and password into HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT"
    else:
        fix = f"check HTTPS_PROXY, have the proxy allow {host}, or have NO_PROXY except {host} from it"
    return Check("proxy", State.PROBLEM, why, fix)


def judge_no_answer(why: str, *, proxy: str | None) -> Check:
    """Return what a request shows that got no answer. `proxy`: the one that it was sent through."""
    fix = "check api.base_url, the network and the firewall"
    if proxy is not None:
        fix += f", and the proxy {proxy}"
    return Check("api", State.PROBLEM, why, fix)


def judge_space(path: str, *, free: int, has_files_left: bool) -> Check:
    """Return whether a disk has room. `free` is in bytes; `path` is what is kept on it."""
    size = f"{free / (1 << 30):.1f} GiB" if free >= 1 << 30 else f"{free / (1 << 20):.0f} MiB"
    if not has_files_left:
        return Check("disk", State.PROBLEM, "no file can be created (no inodes left)", "delete files there", path)
    if free < LEAST_FREE_BYTES:
        fix = "make room: nothing is accepted while it is full, and nothing is lost"
        return Check("disk", State.PROBLEM, f"{size} free", fix, path)
    if free < LITTLE_FREE_BYTES:
        return Check("disk", State.WARNING, f"{size} free", "make room before it is full", path)
    return Check("disk", State.OK, f"{size} free", subject=path)


def judge_worker(report: WorkerReport | None) -> list[Check]:
    """Return what a worker reports about itself; None: none has run with this state directory.

    A worker that has stopped in order is no problem: somebody wanted that. The problems of one that runs are warnings:
    it tries again by itself, and a health check must not have it restarted for them.
    """
    if report is None:
        return [Check("worker", State.SKIPPED, "no worker has run with this state directory")]
    if report.state == "stopped":
        text = f"it does not run: it stopped in order at {report.stopped_at} ({report.stop_reason})"
        return [Check("worker", State.WARNING, text, "start it if it should run")]
    if report.state == "died":
        text = f"it does not run: it ended without stopping in order soon after {report.updated_at}"
        fix = "start it: it goes on where it was; why it ended (memory? power?) is in the log of the system"
        return [Check("worker", State.PROBLEM, text, fix)]
    process = "it runs" if report.pid is None else f"it runs as process {report.pid}"
    if report.updated_ago is None:
        return [Check("worker", State.OK, f"{process}, and has reported nothing yet")]
    if report.is_silent:
        text = f"{process}, but has reported nothing for {report.updated_ago:.0f} s"
        return [Check("worker", State.PROBLEM, text, "if its disk has room, it hangs: restart it")]
    alive = Check("worker", State.OK, f"{process} (asset-worker {report.version}, since {report.started_at})")
    return [alive, *_problems(report), *_dead_letters(report)]


def _problems(report: WorkerReport) -> Iterator[Check]:
    usual = "see the symptoms in docs/operations.md; it tries again by itself"
    for problem in report.problems:
        yield Check("worker", State.WARNING, problem_text(problem), advice_for(problem.reason) or usual)


def _dead_letters(report: WorkerReport) -> Iterator[Check]:
    for name, sink in report.sinks.items():
        if sink.dead_letters:
            text, fix = f"{sink.dead_letters} dead letters", "repair it, then: asset-worker dead-letters retry --all"
            yield Check("worker", State.WARNING, f"the sink {name} has {text}", fix, name)


def worst_of(checks: Collection[Check]) -> State:
    """Return the worst state of some checks: `problem`, `warning`, or `ok`."""
    states = {check.state for check in checks}
    return next((state for state in (State.PROBLEM, State.WARNING) if state in states), State.OK)


def exit_code_for(checks: Collection[Check]) -> Exit:
    """Return the exit code: that of the problem that must be corrected first. Warnings do not change it."""
    codes = {check.code for check in checks if check.state is State.PROBLEM}
    return next((code for code in (Exit.USAGE, Exit.KEY_REFUSED, Exit.NOT_READY) if code in codes), Exit.DONE)


def line_of(check: Check) -> str:
    """Return a check as a line for people."""
    name = check.name.replace("_", " ")
    subject = "" if check.subject is None or check.subject in check.text else f"{check.subject}: "
    fix = "" if check.fix is None else f": {check.fix}"
    return f"{check.state:<7}  {name:<15}  {subject}{check.text}{fix}"


def as_json(checks: Collection[Check]) -> bytes:
    """Return the checks as one JSON object."""
    shown = [
        {"name": each.name, "subject": each.subject, "state": each.state, "text": each.text, "fix": each.fix}
        for each in checks
    ]
    return msgspec.json.encode({"state": worst_of(checks), "exit_code": int(exit_code_for(checks)), "checks": shown})
