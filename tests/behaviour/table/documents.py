"""The manual and the completion, compared with the program (docs.py)."""

import os
import subprocess
import sys

from table import test

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "docs.py")


@test("documents/agree-with-the-program", isolations=("container",), once=True, seconds=60)
def documents(t):
    result = subprocess.run([sys.executable, DOCS, os.path.dirname(t.host.hybrid)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False, env=t.host.env, timeout=60 * t.slow)
    wrong = [line for line in result.stdout.splitlines() if not line.startswith(("PASS", "SKIP"))]
    t.equal("what docs.py finds", [], wrong)
    t.equal("exit status of docs.py", 0, result.returncode)
