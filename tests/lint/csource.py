# SPDX-License-Identifier: Apache-2.0
"""csource - just enough C to measure functions

Purpose     Splits a C file into code without comments and strings, comments, includes, and the
            functions it defines, relying on the house style: a function's braces stand alone in
            column 0.
Invariants  L1  `code` has the line and column layout of the file: what was taken out is blank.
Not here    What is allowed (rules_*.py).
"""
import re
from dataclasses import dataclass, field

TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|->|\+\+|--|<<=?|>>=?|[-+*/%&|^=!<>]=|&&|\|\||\S")
LEX = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
HEADED = {"if", "for", "while", "switch"}
KEYWORDS = HEADED | {"else", "do", "return", "goto", "break", "continue", "case", "default",
                     "sizeof"}


def blank(text):
    """The same layout with nothing in it."""
    return "\n".join(" " * len(line) for line in text.split("\n"))


@dataclass
class Function:
    """One definition. Lines count from 1; `first` is where its signature begins."""
    name: str
    first: int
    last: int
    is_static: bool
    is_inline: bool
    parameters: list = field(default_factory=list)
    tokens: list = field(default_factory=list)

    @property
    def lines(self):
        return self.last - self.first + 1


class CSource:
    def __init__(self, text):
        self.text = text
        self.comments = []        # (line, text)
        self.code = LEX.sub(self._take_out, text)
        self.includes = [(text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2))
                         for m in INCLUDE.finditer(text)
                         if "#" in self.code[m.start():m.end()]]  # not in a comment
        self.plain = self._without_directives(self.code)
        self.functions = list(self._functions())

    def _take_out(self, match):
        piece = match.group(0)
        if piece[0] == "/":
            line = self.text.count("\n", 0, match.start()) + 1
            self.comments.append((line, piece))
            return blank(piece)
        return piece[0] + blank(piece[1:-1]) + piece[-1]

    @staticmethod
    def _without_directives(code):
        return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: blank(m.group(0)), code,
                      flags=re.M)

    def _functions(self):
        lines = self.plain.split("\n")
        for index, line in enumerate(lines):
            if line.rstrip() != "{":
                continue
            end = next((i for i in range(index, len(lines)) if lines[i].startswith("}")), None)
            if end is None:
                continue
            first = index
            while first > 0 and lines[first - 1].strip() and lines[first - 1][0] not in "}":
                if lines[first - 1].rstrip().endswith(";"):
                    break
                first -= 1
            function = self._function(lines, first, index, end)
            if function:
                yield function

    @staticmethod
    def _function(lines, first, brace, end):
        signature = " ".join(lines[first:brace])
        match = re.search(r"(\w+)\s*\((.*)\)\s*(?:__attribute__.*)?$", signature.strip())
        if not match or match.group(1) in KEYWORDS:
            return None
        head = signature[:signature.index(match.group(1) + "(")] \
            if match.group(1) + "(" in signature else ""
        return Function(match.group(1), first + 1, end + 1,
                        bool(re.search(r"\bstatic\b", head)),
                        bool(re.search(r"\binline\b", head)),
                        split_parameters(match.group(2)),
                        TOKEN.findall("\n".join(lines[brace:end + 1])))


def split_parameters(text):
    depth, piece, pieces = 0, "", []
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            pieces.append(piece.strip())
            piece = ""
        else:
            piece += char
    pieces.append(piece.strip())
    return [p for p in pieces if p and p != "void"]


def nesting(tokens):
    """The deepest control structure in a body `{ ... }`: 0 for straight code. An `else if` and a
    statement without braces count like any other; a case label doesn't."""
    return _Nesting(tokens).block(0, 0)[1]


class _Nesting:
    def __init__(self, tokens):
        self.tokens = tokens

    def at(self, i):
        return self.tokens[i] if i < len(self.tokens) else ""

    def skip(self, i):
        """Past the bracket that closes the one at i."""
        depth = 0
        while i < len(self.tokens):
            depth += (self.tokens[i] in "([{") - (self.tokens[i] in ")]}")
            i += 1
            if depth == 0:
                break
        return i

    def block(self, i, depth):
        deepest, i = depth, i + 1
        while i < len(self.tokens) and self.tokens[i] != "}":
            i, seen = self.statement(i, depth)
            deepest = max(deepest, seen)
        return i + 1, deepest

    def simple(self, i, depth):
        while i < len(self.tokens) and self.tokens[i] not in (";", "}"):
            i = self.skip(i) if self.tokens[i] in "([{" else i + 1
        return (i + 1 if self.at(i) == ";" else i), depth

    def label_end(self, i):
        """Past `name:`, `case X:` or `default:`; i itself if there is none."""
        if self.at(i) in ("case", "default"):
            while self.at(i) not in (":", ""):
                i += 1
            return i + 1
        if re.match(r"[A-Za-z_]\w*$", self.at(i)) and self.at(i + 1) == ":":
            return i + 2
        return i

    def is_loop_macro(self, i):
        if not re.match(r"\w*for_each\w*$", self.at(i)) or self.at(i + 1) != "(":
            return False
        return self.at(self.skip(i + 1)) != ";"

    def statement(self, i, depth):
        i = self.label_end(i)
        token = self.at(i)
        if token == "}":
            return i, depth
        if token == "{":
            return self.block(i, depth)
        if token == "do":
            i, deepest = self.statement(i + 1, depth + 1)
            return self.simple(i, depth)[0], deepest
        if token not in HEADED and not self.is_loop_macro(i):
            return self.simple(i, depth)
        i, deepest = self.statement(self.skip(i + 1), depth + 1)
        while token == "if" and self.at(i) == "else":
            is_chain = self.at(i + 1) == "if"
            i = self.skip(i + 2) if is_chain else i + 1
            i, seen = self.statement(i, depth + 1)
            deepest = max(deepest, seen)
            if not is_chain:
                break
        return i, deepest
