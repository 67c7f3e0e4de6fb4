"""Several rows in one start: its first process runs their commands, or they enter it, one after the other."""

import os
import shlex

from sessions import Failure, Result, Unended, brief

SECONDS_OF_A_ROW = 2
MOST_UNENDED = 3  # rows that enter a workload and do not end: then it is the workload that does not answer


class Shared:
    """What rows share, as far as a run of the table is concerned a row itself: of each a Result or a Failure."""

    alone = False

    def __init__(self, rows):
        self.rows, self.results, self.name = rows, {}, rows[0].name
        self.processors = max(row.processors for row in rows)

    def judge(self, row, test):
        result = self.results[row.name]
        if isinstance(result, Failure):
            raise result
        return row.judge_result(test, result)


class Start(Shared):
    """One start for rows with the same options."""

    def run(self, test):
        mark = f"<{os.urandom(16).hex()}>"
        seconds = max(row.seconds for row in self.rows) + SECONDS_OF_A_ROW * len(self.rows)
        try:
            result = test.run(*self.rows[0].options, command=["sh", "-c", script(mark, self.rows)], seconds=seconds)
        except Unended as failure:
            self.results = parts_until(mark, self.rows, failure)
        else:
            self.results = parts(mark, self.rows, result)


class Entered(Shared):
    """One workload that rows enter, each by a `hybrid exec` of its own."""

    def run(self, test):
        workload = test.detached(image=self.rows[0].image, command=["sleep", "100000"])
        unended = []
        for row in self.rows:
            self.results[row.name] = enter(row, test, workload, unended)
        test.verb("rm", "-f", workload)


def enter(row, test, workload, unended):
    """A Result, or a Failure. unended: the names of rows that did not end."""
    if len(unended) == MOST_UNENDED:
        return Failure(f"not tried: of those before it in the same workload did not end {', '.join(unended)}")
    try:
        return row.enter(test, workload)
    except Unended as failure:
        unended.append(row.name)
        return failure
    except Failure as failure:
        return failure


def script(mark, rows):
    """Each command in a process of its own; after it the mark on both streams, on stdout with its exit status."""
    return "\n".join(f"(exec {shlex.join(row.command)}); printf '{mark}%s;' $?; printf '{mark}' >&2" for row in rows)


def parts(mark, rows, result):
    """What each row printed, and how it ended."""
    *outs, last = result.stdout.split(mark.encode())
    *errors, rest = result.stderr.split(mark.encode())
    if (len(outs), len(errors)) != (len(rows), len(rows)) or rest or result.exit != 0:
        raise Failure(f"a start for {len(rows)} rows ended with {result.exit} after {len(outs)} of them; "
                      f"stderr {brief(result.stderr)!r}")
    seen, out = results(rows, [*outs, last], errors)
    if out:
        raise Failure(f"after the last of {len(rows)} rows came {brief(out)!r}")
    return seen


def parts_until(mark, rows, failure):
    """The same of a start that did not end: what the rows before the one that did not end printed; no more of the others."""
    outs, errors = failure.stdout.split(mark.encode()), failure.stderr.split(mark.encode())
    if len(outs) > 1 and b";" not in outs[-1]:  # the last mark lacks its exit status yet
        outs.pop()
    ended = min(len(outs), len(errors)) - 1
    if ended >= len(rows):
        raise failure
    seen, _ = results(rows[:ended], outs, errors)
    at = rows[ended].name
    seen[at] = Failure(f"after {ended} of {len(rows)} rows in one start: {failure}")
    for row in rows[ended + 1:]:
        seen[row.name] = Failure(f"not run: {at}, before it in the same start, did not end")
    return seen


def results(rows, outs, errors):
    """outs: what came on stdout before each mark, and after the last. Also returns what follows upon the last row."""
    seen, out = {}, outs[0]
    for row, following, err in zip(rows, outs[1:], errors):
        status, _, following = following.partition(b";")
        seen[row.name] = Result(int(status), out, err)
        out = following
    return seen, out
