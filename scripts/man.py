#!/usr/bin/env python3
"""Manual pages, made from what the programs say of themselves: weir help, weir help COMMAND, --help of the daemons.

usage: scripts/man.py BUILD NAME      (NAME: weir, weir-jobmanager, weir-taskmanager; the page goes to standard output)
"""
import os
import re
import subprocess
import sys
import time

ABOUT = {"weir": "run and look after jobs of weir, a distributed stream processor",
         "weir-jobmanager": "accepts jobs of weir and places their tasks on TaskManagers",
         "weir-taskmanager": "runs tasks of weir's jobs, each job in a process of its own"}


def say(build, *command):
    """What a program prints; None if it does not know the command."""
    done = subprocess.run([os.path.join(build, "bin", command[0]), *command[1:]], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
    return done.stdout if done.returncode == 0 else None


def commands(build):
    """The names in the list that `weir help` prints."""
    return [name for name in re.findall(r"^ +([a-z][a-z-]*)(?:  .*)?$", say(build, "weir", "help"), re.M)
            if say(build, "weir", "help", name)]


def verbatim(text):
    lines = [line.replace("\\", "\\e").replace("-", "\\-") for line in text.rstrip().splitlines()]
    return ".nf\n" + "\n".join("\\&" + line for line in lines) + "\n.fi\n"


def page(build, name):
    version = say(build, "weir", "--version").split()[-1]
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    parts = [f'.TH {name.upper()} 1 "{date}" "weir {version}"\n.SH NAME\n{name} \\- {ABOUT[name]}\n.SH SYNOPSIS\n.B {name}\n']
    if name == "weir":
        parts.append(".I COMMAND\n[options]\n.SH DESCRIPTION\n" + verbatim(say(build, "weir", "help")) + ".SH COMMANDS\n")
        for command in commands(build):
            parts.append(f".SS weir {command}\n" + verbatim(say(build, "weir", "help", command)))
    else:
        parts.append("[options]\n.SH DESCRIPTION\n" + verbatim(say(build, name, "--help")))
    parts.append('.SH ENVIRONMENT\n.TP\n.B WEIR_HOME\nconf/, logs/, run/, data/ below it; ~/.weir without it.\n'
                 '.TP\n.B WEIR_CONF\nThe configuration file.\n'
                 '.TP\n.B WEIR_REST\nAddress of the cluster, http://HOST:PORT.\n'
                 '.TP\n.B WEIR_...\nAny configuration key: in capitals, . and \\- as _.\n'
                 '.SH FILES\n.TP\n.I /etc/weir/weir.yaml\nThe configuration, where neither the environment nor $WEIR_HOME names one.\n')
    others = [f".BR {other} (1)" for other in ABOUT if other != name]
    parts.append(".SH SEE ALSO\n" + ",\n".join(others) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in ABOUT:
        sys.exit(__doc__)
    sys.stdout.write(page(sys.argv[1], sys.argv[2]))
