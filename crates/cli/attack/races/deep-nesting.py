# name: deep-nesting
# area: races
# about: Nests directories far deeper than a path can name, which breaks walkers and cleaners that use paths or recursion.
# expect: contained
# limits: timeout=60s

import os

depth = 0
here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
name = "d" * 200
try:
    for depth in range(1, 3001):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
except OSError:
    pass
try:
    os.close(os.open("bottom.txt", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
except OSError:
    pass
print(f"BLOCKED nested {depth} directories, a path of {depth * 201} bytes")
