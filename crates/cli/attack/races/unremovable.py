# name: unremovable
# area: races
# about: Leaves directories that refuse to be entered or emptied: no permissions, sticky, immutable, full of links.
# expect: contained

import array
import fcntl
import os

FS_IOC_SETFLAGS, FS_IMMUTABLE, FS_APPEND = 0x40086602, 0x10, 0x20
immutable = 0
for index, mode in enumerate((0o000, 0o100, 0o200, 0o400, 0o555, 0o1000)):
    folder = f"locked-{index}"
    os.makedirs(folder + "/inner", exist_ok=True)
    for name in (folder + "/file", folder + "/inner/file"):
        with open(name, "w") as file:
            file.write("x")
            for flag in (FS_IMMUTABLE, FS_APPEND):
                try:
                    fcntl.ioctl(file, FS_IOC_SETFLAGS, array.array("L", [flag]))
                    immutable += 1
                except OSError:
                    pass
        os.chmod(name, 0)
    os.chmod(folder + "/inner", mode)
    os.chmod(folder, mode)
if immutable:
    print(f"ESCAPED {immutable} files were made immutable, which only the host may undo")
else:
    print("BLOCKED left directories without permissions")
