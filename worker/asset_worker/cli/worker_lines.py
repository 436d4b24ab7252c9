"""What people are shown of a worker's report on itself. Pure functions."""

from __future__ import annotations

from asset_worker.domain.worker_report import ProblemReport, WorkerReport


def worker_lines(worker: WorkerReport | None, unit_state: str | None) -> list[str]:
    """Return whether the worker runs, its problems, how far its inputs are read, and what its quotas have left.

    `unit_state` is what systemd says of its unit; None: nothing.
    """
    lines = [f"worker     {_state(worker)}"]
    if worker is None:
        return lines
    if worker.unit is not None and unit_state is not None:
        lines.append(f"unit       {worker.unit} is {unit_state}")
    if worker.state != "running":
        return lines  # its last problems may be over
    for each in worker.problems:
        lines += [f"problem    {problem_text(each)}", *runbook_line(each.runbook)]
    lines += [
        f"input      {name}: {each.behind} bytes left to read"
        for name, each in sorted(worker.intakes.items())
        if each.behind
    ]
    lines += [
        f"quota      {each.name}: {each.remaining} of {each.limit} requests left, for {each.resets_in:.0f} s"
        for each in worker.quotas
    ]
    return lines


def _state(worker: WorkerReport | None) -> str:
    match worker:
        case None:
            return "not running"
        case WorkerReport(state="stopped"):
            return f"not running (stopped in order at {worker.stopped_at}: {worker.stop_reason})"
        case WorkerReport(state="died"):
            return (
                f"not running: it ended at about {worker.updated_at} without stopping in order (kill -9, no memory, a "
                "power failure); the next start continues its work"
            )
        case WorkerReport(version=None):
            process = "" if worker.pid is None else f" (pid {worker.pid})"
            return f"running{process}; it has written no report that this version can read"
    text = f"running (pid {worker.pid}, asset-worker {worker.version}, since {worker.started_at})"
    if worker.is_silent:
        text += f"; its last report is {worker.updated_ago:.0f} s old: it hangs, or can't write to its state directory"
    return text


def runbook_line(section: str | None) -> list[str]:
    """Return the line below a problem that says where the runbook has more; None: that is not known."""
    return [] if section is None else [f"           see {section}"]


def problem_text(found: ProblemReport) -> str:
    """Return a problem with the time since when it lasts, its last error, the next try and its reason, if known."""
    text = found.problem
    if found.since is not None:
        text += f", since {found.since}"
    if found.last_error is not None and found.last_error not in found.problem:
        text += f" ({found.last_error})"
    if found.next_try is not None:
        text += f"; next try at {found.next_try}"
    return text if found.reason is None else f"{text} [{found.reason}]"
