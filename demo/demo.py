"""`make demo`: a real cluster, the operator installed by its chart, and from nothing but manifests: a raw text becomes a GPT that
answers; a raw table becomes a Dataset with a report on its quality.

A pod is killed on the way, training resumes from its committed checkpoint, the loss curve is drawn, and the endpoint is rolled
over while it is asked.

Everything it does it does through kubectl and helm, and it prints each command: you can do the same by hand.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).parents[1]
OVERLAY = "examples/17-nemo-training-eks/overlays/local"
TABLE = "examples/06-tabular-automl/overlays/local"
NAMESPACE, JOB = "nemo", "gpt3-126m"
CLUSTER = "demo"
OUT = ROOT / "demo-output"
DEADLINE_SECONDS = 1500
LOCAL = [sys.executable, "-m", "millrace.cli.local"]
MILLRACE = [sys.executable, "-m", "millrace.cli.main"]

console = Console()


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    """One line of what happens now."""
    console.print(f"\n[bold cyan]==[/] {text}")


def run(*command: str, show: bool = True, check: bool = True, **options: Any) -> str:
    """Run a command, show it, give its standard output. Raises DemoFailed with its last words."""
    if show:
        console.print(f"[dim]$ {escape(' '.join(command))}[/]")
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, **options)
    if check and done.returncode:
        raise DemoFailed(f"{command[0]} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def cluster_up() -> dict[str, str]:
    """Start the cluster with progress on the terminal; gives the images' full names."""
    command = [*LOCAL, "up", "--name", CLUSTER, "--nodes", "2", "--images", "operator,dataset,trainer,smollm2"]
    console.print(f"[dim]$ millrace {' '.join(command[2:])}[/]")
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise DemoFailed("the local cluster did not start; its last words are above")
    shell = run(*LOCAL, "env", "--name", CLUSTER, show=False)
    for assignment in shell.removeprefix("export ").split():
        name, _, value = assignment.partition("=")
        os.environ[name] = os.path.expandvars(value)
    store = Path(os.environ.get("MILLRACE_CACHE", Path.home() / ".cache" / "millrace")) / "template" / "images.json"
    return dict(json.loads(store.read_text()))


def install() -> None:
    """CRDs and operator, by their charts."""
    run("helm", "upgrade", "--install", "millrace-crds", "charts/millrace-crds", "--wait")
    values = OUT / "values.json"
    values.write_text(millrace("local", "values"))
    where = ["-n", "millrace-system", "--create-namespace", "--wait", "--timeout", "3m"]
    run("helm", "upgrade", "--install", "millrace", "charts/millrace", "--values", str(values.relative_to(ROOT)), *where)


def job() -> dict[str, Any]:
    """The TrainingJob; {} where it is not there yet."""
    text = run("kubectl", "get", "trainingjob", JOB, "-n", NAMESPACE, "-o", "json", show=False, check=False)
    return json.loads(text) if text else {}


def succeeded(found: dict[str, Any]) -> dict[str, Any]:
    """The condition Succeeded."""
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == "Succeeded"), {"status": "Unknown", "reason": "", "message": ""})


