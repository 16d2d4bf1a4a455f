"""How do others do, on this machine, in this run? `python benchmarks/peers.py [--images 64]`.

    pinclip          the whole running system as it comes, CALLERS callers at once
    pinclip, torch   the same with PINCLIP_ENGINE=torch, float32
    loop             fetch, decode, prepare, forward, one image after the other, torch float32;
                     and the same with our engine
    LitServe         the same model in torch float32, batches of up to 8 (peer_litserve.py)
    infinity-emb     its own server with our tower in torch float32, as it comes (peer_infinity.py)
    RQ fork worker   a plain `rq worker`: each job loads, scores and ends (peer_jobs.py)
    sahu65           its own service with its own model; it is sent the bytes and fetches nothing

Images a second; each image is a megapixel with bytes of its own. LitServe, infinity-emb and sahu65
are installed from peers-requirements.txt when they are first measured, which needs a package index.
One JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from redis import Redis
from rq import Queue

from benchmarks.callers import Caller, load, shared
from benchmarks.measuring import at_least, cores, say, tell
from benchmarks.origins import Origins
from benchmarks.parts import Parts
from benchmarks.peer_infinity import SETTINGS, check, embed, save
from benchmarks.pictures import numbered, photo
from benchmarks.running_system import RunningSystem, free_port
from pinclip import detector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).parent
ENVIRONMENTS = FOLDER.parent / ".pinclip" / "peers"
CALLERS = 64
WARM = 4
JOBS = 3
READY_SECONDS = 300.0
TORCH = {"PINCLIP_ENGINE": "torch", "PINCLIP_PRECISION": "float32"}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--only", nargs="+", help="names of peers (all)")
    args = parser.parse_args()
    with Origins() as origins:
        urls = (origins.url(f"photo/{number}.jpg") for number in itertools.count())
        ways: dict[str, Callable[[], float]] = {
            "pinclip": partial(ours, origins, urls, args.images),
            "pinclip, torch": partial(ours, origins, urls, args.images, **TORCH),
            "loop, torch": partial(loop, urls, args.images // 4, "torch"),
            "loop, our engine": partial(loop, urls, args.images // 4, "openvino"),
            "LitServe": partial(litserve, urls, args.images),
            "infinity-emb": partial(infinity, urls, args.images),
            "RQ fork worker": partial(fork_worker, origins, urls),
            "sahu65": partial(sahu65, args.images),
        }
        rates, left_out = {}, {}
        for name, measure in ways.items():
            if args.only and name not in args.only:
                continue
            try:
                rates[name] = round(measure(), 3)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                left_out[name] = str(error)
            say(f"{name}: {rates.get(name, left_out.get(name))}")
    return tell(
        {
            "name": "peers",
            "callers": CALLERS,
            "images": args.images,
            "images a second": rates,
            "left out": left_out,
            "bars": bars(rates),
        }
    )


def ours(origins: Origins, urls: Iterator[str], images: int, **settings: str) -> float:
    """Return images a second of the whole system."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        RunningSystem(Path(name), origins.port, **settings) as system,
    ):
        load(system.port, WARM, itertools.islice(urls, WARM))
        began = time.monotonic()
        answers = load(system.port, CALLERS, itertools.islice(urls, images))
        taken = time.monotonic() - began
    failed = [answer.scan["error"] for answer in answers if answer.scan["status"] != "completed"]
    if failed:
        raise RuntimeError(f"{len(failed)} scans went wrong, the first: {failed[0]}")
    return images / taken


def loop(urls: Iterator[str], images: int, engine: str) -> float:
    """Return images a second of a resident model, one image after the other."""
    precision = "float32" if engine == "torch" else "auto"
    model = detector.load(engine=engine, precision=precision)

    def one() -> None:
        model.predict([fetched(next(urls))])

    one()
    began = time.monotonic()
    for _ in range(images):
        one()
    return images / (time.monotonic() - began)


def litserve(urls: Iterator[str], images: int) -> float:
    """Return images a second of the LitServe server."""
    python = environment("litserve", sees_ours=True)
    port = free_port()

    def ask(caller: Caller, url: str) -> None:
        _expect_200(caller.ask("POST", "/predict", {"url": url}))

    with service([python, str(FOLDER / "peer_litserve.py"), str(port)], port, "/health"):
        shared(port, WARM, itertools.islice(urls, WARM), ask)
        began = time.monotonic()
        shared(port, CALLERS, itertools.islice(urls, images), ask)
        return images / (time.monotonic() - began)


def infinity(urls: Iterator[str], images: int) -> float:
    """Return images a second of infinity-emb; raises RuntimeError if it runs another tower."""
    python = environment("infinity-emb", sees_ours=True)
    port = free_port()

    def ask(caller: Caller, url: str) -> list[float]:
        asked = {"model": "tower", "input": [url]}
        answer = caller.ask("POST", "/embeddings_image", asked)
        _expect_200(answer)
        return list(answer[1]["data"][0]["embedding"])

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        save(Path(folder))
        command = [str(Path(python).with_name("infinity_emb")), "v2", "--model-id", folder]
        command += ["--served-model-name", "tower", "--host", "127.0.0.1", "--port", str(port)]
        with service(command, port, "/health", **SETTINGS):
            url = next(urls)
            cosine = check(shared(port, 1, [url], ask)[0], embed(fetched(url)))
            say(f"infinity-emb runs our tower: cosine {cosine:.6f}")
            shared(port, WARM, itertools.islice(urls, WARM), ask)
            began = time.monotonic()
            shared(port, CALLERS, itertools.islice(urls, images), ask)
            return images / (time.monotonic() - began)


