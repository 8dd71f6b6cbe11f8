"""The audit hook runs in a separate process, because it can't be removed."""

import os
import subprocess
import sys

import pytest

from tetra_runner import model_use


@pytest.fixture
def run(tmp_path):
    """Runs code of a job, and returns the recorded names."""
    for name in ("config.json", "sub/vocab.txt"):
        file = tmp_path / "models--a--one/snapshots/abc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    records = tmp_path / "records"
    records.mkdir()

    def run_code(code, folder=str(records)):
        setup = "from tetra_runner.model_use import record_models; record_models()"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), model_use.FOLDER: folder}
        subprocess.run([sys.executable, "-c", f"{setup}\n{code}"], check=True, env=environment, cwd=tmp_path)
        return sorted(os.listdir(records))

    return run_code


def test_records_the_snapshot_of_files_that_a_job_opens(run):
    assert run("open('./models--a--one/snapshots/abc/sub/vocab.txt')") == ["models--a--one@abc"]


def test_records_paths_that_are_not_strings_and_ignores_descriptors(run):
    code = """
import os, pathlib
pathlib.Path('./models--a--one/snapshots/abc/config.json').read_text()
open(os.open('/dev/null', 0))
"""
    assert run(code) == ["models--a--one@abc"]


def test_records_nothing_for_other_files(run):
    code = "open('records/../models--a--one/snapshots/new', 'w')\nimport json\nopen(b'/dev/null')\nopen(1)"
    assert run(code) == []


def test_a_job_does_not_see_the_variable_and_does_not_fail_if_nothing_can_be_recorded(run):
    code = "import os\nassert 'WORKER_MODEL_USE' not in os.environ\nopen('./models--a--one/snapshots/abc/config.json')"
    assert run(code, "/none") == []


def test_records_one_file_for_each_snapshot_up_to_a_limit(run):
    code = """
for number in range(100):
    try: open(f'/hub/models--a--{number}/snapshots/abc/config.json')
    except FileNotFoundError: pass
"""
    assert len(run(code)) == 64
