# name: odd-names
# area: races
# about: Leaves files with newlines, invalid UTF-8, control characters, dots, dashes and 255 bytes in their names.
# expect: contained

import os

names = [b"new\nline", b"invalid-\xff\xfe-utf8", b"tab\tand\rreturn", b"-rf", b"--help", b"...", b".. ",
         b" leading", b"trailing ", b"quote'\"`$(id)", b"back\\slash", b"..\\..\\windows", b"x" * 255,
         b"\xf0\x9f\x98\x80" * 63, b"\x1b[2J\x1b[31m", b"null\\0", b"*?[a]{b,c}", b"%s%n%x", b"CON", b"aux.txt",
         "\u202egnp.exe".encode(), b"e\xcc\x81", b"\xc3\xa9", b"~", b"#", b"a:b", b"\x01\x02\x7f",
         b"surrogate-\xed\xa0\x80", b"overlong-\xc0\xaf\xc0\xae", b"../".replace(b"/", b"\xe2\x88\x95"), b";ls", b"{}"]
made = 0
for folder in (b".", b"dir\nname", b"dir-\xff"):
    os.makedirs(folder, exist_ok=True)
    for name in names:
        try:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(b"odd\n")
            made += 1
        except OSError:
            pass
beyond = []
for name in (b"a/../../../attack-up", b"/../attack-root", b"./../../attack-two"):
    try:
        with open(name, "wb"):
            beyond.append(name)
    except OSError:
        pass
# Writable parents can only be the sandbox's own; the harness looks for these on the host.
print(f"BLOCKED made {made} odd names, {len(beyond)} above the workspace")
