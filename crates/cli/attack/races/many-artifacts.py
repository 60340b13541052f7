# name: many-artifacts
# area: races
# about: Leaves 20,000 small files in 200 directories, more than may be listed as artifacts.
# expect: contained
# limits: timeout=60s

import os

made = 0
try:
    for folder in range(200):
        os.makedirs(f"many/{folder}", exist_ok=True)
        for index in range(100):
            with open(f"many/{folder}/{index}.txt", "w") as file:
                file.write(f"{folder} {index}\n")
            made += 1
except OSError:
    pass
print(f"BLOCKED left {made} files")
