# SPDX-License-Identifier: Apache-2.0
"""tree - the files a rule looks at

Purpose     One walk over the repository (or over a planted tree, in the self-test), each file
            read and parsed at most once.
Not here    Generated files and build folders: never looked at.
"""
import functools
import os

from csource import CSource

SKIPPED = {".git", "__pycache__", ".cache"}
TEXT = (".c", ".h", ".py", ".md", ".proto", ".build", ".sh", ".service", ".socket", ".conf",
        ".txt", ".map", ".1", ".3", ".5", ".7", ".8", ".in")
# The rules' own texts name what they forbid.
OWN = "tests/lint/"


class Tree:
    def __init__(self, files):
        self.files = files        # path -> text

    @classmethod
    def of_folder(cls, root):
        files = {}
        for folder, names, entries in os.walk(root):
            names[:] = sorted(n for n in names if n not in SKIPPED and not n.startswith("build"))
            for entry in sorted(entries):
                full = os.path.join(folder, entry)
                path = os.path.relpath(full, root)
                if is_text(path, full):
                    with open(full, encoding="utf-8", errors="replace") as f:
                        files[path] = f.read()
        return cls(files)

    def paths(self, *endings, under="", own=False):
        return [p for p in sorted(self.files)
                if p.endswith(endings or ("",)) and p.startswith(under)
                and (own or not p.startswith(OWN))]

    @functools.lru_cache(maxsize=None)
    def source(self, path):
        return CSource(self.files[path])

    def c_paths(self, under=""):
        return self.paths(".c", ".h", under=under)


def is_text(path, full):
    if path.endswith(TEXT):
        return True
    if "." in os.path.basename(path):
        return False
    try:
        with open(full, "rb") as f:
            return f.read(2) == b"#!"
    except OSError:
        return False
