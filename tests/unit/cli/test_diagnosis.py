"""What `doctor` makes of facts: each check, the exit code, the lines."""

from __future__ import annotations

import json
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.api.key import ANY_SOURCE, key_source
from asset_worker.cli.diagnosis import (
    LEAST_FREE_BYTES,
    LITTLE_FREE_BYTES,
    Answer,
    Check,
    State,
    advised,
    as_json,
    exit_code_for,
    judge_answer,
    judge_certificate,
    judge_clock,
    judge_limits,
    judge_no_answer,
    judge_proxy_refusal,
    judge_space,
    judge_worker,
    line_of,
)
from asset_worker.domain.run_plan import Exit
from asset_worker.domain.worker_report import ProblemReport, SinkReport, WorkerReport
from asset_worker.telemetry.problems import ADVICE, Reason

NOW = 1_795_442_400.0
STATES = st.sampled_from(State)
CHECKS = st.lists(st.builds(Check, st.just("x"), STATES, st.text(), code=st.sampled_from([Exit.USAGE, Exit.NOT_READY])))


def answer(status=200, *, code=None, message="", is_list=False, headers=None, took=0.1):
    return Answer(status, code, message, is_list, headers or {}, NOW, took)


@pytest.mark.parametrize(
    ("given_", "api", "key", "says"),
    [
        pytest.param(answer(is_list=True), "ok", "ok", "100 ms", id="a list"),
        pytest.param(answer(200), "problem", "skipped", "login page", id="another page"),
        pytest.param(answer(401, code="api_key_invalid"), "ok", "problem", "100 ms", id="a refused key"),
        pytest.param(answer(403, code="api_not_allowed"), "ok", "problem", "100 ms", id="a key without the right"),
        pytest.param(answer(403), "problem", "skipped", "before the API", id="a filter"),
        pytest.param(answer(429, code="too_many_requests"), "warning", "skipped", "wait", id="the rate limit"),
        pytest.param(answer(404), "problem", "skipped", "check api.base_url", id="another server"),
        pytest.param(answer(404, code="not_found"), "problem", "skipped", "check api.base_url", id="another path"),
        pytest.param(answer(301), "problem", "skipped", "check api.base_url", id="a redirect"),
        pytest.param(answer(400, code="parameter_invalid"), "warning", "skipped", "poll.batch", id="no lists"),
        pytest.param(answer(500), "problem", "skipped", "tries again", id="a failing server"),
        pytest.param(answer(503, message="maintenance"), "problem", "skipped", "maintenance", id="maintenance"),
    ],
)
def test_an_answer_shows_whether_api_and_key_work(given_: Answer, api: str, key: str, says: str):
    of_api, of_key = judge_answer(given_, source=ANY_SOURCE)
    assert (of_api.name, of_api.state, of_key.name, of_key.state) == ("api", api, "key", key)
    assert says in line_of(of_api)
    assert (of_api.fix is None) == (api == "ok")
    assert judge_answer(given_, source=None) == [of_api]


def test_a_refused_key_is_shown_with_the_reason_and_what_to_do():
    [_, key] = judge_answer(
        answer(401, code="api_key_invalid", message="It has expired."), source=key_source(Path("/run/key"))
    )
    assert key.text == "the API refuses the key of api.key_file /run/key (401 api_key_invalid: It has expired.)"
    assert (key.fix or "").startswith("put a key that works into that file")
    assert exit_code_for([key]) == 3


@pytest.mark.parametrize(
    ("path", "is_ours", "takes_restart"),
    [
        ("/run/credentials/asset-worker.service/key", True, True),
        ("/run/user/1000/credentials/mine.service/key", True, True),
        ("/etc/asset-worker/key", True, False),
        ("/run/secrets/asset-worker/key", True, False),
        ("/etc/asset-worker/key", False, True),
    ],
)
def test_a_key_that_systemd_passes_on_takes_a_restart(path: str, is_ours: bool, takes_restart: bool):
    """A credential is not copied again at a reload. `doctor` can't know whether the worker gets its file as one."""
    source = key_source(Path(path), is_ours=is_ours)
    assert (source.name, "restart" in source.hint) == (f"api.key_file {path}", takes_restart)
    assert ("SIGHUP" in source.hint) == ("credentials/" not in path)


