"""Reads the text of an optimised XLA program: computations, their instructions, and the buffers that these touch."""

import dataclasses
import math
import re
from collections.abc import Iterator

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_TILE = re.compile(r"T\(([\d,]+)\)")
_SPACE = re.compile(r"S\((\d+)\)")
_CALLED = re.compile(r"(calls|body|condition|to_apply)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_BITS = {"pred": 8, "token": 0, "opaque": 0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Buffer:
    """One array that an instruction makes."""

    size_bytes: int
    """As it lies in memory: a TPU fills the two innermost axes up to tiles of 8 x 128."""
    memory_space: int
    """0: the device's main memory (HBM). Others are on the chip: on a TPU 1 VMEM, 2 flags, 3 CMEM, 6 SMEM."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    buffers: tuple[Buffer, ...]
    """Leaves of its result, in order."""
    operands: tuple[str, ...]
    """Names of the instructions that it reads."""
    called: dict[str, str]
    """How it calls computations: calls, body, condition, to_apply -> name."""
    literal: str
    """What stands in its parentheses: the number of a parameter, the value of a constant."""
    attributes: str

    @property
    def size_bytes(self) -> int:
        """Of all that it makes."""
        return sum(buffer.size_bytes for buffer in self.buffers)

    @property
    def known_trips(self) -> int | None:
        """How often a loop runs, where XLA has written it down."""
        found = _TRIPS.search(self.attributes)
        return int(found[1]) if found else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Computation:
    """A list of instructions in order of dependence."""

    name: str
    instructions: dict[str, Instruction]
    root: str

    def parameters(self) -> list[Instruction]:
        """Returns its parameters in the order of their numbers."""
        found = [one for one in self.instructions.values() if one.opcode == "parameter"]
        return sorted(found, key=lambda one: int(one.literal))

    def readers(self, name: str) -> Iterator[Instruction]:
        """Yields the instructions that read the named one."""
        return (one for one in self.instructions.values() if name in one.operands)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A whole module."""

    computations: dict[str, Computation]
    entry: Computation


def parse(text: str) -> Program:
    """Returns the program that `compiled.as_text()` shows.

    Raises:
        ValueError: the text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, name, is_entry, root = None, None, False, ""
    instructions: dict[str, Instruction] = {}
    for line in text.splitlines():
        if name is None:
            if header := _HEADER.match(line):
                name, is_entry, root, instructions = header[2], bool(header[1]), "", {}
        elif line.startswith("}"):
            computations[name] = Computation(name=name, instructions=instructions, root=root)
            entry = computations[name] if is_entry else entry
            name = None
        elif found := _INSTRUCTION.match(line):
            one = _instruction(found[2], found[3])
            instructions[one.name] = one
            root = one.name if found[1] else root
    if entry is None:
        raise ValueError("no ENTRY computation in this text; it must be the output of compiled.as_text()")
    return Program(computations=computations, entry=entry)


def _instruction(name: str, rest: str) -> Instruction:
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    kind, call = rest[:end], rest[end:].lstrip()
    opening = call.index("(")
    closing = _closing(call, opening)
    inside, attributes = call[opening + 1 : closing], call[closing + 1 :]
    return Instruction(
        name=name,
        opcode=call[:opening],
        buffers=tuple(_buffers(kind)),
        operands=tuple(re.findall(r"%([\w.\-]+)", inside)),
        called=dict(_CALLED.findall(attributes)),
        literal=inside,
        attributes=attributes,
    )


def _closing(text: str, opening: int) -> int:
    """Returns where the parenthesis that opens at `opening` closes."""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"a parenthesis is never closed: {text[:80]}")


def _buffers(kind: str) -> Iterator[Buffer]:
    for element, lengths, layout in _ARRAY.findall(kind):
        axes = [int(length) for length in lengths.split(",") if length]
        space = _SPACE.search(layout)
        yield Buffer(
            size_bytes=math.prod(_filled(axes, layout)) * _bits(element) // 8,
            memory_space=int(space[1]) if space else 0,
        )


def _filled(axes: list[int], layout: str) -> list[int]:
    """Returns the lengths of the axes from outermost to innermost, filled up to whole tiles."""
    order = [int(axis) for axis in layout.split(":")[0].split(",") if axis]
    lengths = [axes[axis] for axis in reversed(order)] if order else list(axes)
    if tile := _TILE.search(layout):
        sides = [int(side) for side in tile[1].split(",")]
        lengths = [1] * (len(sides) - len(lengths)) + lengths
        for place, side in enumerate(reversed(sides), start=1):
            lengths[-place] = -(-lengths[-place] // side) * side
    return lengths


def _bits(element: str) -> int:
    if element in _BITS:
        return _BITS[element]
    digits = re.search(r"\d+", element)  # f32, bf16, s8, u4, f8e4m3fn, c64
    return int(digits[0]) if digits else 0
