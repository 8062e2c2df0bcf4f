"""A Hub on this machine, and programs that fetch a model from it. Knows how each is told; not what is compared."""

import shutil
import subprocess
from urllib.request import urlopen

from measure import Failed, Step

REPO = "acme/large"


class Hub:
    """`fake-hub` over a folder of repositories."""

    def __init__(self, program, root, runner):
        argv = [str(program), "--root", str(root)]
        self.process = subprocess.Popen(argv, env=runner.env, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        if not first.startswith("listening on "):
            raise Failed("fake-hub does not listen")
        self.url = first.split()[-1]
        # It hashes a file when it is first asked about: that is no client's time.
        urlopen(f"{self.url}/api/models/{REPO}").read()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def environment(hub, place):
    more = {"HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(place / "hf"), **more}


def contenders(runner, ours, hub):
    """By name, the step that fetches into an empty cache below a place."""
    found = {"modelkeep": lambda place: [Step([ours, "fetch", REPO, "--budget", "100GB"], place, environment(hub, place))]}
    path = runner.env["PATH"]
    if hf := shutil.which("hf", path=path):
        found["hf download"] = lambda place: [Step([hf, "download", REPO], place, environment(hub, place))]
    if curl := shutil.which("curl", path=path):
        url = f"{hub.url}/{REPO}/resolve/main/model.safetensors"
        found["curl"] = lambda place: [Step([curl, "-sS", "-o", place / "file", url])]
    return found
