"""Creates small wheels: `wheels.py FOLDER` reads {"name-version": {"requires": [...], "files": {...}}} from stdin."""

import json
import sys
import zipfile

for title, content in json.load(sys.stdin).items():
    name, version = title.rsplit("-", 1)
    info = f"{name}-{version}.dist-info"
    files = dict(content.get("files") or {f"{name}.py": f"VERSION = {version!r}\n"})
    requires = "".join(f"Requires-Dist: {requirement}\n" for requirement in content.get("requires", []))
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if "entry_points" in content:
        files[f"{info}/entry_points.txt"] = content["entry_points"]
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{sys.argv[1]}/{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
