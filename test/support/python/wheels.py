"""Makes small wheels: `wheels.py FOLDER` reads {"name-version": {"requires": [...], "files": {...}}} from stdin."""

import json
import sys
import zipfile

for title, what in json.load(sys.stdin).items():
    name, version = title.rsplit("-", 1)
    record = "%s-%s.dist-info" % (name, version)
    files = dict(what.get("files") or {"%s.py" % name: "VERSION = %r\n" % version})
    needs = "".join("Requires-Dist: %s\n" % one for one in what.get("requires", []))
    files[record + "/METADATA"] = "Metadata-Version: 2.1\nName: %s\nVersion: %s\n%s" % (name, version, needs)
    files[record + "/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if "entry_points" in what:
        files[record + "/entry_points.txt"] = what["entry_points"]
    files[record + "/RECORD"] = "".join("%s,,\n" % file for file in [*files, record + "/RECORD"])
    with zipfile.ZipFile("%s/%s-%s-py3-none-any.whl" % (sys.argv[1], name, version), "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
