"""huggingface_hub itself reads local copies, and its downloads end up on the volume."""

import json
import os
import subprocess
import sys

import pytest

from hub_cache import Hub
from hub_server import hub_server

pytest.importorskip("huggingface_hub")

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "sub/vocab.txt": b"a"}


def python(hub, code, **variables):
    """Runs code of a job, and returns what it prints as JSON."""
    environment = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(hub.folder.parent),
        "HF_HUB_CACHE": str(hub.local / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        **variables,
    }
    command = [sys.executable, "-c", f"import json, huggingface_hub as hub\nprint(json.dumps({code}))"]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


@pytest.fixture
def hub(tmp_path):
    return Hub(tmp_path)


def test_a_job_without_network_reads_the_local_copy(hub):
    hub.add("models--org--name", FILES)
    hub.open_view()
    hub.copy()
    folder = python(hub, "hub.snapshot_download('org/name')", HF_HUB_OFFLINE="1")
    for name, content in FILES.items():
        path = os.path.realpath(os.path.join(folder, name))
        assert path.startswith(str(hub.local / "models--org--name/copies")), path
        with open(path, "rb") as file:
            assert file.read() == content
    single = python(hub, "hub.hf_hub_download('org/name', 'config.json')", HF_HUB_OFFLINE="1")
    assert os.path.samefile(single, os.path.join(folder, "config.json"))


def test_a_new_model_is_downloaded_to_the_volume_and_found_there_by_other_containers(hub):
    hub.open_view()
    with hub_server("org/new", FILES) as (url, downloads):
        folder = python(hub, "hub.snapshot_download('org/new')", HF_ENDPOINT=url)
        assert sorted(downloads) == sorted(FILES)
    assert os.path.realpath(folder).startswith(str(hub.views))
    hub.refresh()
    other = python(hub, "hub.snapshot_download('org/new')", HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(hub.folder))
    for name, content in FILES.items():
        with open(os.path.join(other, name), "rb") as file:
            assert file.read() == content
    assert python(hub, "hub.snapshot_download('org/new')", HF_HUB_OFFLINE="1") == folder


def test_a_file_that_is_missing_in_a_local_copy_is_downloaded_to_the_volume_and_the_others_are_not(hub):
    with hub_server("org/name", FILES) as (url, downloads):
        hub.hot = [{"name": "models--org--name", "revision": "c" * 40}]
        python(hub, "hub.hf_hub_download('org/name', 'config.json')", HF_ENDPOINT=url, HF_HUB_CACHE=str(hub.folder))
        hub.open_view()
        hub.copy()
        folder = python(hub, "hub.snapshot_download('org/name')", HF_ENDPOINT=url)
        assert sorted(downloads) == sorted(FILES)
    assert os.path.realpath(os.path.join(folder, "model.safetensors")).startswith(str(hub.folder))
    hub.refresh()
    other = python(hub, "hub.snapshot_download('org/name')", HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(hub.folder))
    assert sorted(os.listdir(other)) == ["config.json", "model.safetensors", "sub"]
    hub.copy()
    assert os.path.realpath(os.path.join(folder, "model.safetensors")).startswith(str(hub.local))


def test_the_library_lists_the_models_of_a_view_with_local_copies(hub):
    hub.add("models--org--name", FILES)
    hub.open_view()
    hub.copy()
    assert python(hub, "[repo.repo_id for repo in hub.scan_cache_dir().repos]") == ["org/name"]
