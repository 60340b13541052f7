"""Reads `cargo test --no-run --message-format=json` and lists the test executables.

Output: package, target, kind and path, separated by tabs. Beside each executable a file `PATH.package-dir` is
left with the directory that cargo would run it in.
"""

import json
import pathlib
import sys

for line in sys.stdin:
    message = json.loads(line) if line.startswith("{") else {}
    path = message.get("executable")
    if message.get("reason") != "compiler-artifact" or not path or not message["profile"]["test"]:
        continue
    manifest = pathlib.Path(message["manifest_path"])
    pathlib.Path(path + ".package-dir").write_text(str(manifest.parent))
    # `path+file:///…/crates/core#sandkeep-core@0.1.0`, or `…/crates/core#0.1.0` where the directory has the name
    spec = message["package_id"].rsplit("#", 1)[-1]
    package = spec.split("@")[0] if "@" in spec else manifest.parent.name
    target = message["target"]
    print(package, target["name"], target["kind"][0], path, sep="\t")
