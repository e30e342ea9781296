"""Counting in optimised programs: on small ones written by hand, and on real ones."""

import re

import jax
import jax.numpy as jnp
import pytest

from launch.benchmarks import hlo

# A program as XLA prints it, shortened: an outer loop of 4 around one whose end is a value, inside
# which are a loop of 3, two conditionals and a call.
SHORT = """\
HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[8,128]{1,0:T(8,128)})->f32[8]{0}}

%fused_product (p.0: f32[8,128], p.1: f32[128,128]) -> f32[8,128] {
  %p.0 = f32[8,128]{1,0} parameter(0)
  %p.1 = f32[128,128]{1,0} parameter(1)
  ROOT %convolution.1 = f32[8,128]{1,0} convolution(%p.0, %p.1), dim_labels=bf_io->bf
}

%body_3 (arg.3: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %arg.3 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %x.3 = f32[8,128]{1,0:T(8,128)} get-tuple-element(%arg.3), index=1
  %w.3 = f32[128,128]{1,0} constant({...})
  %fusion.3 = f32[8,128] fusion(%x.3, %w.3), calls=%fused_product, op_name="f/dot", cycles=100
  ROOT %tuple.3 = (s32[]{:T(128)}, /*index=1*/f32[8,128]{1,0:T(8,128)}) tuple(%i.3, %fusion.3)
}

%condition_3 (arg.4: (s32[], f32[8,128])) -> pred[] {
  %arg.4 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %constant.4 = s32[]{:T(128)} constant(3), metadata={op_name="jit(f)/while"}
  %i.4 = s32[]{:T(128)} get-tuple-element(%arg.4), index=0
  ROOT %less.4 = pred[]{:T(512)} compare(%i.4, %constant.4), direction=LT
}

%cheap (arg.5: f32[8,128]) -> f32[8,128] {
  %arg.5 = f32[8,128]{1,0} parameter(0)
  ROOT %copy.5 = f32[8,128]{1,0} copy(%arg.5), cycles=5
}

%dear (arg.6: f32[8,128]) -> f32[8,128] {
  %arg.6 = f32[8,128]{1,0} parameter(0)
  ROOT %reverse.6 = f32[8,128]{1,0} reverse(%arg.6), dimensions={0}, cycles=7
}

%body_dynamic (arg.7: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %arg.7 = (s32[], f32[8,128]{1,0}) parameter(0)
  %while.7 = (s32[], f32[8]) while(%arg.7), condition=%condition_3, body=%body_3
  %conditional.7 = f32[] conditional(%p.7, %x.7), true_computation=%cheap, false_computation=%dear
  %switch.7 = f32[8] conditional(%n.7, %x.7, %x.7), branch_computations={%dear, %cheap}
  ROOT %call.7 = (s32[], f32[8,128]{1,0}) call(%x.7), to_apply=%cheap
}

%condition_dynamic (arg.8: (s32[], s32[])) -> pred[] {
  %arg.8 = (s32[], s32[]) parameter(0)
  %i.8 = s32[] get-tuple-element(%arg.8), index=0
  %stop.8 = s32[] get-tuple-element(%arg.8), index=1
  ROOT %less.8 = pred[] compare(%i.8, %stop.8), direction=LT
}

%body_4 (arg.9: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %arg.9 = (s32[], f32[8,128]{1,0}) parameter(0)
  %pad.9 = f32[16,128]{1,0} pad(%arg.9, %zero), padding=0_8x0_0, cycles=1000
  ROOT %while.9 = (s32[], f32[8]) while(%arg.9), condition=%condition_dynamic, body=%body_dynamic
}

ENTRY %main.1 (x.1: f32[8,128]) -> f32[8] {
  %x.1 = f32[8,128]{1,0:T(8,128)} parameter(0)
  %copy.1 = bf16[8,128]{0,1} copy(%x.1), cycles=10000
  %while.1 = (s32[], f32[8]) while(%x.1), condition=%condition_dynamic, body=%body_4, trips=4
  ROOT %all-reduce-start.1 = f32[8]{0} all-reduce-start(%copy.1), replica_groups={}
}
"""
TEXT = re.sub(r"cycles=(\d+)", r'backend_config={"estimated_cycles":"\1"}', SHORT)
TEXT = TEXT.replace("trips=4", 'backend_config={"known_trip_count":{"n":"4"}}')


@pytest.fixture
def program():
    return hlo.Program(TEXT)


def cycles(run):
    return run.times * run.instruction.cycles


def test_loops_count_as_often_as_they_run(program):
    inside = 3 * 100 + 7 + 7 + 5  # the loop of 3, the dearer branch twice, the call
    assert sum(map(cycles, program.runs(cycles))) == 10000 + 4 * (1000 + inside)
    assert sum(map(cycles, program.runs(cycles, dynamic=6))) == 10000 + 4 * (1000 + 6 * inside)
    assert sum(map(cycles, program.runs(cycles, within_dynamic=True))) == 4 * inside


def test_trip_counts(program):
    loops = [one for part in program.computations.values() for one in part if one.opcode == "while"]
    assert {one.name: program.trips(one) for one in loops} == {
        "while.7": 3,
        "while.9": None,
        "while.1": 4,
    }


def test_products_and_origins(program):
    runs = program.runs(cycles)
    products = [run for run in runs if program.is_product(run)]
    assert [(one.instruction.name, one.times) for one in products] == [("fusion.3", 12)]
    assert products[0].instruction.origin == "f/dot"
    assert runs[0].instruction.origin == ""


def test_bytes_read_and_written(program):
    traffic = {run.instruction.name: program.traffic(run) for run in program.runs(cycles)}
    assert traffic["fusion.3"] == 4 * (8 * 128 + 128 * 128 + 8 * 128)
    assert traffic["copy.1"] == (4 + 2) * 8 * 128


def test_collectives_are_found_wherever_they_are(program):
    assert program.collectives() == ["all-reduce-start"]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[2,64]{1,0:T(8,128)}", 512),
        ("bf16[3]", 6),
        ("pred[8]{0}", 8),
        ("s4[6]{0}", 3),
        ("f8e4m3fn[5]", 5),
        ("c64[2]", 16),
        ("f64[]", 8),
        ("(s32[], /*index=1*/u8[7]{0:T(128)(4,1)}, token[])", 11),
    ],
)
def test_sizes(shape, size):
    assert hlo.size(shape) == size


def test_a_real_program():
    def inner(x, _):
        return jnp.sin(x @ x), None

    def outer(_, x):
        x, _ = jax.lax.scan(inner, x, length=5)
        return jax.lax.while_loop(lambda y: y.sum() < 1, lambda y: y + jnp.cos(y @ y), x)

    def function(x, stop):
        return jax.lax.scan(lambda y, _: (jax.lax.fori_loop(0, stop, outer, y), None), x, length=7)

    compiled = jax.jit(function).lower(jnp.ones((64, 64)), 3).compile()
    program = hlo.Program(compiled.as_text())
    parts = program.computations.values()
    trips = [program.trips(one) for part in parts for one in part if one.opcode == "while"]
    assert sorted(trips, key=str) == [5, 7, None, None]
    often = [run.times for run in program.runs(program.traffic, dynamic=10)]
    assert {5 * 10 * 7, 10 * 10 * 7} <= set(often)
    inside = program.runs(program.traffic, within_dynamic=True)
    assert {run.times for run in inside} == {7, 5 * 7}
    assert program.collectives() == []
