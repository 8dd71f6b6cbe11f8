"""Builds the artifact of an app of SDK 2.0, as `rp flash deploy` does.

build_sdk.py VERSION ARTIFACT      the app is `app` of main.py in the current folder
"""

import importlib
import sys
from pathlib import Path

from runpod.apps.deploy import build_artifact

version, artifact = sys.argv[1:]
sys.path.insert(0, ".")
build_artifact(importlib.import_module("main").app, Path.cwd(), python_version=version, output=Path(artifact))
