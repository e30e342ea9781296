"""Counting in the text of an optimised XLA program: what runs how often, and what it costs.

A program is a set of computations, each a list of instructions. Counting starts at the entry and
follows loops, branches and calls; what stands inside a fusion runs as one with it.

* A loop runs as often as XLA says (`known_trip_count`), or as the constant that its condition
  compares the counter with; such loops of JAX count from 0.
* A loop of any other condition depends on values: the iterations of a training chunk do, and so
  does the loop around an iteration that isolates a member which goes wrong. Each counts once (or
  as often as the caller says).
* Of the branches of a conditional the dearest one counts.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

COLLECTIVES = (
    *("all-reduce", "all-gather", "all-to-all", "collective-permute", "collective-broadcast"),
    *("reduce-scatter", "ragged-all-to-all"),
)
_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)")
_PRODUCTS = ("convolution", "dot")
# What only names or groups values, and what is followed instead of counted.
_FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("while", "conditional", "call", "copy-done", "slice-done", "async-update", "async-done"),
    *("partition-id", "replica-id", "opt-barrier"),
)
_BITS = {"pred": 8, "f8": 8, "token": 0}  # of types whose name does not end with their bits


class Instruction(NamedTuple):
    """One line of a computation: `name = shape opcode(rest`."""

    name: str
    shape: str
    opcode: str
    rest: str

    @property
    def cycles(self) -> int:
        """What a TPU's compiler estimates; 0 where it says nothing."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(found[1]) if found else 0

    @property
    def origin(self) -> str:
        """The operation of JAX that it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""

    @property
    def operands(self) -> list[str]:
        """Names of the instructions whose results it takes."""
        return re.findall(r"%([\w.\-]+)", self.rest.partition(")")[0])

    def called(self, role: str) -> str:
        """The computation that has a role in it, such as "body"; "" where there is none."""
        found = re.search(rf"\b{role}=%?([\w.\-]+)", self.rest)
        return found[1] if found else ""

    @property
    def branches(self) -> list[str]:
        """The computations between which a conditional chooses."""
        listed = re.search(r"branch_computations=\{([^}]*)\}", self.rest)
        if listed:
            return re.findall(r"[\w.\-]+", listed[1])
        return [self.called("true_computation"), self.called("false_computation")]


class Run(NamedTuple):
    """An instruction and how often it runs in one run of the program."""

    instruction: Instruction
    times: int
    computation: str


class Program:
    """The computations of an optimised program."""

    def __init__(self, text: str):
        """`text` is what `as_text()` of a compiled program gives."""
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ""
        self._sizes: dict[str, dict[str, int]] = {}
        own: list[Instruction] = []
        for line in text.splitlines():
            head = _HEAD.match(line)
            if head:
                own = self.computations[head[2]] = []
                self.entry = head[2] if head[1] else self.entry
            elif found := _INSTRUCTION.match(line):
                own.append(Instruction(*found.groups()))

    def runs(
        self,
        cost: Callable[[Run], float],
        dynamic: int = 1,
        within_dynamic: bool = False,
    ) -> list[Run]:
        """All instructions that run, loops and branches left out in favour of what is in them.

        Args:
          cost: of an instruction, by which branches are compared.
          dynamic: how often a loop runs whose condition depends on values.
          within_dynamic: count only what is inside such a loop.
        """

        def visit(name: str, times: int, inside: bool) -> list[Run]:
            found: list[Run] = []
            for one in self.computations[name]:
                if one.opcode == "while":
                    trips = self.trips(one)
                    often = times * (dynamic if trips is None else trips)
                    found += visit(one.called("body"), often, inside or trips is None)
                elif one.opcode == "conditional":
                    ways = [visit(branch, times, inside) for branch in one.branches]
                    found += max(ways, key=lambda way: sum(r.times * cost(r) for r in way))
                elif one.opcode == "call":
                    found += visit(one.called("to_apply"), times, inside)
                elif inside and one.opcode not in _FREE:
                    found.append(Run(one, times, name))
            return found

        return visit(self.entry, 1, not within_dynamic)

    def trips(self, loop: Instruction) -> int | None:
        """How often a loop runs; None where that depends on values."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest)
        if known:
            return int(known[1])
        condition = self.computations[loop.called("condition")]
        limit = condition[-1]  # the root comes last
        if limit.opcode != "compare" or "direction=LT" not in limit.rest:
            return None
        for one in condition:
            if one.opcode == "constant" and one.name == limit.operands[-1]:
                return int(one.rest.partition(")")[0])
        return None

    def is_product(self, run: Run) -> bool:
        """Whether an instruction is, or its fusion holds, a convolution or matrix product."""
        if run.instruction.opcode in _PRODUCTS:
            return True
        fused = self.computations.get(run.instruction.called("calls"), [])
        return any(one.opcode in _PRODUCTS for one in fused)

    def traffic(self, run: Run) -> int:
        """Bytes of what an instruction reads and writes."""
        if run.computation not in self._sizes:
            own = self.computations[run.computation]
            self._sizes[run.computation] = {one.name: size(one.shape) for one in own}
        sizes = self._sizes[run.computation]
        read = sum(sizes.get(name, 0) for name in run.instruction.operands)
        return sizes[run.instruction.name] + read

    def collectives(self) -> list[str]:
        """Opcodes of all instructions, anywhere, that make devices wait for each other."""
        return sorted(
            one.opcode
            for computation in self.computations.values()
            for one in computation
            if one.opcode.removesuffix("-start") in COLLECTIVES
        )


def size(shape: str) -> int:
    """Bytes of an array, or of all in a tuple, by its shape such as `f32[2,64]{1,0}`."""
    total = 0
    for kind, sides in re.findall(r"\b([a-z]\w*)\[([\d,]*)\]", shape):
        known = [bits for name, bits in _BITS.items() if kind.startswith(name)]
        bits = known[0] if known else int(re.findall(r"\d+$", kind)[0])
        total += math.prod(map(int, filter(None, sides.split(",")))) * bits
    return total // 8