def fork_worker(origins: Origins, urls: Iterator[str]) -> float:
    """Return images a second of RQ's own worker: jobs over the time from start to end of each."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        Parts(Path(name), allow_port=origins.port) as parts,
    ):
        address = parts.redis.address
        jobs = Queue("fork", connection=Redis.from_url(address))
        queued = [jobs.enqueue("benchmarks.peer_jobs.score", next(urls)) for _ in range(JOBS)]
        rq = str(Path(sys.executable).with_name("rq"))
        subprocess.run([rq, "worker", "--burst", "--quiet", "--url", address, "fork"], check=True)
        for job in queued:
            job.refresh()
        if any(job.ended_at is None or job.is_failed for job in queued):
            raise RuntimeError("a job of the RQ worker failed")
        spent = [(job.ended_at - job.started_at).total_seconds() for job in queued]
    return 1 / statistics.median(spent)


def sahu65(images: int) -> float:
    """Return images a second of its service; the bytes are sent to it."""
    python = environment("sahu65", sees_ours=False)
    port, jpeg = free_port(), photo(1280, 960)
    settings = {
        "RATE_LIMIT": "1000000/minute",
        "ORT_INTRA_THREADS": str(cores()),
        "LOG_LEVEL": "ERROR",
    }
    command = [str(Path(python).with_name("sahu65")), "serve", "--port", str(port)]

    def ask(caller: Caller, number: int) -> None:
        data, kind = form(numbered(jpeg, number))
        _expect_200(caller.send("/deep-guard/detect", data, kind))

    with service(command, port, "/deep-guard/readyz", **settings):
        shared(port, 1, range(WARM), ask)
        began = time.monotonic()
        shared(port, CALLERS, range(WARM, WARM + images), ask)
        return images / (time.monotonic() - began)


def environment(name: str, *, sees_ours: bool) -> str:
    """Return the Python of the peer's environment, made from peers-requirements.txt if need be.

    One that sees ours runs with our torch; pip then tells which of our other packages its pins
    contradict, which harms neither. Raises RuntimeError where pip fails, as without an index.
    """
    home = ENVIRONMENTS / name
    python = home / "bin" / "python"
    if (home / "ready").exists():
        return str(python)
    lines = (FOLDER / "peers-requirements.txt").read_text().splitlines()
    wanted = next(line.split() for line in lines if re.match(rf"{name}\b", line))
    venv.create(home, clear=True, with_pip=False)
    site = next(home.glob("lib/python*/site-packages"))
    if sees_ours:
        (site / "ours.pth").write_text("\n".join(_own_paths()))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*pip, "--python", str(python), "install", *wanted], check=False)
    if done.returncode:
        raise RuntimeError(f"not run: pip could not install {' '.join(wanted)} (no index?)")
    (home / "ready").touch()
    return str(python)


@contextlib.contextmanager
def service(command: list[str], port: int, path: str, **settings: str) -> Iterator[None]:
    """Run a server until the block ends; it and what it started are ended together."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            if not _is_ready(process, port, path):
                log.seek(0)
                said = log.read().decode(errors="replace").strip()
                raise RuntimeError(f"it did not get ready: {said[-300:]}")
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def fetched(url: str) -> Image.Image:
    """Return the picture at the address, not yet decoded."""
    with urllib.request.urlopen(url) as answer:
        return Image.open(io.BytesIO(answer.read()))


def form(data: bytes) -> tuple[bytes, str]:
    """Return a form with one file in it, and its content type."""
    head = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    kind = b"Content-Type: image/jpeg\r\n\r\n"
    body = b"--limit\r\n" + head + kind + data + b"\r\n--limit--\r\n"
    return body, "multipart/form-data; boundary=limit"


def bars(rates: dict[str, float]) -> list[dict[str, Any]]:
    """Return what we have to reach, as far as both sides were measured."""
    wanted = (
        ("pinclip", "loop, torch", 1.8),
        ("pinclip", "RQ fork worker", 40.0),
        ("pinclip, torch", "LitServe", 1.0),
        ("pinclip", "LitServe", 2.5),
        ("pinclip, torch", "infinity-emb", 1.0),
        ("pinclip", "infinity-emb", 2.5),
        ("pinclip", "sahu65", 5.0),
    )
    return [
        at_least(f"{mine} against {peer}", round(rates[mine] / rates[peer], 2), bar)
        for mine, peer, bar in wanted
        if mine in rates and peer in rates
    ]


def _own_paths() -> list[str]:
    """Return where this environment's packages are, those installed for editing included."""
    return [
        path
        for path in sys.path
        if path.startswith("/") and Path(path) != FOLDER and not path.startswith(sys.base_prefix)
    ]


def _expect_200(answer: tuple[int, Any]) -> None:
    if answer[0] != 200:
        raise RuntimeError(f"it answered {answer[0]}: {answer[1]}")


def _is_ready(process: subprocess.Popen[bytes], port: int, path: str) -> bool:
    """Return True once it answers well, False if it ends or does not within READY_SECONDS."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}"):
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    sys.exit(main())
