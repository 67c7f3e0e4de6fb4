"""The behaviour table: what `hybrid run` must do, the same in every isolation.

Most rows are data (`row`): options, image, command and input on one side, exit status, stdout and
stderr on the other, exact unless a regular expression or a function says otherwise. Where data cannot
say it - terminals, signals, measurements - a row is a function (`test`) that is given a harness.Test.
"""

import importlib
import re
from dataclasses import dataclass, field

ISOLATIONS = ("container", "vm")
MODULES = ("exits", "streams", "signals", "terminals", "processes", "filesystem", "volumes", "security", "limits",
           "lifecycle", "hardships", "options", "policy", "userlands", "corpus", "machines", "doctor", "bundles", "engines",
           "leaks", "networks", "bundle_networks", "bundle_propagation", "bundle_files", "bundle_starts", "bundle_joins", "bundle_calls", "pods", "pod_neighbours",
           "pod_mishaps", "pod_processes", "documents")
TABLE = []

# Rows about what hybrid itself makes of its command line, the image and its streams, in containers the same on every kernel
# and with every version of cgroups. The emulated host runs them in VMs, and containers for all other rows, which start the same way.
OF_NO_HOST = re.compile(r"(arguments|command|directory|environment|option|stdin|user)/|exit/(?!out-of-memory)"
                        r"|policy/(explain|shipped|refused-files|names-only-strengthen|relative-path|audit-rotates|recorded)$")


@dataclass
class Row:
    name: str
    command: list = field(default_factory=list)
    options: list = field(default_factory=list)
    image: str = "test"
    stdin: bytes = None            # None: /dev/null; give -i in options to pass it on
    stdout: object = b""           # text, compiled expression, function(text) -> complaint, or None
    stderr: object = b""
    exit: object = 0               # number, compiled expression, or None
    files: dict = field(default_factory=dict)  # {name} in options is the path of a file with this content
    env: dict = field(default_factory=dict)    # of the hybrid command itself
    compare: object = None         # function(stdout) -> text that must be the same in all isolations
    isolations: tuple = ISOLATIONS
    alone: bool = False            # measures: nothing else may run beside it
    processors: int = 1            # that the machine must have
    once: bool = False             # a container of it says nothing about the host: not run again in the emulated one
    looks: bool = False            # see look()
    enters: bool = False           # see enter()
    seconds: float = 20            # until it is given up, on a machine of ordinary speed
    function: object = None

    def run(self, test):
        """Raises harness.Failure or Skip. Returns what is to be compared between isolations, or None."""
        if self.function:
            return self.function(test)
        return self.judge_result(test, test.run(*self.given(test), image=self.image, command=self.command,
                                                stdin=self.stdin, seconds=self.seconds, env=self.env))

    def enter(self, test, workload):
        """The Result of the row's command in a workload that runs."""
        return test.hybrid("exec", *self.given(test), workload, *self.command, stdin=self.stdin, seconds=self.seconds,
                           env=self.env)

    def given(self, test):
        """The options, with the paths of the files that they name."""
        paths = {name: test.file(name, content) for name, content in self.files.items()}
        return [option.format(**paths) if paths else option for option in self.options]

    def judge_result(self, test, result):
        """As run, of what a row made of data gave."""
        self.judge(test, "stdout", self.stdout, result.stdout, result)
        self.judge(test, "stderr", self.stderr, result.stderr)
        if self.exit is None:
            pass
        elif isinstance(self.exit, re.Pattern):
            test.match("exit status", f"^(?:{self.exit.pattern})$", str(result.exit))
        else:
            test.equal("exit status", self.exit, result.exit, result)
        return self.compare(result.out) if self.compare else None

    @staticmethod
    def judge(test, what, wanted, seen, result=None):
        text = seen.decode("utf-8", "surrogateescape")
        if wanted is None:
            return
        if isinstance(wanted, re.Pattern):
            test.match(what, wanted, text)
        elif callable(wanted):
            complaint = wanted(text)
            test.check(not complaint, f"{what}: {complaint}")
        else:
            test.equal(what, wanted.encode() if isinstance(wanted, str) else wanted, seen, result)


def row(name, command=(), **settings):
    """Adds a row made of data. A command given as a text is run by /bin/sh -c."""
    command = ["sh", "-c", command] if isinstance(command, str) else list(command)
    TABLE.append(Row(name, command, **settings))


def look(name, command, **settings):
    """Adds a row that only looks at what each process of the workload has, and changes nothing that another one sees.

    Where a start is dear, such rows with the same options share one: its first process runs their commands, one after the
    other, and what each prints and how it ends is judged apart (run.py).
    """
    if unknown := settings.keys() - {"options", "stdout", "stderr", "exit", "compare", "seconds"}:
        raise ValueError(f"{name}: a row that looks has no {', '.join(sorted(unknown))}")
    row(name, command, looks=True, **settings)


def enter(name, command, **settings):
    """Adds a row whose command is the same thing as the second command of a workload, with the same options: what its
    arguments, environment, user, directory and streams are, and how it ends.

    Where a start is dear, such rows enter one workload by `hybrid exec`; in others, and in rows beside them, `hybrid run`
    is given the same.
    """
    row(name, command, enters=True, **settings)


def test(name, **settings):
    """Adds a row made of the decorated function."""
    def add(function):
        TABLE.append(Row(name, function=function, **settings))
        return function
    return add


def same(text):
    """For `compare`: the output as it is."""
    return text


def load():
    """Reads all parts of the table, in order, and returns it."""
    for module in MODULES:
        importlib.import_module(f"table.{module}")
    names = [entry.name for entry in TABLE]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"rows with the same name: {', '.join(sorted(doubled))}")
    for entry in TABLE:
        # What is compared must have been printed by both isolations.
        entry.once |= bool(OF_NO_HOST.match(entry.name)) and not entry.compare and not entry.looks
    return TABLE
