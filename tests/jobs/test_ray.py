"""The Ray engine: a cluster of several nodes on this machine, killed nodes, and files that kill their decoder."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import fervid
from fervid.config import Config, presets
from fervid.errors import ConfigError, MissingDependency, RunError
from fervid.jobs.batch import JobFinished, Request, Summary, run_batch
from fervid.jobs.engine import JobProgress, Limits
from fervid.jobs.job import Job
from fervid.jobs.local_engine import LocalEngine
from fervid.jobs.open_engine import EngineOptions, open_engine
from tests.helpers import failing_jobs
from tests.helpers.killed_batches import read_results, read_rows
from tests.helpers.scenes import scene, write

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "pipelines" / "ray-cluster.yaml"
N = 12


# -- without a cluster ------------------------------------------------------------------------------------


def test_without_ray_the_error_names_the_command_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("fervid.jobs.ray_engine", "fervid.jobs.ray_actor"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingDependency, match=r"pip install -e '\.\[ray\]' in the clone"):
        open_engine("ray", Config(), EngineOptions(), tmp_path)


def test_unsupported_options_are_errors(tmp_path):
    for options in (EngineOptions(address="auto"), EngineOptions(gpus_per_worker=0.5)):
        with pytest.raises(ConfigError, match="--engine ray"):
            open_engine("local", Config(), options, tmp_path)
    with pytest.raises(ConfigError, match="expected local or ray"):
        open_engine("dask", Config(), EngineOptions(), tmp_path)
    with pytest.raises(ConfigError, match="workers of one machine"):
        open_engine("ray", Config(), EngineOptions(shards="auto"), tmp_path)
    with pytest.raises(ConfigError, match="expected a number above 0"):
        fervid.batch(tmp_path, tmp_path / "out", engine="ray", gpus_per_worker=-1)
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match="Ray assigns the GPUs"):
        open_engine("ray", Config(device="cuda:1"), EngineOptions(), tmp_path)


def test_capacity_is_limited_by_the_scarcest_resource():
    pytest.importorskip("ray")
    from fervid.jobs.ray_actor import capacity

    node = {"CPU": 8.0, "memory": 16e9, "GPU": 1.0}
    assert capacity(node, {"CPU": 1, "memory": 1.5e9}) == 8
    assert capacity(node, {"CPU": 1, "memory": 4e9}) == 4
    assert capacity(node, {"CPU": 1, "memory": 1e9, "GPU": 0.25}) == 4
    assert capacity({"CPU": 8.0}, {"CPU": 1, "GPU": 1}) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_config_of_the_cluster_launcher_is_valid():
    pytest.importorskip("ray")
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(CLUSTER.read_text("utf-8")))
    validate_config(config)
    assert config["provider"]["type"] == "local" and config["provider"]["worker_ips"]
    assert any(".whl[ray]" in command for command in config["setup_commands"])
    assert all(
        "--disable-usage-stats" in start or "--address" in start
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for start in config[key]
        if "ray start" in start
    )
    assert "ray-cluster" not in presets()


# -- a cluster of one node, started by the engine --------------------------------------------------------


@pytest.fixture
def by_ray(monkeypatch) -> Iterator[None]:
    """Let Ray's own processes import the jobs of these tests."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    yield
    import ray

    ray.shutdown()


def ray_engine(workers: int | None = None, limits: Limits | None = None, load=failing_jobs.load_nothing, **options):
    from fervid.jobs.ray_engine import RayEngine

    return RayEngine(Config(), workers, limits or Limits(), load=load, work=failing_jobs.run_by_name, **options)


def jobs(folder: Path, *names: str) -> list[Job]:
    for name in names:
        (folder / name).touch()
    return [Job(folder / name, name, folder / "out" / f"{name}.parquet") for name in names]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_each_video_fails_by_its_own_process_only(tmp_path, by_ray):
    (tmp_path / "out").mkdir()
    reports: list[JobProgress] = []
    engine = ray_engine(
        1, Limits(timeout_s=6.0, stall_s=2.0, memory_bytes=400 * 2**20), address="local", out=tmp_path / "out"
    )
    done = {
        o.job.name: o for o in engine.run(jobs(tmp_path, "a", "crash", "hang", "hog", "creep", "b"), reports.append)
    }
    assert {name: o.reason for name, o in done.items()} == {
        "a": "", "b": "", "crash": "crashed", "hang": "stalled", "hog": "memory", "creep": "timeout",
    }  # fmt: skip
    assert "tried 2 times" in done["crash"].message
    assert max(report.done_s for report in reports) > 4 and reports[-1].job is None
    assert not alive(int(done["b"].message))
    assert not list((tmp_path / "out").iterdir())
    # run errors stop the run, and no cluster is left
    with pytest.raises(RunError, match="disk full"):
        list(ray_engine(1, address="local").run(jobs(tmp_path, "full")))
    import ray

    assert not ray.is_initialized()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_command_line_gives_the_same_bytes_as_a_local_batch(tmp_path, by_ray):
    """With real models."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("one_face.mp4", "two_faces.mp4"):
        shutil.copy(ROOT / "sample_videos" / name, videos)
    pipeline = tmp_path / "short.toml"
    pipeline.write_text("end_s = 1.0\n")
    for engine in ("local", "ray"):
        at = ["--engine", "ray", "--address", "local"] if engine == "ray" else []
        command = [
            sys.executable,
            "-m",
            "fervid",
            "batch",
            "videos",
            "--out",
            engine,
            "--workers",
            "1",
            "--pipeline",
            str(pipeline),
            *at,
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert same_folders(tmp_path / "ray", tmp_path / "local")


# -- a cluster of several nodes ---------------------------------------------------------------------------


@pytest.fixture
def cluster(by_ray) -> Iterator:
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}, shutdown_at_exit=False
    )
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Return N small videos, and one that kills its decoder."""
    folder = tmp_path_factory.mktemp("ray") / "videos"
    folder.mkdir()
    for i in range(N):
        write(folder / f"{i:02}.mp4", scene(30 + i, (8, 8 + 4 * i % 40)))
    write(folder / "crash.mp4", scene(10, (40, 40)))
    return folder