def watch(*, until_checkpoint: bool) -> dict[str, Any]:
    """Show progress until the first checkpoint, or the end. Raises DemoFailed at the deadline or where the run failed."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("waiting", total=100, note="")
        while time.monotonic() < deadline:
            found = job()
            status, end = found.get("status") or {}, succeeded(found)
            bar.update(task, description=f"{end['reason'] or 'waiting':12}", completed=_percent(status), note=_note(status))
            if end["status"] == "False":
                raise DemoFailed(f"the run failed: {end['reason']}: {end['message']}")
            if end["status"] == "True" or (until_checkpoint and status.get("checkpoint")):
                return found
            time.sleep(1)
    raise DemoFailed(f"not done within {DEADLINE_SECONDS} s; look around with kubectl describe trainingjob -n {NAMESPACE}")


def _percent(status: dict[str, Any]) -> int:
    return int((status.get("progress") or {}).get("percent") or 0)


def _note(status: dict[str, Any]) -> str:
    progress = status.get("progress") or {}
    metrics = {m["name"]: m["value"] for m in status.get("metrics") or ()}
    parts = [f"attempt {status.get('attempt', '-')}", f"step {progress.get('step', 0)}/{progress.get('maxSteps', '?')}"]
    if "loss" in metrics:
        parts.append(f"loss {metrics['loss']}")
    if status.get("checkpoint"):
        parts.append(f"checkpoint {status['checkpoint']['step']}")
    return "  ".join(parts)


def kill_a_rank() -> None:
    """SIGKILL the training process of rank 1, as a hardware fault would."""
    pods = json.loads(run("kubectl", "get", "pods", "-n", NAMESPACE, "-l", "millrace.dev/role=train", "-o", "json", show=False))
    victim = pods["items"][-1]["metadata"]["name"]
    script = (
        "import os,signal;"
        "[os.kill(int(p),signal.SIGKILL) for p in os.listdir('/proc') if p.isdigit() and int(p)!=os.getpid()"
        " and b'millrace_trainer' in open(f'/proc/{p}/cmdline','rb').read() and int(p)!=1]"
    )
    run("kubectl", "exec", "-n", NAMESPACE, victim, "-c", "train", "--", "python", "-c", script, check=False)


def fetch_report(image: str) -> None:
    """Copy the loss curve off the claim, by a pod that mounts it."""
    overrides = {
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532},
            "containers": [
                {
                    "name": "read",
                    "image": image,
                    "command": ["python", "-c", _READ],
                    "volumeMounts": [{"name": "fsx", "mountPath": "/fsx-shared", "readOnly": True}],
                }
            ],
            "volumes": [{"name": "fsx", "persistentVolumeClaim": {"claimName": "fsx-shared"}}],
        }
    }
    run("kubectl", "delete", "pod", "read", "-n", NAMESPACE, "--ignore-not-found", show=False)
    run(
        "kubectl",
        "run",
        "read",
        "-n",
        NAMESPACE,
        f"--image={image}",
        "--restart=Never",
        f"--overrides={json.dumps(overrides)}",
        show=False,
    )
    run("kubectl", "wait", "pod/read", "-n", NAMESPACE, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s", show=False)
    for line in run("kubectl", "logs", "read", "-n", NAMESPACE, show=False).splitlines():
        name, _, content = line.partition(" ")
        (OUT / name).write_bytes(base64.b64decode(content))
    run("kubectl", "delete", "pod", "read", "-n", NAMESPACE, "--wait=false", show=False)


_READ = f"""
import base64
for name in ("loss.png", "report.html", "run.json"):
    with open("/fsx-shared/results/{JOB}/" + name, "rb") as f:
        print(name, base64.b64encode(f.read()).decode())
"""


def millrace(*command: str) -> str:
    """The project's own command line, shown by its short name."""
    console.print(f"[dim]$ millrace {escape(' '.join(command))}[/]")
    return run(*MILLRACE, *command, show=False)


def serve(image: str) -> None:
    """Both endpoints, each asked something once its pods have answered their golden request."""
    manifests = (ROOT / "demo/endpoints.yaml").read_text().replace("@SMOLLM2@", image)
    console.print("[dim]$ kubectl apply -f demo/endpoints.yaml[/]")
    run("kubectl", "apply", "-f", "-", show=False, input=manifests)
    for name in ("gpt", "instruct"):
        millrace("wait", f"modelendpoint/{name}", "-n", NAMESPACE, "--timeout", "5m")
    for asked in (("gpt", "--complete", "And the LORD said unto"), ("instruct", "What is a mill race? Answer in one sentence.")):
        answer = millrace("ask", *asked, "-n", NAMESPACE, "--max-tokens", "40").strip()
        console.print(f"[green]{escape(answer)}[/]\n")


