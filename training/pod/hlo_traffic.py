"""Memory traffic of a compiled program, loops counted as often as they run.

XLA's own count (`compiled.cost_analysis()`) takes the body of a loop once, whatever its trip count. This one follows
XLA's rules otherwise: an instruction reads its operands and writes its result; a fusion reads each operand once for
each part of it that needs one, and only the slice where it slices; what is updated in place counts the update.
"""

import dataclasses
from collections.abc import Iterator

from training.pod.hlo_text import Buffer, Computation, Instruction, Program

_FREE = {
    "parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "partition-id", "replica-id",
    "opt-barrier", "custom-call", "domain", "iota",
}  # fmt: skip
_MAIN_MEMORY = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes that a program reads and writes."""

    touched_bytes: float = 0.0
    """In any memory: what XLA calls bytes accessed."""
    main_memory_bytes: float = 0.0
    """In the device's main memory alone: without the buffers that XLA has placed on the chip."""

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            touched_bytes=self.touched_bytes + other.touched_bytes,
            main_memory_bytes=self.main_memory_bytes + other.main_memory_bytes,
        )

    def __mul__(self, times: int) -> "Traffic":
        return Traffic(touched_bytes=self.touched_bytes * times, main_memory_bytes=self.main_memory_bytes * times)


def traffic(program: Program) -> Traffic:
    """Returns the traffic of one run of the program."""
    return sum((one for _, one in by_instruction(program)), Traffic())


def by_instruction(program: Program) -> Iterator[tuple[Instruction, Traffic]]:
    """Yields every instruction that moves memory with what it moves over the whole run."""
    yield from _of_computation(program, program.entry, 1)


def _of_computation(program: Program, computation: Computation, times: int) -> Iterator[tuple[Instruction, Traffic]]:
    for one in computation.instructions.values():
        if one.opcode == "while":
            trips = times * trip_count(program, computation, one)
            yield from _of_computation(program, program.computations[one.called["body"]], trips)
            yield from _of_computation(program, program.computations[one.called["condition"]], trips)
        elif one.opcode in {"call", "conditional"} and "to_apply" in one.called:
            yield from _of_computation(program, program.computations[one.called["to_apply"]], times)
        elif one.opcode not in _FREE and not one.opcode.endswith("-done"):
            yield one, _of_instruction(program, computation, one) * times


def trip_count(program: Program, computation: Computation, loop: Instruction) -> int:
    """Returns how often a loop runs: as XLA has noted, or from a condition `counter < constant` that starts at 0.

    Raises:
        ValueError: it cannot be told from the text.
    """
    if loop.known_trips is not None:
        return loop.known_trips
    condition = program.computations[loop.called["condition"]]
    compare = condition.instructions[condition.root]
    bounds = [condition.instructions[name] for name in compare.operands if name in condition.instructions]
    constants = [int(one.literal) for one in bounds if one.opcode == "constant"]
    if compare.opcode != "compare" or "direction=LT" not in compare.attributes or len(constants) != 1:
        raise ValueError(f"cannot tell how often {loop.name} in {computation.name} runs")
    return constants[0]


def _of_instruction(program: Program, computation: Computation, one: Instruction) -> Traffic:
    operands = [computation.instructions[name] for name in one.operands]
    if one.opcode in {"copy-start", "slice-start", "dynamic-slice-start"}:
        # (source, destination, flag) or the other way round: what is moved is read once and written once.
        moved = min(one.buffers[:2], key=lambda buffer: buffer.size_bytes)
        source = operands[0].buffers[0]
        target = next((b for b in one.buffers[:2] if b.memory_space != source.memory_space), moved)
        return _moved(moved.size_bytes, source) + _moved(moved.size_bytes, target)
    if one.opcode in {"dynamic-slice", "slice", "gather"}:
        read = _moved(one.size_bytes, operands[0].buffers[0])
        return sum((_whole(operand) for operand in operands[1:]), read + _whole(one))
    if one.opcode == "dynamic-update-slice":
        update = operands[1].size_bytes
        rest = sum((_whole(operand) for operand in operands[2:]), _whole(operands[1]))
        return rest + _moved(update, one.buffers[0])
    if one.opcode == "fusion":
        return _of_fusion(program, program.computations[one.called["calls"]], one, operands)
    if one.opcode.endswith("-start") and one.called:
        return _moved_once(one, operands)
    return sum((_whole(operand) for operand in operands), _whole(one))


def _of_fusion(program: Program, inside: Computation, one: Instruction, operands: list[Instruction]) -> Traffic:
    total = Traffic()
    for operand, parameter in zip(operands, inside.parameters(), strict=True):
        if operand.buffers:
            total += _moved(_read_bytes(program, inside, parameter), operand.buffers[0])
    root = inside.instructions[inside.root]
    results = [inside.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
    for result, buffer in zip(results, one.buffers, strict=len(results) == len(one.buffers)):
        total += _moved(_written_bytes(inside, result, buffer), buffer)
    return total


def _read_bytes(program: Program, inside: Computation, parameter: Instruction) -> int:
    """Returns what a fusion reads of one parameter, as XLA counts it: what an update overwrites is not read."""
    size, is_read_whole = 0, False
    for reader in inside.readers(parameter.name):
        if reader.opcode == "fusion":
            called = program.computations[reader.called["calls"]]
            for operand, inner in zip(reader.operands, called.parameters(), strict=True):
                if operand == parameter.name:
                    size += _read_bytes(program, called, inner)
        elif reader.opcode in {"slice", "dynamic-slice"} and reader.operands[0] == parameter.name:
            size += reader.size_bytes
        elif reader.opcode == "dynamic-update-slice" and reader.operands[0] == parameter.name:
            continue
        elif reader.opcode in {"broadcast", "reshape"}:
            size += parameter.size_bytes
        elif not is_read_whole:
            is_read_whole = True
            size += parameter.size_bytes
    return size


def _written_bytes(inside: Computation, result: Instruction, buffer: Buffer) -> int:
    while result.opcode == "bitcast":
        result = inside.instructions[result.operands[0]]
    if result.opcode == "dynamic-update-slice":
        return inside.instructions[result.operands[1]].size_bytes
    return buffer.size_bytes


def _moved_once(one: Instruction, operands: list[Instruction]) -> Traffic:
    """Returns the traffic of an asynchronous operation: its operands, and as much again."""
    return sum((_whole(operand) for operand in operands), Traffic()) * 2


def _whole(one: Instruction) -> Traffic:
    return sum((_moved(buffer.size_bytes, buffer) for buffer in one.buffers), Traffic())


def _moved(size_bytes: float, buffer: Buffer) -> Traffic:
    is_main = buffer.memory_space == _MAIN_MEMORY
    return Traffic(touched_bytes=size_bytes, main_memory_bytes=size_bytes if is_main else 0.0)