@pytest.fixture(scope="module")
def local(videos, tmp_path_factory) -> Path:
    """Return the results of a local run."""
    out = tmp_path_factory.mktemp("local") / "out"
    summary = batch(videos, out, LocalEngine(Config(), 1, load=failing_jobs.load_fakes, work=failing_jobs.run_by_name))
    assert (summary.count("ok"), summary.count("failed")) == (N, 1)
    return out


def batch(videos: Path, out: Path, engine, on_event=None) -> Summary:
    return run_batch(Request((str(videos),), out), Config(), engine, on_event)


def same_folders(one: Path, other: Path) -> bool:
    """Check for equal timelines, byte for byte, and for manifests that differ in clock times only."""
    assert read_rows(one) == read_rows(other)
    assert read_results(one) == read_results(other)
    return True


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_lost_when_two_of_three_nodes_are_killed(cluster, videos, local, tmp_path):
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(3)]
    ended: list[str] = []

    def watch(event) -> None:
        if isinstance(event, JobFinished):
            ended.append(event.row.path)
            if len(ended) in (3, 6):
                cluster.remove_node(nodes.pop(), allow_graceful=False)

    engine = ray_engine(load=failing_jobs.load_fakes, address=cluster.address, out=tmp_path / "out")
    summary = batch(videos, tmp_path / "out", engine, watch)
    assert len(nodes) == 1 and sorted(ended) == sorted(row.path for row in summary.rows)
    assert (summary.count("ok"), summary.count("failed")) == (N, 1)
    assert summary.troubles[0].path == "crash.mp4" and summary.troubles[0].reason == "crashed"
    assert same_folders(tmp_path / "out", local)
    assert not list((tmp_path / "out").rglob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_killed_driver_leaves_no_processes_and_resumes(cluster, videos, local, tmp_path):
    cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
    bad, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(videos, bad)
    shutil.copy(videos / "00.mp4", bad / "hang.mp4")
    program = f"""
from pathlib import Path
from fervid.config import Config
from fervid.jobs.batch import Request, run_batch
from fervid.jobs.engine import Limits
from fervid.jobs.ray_engine import RayEngine
from tests.helpers.failing_jobs import load_fakes, run_by_name
config, out = Config(), Path({str(out)!r})
options = dict(load=load_fakes, work=run_by_name, address={cluster.address!r}, out=out)
run_batch(Request(({str(bad)!r},), out), config, RayEngine(config, 2, Limits(), **options))
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE) as driver:
        while len(list(out.rglob("*.parquet"))) < 4:
            assert driver.poll() is None, driver.stderr.read()
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not children_of("fervid.jobs.worker"):
            break
        time.sleep(0.2)
    assert not children_of("fervid.jobs.worker")
    (bad / "hang.mp4").unlink()
    shutil.rmtree(bad)  # the same files by content, at the paths of the local run
    kept = len(list(out.rglob("*.mp4.parquet")))
    engine = ray_engine(load=failing_jobs.load_fakes, address=cluster.address, out=out)
    summary = batch(videos, out, engine)
    assert summary.count("ok") == N and kept >= 3
    assert read_results(out) == read_results(local)
    assert not list(out.rglob(".*.tmp"))


def children_of(word: str) -> list[int]:
    """Return the processes of this checkout whose command line contains a word."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes()
            if word.encode() in line and str(ROOT).encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_unsuitable_cluster_is_an_error(cluster, tmp_path, monkeypatch):
    """No capacity, half a GPU per worker, a file that only the driver sees, and a folder that a node does not see."""
    (tmp_path / "out").mkdir()
    todo = jobs(tmp_path, "a", "b")
    with pytest.raises(RunError, match=r"no node that can run a worker .1 CPU"):
        list(ray_engine(address=cluster.address, patience_s=1.0).run(todo))
    cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=80 * 2**20)
    engine = ray_engine(2, address=cluster.address, gpus_per_worker=0.5, load=failing_jobs.load_nothing)
    assert [o.status for o in engine.run(todo)] == ["ok", "ok"]
    monkeypatch.setattr("fervid.jobs.ray_engine.stat_of", lambda path: (7, 0))
    hidden = [replace(todo[0], bytes=7)]
    with pytest.raises(RunError, match=r"finds nothing there, the driver 7 bytes; inputs must be at the same path"):
        list(ray_engine(address=cluster.address).run(hidden))
    elsewhere = contextlib.nullcontext((tmp_path / "nowhere" / "mark", "token"))
    monkeypatch.setattr("fervid.jobs.ray_engine._shared_token", lambda out: elsewhere)
    with pytest.raises(RunError, match="must be a shared folder with the same path on every node"):
        list(ray_engine(address=cluster.address, out=tmp_path / "out").run(todo))