def roll_over(image: str) -> None:
    """Replace both pods of the GPT's endpoint while it is asked without a pause."""
    body = {"model": "gpt", "prompt": "And it came to pass", "max_tokens": 4, "temperature": 0}
    source = (ROOT / "tests/support/load.py").read_text()
    url = f"http://gpt.{NAMESPACE}.svc:8080/v1/completions"
    container = {"name": "load", "image": image, "command": ["python3", "-c", source, "POST", url, json.dumps(body), "2"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load", "namespace": NAMESPACE}, "spec": spec}
    run("kubectl", "apply", "-f", "-", show=False, input=json.dumps(pod))
    run("kubectl", "wait", "pod/load", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=60s", show=False)
    patch = json.dumps({"spec": {"kubernetes": {"env": [{"name": "RELEASED", "value": str(int(time.time()))}]}}})
    run("kubectl", "patch", "modelendpoint", "gpt", "-n", NAMESPACE, "--type", "merge", "-p", patch)
    millrace("wait", "modelendpoint/gpt", "-n", NAMESPACE, "--timeout", "5m")
    console.print(millrace("status", "-n", NAMESPACE))
    told = json.loads(run("kubectl", "get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/load:8000/proxy/", show=False))
    run("kubectl", "delete", "pod", "load", "-n", NAMESPACE, "--wait=false", show=False)
    console.print(f"Both pods were replaced: [bold]{told['requests']} requests, {told['failed']} failed[/]")
    if told["failed"]:
        raise DemoFailed(f"requests failed while the endpoint was rolled over: {told['failures']}")


def check_table() -> None:
    """A table with its quality report."""
    run("kubectl", "delete", "-k", TABLE, "--ignore-not-found", "--wait=true", "--timeout=180s", show=False)
    run("kubectl", "apply", "-k", TABLE)
    millrace("wait", "dataset/survey", "-n", "survey", "--timeout", "5m")
    quality = json.loads(run("kubectl", "get", "dataset", "survey", "-n", "survey", "-o", "json", show=False))["status"]
    for found in quality["quality"].get("worst") or ():
        console.print(f"  {found['severity']:7} {found['check']} {found.get('column', '')}: {found['value']}")
    best = quality["quality"].get("bestFeature") or {}
    console.print(
        f"What predicts the answer best: {json.dumps(best)}; the whole report: {quality['report']['html']} on its claim"
    )


def conclude(found: dict[str, Any]) -> None:
    """What came out, and what to look at."""
    metrics = {m["name"]: m["value"] for m in found["status"]["metrics"]}
    console.print(run("kubectl", "get", "datasets,trainingjobs", "-n", NAMESPACE))
    restarts = found["status"].get("restarts") or {}
    console.print(f"The model: {found['status']['model']['uri']}, {found['status']['model']['digest'][:19]}…, read back")
    console.print(
        f"Validation perplexity [bold]{metrics['validationPerplexity']}[/] per token; "
        f"a model that knows only how frequent each token is: [bold]{metrics['unigramPerplexity']}[/]"
    )
    cause, took = restarts.get("lastCause", "none"), restarts.get("recoverySeconds", "?")
    console.print(f"Restarts: {restarts.get('count', 0)} ({cause}), recovered in {took} s")
    console.print(f"Loss curve: {OUT / 'loss.png'}   report: {OUT / 'report.html'}")
    if float(metrics["validationPerplexity"]) > 0.5 * float(metrics["unigramPerplexity"]):
        raise DemoFailed("the model has not learnt: its perplexity is not well below the unigram baseline")


def farewell() -> None:
    """What the reader can do next."""
    console.print(
        'Look around:  [bold]eval "$(.venv/bin/millrace local env --name demo)"[/]\n'
        "              kubectl describe trainingjob -n nemo gpt3-126m\n"
        '              .venv/bin/millrace ask -n nemo instruct "..."\n'
        "Tear down:    [bold].venv/bin/millrace local down --name demo[/]"
    )


def main() -> int:
    """The whole demo; 0 when the models answer."""
    begun = time.monotonic()
    OUT.mkdir(exist_ok=True)
    try:
        say("A real Kubernetes cluster on this machine: two nodes, built and cached (the first time takes a while)")
        images = cluster_up()
        say("The operator, by its Helm chart")
        install()
        say("The whole system, by one folder of manifests")
        run("kubectl", "delete", "-k", OVERLAY, "--ignore-not-found", "--wait=true", "--timeout=180s", show=False)
        run("kubectl", "apply", "-k", OVERLAY)
        say("Text is read and split, then two pods train (progress comes from status); waiting for the first checkpoint")
        found = watch(until_checkpoint=True)
        if succeeded(found)["status"] != "True":
            say("A fault: the training process of one rank is killed (SIGKILL)")
            kill_a_rank()
            say("The whole group restarts and resumes from the committed checkpoint")
            found = watch(until_checkpoint=False)
        say("The results")
        fetch_report(images["localhost/millrace/operator"])
        conclude(found)
        say("The model answers, and so does one that ships in a package: two ModelEndpoints")
        serve(images["localhost/millrace/smollm2"])
        say("Rolled over under load: no request may fail")
        roll_over(images["localhost/millrace/operator"])
        say("A raw table is typed, checked, split and reported on")
        check_table()
        say("Done")
        farewell()
    except DemoFailed as failure:
        console.print(f"\n[bold red]error:[/] {failure}")
        return 1
    console.print(f"\nDone in {time.monotonic() - begun:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
