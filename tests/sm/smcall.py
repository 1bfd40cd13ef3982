#!/usr/bin/python3
"""One call of a storage driver, as the agent's slot makes it.
smcall.py PROGRAM DRIVER COMMAND [key=value...]: see functions.sh."""
import os
import subprocess
import tempfile
import sys
import xmlrpc.client


def flatten(value, name, out):
    if isinstance(value, dict):
        for k in value:
            flatten(value[k], name + "." + k if name else k, out)
    elif isinstance(value, list):
        out.append("%s.n=%d" % (name, len(value)))
        for i, v in enumerate(value):
            if isinstance(v, dict) and ("uuid" in v or "top" in v):
                flatten(v, "%s.%s" % (name, v.get("uuid") or v["top"]), out)
            else:
                flatten(v, "%s.%d" % (name, i), out)
    else:
        out.append("%s=%s" % (name or "value", value))


def call(program, command, *words, fault=None):
    """Runs the driver: its answer as {name: text}, {'error': text} for a failure, {'exit': status} when it died."""
    request = {"command": command, "args": [], "device_config": {}, "vdi_sm_config": {}}
    foreign = False
    for word in words:
        key, _, value = word.partition("=")
        if word == "--argv":
            foreign = True
        elif key == "attached_list":
            request["attached"] = value.split(",") if value else []
        elif key == "args":
            request["args"] = value.split(",")
        elif key.startswith("config."):
            request["device_config"][key[7:]] = value
        elif key.startswith("smconfig."):
            request["vdi_sm_config"][key[9:]] = value
        else:
            request[key] = value
    text = xmlrpc.client.dumps((request,), command)
    argv = [program] + ([text] if foreign else [])
    env, fds = dict(os.environ), ()
    fault = env.pop("SM_FAULT", fault)
    if fault:
        faults = tempfile.TemporaryFile()
        faults.write((fault + "\n").encode())
        faults.seek(0)
        env["XAPI_FAULT_FD"] = str(faults.fileno())
        fds = (faults.fileno(),)
    run = subprocess.run(argv, input=None if foreign else text.encode(), stdout=subprocess.PIPE, env=env, pass_fds=fds)
    if run.returncode != 0:
        return {"exit": str(run.returncode)}
    answer = xmlrpc.client.loads(run.stdout)[0][0]
    if answer["Status"] != "Success":
        return {"error": "%s %s" % (answer["ErrorDescription"][0], "|".join(answer["ErrorDescription"][1:]))}
    out = []
    flatten(answer["Value"], "", out)
    return dict(line.split("=", 1) for line in sorted(out))


def main():
    answer = call(sys.argv[1], *sys.argv[3:])
    for name in answer:
        print("%s=%s" % (name, answer[name]))
    return 2 if "exit" in answer else 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