@pytest.mark.parametrize(
    ("date", "took", "state", "says"),
    [
        (NOW, 0.0, "ok", "within 1 s"),
        (NOW - 29, 0.0, "ok", "within 28 s"),
        (NOW - 32, 0.0, "warning", "31 s ahead"),
        (NOW + 31, 0.0, "warning", "31 s behind"),
        (NOW - 600, 0.0, "problem", "599 s ahead"),
        (NOW + 600, 0.0, "problem", "600 s behind"),
        (NOW - 40, 40.0, "ok", "within 1 s"),
    ],
)
def test_the_clock_is_compared_with_that_of_the_server(date: float, took: float, state: str, says: str):
    """A slow answer does not make it wrong."""
    found = judge_clock(answer(headers={"Date": formatdate(date, usegmt=True)}, took=took))
    assert (found.state, says in found.text) == (state, True), found.text


@given(st.integers(-100_000, 100_000), st.floats(0, 5), st.floats(0, 1))
def test_the_difference_of_the_clocks_is_right_to_the_second_and_the_time_on_the_way(ahead, took, fraction):
    served_at = NOW - ahead - took * fraction
    found = judge_clock(answer(headers={"Date": formatdate(served_at // 1, usegmt=True)}, took=took))
    shown = int(found.text.split(" s")[0].rsplit(" ", 1)[-1])
    assert abs(abs(ahead) - shown) <= took + 2
    if shown > 30:
        assert ("ahead of" in found.text) == (ahead > 0)


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_without_a_date_the_clock_is_not_judged(date: str | None):
    headers = {} if date is None else {"Date": date}
    assert judge_clock(answer(headers=headers)).state is State.SKIPPED


@pytest.mark.parametrize(
    ("remaining", "state"), [("60", "ok"), ("13", "ok"), ("12", "warning"), ("0", "warning"), (None, "ok")]
)
def test_a_limit_is_shown_with_what_is_left_to_the_worker(remaining: str | None, state: str):
    reset = {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": remaining, "X-Ratelimit-Reset": str(int(NOW + 42))}
    headers = {"Date": formatdate(NOW, usegmt=True)} | ({} if remaining is None else reset)
    found = judge_limits(answer(headers=headers), share=0.8, own_rate=10)
    says = "the API reports none; at most 10 requests a second" if remaining is None else f"{remaining} of 60 requests"
    assert (found.state, says in found.text) == (state, True), found.text


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("the certificate of h can't be trusted (certificate has expired)", "clock"),
        ("the certificate of h can't be trusted (certificate is not yet valid)", "clock"),
        ("the certificate of h can't be trusted (unable to get local issuer certificate)", "SSL_CERT_FILE"),
        ("the certificate of h can't be trusted (self-signed certificate in certificate chain)", "SSL_CERT_FILE"),
        ("the certificate of h can't be trusted (Hostname mismatch, certificate is not valid for 'h'.)", "base_url"),
        ("TLS with h fails (wrong version number)", "port"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_explained(why: str, says: str):
    found = judge_certificate("h", why)
    assert (found.name, found.state, found.text) == ("tls", "problem", why)
    assert says in (found.fix or "")


def test_a_proxy_that_refuses_is_explained():
    assert "USER:PASSWORD@" in (judge_proxy_refusal("h", "refused", status=407).fix or "")
    assert "allow h" in (judge_proxy_refusal("h", "refused", status=403).fix or "")
    assert "http://p:1" in (judge_no_answer("no answer", proxy="http://p:1").fix or "")


@pytest.mark.parametrize(
    ("free", "has_files_left", "state", "says"),
    [
        (LEAST_FREE_BYTES - 1, True, "problem", "16 MiB free"),
        (LEAST_FREE_BYTES, True, "warning", "16 MiB free"),
        (LITTLE_FREE_BYTES, True, "ok", "256 MiB free"),
        (3 << 30, True, "ok", "3.0 GiB free"),
        (3 << 30, False, "problem", "inodes"),
    ],
)
def test_a_disk_without_room_is_a_problem(free: int, has_files_left: bool, state: str, says: str):
    found = judge_space("/state", free=free, has_files_left=has_files_left)
    assert (found.state, found.subject, says in found.text) == (state, "/state", True), found.text


def report(state="running", **fields):
    usual = {"pid": 7, "version": "0.1.0", "started_at": "START", "updated_at": "UPDATE", "updated_ago": 2.0}
    return WorkerReport(state, **(usual | fields))


@pytest.mark.parametrize(
    ("worker", "state", "says"),
    [
        pytest.param(None, "skipped", "no worker has run", id="none"),
        pytest.param(report(), "ok", "it runs as process 7 (asset-worker 0.1.0, since START)", id="it runs"),
        pytest.param(WorkerReport("running", None), "ok", "nothing yet", id="it has just started"),
        pytest.param(report(updated_ago=60.0), "ok", "it runs", id="late"),
        pytest.param(report(updated_ago=61.0), "problem", "nothing for 61 s", id="it hangs"),
        pytest.param(
            report("stopped", stopped_at="END", stop_reason="SIGTERM"), "warning", "at END (SIGTERM)", id="end"
        ),
        pytest.param(report("died"), "problem", "without stopping in order soon after UPDATE", id="it was killed"),
    ],
)
def test_a_worker_that_does_not_run_or_hangs_is_seen(worker: WorkerReport | None, state: str, says: str):
    [found] = judge_worker(worker)
    assert (found.name, found.state, says in found.text) == ("worker", state, True), found.text
    assert (found.fix is None) == (state in {"ok", "skipped"})


def test_what_troubles_a_running_worker_is_a_warning():
    """A restart would not help, so a health check must not ask for one."""
    outage = ProblemReport("the API is unavailable", "START", "503", "NEXT")
    refused = ProblemReport("the API refuses the key", reason="key_refused")
    checks = judge_worker(report(problems=[outage, refused], sinks={"hooks": SinkReport(3, 2), "-": SinkReport(9, 0)}))
    assert [check.state for check in checks] == ["ok", "warning", "warning", "warning"]
    assert checks[1].text == "the API is unavailable, since START (503); next try at NEXT"
    assert (checks[2].text, checks[2].fix) == ("the API refuses the key [key_refused]", ADVICE[Reason.KEY_REFUSED])
    assert (checks[3].subject, "retry --all" in (checks[3].fix or "")) == ("hooks", True)
    assert exit_code_for(checks) == 0


def test_the_exit_code_is_that_of_what_must_be_corrected_first():
    def problem(code: Exit) -> Check:
        return Check("x", State.PROBLEM, "t", code=code)

    harmless = [Check("x", state, "t", code=Exit.USAGE) for state in State if state is not State.PROBLEM]
    assert exit_code_for([]) == exit_code_for(harmless) == 0
    assert exit_code_for([*harmless, problem(Exit.NOT_READY)]) == 1
    assert exit_code_for([problem(Exit.NOT_READY), problem(Exit.KEY_REFUSED)]) == 3
    assert exit_code_for([problem(Exit.KEY_REFUSED), problem(Exit.USAGE), problem(Exit.NOT_READY)]) == 2


@given(CHECKS)
def test_json_shows_every_check_and_agrees_with_the_exit_code(checks: list[Check]):
    shown = json.loads(as_json(checks))
    assert [each.keys() for each in shown["checks"]] == [{"name", "subject", "state", "text", "fix"}] * len(checks)
    assert (shown["exit_code"], shown["state"] == "problem") == (int(exit_code_for(checks)), shown["exit_code"] != 0)


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("/a: b can't be read: give this user the right", "/a: b can't be read", "give this user the right"),
        ("/x is a file; name another with --state-dir", "/x is a file", "name another with --state-dir"),
        ("it can't be used", "it can't be used", None),
    ],
)
def test_a_message_is_split_into_what_is_wrong_and_what_to_do(text: str, what: str, fix: str | None):
    check = advised("x", text)
    assert (check.text, check.fix) == (what, fix)


def test_a_line_names_its_subject_once():
    assert line_of(Check("queue_file", State.OK, "it can be read", subject="/q")) == (
        "ok       queue file       /q: it can be read"
    )
    assert line_of(Check("disk", State.PROBLEM, "/q is full", "make room", "/q")) == (
        "problem  disk             /q is full: make room"
    )
