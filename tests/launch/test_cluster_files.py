"""The files for clusters: their syntax, and that they fit the command lines and each other."""

import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from singan_jax.devices import hosts
from singan_jax.workdir.merge import Shard

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "launch" / "cluster"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
JOBSETS = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def known():
    """The flags of each launcher that the files call."""
    found = {}
    for launcher in ("train_fleet", "merge"):
        command = [sys.executable, "-m", f"launch.{launcher}", "--help"]
        text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        found[launcher] = set(re.findall(r"^ +--(?:\[no\])?([\w.]+):", text, re.MULTILINE))
    return found


def calls(text):
    """(launcher, flags) of each call in a script or a container's command."""
    text = text.replace("\\\n", " ")
    for launcher, rest in re.findall(r"launch\.(\w+)((?:\s+--[^\n]*)?)", text):
        yield launcher, set(re.findall(r"(?<![\w-])--([\w.]+)=", rest))


def check(text, known):
    found = list(calls(text))
    assert found
    for launcher, flags in found:
        assert flags
        assert flags <= known[launcher], (launcher, flags - known[launcher])
        assert "workdir" in flags


def test_files_are_there():
    assert {path.name for path in SCRIPTS + JOBSETS} == {
        *("slurm_job.sh", "slurm_array.sh", "tpu_vm.sh"),
        *("gke_jobset_gpu.yaml", "gke_jobset_tpu.yaml"),
    }


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_parses_and_uses_flags_that_exist(path, known):
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n")
    check(re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), known)


@pytest.mark.parametrize("path", JOBSETS, ids=lambda path: path.name)
def test_jobset_is_whole_and_uses_flags_that_exist(path, known):
    jobset = yaml.safe_load(path.read_text())
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert jobset["kind"] == "JobSet"
    (replicated,) = jobset["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    job = replicated["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"] > 1
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert container["image"] == "${IMAGE}"
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    command = container["command"]
    check(" ".join(command), known)
    given = dict(re.findall(r"--(\w+)=(\S+)", " ".join(command)))
    mounts = tuple(mount["mountPath"] for mount in container["volumeMounts"])
    assert given["images"].startswith(mounts)
    assert given["workdir"].startswith(mounts)
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["JAX_COMPILATION_CACHE_DIR"].startswith(mounts)
    if "gpu" in path.name:
        assert given["num_processes"] == str(job["parallelism"])
        name, worker = jobset["metadata"]["name"], replicated["name"]
        assert given["coordinator"] == f"{name}-{worker}-0-0.{name}:8476"
        hosts._check("auto", given["coordinator"], int(given["num_processes"]), 0)
        assert given["process_id"] == "$(JOB_COMPLETION_INDEX)"
    else:
        rows, columns = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
        chips = container["resources"]["limits"]["google.com/tpu"] * job["parallelism"]
        assert chips == int(rows) * int(columns)
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]


def test_array_has_a_task_for_each_shard():
    text = (FOLDER / "slurm_array.sh").read_text()
    last = int(re.search(r"--array=0-(\d+)$", text, re.MULTILINE)[1])
    count = int(re.search(r"^SHARDS=(\d+)", text, re.MULTILINE)[1])
    assert Shard.parse(f"{last}/{count}") == Shard(last, last + 1)
    assert '--shard="$SLURM_ARRAY_TASK_ID/$SHARDS"' in text


def run_slurm_script(name, tmp_path, **environment):
    """Runs a script with commands that only say what they were called with."""
    for command in ("srun", "sbatch", "scontrol"):
        path = tmp_path / command
        path.write_text(
            f'#!/bin/bash\necho "{command} $*" >> {tmp_path}/said\n'
            f"[[ {command} == srun ]] && exit 143\n[[ {command} == sbatch ]] && echo 77\nexit 0\n"
        )
        path.chmod(0o755)
    environment |= {"PATH": f"{tmp_path}:/usr/bin:/bin", "PROJECT": str(tmp_path)}
    environment |= {"IMAGES": "my images/*.png", "WORKDIR": "/shared/fleet"}
    script = ["bash", str(FOLDER / name)]
    status = subprocess.run(script, env=environment, capture_output=True, check=False).returncode
    return status, (tmp_path / "said").read_text().splitlines()


def test_job_is_queued_again_when_stopped(tmp_path):
    status, said = run_slurm_script("slurm_job.sh", tmp_path, SLURM_JOB_ID="5")
    assert status == 143
    assert said[0].startswith("srun --kill-on-bad-exit=0 .venv/bin/python -m launch.train_fleet")
    assert "--images=my images/*.png --workdir=/shared/fleet" in said[0]
    assert said[1:] == ["scontrol requeue 5"]


def test_array_submits_itself_and_its_merging(tmp_path):
    status, said = run_slurm_script("slurm_array.sh", tmp_path)
    assert status == 0
    assert said[0] == f"sbatch --parsable {FOLDER / 'slurm_array.sh'}"
    assert "--dependency=afterok:77 --wrap=.venv/bin/python -m launch.merge" in said[1]
    (tmp_path / "said").unlink()
    task = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "77"}
    status, said = run_slurm_script("slurm_array.sh", tmp_path, **task)
    assert status == 143
    assert "--shard=3/16" in said[0]
    assert said[1:] == ["scontrol requeue 77_3"]


def test_tpu_vm_script_quotes_what_it_passes_on(tmp_path):
    (tmp_path / "gcloud").write_text('#!/bin/bash\nprintf "%s\\n" "${@: -1}"\n')
    (tmp_path / "gcloud").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TPU": "t", "ZONE": "z", "PROJECT": "/p q"}
    environment |= {"IMAGES": "my images/*.png", "WORKDIR": "/fleet"}
    script = ["bash", str(FOLDER / "tpu_vm.sh")]
    out = subprocess.run(script, env=environment, capture_output=True, text=True, check=True).stdout
    assert r"cd /p\ q && exec .venv/bin/python -m launch.train_fleet --distributed=on" in out
    assert r"--images=my\ images/\*.png --workdir=/fleet" in out
