#!/usr/bin/python3
"""The documents against the program: every verb and option of --help is in hybrid(1) and is completed by
hybrid.bash, and neither of them knows one that the program does not have. The same for the members of a policy.

    docs.py [BUILD]      prints PASS or FAIL lines; exit status 1 if anything failed
"""

import json
import os
import re
import shutil
import subprocess
import sys

PROJECT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
MANUAL = os.path.join(PROJECT, "runtime", "cli", "hybrid.1")
COMPLETION = os.path.join(PROJECT, "runtime", "cli", "hybrid.bash")
OPTION = re.compile(r"(?m)^  (?:-([A-Za-z]), | +)?--([a-z][a-z-]*)")
failures = 0


def verdict(name, problems):
    global failures
    failures += bool(problems)
    print(f"FAIL docs/{name}: {'; '.join(problems)}" if problems else f"PASS docs/{name}", flush=True)


def output_of(*command, **settings):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          **settings).stdout


def help_of(hybrid, *verb):
    return subprocess.run([hybrid, *verb, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout


def options_in_help(text):
    """{long name: letter or ''} of a help text, without those that are listed as refused."""
    section = re.search(r"(?ms)^(?:Global o|O)ptions:\n(.*?)(?:^$|\Z)", text)
    return {name: letter for letter, name in OPTION.findall(section[1]) if name != "help"} if section else {}


def options_in_manual():
    """{verb: {long name: letter or ''}} of the manual; the verb '' has the global options."""
    found, verb = {"": {}}, ""
    with open(MANUAL, encoding="utf-8") as file:
        for line in file:
            words = line.replace(",", " ").split()
            if words[:1] == [".Ss"]:
                verb = "" if words[1] == "Global" else " ".join(words[1:])
                found.setdefault(verb, {})
            elif words[:2] == [".It", "Fl"]:
                flags = re.findall(r"Fl (-?[A-Za-z][a-z-]*)", line)
                long = [flag[1:] for flag in flags if flag.startswith("-")]
                short = [flag for flag in flags if not flag.startswith("-")]
                for name in long:
                    found[verb][name] = short[0] if short else ""
    for options in found.values():
        options.pop("help", None)
    return found


def completed(hybrid, *words):
    """What bash offers after these words (the last one is being typed)."""
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hybrid; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    return output_of("bash", "-c", script, "bash", COMPLETION, hybrid, *words).split()


def compare_manual(where, program, manual):
    problems = [f"--{name} is not in the manual" for name in program if name not in manual]
    problems += [f"--{name} is in the manual only" for name in manual if name not in program]
    problems += [f"--{name} is -{letter or '(none)'} in the program, -{manual[name] or '(none)'} in the manual"
                 for name, letter in program.items() if name in manual and manual[name] != letter]
    verdict(f"manual/{where}", problems)


def compare_completion(hybrid, where, options, *verb):
    offered = completed(hybrid, *verb, "-")
    wanted = {f"--{name}" for name in options} | {f"-{letter}" for letter in options.values() if letter}
    problems = [f"{word} is not completed" for word in sorted(wanted - set(offered))]
    problems += [f"{word} is completed only" for word in sorted(set(offered) - wanted - {"--help", "-h"})]
    verdict(f"completion/{where}", problems)


def check_environment(build):
    """Every variable whose name the programs contain is in the manual, and no other."""
    known = set()
    for program in ("hybrid", "hybrid-image", "hybrid-vmm", "hybrid-names", "hybrid-init"):
        with open(os.path.join(build, program), "rb") as file:
            known |= {name.decode() for name in re.findall(rb"HYBRID_[A-Z_]+", file.read())}
    with open(MANUAL, encoding="utf-8") as file:
        described = set(re.findall(r"(?m)^\.It Ev (HYBRID_\S+)", file.read()))
    verdict("manual/environment", [f"{name} is not in the manual" for name in sorted(known - described)]
            + [f"{name} is in the manual only" for name in sorted(described - known)])


def check_lint():
    if not shutil.which("man"):
        print("SKIP docs/manual/man-warnings: man-db is not installed")
        return
    warnings = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", MANUAL], text=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    verdict("manual/man-warnings", warnings.stderr.splitlines())
    if shutil.which("mandoc"):
        verdict("manual/lint", output_of("mandoc", "-T", "lint", "-W", "warning", MANUAL).splitlines())
    else:
        print("SKIP docs/manual/lint: mandoc is not installed")


def check_values(hybrid):
    problems = []
    for words, wanted in ((["run", "--isolation", ""], {"auto", "container", "vm"}),
                          (["run", "--isolation", "=", "v"], {"vm"}),
                          (["ru"], {"run"}), (["policy", ""], {"check", "explain"}),
                          (["run", "--rm", "image", "-"], set())):
        if set(completed(hybrid, *words)) != wanted:
            problems.append(f"{words}: {completed(hybrid, *words)} instead of {sorted(wanted)}")
    verdict("completion/values", problems)


def check_policy():
    """What policies are made of, in the code, the published schema and the manual."""
    def names(path, expression):
        with open(f"{PROJECT}/runtime/policy/{path}", encoding="utf-8") as file:
            return set(re.findall(expression, file.read()))

    with open(MANUAL, encoding="utf-8") as file:
        section = file.read().split(".Sh POLICY\n")[1].split(".Sh ")[0]
    keys = names("check.c", r'\{ "(\$?\w+)",\s+check_\w+,\s+(?:true|false) \}')
    with open(f"{PROJECT}/runtime/policy/policy.schema.json", encoding="utf-8") as file:
        schema = json.load(file)
    objects = [schema, *(part for part in schema["$defs"].values() if "properties" in part),
               schema["$defs"]["match"]["properties"]["signature"]]
    published = {key for part in objects for key in part["properties"]}
    verdict("policy/schema", sorted(keys ^ published))
    closed = names("seccomp.c", r'(?m)^ +\{ "(\w+)", \{')
    verdict("policy/manual", [f"{name} is not in the manual" for name in sorted(closed | keys - {"$schema"})
                              if not re.search(rf"\b{name}\b", section)])


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else os.path.join(PROJECT, "build")
    hybrid = os.path.join(build, "hybrid")
    overview, manual = help_of(hybrid), options_in_manual()
    verbs = re.findall(r"(?m)^  ([a-z]+) +\S", overview.split("\nGlobal options:")[0])
    described = {verb for verb in manual if verb}
    verdict("manual/verbs", [f"{verb} is not in the manual" for verb in verbs if verb not in described]
            + [f"{verb} is in the manual only" for verb in sorted(described) if verb not in verbs])
    verdict("completion/verbs", [f"offers {completed(hybrid, '')}"] if completed(hybrid, "") != verbs else [])
    compare_manual("global", options_in_help(overview), manual[""])
    for verb in verbs:
        options = options_in_help(help_of(hybrid, verb))
        compare_manual(verb, options, manual.get(verb, {}))
        compare_completion(hybrid, verb, options, verb)
    check_values(hybrid)
    check_environment(build)
    check_policy()
    check_lint()
    return 1 if failures else 0


sys.exit(main())
