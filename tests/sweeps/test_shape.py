"""One of several families of shapes, told by its keys alone."""

import dataclasses
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sweeps.canonical import canonical_json, from_jsonable, revive, to_jsonable
from sweeps.grid import Grid
from sweeps.shape import FAMILIES, Shape, family_of, shape_of
from sweeps.study import Model, Study
from sweeps.trial import Trial

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
FILES = sorted(CONF.rglob("*.yaml"))
RUNGS = ("f0", "f1", "f3", "f3p", "f7", "f7p")


def read(file: Path) -> Model:
    """Returns the model of a file in conf/model."""
    return from_jsonable(Model, yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_model_file_is_of_its_family(file: Path, make_study: Callable[..., Study]) -> None:
    """The keys of every file lead to the shape of the family that it names; so do those of a trial's JSON."""
    model = read(file)
    assert model.name == file.stem
    assert type(model.shape) is FAMILIES[model.family]
    trial = dataclasses.replace(Grid(study=make_study()).trial(0), family=model.family, shape=model.shape)
    again = from_jsonable(Trial, json.loads(canonical_json(trial)))
    assert again == trial
    assert again.id == trial.id


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_families_can_be_mistaken(family: str) -> None:
    """The required keys of a family, and all its keys, fit no other."""
    shape = FAMILIES[family]
    required = {f.name for f in dataclasses.fields(shape) if f.default is dataclasses.MISSING}
    every = {f.name for f in dataclasses.fields(shape)}
    for other in set(FAMILIES.values()) - {shape}:
        of_other = {f.name for f in dataclasses.fields(other) if f.default is dataclasses.MISSING}
        assert not of_other <= every or not required <= {f.name for f in dataclasses.fields(other)}


@pytest.mark.parametrize(
    "change", [{"colour": 1}, {"width": None}, {"stage_depths": [1], "stage_widths": [1], "kernel_px": 3}]
)
def test_keys_of_no_family_are_refused(change: dict[str, object]) -> None:
    """A key too many, one too few or a mixture is an error that lists what every family has."""
    fields = to_jsonable(read(CONF / "vit" / "vit_b16.yaml").shape) | change
    fields = {name: value for name, value in fields.items() if value is not None}
    with pytest.raises(ValueError, match=r"those of none of these: HybridShape has .*; ViTShape has patch_px, width"):
        revive(Shape, fields)


def test_something_else_is_no_shape() -> None:
    """A number where a shape belongs is refused like a shape of no family."""
    with pytest.raises(ValueError, match="none of these: HybridShape has"):
        revive(Shape, 3)


@pytest.mark.parametrize("prefix", ["vit", "sep", "hyb"])
@pytest.mark.parametrize("rung", RUNGS)
def test_small_models_cost_what_the_nfnet_of_their_rung_costs(prefix: str, rung: str) -> None:
    """Within 15 % of its forward MACs, so that losses at the same rung compare architectures."""
    nfnet, other = (
        read(CONF / "scale" / f"{name}.yaml").shape.forward_macs(image_px=16, classes=64)
        for name in (rung, f"{prefix}_{rung}")
    )
    assert other == pytest.approx(nfnet, rel=0.15)


@pytest.mark.parametrize("prefix", ["vit", "sep", "hyb"])
def test_small_models_grow_from_rung_to_rung(prefix: str) -> None:
    """Parameters and MACs rise along a ladder."""
    shapes = [read(CONF / "scale" / f"{prefix}_{rung}.yaml").shape for rung in RUNGS]
    counts = [(s.params(image_px=16, classes=64), s.forward_macs(image_px=16, classes=64)) for s in shapes]
    assert counts == sorted(counts)
    assert len({params for params, _ in counts}) == len(RUNGS)


def test_families_are_the_files_of_shapes() -> None:
    """Every sweeps/*_shape.py is a family under its file's name, and a shape knows which it is of."""
    files = {path.stem.removesuffix("_shape") for path in (CONF.parents[1] / "sweeps").glob("*_shape.py")}
    assert set(FAMILIES) == files
    for file in FILES:
        model = read(file)
        assert family_of(model.shape) == model.family


@pytest.mark.parametrize(
    ("classes", "told"), [((), "it holds none"), (("OneShape", "TwoShape"), "it holds OneShape, TwoShape")]
)
def test_a_file_without_one_shape_is_refused(
    classes: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None, or several, of its own; one that it imports does not count."""
    module = types.ModuleType("sweeps.odd_shape")
    for name in classes:
        setattr(module, name, type(name, (), {"__module__": module.__name__}))
    module.NFNetShape = FAMILIES["nfnet"]  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "sweeps.odd_shape", module)
    with pytest.raises(TypeError, match=told):
        shape_of("odd")
