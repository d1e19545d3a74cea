"""Runs a script again and again in one process, since importing a TensorFlow or the runtimes of ONNX takes longer than most runs.

`run(python, script, *arguments)` runs `main()` of a script, which reads `sys.argv`, in another environment's process and returns what it printed.
The process is this file, run with the path of the script: it reads a line of JSON with the arguments of each run and answers with one. It ends after
some runs, so that nothing that a runtime keeps adds up. Standard library only; runs under Python 3.7 to 3.14.
"""

import atexit
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback

RUNS = 40


class Failed(Exception):
    """A script ended with an error or its process died; the message is what it printed."""


_running = {}  # (python, script): (process, file of its standard error, number of runs)


def run(python, script, *arguments):
    """Runs a script; returns its standard output, or raises `Failed`."""
    name = (str(python), str(script))
    process, errors, runs = _running.pop(name, None) or start(*name)
    try:
        process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        status = process.wait()
        errors.seek(0)
        raise Failed("%s: the process ended with status %s\n%s" % (script, status, errors.read()[-4000:]))
    answer = json.loads(line)
    if runs + 1 < RUNS:
        _running[name] = (process, errors, runs + 1)
    else:
        end(process, errors)
    if answer["error"]:
        raise Failed("%s %s\n%s\n%s" % (script, " ".join(map(str, arguments)), answer["output"], answer["error"]))
    return answer["output"]


def start(python, script):
    """Starts a process; returns it with the file of its standard error and the number of runs."""
    errors = tempfile.TemporaryFile("w+")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
    return subprocess.Popen([python, os.path.abspath(__file__), script], universal_newlines=True, **pipes), errors, 0


def end(process, errors):
    process.stdin.close()
    process.wait()
    process.stdout.close()
    errors.close()


@atexit.register
def close():
    """Ends all processes."""
    while _running:
        process, errors, _ = _running.popitem()[1]
        end(process, errors)


def run_one(main, arguments):
    """Returns the answer to one run."""
    output, error = io.StringIO(), None
    sys.argv[1:] = arguments
    try:
        with contextlib.redirect_stdout(output):
            main()
    except SystemExit as end:
        error = str(end.code) if end.code else None
    except BaseException:  # is the caller's to report
        error = traceback.format_exc()
    return {"output": output.getvalue(), "error": error}


def serve(script):
    # Answers have the standard output to themselves: what native code prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    spec = importlib.util.spec_from_file_location("script", script)
    module = importlib.util.module_from_spec(spec)
    sys.argv[0] = script
    spec.loader.exec_module(module)
    for line in sys.stdin:
        answers.write(json.dumps(run_one(module.main, json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
