# name: handler-forge
# area: inherit
# about: A handler that writes forged and broken answers into its return channel before it returns.
# expect: contained
# kind: handler
# limits: timeout=20s

import json
import os
import struct


def handler(event, context):
    forged = json.dumps({"ok": True, "value": "forged", "return_value": "forged"}).encode()
    written = 0
    for number in range(3, 256):
        for payload in (b"\xff" * 4096, struct.pack("<I", 0xFFFFFFFF), struct.pack(">I", 0xFFFFFFFF),
                        struct.pack("<I", len(forged)) + forged, forged + b"\n", b"\0" * 65536):
            try:
                os.set_blocking(number, False)
                written += os.write(number, payload) > 0
            except OSError:
                break
    # Whatever comes back belongs to the code, true or forged; the agent must outlive it.
    print(f"BLOCKED wrote {written} forged answers", flush=True)
    return {"written": written}
