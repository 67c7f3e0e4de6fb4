"""The command line of OCI runtimes, as runc and crun have it."""

import glob
import json
import os
import platform
import re
import subprocess
import time

from harness import Skip
from table import test
from table.engines import MKDIR, Agent
from table.bundles import CONTAINERS, Bundle, cgroup_file

STATUS = "grep -E '^(Cap(Bnd|Eff|Prm|Amb)|NoNewPrivs):' /proc/self/status; echo $(id -G) $(pwd)"


@test("bundle/few-descriptors", seconds=60)
def few_descriptors(t):
    """The limit is the command's: what is done before, names of groups and a hook among it, needs more."""
    def limits(number):
        return [{"type": "RLIMIT_NOFILE", "soft": number, "hard": number}]

    bundle = Bundle(t, "ulimit -n; exec sleep 1000", rlimits=limits(3))
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    if t.isolation == "container":  # in a VM hooks of this kind are refused
        bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo hook >/hook"]}]}
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("3\n")
    if t.isolation == "container":
        t.equal("the hook", "hook\n", bundle.read("hook"))
    process = t.file("process.json", json.dumps({"cwd": "/", "args": ["sh", "-c", "ulimit -n"], "env": ["PATH=/bin"],
                                                 "user": {"uid": 0, "gid": 0}, "rlimits": limits(0)}))
    t.equal("exec", "0\n", t.verb("exec", "--process", process, bundle.id))
    machine = platform.machine()
    if t.isolation == "vm" or machine not in MKDIR:
        return
    # A listener takes a descriptor too; and the agent, asked about everything, is not asked about the limit.
    agent = Agent(t, machine)
    asking = Bundle(t, "ulimit -n; exec sleep 1000", rlimits=limits(3))
    asking.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent.path}
    asking.create()
    t.verb("start", asking.id)
    asking.await_output("3\n")
    t.equal("exec with a listener", "0\n", t.verb("exec", "--process", process, asking.id))
    t.check(agent.asked > 20, f"the agent was asked {agent.asked} times only")
