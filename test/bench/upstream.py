"""Serves a deployed app in the way of its client's own worker, with the real packages.

    upstream.py flash|sdk ARTIFACT FOLDER RESOURCE

Flash: what runpod-workers/flash does at its start (src/handler.py). SDK 2.0: the same steps of runpod-sdk-runtime,
which is not published, without its launcher and the new process that it starts after unpacking.
"""

import importlib
import importlib.util
import json
import os
import sys
import tarfile


def flash_handler(folder, resource):
    file = os.path.join(folder, f"handler_{resource}.py")
    spec = importlib.util.spec_from_file_location(f"handler_{resource}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.handler


def sdk_handler(folder, resource):
    with open(os.path.join(folder, "runpod_manifest.json")) as file:
        resources = json.load(file)["resources"]
    module_name = next(one["module"] for one in resources if one["name"] == resource)
    module = importlib.import_module(module_name)
    handle = next(one for one in vars(module).values() if getattr(getattr(one, "spec", None), "name", None) == resource)

    def handler(job):
        return handle._fn(**{name: value for name, value in job["input"].items() if name != "__empty"})

    return handler


def main():
    client, artifact, folder, resource = sys.argv[1:]
    sys.argv[1:] = []
    with tarfile.open(artifact, "r:gz") as archive:
        archive.extractall(folder)
    os.chdir(folder)
    if client == "flash":
        sys.path[:1] = [folder]
        handler = flash_handler(folder, resource)
    else:
        sys.path[:1] = [os.path.join(folder, "env"), folder]
        handler = sdk_handler(folder, resource)

    import runpod

    runpod.serverless.start({"handler": handler})


if __name__ == "__main__":
    main()
